"""A run's folder: its record, its plan, the outcomes of its trials, and the lock that keeps it to one runner."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import BenchError, DataError, UsageError
from bench.storage.files import FORMAT, clear_temporaries, plain, read_json, timestamp, write_json
from bench.storage.samples import read_samples

#: What run.json must hold, and what its parts must.
_RUN_KEYS: Mapping[str, tuple[str, ...]] = {
    "spec": ("title", "dataset", "protocol", "seeds"),
    "trials": (),
    "scale": (),
    "call": (),
    "dataset": ("title", "license"),
    "provenance": (),
}

#: What an outcome must hold, by its status.
_OUTCOME_KEYS = {"done": {"training", "generation", "likelihood", "memory", "facts"}, "failed": {"error"}}


class RunFolder:
    """A run's folder: run.json, targets.h5, ``trials/<key>/``, and the reports made from them.

    Parameters
    ----------
    path : Path
        Need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run_file(self) -> Path:
        """The resolved spec, the trials and the provenance."""
        return self.path / "run.json"

    @property
    def targets(self) -> Path:
        """Prompts and targets, one file for all trials."""
        return self.path / "targets.h5"

    def trial_dir(self, key: str) -> Path:
        """A trial's folder; it need not exist."""
        return self.path / "trials" / key

    def read(self) -> dict[str, Any]:
        """run.json; a DataError if it is missing, of another format, or lacks something."""
        run = read_json(self.run_file)
        for key, parts in _RUN_KEYS.items():
            value = run.get(key)
            if key not in run or (parts and not (isinstance(value, dict) and all(part in value for part in parts))):
                raise DataError(f"{self.run_file} has no whole {key!r}.", "Remove it; the same command makes it again.")
        return run

    def spec(self) -> dict[str, Any]:
        """The resolved spec."""
        found: dict[str, Any] = self.read()["spec"]
        return found

    def plan(self) -> dict[str, dict[str, Any]]:
        """The trials by key, in the order of the table's rows."""
        return {entry["key"]: entry["trial"] for entry in self.read()["trials"]}

    def create(
        self, spec: Mapping[str, Any], provenance: Mapping[str, Any], *, idle: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Make the folder and write run.json: the resolved spec, provenance, and what else the runner records.

        An older run.json of the same spec keeps its time of start, as this is the same run going on. If nothing is left
        to run (`idle`), it also keeps how and on what it was run, and its end: nothing is computed here and now.

        Raises
        ------
        DataError
            If the folder holds a run.json of another format.
        """
        self.make()
        before = self.read() if self.run_file.exists() else {}
        spec = plain(spec)
        kept = ("started", "finished", "call", "provenance") if idle else ("started",) if before.get("spec") == spec else ()
        run = {
            "format": FORMAT,
            "spec": spec,
            "started": timestamp(),
            "finished": None,
            **more,
            "provenance": dict(provenance),
            **{key: before[key] for key in kept if key in before},
        }
        write_json(self.run_file, run)
        return run

    def finish(self, run: Mapping[str, Any]) -> None:
        """Note in run.json that every trial has ended, if it isn't noted. `run` is what `create` returned."""
        write_json(self.run_file, {**run, "finished": run["finished"] or timestamp()})

    def make(self) -> None:
        """Make the folder, and remove what a killed writer left in it."""
        try:
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
            clear_temporaries(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(
            f"The run folder {self.path} can't be written: {error.strerror}.",
            'Give another place: --out DIR. In a container, run it as the folder\'s owner: --user "$(id -u):$(id -g)".',
        )

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file of the run atomically."""
        write_json(self.path / name, value)

    def outcome(self, key: str) -> dict[str, Any] | None:
        """The outcome of a trial; None where there is none, or it can't be read, is not whole, or is another trial's."""
        path = self.trial_dir(key) / "outcome.json"
        if not path.exists():
            return None
        try:
            found = read_json(path)
        except DataError:
            return None
        needed = _OUTCOME_KEYS.get(str(found.get("status")))
        return found if needed is not None and needed <= found.keys() and found.get("key") == key else None

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """Outcomes of run.json's trials by key, in its order; trials without one are absent."""
        return {key: found for key in self.plan() if (found := self.outcome(key)) is not None}

    def is_done(self, key: str) -> bool:
        """Whether a trial ended well and its samples can be read."""
        found = self.outcome(key)
        if found is None or found["status"] != "done":
            return False
        try:
            read_samples(self.trial_dir(key) / "samples.h5")
        except DataError:
            return False
        return True

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one runner; the lock goes with the process that holds it.

        Raises
        ------
        BenchError
            If another process holds it, or it can't be written.
        """
        self.make()
        try:
            opened = (self.path / ".lock").open("a+")
        except OSError as error:
            raise self._unwritable(error) from error
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise BusyError(
                    f"Another bench ({file.read().strip() or 'unknown process'}) is working in {self.path}.",
                    "Wait for it, stop it, or give this one another place: --out DIR.",
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()}, since {timestamp()}")
            file.flush()
            yield


class BusyError(BenchError):
    """Two runners on one folder."""

    exit_code = 2
