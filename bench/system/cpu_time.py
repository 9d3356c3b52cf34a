"""Processor time of the processes that this one started: a training may compute there too."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds between two looks at the processes that this one started: a look takes about 0.05 ms for each of them.
EVERY = 0.1

_TICK = os.sysconf("SC_CLK_TCK")


class StartedTime:
    """A clock of the processor time of all descendants of this process; it never runs back.

    Those that it waited for count to the tick of a clock, those that run still as they were a tenth of a second ago at most. One
    that neither it nor its child waits for is seen while it runs.
    """

    def __init__(self) -> None:
        self._looked = -1.0
        self._most = 0.0

    def seconds(self) -> float:
        """Processor time of all of them so far."""
        if time.monotonic() - self._looked >= EVERY:
            self.look()
        return self._most

    def look(self) -> None:
        """Look now."""
        ended = _waited_for()  # first: one that ends meanwhile is in neither, and not in both
        self._most = max(self._most, ended + sum(map(_seconds, _descendants(os.getpid()))))
        self._looked = time.monotonic()


def _waited_for() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _descendants(pid: int) -> Iterator[int]:
    """Iterate over the processes that a process started and that run, and over those that these started; on Linux."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for thread in threads:
        try:
            children = (thread / "children").read_text().split()
        except OSError:  # it has ended, or the kernel doesn't tell
            continue
        for child in map(int, children):
            yield child
            yield from _descendants(child)


def _seconds(pid: int) -> float:
    """Processor time of a process and of the children that it waited for; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0.0
    # Behind the name, which may hold anything, half a character too: state, and 10 numbers before the times.
    return sum(map(int, text.rpartition(b")")[2].split()[11:15])) / _TICK
