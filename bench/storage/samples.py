"""Targets and samples in HDF5: held-out music with its prompts, and the notes that trials generated."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bench.formatting import clean
from bench.music.notes import COLUMNS, FIELDS, Notes
from bench.storage.files import FORMAT, DamagedError, check_damage, check_format, plain
from bench.storage.hdf5 import DAMAGE, json_bytes, read_column, read_json_bytes, read_notes, reading, write_notes, writing
from bench.system.disk import MOST_RESULT


@dataclass(frozen=True)
class PieceName:
    """Index and names of a piece of the test split. The texts come from files: cleaned here, and still to be escaped."""

    index: int
    id: str
    title: str = ""
    composer: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "title", "composer"):
            object.__setattr__(self, name, clean(getattr(self, name)))


@dataclass(frozen=True)
class Target:
    """One held-out piece: its prompt, and the notes that follow.

    Parameters
    ----------
    piece : PieceName
    prompt, target : Notes
        Onsets count from the beginning of the piece; the target begins right after the prompt.
    """

    piece: PieceName
    prompt: Notes
    target: Notes


@dataclass(frozen=True)
class Targets:
    """Targets of a run, and how they were chosen.

    Parameters
    ----------
    targets : tuple of Target
    test_pieces : int
        Number of pieces in the test split.
    usable : int
        Number of those with at least prompt + notes notes; `targets` are these, or an evenly spaced selection.
    facts : dict
        Corpus key, counts of the splits, skipped files, remarks.
    """

    targets: tuple[Target, ...]
    test_pieces: int
    usable: int
    facts: dict[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Hash of the held-out music's content, the notes of every prompt and target, independent of the code that read them."""
        return notes_digest([notes for t in self.targets for notes in (t.prompt, t.target)])


@dataclass(frozen=True)
class _Facts:
    """What targets.h5 holds of :class:`Targets` beside the notes."""

    test_pieces: int
    usable: int
    facts: dict[str, Any]
    pieces: tuple[PieceName, ...]


_FACTS = TypeAdapter(_Facts)


@dataclass(frozen=True)
class Samples:
    """Samples of one trial, and its likelihoods.

    Parameters
    ----------
    notes : dict of (int, int) to Notes
        By (piece, sample), the piece as an index into targets.h5.
    likelihood_sum : ndarray of float64, shape (held-out pieces, 4), optional
        Log probability of each complete held-out piece by field, nats.
    likelihood_notes : ndarray of int64, shape (held-out pieces,), optional
        Number of notes of each of them.
    likelihood_piece : ndarray of int64, shape (held-out pieces,), optional
        Their indices in the test split.
    """

    notes: dict[tuple[int, int], Notes]
    likelihood_sum: NDArray[np.float64] | None = None
    likelihood_notes: NDArray[np.int64] | None = None
    likelihood_piece: NDArray[np.int64] | None = None


def notes_digest(parts: Sequence[Notes]) -> str:
    """Hash of the notes of several parts, in their order."""
    digest = hashlib.sha256()
    for notes in parts:
        for name in COLUMNS:
            digest.update(getattr(notes, name).tobytes() + b"\x1f")
    return digest.hexdigest()[:16]


_LIKELIHOOD = ("likelihood_sum", "likelihood_notes", "likelihood_piece")


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples.h5 atomically. The same samples give the same bytes."""
    keys = sorted(samples.notes)
    with writing(path) as file:
        file.attrs["format"] = FORMAT
        file["piece_index"] = np.array([k[0] for k in keys], np.int64)
        file["sample_index"] = np.array([k[1] for k in keys], np.int64)
        write_notes(file, [samples.notes[k] for k in keys])
        for name in _LIKELIHOOD:
            if (column := getattr(samples, name)) is not None:
                file[name] = column


def read_samples(path: Path) -> Samples:
    """Read samples.h5; a DataError if it is missing, damaged, or of another format."""
    with _open(path) as file:
        keys = zip(file["piece_index"][:].tolist(), file["sample_index"][:].tolist(), strict=True)
        notes = dict(zip(keys, read_notes(file), strict=True))
        if any(not isinstance(number, int) or number < 0 for key in notes for number in key):
            raise ValueError("a piece or a sample has no number")
        return Samples(notes, *_read_likelihood(file))


def _read_likelihood(file: h5py.File) -> list[NDArray[Any]]:
    """Read the likelihoods of the held-out pieces; none if they weren't measured."""
    if not any(name in file for name in _LIKELIHOOD):
        return []
    columns = [read_column(file[name], dtype) for name, dtype in zip(_LIKELIHOOD, (np.float64, np.int64, np.int64), strict=True)]
    pieces = len(columns[0])
    if [column.shape for column in columns] != [(pieces, len(FIELDS)), (pieces,), (pieces,)]:
        raise ValueError("its likelihoods are not those of the same pieces")
    return columns


def incomplete(samples: Samples, pieces: Mapping[int, str], per_piece: int, n_notes: int) -> str:
    """Describe the first sample that is missing or has another length; empty if every piece has all of its samples.

    A trial is done, and can be scored, only if this is empty.

    Parameters
    ----------
    samples : Samples
    pieces : mapping of int to str
        Indices into targets.h5, and the pieces' names.
    per_piece : int
        Number of samples of each piece.
    n_notes : int
        Length of each, notes.

    Examples
    --------
    >>> two = Notes.from_columns([0.0, 1.0], [0.5, 0.5], [60, 62], [80, 80])
    >>> incomplete(Samples({(0, 0): two}), {0: "a"}, 1, 2)
    ''
    >>> incomplete(Samples({(0, 0): two}), {0: "a", 1: "b"}, 1, 2)
    'sample 0 of piece 1 (b) is missing'
    """
    for piece, name in pieces.items():
        for sample in range(per_piece):
            generated = samples.notes.get((piece, sample))
            if generated is None:
                return f"sample {sample} of piece {piece} ({name}) is missing"
            if len(generated) != n_notes:
                return f"sample {sample} of piece {piece} ({name}) has {len(generated)} notes, not {n_notes}"
    return ""


def unite_samples(parts: Sequence[Samples]) -> Samples:
    """Combine the samples of all folds, held-out pieces in ascending order."""
    notes: dict[tuple[int, int], Notes] = {}
    for part in parts:
        notes |= part.notes
    sums = [p.likelihood_sum for p in parts if p.likelihood_sum is not None]
    counts = [p.likelihood_notes for p in parts if p.likelihood_notes is not None]
    index = [p.likelihood_piece for p in parts if p.likelihood_piece is not None]
    if not sums:
        return Samples(notes)
    pieces = np.concatenate(index)
    order = np.argsort(pieces)
    return Samples(notes, np.concatenate(sums)[order], np.concatenate(counts)[order], pieces[order])


def write_targets(path: Path, targets: Targets) -> None:
    """Write targets.h5 atomically: prompts and targets of the pieces used, and how they were chosen."""
    facts = _Facts(targets.test_pieces, targets.usable, targets.facts, tuple(t.piece for t in targets.targets))
    with writing(path) as file:
        file.attrs["format"] = FORMAT
        # A dataset, as attributes are limited to 64 KiB.
        file["facts"] = json_bytes(plain(dataclasses.asdict(facts)))
        write_notes(file.create_group("prompt"), [t.prompt for t in targets.targets])
        write_notes(file.create_group("target"), [t.target for t in targets.targets])


def read_targets(path: Path) -> list[Target]:
    """Read the targets of targets.h5, in their order."""
    return list(read_target_file(path).targets)


def read_target_file(path: Path) -> Targets:
    """Read all of targets.h5; a DataError if it is missing, damaged, or of another format."""
    with _open(path) as file:
        facts = read_json_bytes(file["facts"], _FACTS)
        rows = zip(facts.pieces, read_notes(file["prompt"]), read_notes(file["target"]), strict=True)
        return Targets(tuple(Target(*row) for row in rows), facts.test_pieces, facts.usable, facts.facts)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        with reading(path, MOST_RESULT) as file:
            check_format(path, file.attrs.get("format"))
            yield file
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing.", "The same command that made the run makes it again.") from error
    except DAMAGE as error:
        check_damage(error)
        raise DamagedError(f"{path} can't be read: {error}.", "The same command that made the run makes it again.") from error
