"""The reports of a run that is under way, written again as its trials end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DataError
from bench.report import write_reports
from bench.storage.records import Failed
from bench.storage.run_folder import RunFolder

#: Seconds between two looks at the folder.
EVERY = 2.0

#: Looks after which a folder that can't be read is no longer taken for one that is just being written.
PATIENCE = 5

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Progress:
    """How far the run had come when its reports were written.

    Parameters
    ----------
    ended, failed, planned : int
        Trials.
    finished : bool
        Whether the run has come to its end.
    """

    ended: int
    failed: int
    planned: int
    finished: bool

    @property
    def text(self) -> str:
        """``12 of 31 trials have ended, 1 failed``."""
        text = f"{self.ended} of {self.planned} trials have ended"
        return text + (f", {self.failed} failed" if self.failed else "") + ("; the run is finished" if self.finished else "")


def watch_run(folder: Path, every: float = EVERY) -> Iterator[Progress]:
    """Write the reports now and whenever a trial has ended since; ends with the run.

    Parameters
    ----------
    folder : Path
        The run's.
    every : float
        Seconds between two looks.

    Yields
    ------
    Progress
        After each writing.

    Raises
    ------
    DataError
        If the folder holds no run, or nothing in it can be read for a while.
    """
    seen: dict[str, Stamp] | None = None
    failures = 0
    while True:
        try:
            # The state before it is read: what changes meanwhile is seen at the next look.
            now = stamps(folder)
            if now != seen:
                progress = _written(folder)
                seen, failures = now, 0
                yield progress
                if progress.finished:
                    return
        except DataError:
            # A runner may be replacing what is read here.
            failures += 1
            if failures >= PATIENCE:
                raise
        time.sleep(every)


def stamps(folder: Path) -> dict[str, Stamp]:
    """What changes when a trial ends: run.json and the outcomes, each with its inode, size and time of writing."""
    found = {}
    for path in (folder / "run.json", *sorted((folder / "trials").glob("*/outcome.json"))):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        found[str(path)] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def _written(folder: Path) -> Progress:
    run = RunFolder(folder)
    record, outcomes = run.read(), run.outcomes()
    write_reports(folder)
    failed = sum(isinstance(outcome, Failed) for outcome in outcomes.values())
    return Progress(len(outcomes), failed, len(record.trials), bool(record.finished))
