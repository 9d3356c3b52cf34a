"""Limits on memory, so that what a stranger made takes a bounded part of it."""

from __future__ import annotations

import contextlib
import re
import resource
from collections.abc import Iterator
from pathlib import Path

#: Raises a process's part of the memory, in thousandths of all, when the system chooses which one to end.
_OFFERED = 500


@contextlib.contextmanager
def memory_limited(most: int) -> Iterator[None]:
    """Let this process take at most so much more memory inside the block; what would take more raises a MemoryError.

    On Linux, for memory of its own that it may write; elsewhere without effect.

    Parameters
    ----------
    most : int
        Bytes.
    """
    if (used := _data_bytes()) is None:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = (used + most, *(limit for limit in (before, hard) if limit != resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def offer_to_be_ended() -> None:
    """Let Linux end this process, and those that it starts, before the user's others of that size where memory runs out."""
    place = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        if int(place.read_text()) < _OFFERED:
            place.write_text(str(_OFFERED))


def _data_bytes() -> int | None:
    """Count the bytes that RLIMIT_DATA limits; None where the system doesn't tell."""
    try:
        found = re.search(r"^VmData:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
