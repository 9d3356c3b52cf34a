"""Reports of a run in progress, rewritten as its trials end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.report import Stamp, stamps, write_reports
from bench.storage.run_folder import RunFolder

#: Seconds between two checks of the folder.
EVERY = 2.0

#: Checks after which an unreadable folder is no longer taken for one that is being written.
PATIENCE = 5


@dataclass(frozen=True)
class Progress:
    """State of the run when its reports were written.

    Parameters
    ----------
    ended, failed, planned : int
        Trials.
    finished : bool
        Whether the run has finished.
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
    """Write the reports now and whenever another trial has ended; ends with the run.

    Parameters
    ----------
    folder : Path
        The run's.
    every : float
        Seconds between two checks.

    Yields
    ------
    Progress
        After each update.

    Raises
    ------
    BenchError, OSError
        If for a while the folder holds no run, nothing in it can be read, or the reports can't be written.
    """
    seen: dict[str, Stamp] | None = None
    failures = 0
    while True:
        try:
            # Taken before reading, so that a change meanwhile is noticed at the next check.
            now = stamps(folder)
            if now != seen:
                progress = _written(folder)
                seen, failures = now, 0
                yield progress
                if progress.finished:
                    return
        except (BenchError, OSError):
            # A runner may be replacing what is read here, or the machine refuses for the moment.
            failures += 1
            if failures >= PATIENCE:
                raise
        time.sleep(every)


def _written(folder: Path) -> Progress:
    record, table = RunFolder(folder).read(), write_reports(folder).table
    states = [trial.status for row in table.rows for trial in row.trials]  # of trials whose results are there and whole
    return Progress(len(states) - states.count("not run"), states.count("failed"), len(states), bool(record.finished))
