"""What happens around a trial's process: its folder before it starts, its outcome after it ended.

Every engine starts trials through this: beside each other in the run's own process, or each by the command
:mod:`bench.runner.unit` on another machine.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.errors import DataError, machine_error
from bench.formatting import listed
from bench.runner import processes
from bench.runner.processes import Ending, Task
from bench.specs.trials import Trial
from bench.storage.files import FORMAT, set_aside, tail, write_json
from bench.storage.outcome import Done, Failed, Failure, Memory
from bench.storage.run_folder import RunFolder, damaged_results
from bench.system.disk import regain

#: Files that a trial writes in its folder.
_WRITTEN = ("job.json", "stderr.log", ".lock", "samples.npz", "history.jsonl", "midi/*.mid", "stages/*.npz")


def trial_task(job: Mapping[str, Any], compiled: Path | None = None) -> Task:
    """Build the task of a trial's process.

    Parameters
    ----------
    job : mapping
        Input of the worker, and what its engine must know; :class:`bench.runner.session.Session` builds it.
    compiled : Path, optional
        See :func:`bench.runner.processes.environment`.
    """
    place, trial = Path(job["folder"]), Trial.model_validate(job["trial"])
    environment = processes.environment(int(job["threads"]), trial.device, compiled)
    log, gpu = place / "stderr.log", trial.device == "cuda"
    return Task(job, place / "job.json", log, str(job["python"]), environment, trial.budget.timeout, gpu)


class Supervisor:
    """Prepares the folders of trials, forwards their events, and judges how they ended.

    Parameters
    ----------
    folder : RunFolder
    say : callable
        Called with a trial's job and each event of it.
    """

    def __init__(self, folder: RunFolder, say: Callable[[Mapping[str, Any], dict[str, Any]], None]) -> None:
        self.folder = folder
        self._say = say
        #: Trials that started again because their checkpoint could not be used.
        self._restarted: set[str] = set()
        #: Error messages of workers that wrote no outcome, by key.
        self._errors: dict[str, str] = {}

    def start(self, task: Task) -> None:
        """Prepare a trial's folder; one that can't be used, as it holds a folder for a file, is set aside."""
        if not self.folder.run_file.exists():  # else each trial left would fail in a folder made anew
            raise DataError(f"{self.folder.run_file} was removed while bench was working in its folder.", "Run it again.")
        if strange := self.folder.strange(task.job["key"]):
            self._set_aside(task, f"{strange}.")
        try:
            self._clear(task)
        except OSError as error:
            self._make_way(task, error)
            self._clear(task)

    def forward(self, task: Task, event: dict[str, Any]) -> None:
        """Pass on an event of a worker; its beginning and end aren't its own to tell."""
        if event["event"] in ("begun", "ended"):
            return
        if event["event"] == "error":
            self._errors[task.job["key"]] = event["message"]
        self._say(task.job, event)

    def end(self, task: Task, ending: Ending) -> bool:
        """Write the outcome of a worker that left none; return whether its trial starts again.

        It does once, from no checkpoint, if its own could not be used.
        """
        key = task.job["key"]
        regain(Path(task.job["folder"]))  # a plug-in's umask or chmod costs its own trial at most
        outcome = self.folder.outcome(key)
        if outcome is None:
            outcome = self._died(task, ending)
            self.write_failed(task, outcome)
        if isinstance(outcome, Failed) and outcome.error.blames_checkpoint and key not in self._restarted:
            self._restarted.add(key)
            self._message(task, f"can't resume ({outcome.error.message}) It trains from the start.")
            return True
        return False

    def write_failed(self, task: Task, outcome: Failed) -> None:
        """Write the outcome of a trial that failed without writing it."""
        path, stored = Path(task.job["folder"]) / "outcome.json", {"format": FORMAT, **outcome.model_dump()}
        try:
            write_json(path, stored)
        except OSError as error:  # the plug-in left a folder there
            self._make_way(task, error)
            write_json(path, stored)

    def _message(self, task: Task, text: str) -> None:
        self._say(task.job, {"event": "message", "text": f"{task.job['label']}: {text}"})

    def _make_way(self, task: Task, error: OSError) -> None:
        """Move a trial's folder away if it holds a folder for a file or the reverse; any other error is raised."""
        if error.errno not in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST) or not Path(task.job["folder"]).exists():
            raise error
        self._set_aside(task, machine_error(error).message)

    def _set_aside(self, task: Task, why: str) -> None:
        bad = set_aside(Path(task.job["folder"]))
        self._message(task, f"its folder can't be used ({why}) It is now {bad}.")

    def _clear(self, task: Task) -> None:
        place, key = Path(task.job["folder"]), task.job["key"]
        before = self.folder.outcome(key)
        if isinstance(before, Done):  # its results are damaged; those of its stages come from a training from the start only
            damaged = damaged_results(place, before)
            why = f"{listed(damaged)} can't be read back or changed" if damaged else "its results don't fit the held-out pieces"
            self._message(task, f"it was done, but {why}. It runs again.")
            again = any(name.startswith("stages/") for name in damaged)
        else:
            again = isinstance(before, Failed) and before.error.blames_checkpoint
        if again:
            with contextlib.suppress(FileNotFoundError):
                set_aside(place / "checkpoint")
        (place / "outcome.json").unlink(missing_ok=True)
        write_json(place / "trial.json", task.job["trial"])
        for name in ("midi", "stages"):
            if (place / name).exists() and not (place / name).is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place / name))
        for file in (file for name in _WRITTEN for file in place.glob(name)):
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))

    def _died(self, task: Task, ending: Ending) -> Failed:
        """Build the outcome of a worker that ended without writing one."""
        return Failed(
            key=task.job["key"],
            status="failed",
            error=Failure(
                kind="Timeout" if ending.timed_out else "Killed" if ending.code < 0 else "Died",
                message=self._errors.pop(task.job["key"], ending.reason),
                stderr_tail=tail(task.log, ending.log_start),
            ),
            trial=task.job["trial"],
            memory=Memory(peak_bytes=ending.peak_bytes),
            provenance={"threads": task.job["threads"]},
            wall_seconds=ending.seconds,
        )
