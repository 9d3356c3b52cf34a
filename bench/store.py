"""What a run keeps on disk: atomic files, the run's folder and its lock, targets and samples in HDF5.

A file is written to a temporary name beside it and renamed, so a reader sees the old content or the new, never half of it.
Leftover temporary names (``.name.123.tmp``) mean nothing. Formats carry a version; an unknown one is refused in words.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, DataError, UsageError
from bench.notes import COLUMNS, Notes

#: Version of run.json, outcome.json, targets.h5 and samples.h5. It is part of every trial's key.
FORMAT = 2

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

#: How much of a worker's stderr an outcome quotes.
TAIL_BYTES = 4000


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; at a clean end it is flushed to disk and takes the name `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def clear_temporaries(folder: Path) -> None:
    """Remove what a killed writer left in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON atomically; NaN and infinity become null, as JSON has neither."""
    text = json.dumps(plain(value), indent=1, allow_nan=False) + "\n"
    with atomic(path) as temporary:
        temporary.write_text(text)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of this format version.

    Raises
    ------
    DataError
        If it can't be read, or its format is another.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}.", "Remove it; the same command makes it again.") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object.", "Remove it; the same command makes it again.")
    check_format(path, value.get("format"))
    return value


def check_format(path: Path, given: object) -> None:
    """Refuse a file of another format version."""
    if isinstance(given, int | np.integer) and given == FORMAT:
        return
    if isinstance(given, int | np.integer) and given > FORMAT:
        raise DataError(
            f"{path} has format {given}; this version of bench reads format {FORMAT}.",
            "It was written by a newer bench: upgrade, or use another folder (--out).",
        )
    raise DataError(
        f"{path} has format {given!r}; this version of bench reads format {FORMAT}.",
        "Move it away, or give --out DIR.",
    )


def tail(path: Path, start: int = 0) -> str:
    """The last :data:`TAIL_BYTES` bytes of a text file, nothing from before `start`."""
    try:
        with path.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


@dataclass(frozen=True)
class PieceName:
    """Which piece of the test split it is. Texts may hold anything a file held: escape them."""

    index: int
    id: str
    title: str = ""
    composer: str = ""


@dataclass(frozen=True)
class Target:
    """One held-out piece: what is given of it and what follows in it.

    Parameters
    ----------
    piece : PieceName
    prompt, target : Notes
        In the piece's own clock; the target begins right after the prompt.
    """

    piece: PieceName
    prompt: Notes
    target: Notes


@dataclass(frozen=True)
class Targets:
    """What is stored beside the targets: how they were chosen.

    Parameters
    ----------
    targets : tuple of Target
    test_pieces : int
        Pieces of the test split.
    usable : int
        Those with at least prompt + notes notes; `targets` are these or an even choice of them.
    facts : dict
        Corpus key, counts of the splits, skipped files, remarks.
    """

    targets: tuple[Target, ...]
    test_pieces: int
    usable: int
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """What one trial made.

    Parameters
    ----------
    notes : dict of (int, int) to Notes
        By (piece, sample), the piece counted as in targets.h5.
    likelihood_sum : ndarray of float64, shape (held-out pieces, 4), optional
        Log probability of each whole held-out piece by field, nats.
    likelihood_notes : ndarray of int64, shape (held-out pieces,), optional
        Notes of each of them.
    likelihood_piece : ndarray of int64, shape (held-out pieces,), optional
        Which pieces of the test split they are.
    """

    notes: dict[tuple[int, int], Notes]
    likelihood_sum: NDArray[np.float64] | None = None
    likelihood_notes: NDArray[np.int64] | None = None
    likelihood_piece: NDArray[np.int64] | None = None


_LIKELIHOOD = ("likelihood_sum", "likelihood_notes", "likelihood_piece")


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples.h5 atomically. The same samples give the same bytes."""
    keys = sorted(samples.notes)
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file["piece_index"] = np.array([k[0] for k in keys], np.int64)
        file["sample_index"] = np.array([k[1] for k in keys], np.int64)
        _write_columns(file, [samples.notes[k] for k in keys])
        for name in _LIKELIHOOD:
            if (column := getattr(samples, name)) is not None:
                file[name] = column


def read_samples(path: Path) -> Samples:
    """Read samples.h5; a DataError if it is missing, damaged, or of another format."""
    with _open(path) as file:
        keys = zip(file["piece_index"][:].tolist(), file["sample_index"][:].tolist(), strict=True)
        notes = dict(zip(keys, _read_columns(file), strict=True))
        return Samples(notes, *(file[name][:] if name in file else None for name in _LIKELIHOOD))


def write_targets(path: Path, targets: Targets) -> None:
    """Write targets.h5 atomically: prompts and targets of the pieces used, and how they were chosen."""
    facts = {
        "test_pieces": targets.test_pieces,
        "usable": targets.usable,
        "facts": targets.facts,
        "pieces": [dataclasses.asdict(t.piece) for t in targets.targets],
    }
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        # Bytes of JSON, as titles may hold what HDF5 strings can't (NUL), and attributes end at 64 KiB.
        file["facts"] = np.frombuffer(json.dumps(plain(facts)).encode(), np.uint8)
        _write_columns(file.create_group("prompt"), [t.prompt for t in targets.targets])
        _write_columns(file.create_group("target"), [t.target for t in targets.targets])


def read_targets(path: Path) -> list[Target]:
    """The targets of targets.h5, in their order."""
    return list(read_target_file(path).targets)


def read_target_file(path: Path) -> Targets:
    """All of targets.h5; a DataError if it is missing, damaged, or of another format."""
    with _open(path) as file:
        facts = json.loads(file["facts"][:].tobytes())
        prompts, targets = _read_columns(file["prompt"]), _read_columns(file["target"])
    rows = zip(facts["pieces"], prompts, targets, strict=True)
    return Targets(
        tuple(Target(PieceName(**piece), prompt, target) for piece, prompt, target in rows),
        facts["test_pieces"],
        facts["usable"],
        facts["facts"],
    )


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


def timestamp() -> str:
    """The time now, UTC, ISO 8601 to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _write_columns(group: h5py.Group, parts: Sequence[Notes]) -> None:
    group["offsets"] = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)]).astype(np.int64)
    joined = {name: [getattr(p, name) for p in parts] for name in COLUMNS}
    for name, dtype in zip(COLUMNS, (np.float64, np.float64, np.uint8, np.uint8), strict=True):
        column = np.concatenate([np.empty(0, dtype), *joined[name]])
        # An empty dataset can't be chunked, hence not compressed.
        group.create_dataset(name, data=column, **({"compression": "gzip", "shuffle": True} if len(column) else {}))


def _read_columns(group: h5py.Group) -> list[Notes]:
    offsets = group["offsets"][:]
    columns = [group[name][:] for name in COLUMNS]
    return [Notes(*(c[a:b] for c in columns)) for a, b in itertools.pairwise(offsets)]


#: What HDF5 and its reader raise at a file that was damaged or made by something else.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            check_format(path, file.attrs.get("format"))
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing.", "The same command that made the run makes it again.") from error
    except _DAMAGE as error:
        raise DataError(f"{path} can't be read: {error}.", "Remove it; the same command makes it again.") from error


def plain(value: Any) -> Any:
    """Values that JSON has: NumPy scalars and arrays become numbers and lists, paths text, NaN null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
