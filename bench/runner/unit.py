"""One trial as a command, ``python -P -m bench.runner.unit RUN KEY``, for any machine that sees the folder of the run.

It can be repeated: a trial that is done is left alone, one that another process has is waited for, one that was interrupted
resumes. The trial itself runs in a child process, as everywhere; what it reports is appended to ``units/KEY.jsonl``. Where stdin
is a pipe, its end stops the trial.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError, DataError, StoppedError
from bench.runner import processes
from bench.runner.lease import TAKEOVER, Holder, Lease, host
from bench.runner.processes import Signals
from bench.runner.supervision import Supervisor, trial_task
from bench.storage.files import make_way
from bench.storage.outcome import Done
from bench.storage.run_folder import RunFolder
from bench.storage.samples import read_targets, targets_digest
from bench.system.disk import MOST_RECORD, read_file

#: Exit codes: the trial is done; it failed, with an outcome; this machine doesn't see the run's files; it was stopped.
DONE, FAILED, UNSEEN, STOPPED = 0, 3, 72, 75

#: Seconds between two looks at a lease that another process holds.
LOOK = 1.0


def unit_files(run: Path, key: str) -> tuple[Path, Path, Path]:
    """Paths of a trial's job, of its events, and of its lease; they need not exist."""
    return run / "units" / f"{key}.json", run / "units" / f"{key}.jsonl", run / "units" / f"{key}.lease"


def make_units(run: Path, keys: Iterable[str], *names: str) -> Path:
    """Make the folder of these trials' files, with what is in their way and of others of these `names` set aside; return it."""
    units = run / "units"
    files = [file for key in keys for file in unit_files(run, key)]
    make_way(run, *(file.relative_to(run).as_posix() for file in (*files, units / TAKEOVER, *(units / name for name in names))))
    units.mkdir(exist_ok=True)
    return units


def waiting(label: str, lease: Lease, holder: Holder) -> str:
    """Say for whom a trial waits, for how long at most, and what to do if nobody will come."""
    return (
        f"{label}: waits for its process on {holder.host} to end, and takes over {max(0.0, holder.expires):.0f} s after the last "
        f"sign of it; if that machine is gone, remove {lease.file}"
    )


def shared_places(job: Mapping[str, Any]) -> list[str]:
    """List what the machine of a trial must see, beside the run's folder and the interpreter, under the same paths."""
    return [job["corpus"], *job["plugins"], *([job["weights"]] if job["weights"] else [])]


def command(run: Path) -> list[str]:
    """Build the command of a run's trials; a trial's key follows."""
    return [sys.executable, "-P", "-m", "bench.runner.unit", str(run.resolve())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one trial; see the module for the exit codes."""
    given, key = sys.argv[1:] if arguments is None else arguments
    run = Path(given).absolute()
    file, events, _ = unit_files(run, key)
    try:
        job = json.loads(read_file(file, MOST_RECORD))
        with contextlib.suppress(OSError, KeyError):  # paths in a spec may begin where the command was given
            os.chdir(job["place"])
        for place in shared_places(job):
            Path(place).stat()
        if not os.access(job["python"], os.X_OK):
            raise FileNotFoundError(errno.ENOENT, "not executable", job["python"])
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        print(f"{error.filename} can't be used on {host()}: {error.strerror}.", file=sys.stderr)
        return UNSEEN
    unit = Unit(RunFolder(run), job, events)
    with Signals() as signals:
        _stop_with_engine()
        try:
            return unit.run(signals)
        except StoppedError:
            return STOPPED
        except (BenchError, OSError) as error:
            unit.say(job, {"event": "message", "text": f"{unit.label} on {host()}: {error}"})
            print(error, file=sys.stderr)
            return STOPPED


class Unit:
    """The trial of one job.

    Parameters
    ----------
    folder : RunFolder
    job : mapping
        Input of :func:`bench.runner.supervision.trial_task`.
    events : Path
        File that its events are appended to.
    """

    def __init__(self, folder: RunFolder, job: Mapping[str, Any], events: Path) -> None:
        self.folder, self.job, self.events = folder, job, events
        self.key, self.label = str(job["key"]), str(job["label"])
        self.began = time.monotonic()

    def say(self, job: Mapping[str, Any], event: dict[str, Any]) -> None:
        """Append an event to the file that the engine reads."""
        with self.events.open("a") as file:
            file.write(json.dumps(event, default=str) + "\n")

    def run(self, signals: Signals) -> int:
        """Run the trial unless it is done, under its lease.

        Raises
        ------
        DataError
            If the run has other targets than those that the trial was planned for: it waited in a queue. What it has done stays.
        """
        targets = read_targets(self.folder.targets)
        if targets_digest(targets) != self.job["held_out"]:
            raise DataError("the run's music was changed after this trial was submitted")
        lease = Lease(unit_files(self.folder.path, self.key)[2], float(self.job["expires"]))
        told = False
        while not lease.take():
            if not told and (holder := lease.holder()) is not None:
                self.say(self.job, {"event": "message", "text": waiting(self.label, lease, holder)})
                told = True
            time.sleep(LOOK)
        with lease.kept(lambda: os.kill(os.getpid(), signal.SIGTERM)):
            if not self.folder.is_done(self.key, targets):
                self.say(self.job, {"event": "begun", "host": host()})
                self._perform(signals)
            outcome = self.folder.outcome(self.key)
        self.say(self.job, {"event": "ended", "seconds": time.monotonic() - self.began})
        return DONE if isinstance(outcome, Done) else FAILED

    def _perform(self, signals: Signals) -> None:
        supervisor = Supervisor(self.folder, self.say)
        with tempfile.TemporaryDirectory(prefix="bench-compiled-", ignore_cleanup_errors=True) as compiled:
            task = trial_task({**self.job, "host": host()}, Path(compiled))
            processes.run_tasks([task], 1, signals, supervisor.start, supervisor.forward, supervisor.end)


def _stop_with_engine() -> None:
    """Stop at the end of stdin if it is a pipe from an engine's process, not a terminal or a file."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="engine watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
