"""A run's folder: its record, the outcomes of its trials, and the lock that reserves it for one process."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError, DataError, MachineError, PluginError, UsageError, refusal
from bench.storage.files import (
    FORMAT,
    DamagedError,
    check_damage,
    clear_temporaries,
    hold,
    make_way,
    plain,
    read_json,
    timestamp,
    write_json,
)
from bench.storage.outcome import OUTCOME, RESULT, Done, Failed, Failure
from bench.storage.records import RunRecord
from bench.storage.samples import (
    Samples,
    Target,
    Targets,
    incomplete,
    read_samples,
    read_target_file,
    targets_digest,
    unite_samples,
)
from bench.storage.stored import first_problem
from bench.system.disk import MOST_RECORD, DamagedFileError, check_ordinary, exists, file_digest


def samples_file(trial: Path, stage: float | None = None) -> Path:
    """Path of a trial's samples, at the end of its training or at a share of its budget.

    >>> samples_file(Path("trial"), 0.25).as_posix()
    'trial/stages/0.25.npz'
    """
    return trial / "samples.npz" if stage is None else trial / "stages" / f"{stage}.npz"


#: Name of what a trial's code prints, of any length.
LOG = "stderr.log"


def is_long_log(file: Path) -> bool:
    """Whether a file is a log that is too long to be copied: it is no result."""
    return file.name == LOG and file.stat().st_size > MOST_RECORD


def result_digests(trial: Path) -> dict[str, str]:
    """SHA-256 of the results in a trial's folder, by path: its samples, those of its stages, its MIDI files."""
    files = [file for pattern in ("samples.npz", "stages/*.npz", "midi/*.mid") for file in sorted(trial.glob(pattern))]
    names = [name for file in files if RESULT.fullmatch(name := file.relative_to(trial).as_posix())]  # strays aren't results
    return {name: file_digest(trial / name) for name in names}


def _is_checkpoint(folder: Path) -> bool:
    """Whether a folder is the plug-in's own: what it leaves there is read by nobody else."""
    return folder.name.startswith("checkpoint") and folder.parent.parent.name == "trials"


def damaged_results(trial: Path, outcome: Done) -> list[str]:
    """List the files of a trial's folder that are missing or not what its outcome vouches for."""
    damaged = []
    for name, digest in outcome.digests.items():
        try:
            intact = file_digest(trial / name) == digest
        except OSError as error:
            check_damage(error)
            intact = False
        if not intact:
            damaged.append(name)
    return damaged


class RunFolder:
    """A run's folder: run.json, targets.npz, ``trials/<key>/``, and the reports.

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
        return self.path / "targets.npz"

    def trial_dir(self, key: str) -> Path:
        """Path of a trial's folder; it need not exist."""
        return self.path / "trials" / key

    def read(self) -> RunRecord:
        """Parse run.json.

        Raises
        ------
        DamagedError
            If it is missing or damaged.
        DataError
            If it has another format, or the folder holds a link, which would lead out of it.
        """
        self.check()
        stored = read_json(self.run_file)
        try:
            return RunRecord.model_validate(stored)
        except ValidationError as error:
            raise DamagedError(
                f"{self.run_file} is damaged: {first_problem(error)}.", "Remove it; the same command makes it again."
            ) from error

    def read_if_intact(self) -> RunRecord | None:
        """Parse run.json; None if it is missing or damaged, so that it is made again."""
        try:
            return self.read()
        except DamagedError:
            return None

    def check(self) -> None:
        """Refuse a folder with anything but ordinary files and folders: someone else may have made it.

        Raises
        ------
        DataError
        """
        try:
            check_ordinary(self.path, own=lambda folder: folder == self.path / "trials")  # each costs itself, see `strange`
        except FileNotFoundError:  # not made yet, or a file of a running trial that was renamed just now
            pass
        except DamagedFileError as error:
            raise DataError(
                f"The run folder {self.path} can't be used: {error}.",
                "A run folder holds ordinary files and folders only. Remove that name, or put a copy of what it leads to there.",
            ) from error

    def write(self, record: RunRecord) -> None:
        """Write run.json atomically."""
        write_json(self.run_file, record.model_dump())

    def create(self, spec: Mapping[str, Any], provenance: Mapping[str, Any], *, idle: bool = False, **more: Any) -> RunRecord:
        """Create the folder and write run.json: the resolved spec, the provenance, and `more` fields.

        The time of start and the token are taken over from an earlier run.json, whose finished trials count, and now is when the
        run was last resumed. If no trial is left to run (`idle`), all times, the call and the provenance are taken over, because
        nothing is computed now.

        Raises
        ------
        DataError
            If the folder holds a run.json of another format, or what is to be recorded can't be.
        """
        self.make()
        before = self.read_if_intact()
        spec = plain(spec)
        kept: tuple[str, ...] = ()
        if before is not None:
            kept = ("started", "token", *(("resumed", "finished", "call", "provenance") if idle else ()))
        run = {
            "format": FORMAT,
            "spec": spec,
            "started": timestamp(),
            "token": secrets.token_hex(8),
            "resumed": None if before is None else timestamp(),
            "finished": None,
            **more,
            "provenance": dict(provenance),
            **{key: plain(before.model_dump()[key]) for key in kept if before is not None},
        }
        try:
            RunRecord.model_validate(plain(run))  # before the last record, which may be of finished trials, is overwritten
        except ValidationError as error:
            raise DataError(f"This run can't be recorded: {first_problem(error)}.") from error
        write_json(self.run_file, run)
        return self.read()

    def finish(self, run: RunRecord) -> None:
        """Record in run.json that every trial has ended, unless it is recorded. `run` is the result of `create`."""
        self.write(run.change(finished=run.finished or timestamp()))

    def make(self) -> None:
        """Create the folder, and remove the temporary files of a killed process."""
        try:
            make_way(
                self.path,
                "run.json",
                "targets.npz",
                "prepare.json",
                "prepare.log",
                "weights.json",
                "weights.log",
                "trials/outcome.json",
            )
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
            clear_temporaries(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> BenchError:
        place = UsageError(
            f"The run folder {self.path} can't be written: {error.strerror}.",
            'Give another place: --out DIR. In a container, run it as the folder\'s owner: --user "$(id -u):$(id -g)".',
        )
        return refusal(error, place)

    def strange(self, key: str) -> str:
        """Say what in a trial's folder is neither a file nor a folder; empty if nothing is. A checkpoint is the plug-in's own."""
        try:
            if self.trial_dir(key).is_symlink():
                return f"{self.trial_dir(key)} is a link"
            check_ordinary(self.trial_dir(key), own=_is_checkpoint)
        except (FileNotFoundError, NotADirectoryError):  # not made yet, or renamed just now
            pass
        except DamagedFileError as error:
            return str(error)
        return ""

    def outcome(self, key: str) -> Done | Failed | None:
        """Parse the outcome of a trial; None if it is missing, damaged, or of another trial.

        A trial whose folder holds a link, a pipe or a device has failed: reading there would show what lies elsewhere, or wait.
        """
        if strange := self.strange(key):
            return Failed(key=key, status="failed", error=Failure(kind="Damaged", message=f"its folder can't be used: {strange}"))
        path = self.trial_dir(key) / "outcome.json"
        if not exists(path):
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

    def read_targets(self) -> Targets:
        """Read targets.npz, and refuse other targets than those of the run's trials.

        A command that was stopped after it had chosen pieces of changed music leaves them beside the trials of those before.

        Raises
        ------
        DataError
            If run.json or targets.npz is missing or damaged, or they don't belong together.
        """
        targets, record = read_target_file(self.targets), self.read()
        own, protocol = record.dataset.targets, record.spec["protocol"]
        if own and file_digest(self.targets) != own:
            raise DamagedError(
                f"{self.targets} holds other pieces than the trials of run.json were made for.",
                "A command was stopped before its end; the same command goes on.",
            )
        expected = protocol.get("prompt", 0), protocol["notes"]
        for target in targets.targets:  # a packed kilobyte may hold a million notes, of which MIDI would be written for hours
            if (found := (len(target.prompt), len(target.target))) != expected:
                raise DamagedError(
                    f"{self.targets} is damaged: the piece {target.piece.id!r} has {found[1]:,} notes after a prompt of "
                    f"{found[0]:,}; expected {expected[1]:,} after {expected[0]:,}, the protocol of run.json.",
                    "The same command that made the run makes it again.",
                )
        return targets

    def samples(self, *keys: str, stage: float | None = None) -> Samples:
        """Read the samples of a trial, or of all its folds; a DataError if any are missing, damaged or another trial's.

        Parameters
        ----------
        *keys : str
        stage : float, optional
            Share of the budget at which they were generated; by default at its end.
        """
        parts = [self._samples(key, stage) for key in keys]
        return parts[0] if len(parts) == 1 else unite_samples(parts)

    def _samples(self, key: str, stage: float | None) -> Samples:
        file, outcome = samples_file(self.trial_dir(key), stage), self.outcome(key)
        samples = read_samples(file)
        own = outcome.digests.get(file.relative_to(self.trial_dir(key)).as_posix()) if isinstance(outcome, Done) else None
        if own and file_digest(file) != own:
            raise DamagedError(f"{file} is not what its trial wrote.", "The same command runs the trial again.")
        return samples

    def fault(self, key: str, targets: Sequence[Target]) -> str:
        """Explain why a trial isn't done; empty if it is: completed, every file as it was written, every piece with its samples.

        Parameters
        ----------
        key : str
        targets : sequence of Target
            All of the run's.
        """
        outcome = self.outcome(key)
        if outcome is None and not exists(self.trial_dir(key) / "outcome.json"):
            return "it has no outcome"
        if isinstance(outcome, Failed):
            return f"it failed: {outcome.error.reason}"
        if outcome is None:
            return "outcome.json is damaged"
        if outcome.held_out and outcome.held_out != targets_digest(targets):
            return "it continued other pieces"
        if damaged := damaged_results(self.trial_dir(key), outcome):
            return f"missing or damaged: {', '.join(damaged)}"
        pieces = range(len(targets)) if outcome.pieces is None else outcome.pieces
        try:
            protocol = outcome.trial["protocol"]
            names = {piece: targets[piece].piece.id for piece in pieces if piece not in outcome.absent}
            samples = read_samples(samples_file(self.trial_dir(key)))  # its digest was compared above
            return incomplete(samples, names, int(protocol["samples"]), int(protocol["notes"]))
        except DataError as error:
            return error.message
        except (LookupError, TypeError, ValueError, OverflowError):
            return "outcome.json is of another run"

    def is_done(self, key: str, targets: Sequence[Target]) -> bool:
        """Whether a trial has no :meth:`fault`."""
        return not self.fault(key, targets)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for this process; the lock ends with the process.

        Raises
        ------
        BenchError
            If another process holds it, it can't be written, or something failed since it was removed or moved away.
        """
        file = self.path / ".lock"
        with contextlib.ExitStack() as stack:
            try:
                self.check()
                make_way(self.path, file.name)
                stack.enter_context(hold(file, self.path))
                locked = file.stat()
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                self.make()  # under the lock: it removes what another writer may be using
                yield
            except (OSError, UsageError, DataError, MachineError, PluginError) as error:
                if _is_same(file, locked):
                    raise
                raise MachineError(
                    f"{self.path} was removed or moved away while bench was working in it.", "The same command makes it again."
                ) from error


def _is_same(file: Path, before: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(file.stat(), before)
    return False
