"""A run's folder: its record, the outcomes of its trials, and the lock that reserves it for one process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import DataError, UsageError
from bench.storage.files import FORMAT, clear_temporaries, hold, plain, read_json, timestamp, write_json
from bench.storage.outcome import OUTCOME, Done, Failed
from bench.storage.records import RunRecord
from bench.storage.samples import Samples, read_samples, unite_samples
from bench.storage.stored import first_problem


def samples_file(trial: Path, stage: float | None = None) -> Path:
    """Path of a trial's samples, at the end of its training or at a share of its budget.

    >>> samples_file(Path("trial"), 0.25).as_posix()
    'trial/stages/0.25.h5'
    """
    return trial / "samples.h5" if stage is None else trial / "stages" / f"{stage}.h5"


class RunFolder:
    """A run's folder: run.json, targets.h5, ``trials/<key>/``, and the reports.

    Parameters
    ----------
    path : Path
        Need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run_file(self) -> Path:
        """File with the resolved spec, the trials and the provenance."""
        return self.path / "run.json"

    @property
    def targets(self) -> Path:
        """File with prompts and targets, one for all trials."""
        return self.path / "targets.h5"

    def trial_dir(self, key: str) -> Path:
        """Path of a trial's folder; it need not exist."""
        return self.path / "trials" / key

    def read(self) -> RunRecord:
        """Parse run.json; a DataError if it is missing, incomplete or of another format."""
        stored = read_json(self.run_file)
        try:
            return RunRecord.model_validate(stored)
        except ValidationError as error:
            raise DataError(
                f"{self.run_file} is damaged: {first_problem(error)}.", "Remove it; the same command makes it again."
            ) from error

    def write(self, record: RunRecord) -> None:
        """Write run.json atomically."""
        write_json(self.run_file, record.model_dump())

    def create(self, spec: Mapping[str, Any], provenance: Mapping[str, Any], *, idle: bool = False, **more: Any) -> RunRecord:
        """Create the folder and write run.json: the resolved spec, the provenance, and `more` fields.

        The time of start is taken over from an earlier run.json, whose finished trials count, and now is when the run was last
        resumed. If no trial is left to run (`idle`), all times, the call and the provenance are taken over, because nothing is
        computed now.

        Raises
        ------
        DataError
            If the folder holds a run.json of another format.
        """
        self.make()
        before = self.read() if self.run_file.exists() else None
        spec = plain(spec)
        kept: tuple[str, ...] = ()
        if before is not None:
            kept = ("started", "resumed", "finished", "call", "provenance") if idle else ("started",)
        run = {
            "format": FORMAT,
            "spec": spec,
            "started": timestamp(),
            "resumed": None if before is None else timestamp(),
            "finished": None,
            **more,
            "provenance": dict(provenance),
            **{key: plain(before.model_dump()[key]) for key in kept if before is not None},
        }
        write_json(self.run_file, run)
        return self.read()

    def finish(self, run: RunRecord) -> None:
        """Record in run.json that every trial has ended, unless it is recorded. `run` is the result of `create`."""
        self.write(run.change(finished=run.finished or timestamp()))

    def make(self) -> None:
        """Create the folder, and remove the temporary files of a killed process."""
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

    def outcome(self, key: str) -> Done | Failed | None:
        """Parse the outcome of a trial; None if it is missing, damaged, or of another trial."""
        path = self.trial_dir(key) / "outcome.json"
        if not path.exists():
            return None
        try:
            outcome = OUTCOME.validate_python(read_json(path))
        except (DataError, ValidationError):
            return None
        return outcome if outcome.key == key else None

    def outcomes(self) -> dict[str, Done | Failed]:
        """Read the outcomes of run.json's trials by key, in its order; trials without one are left out."""
        keys = [planned.key for planned in self.read().trials]
        return {key: outcome for key in keys if (outcome := self.outcome(key)) is not None}

    def samples(self, *keys: str, stage: float | None = None) -> Samples:
        """Read the samples of a trial, or of all its folds; a DataError if any are missing or damaged.

        Parameters
        ----------
        *keys : str
        stage : float, optional
            Share of the budget at which they were generated; by default at its end.
        """
        parts = [read_samples(samples_file(self.trial_dir(key), stage)) for key in keys]
        return parts[0] if len(parts) == 1 else unite_samples(parts)

    def is_done(self, key: str) -> bool:
        """Whether a trial was completed and its samples can be read."""
        if not isinstance(self.outcome(key), Done):
            return False
        try:
            self.samples(key)
        except DataError:
            return False
        return True

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for this process; the lock ends with the process.

        Raises
        ------
        BenchError
            If another process holds it, or it can't be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(self.path / ".lock", self.path))
            except OSError as error:
                raise self._unwritable(error) from error
            self.make()  # under the lock: it removes what another writer may be using
            yield
