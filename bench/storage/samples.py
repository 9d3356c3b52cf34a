"""Targets and samples as arrays: held-out music with its prompts, and the notes that trials generated."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bench.errors import DataError
from bench.formatting import clean_fields
from bench.music.midi import midi_bytes
from bench.music.notes import COLUMNS, FIELDS, Notes
from bench.storage.arrays import (
    DAMAGE,
    NOTE_TYPES,
    Arrays,
    column,
    json_bytes,
    note_columns,
    read_arrays,
    read_json_bytes,
    read_notes,
    version,
    write_arrays,
)
from bench.storage.files import FORMAT, DamagedError, check_damage, check_format, check_values, plain
from bench.system.disk import MOST_RECORD, MOST_RESULT

T = TypeVar("T")

#: Most targets of a run: each is compared, and drawn for every row.
MOST_TARGETS = 1 << 16


#: Number of pieces whose continuations and targets are also written as MIDI.
MIDI_PIECES = 3


@dataclass(frozen=True)
class PieceName:
    """Index and names of a piece of the test split. The texts come from files: cleaned here, and still to be escaped."""

    index: int
    id: str
    title: str = ""
    composer: str = ""

    def __post_init__(self) -> None:
        clean_fields(self, "id", "title", "composer")


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

    def midi(self) -> bytes:
        """Write the MIDI file of both, which a run holds beside the models' own."""
        return midi_bytes(Notes.concatenate([self.prompt, self.target]))


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
        """See :func:`targets_digest`."""
        return targets_digest(self.targets)


def targets_digest(targets: Sequence[Target]) -> str:
    """Hash of the held-out music's content, the notes of every prompt and target, independent of the code that read them."""
    return notes_digest([notes for target in targets for notes in (target.prompt, target.target)])


@dataclass(frozen=True)
class _Facts:
    """What targets.npz holds of :class:`Targets` beside the notes."""

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
        By (piece, sample), the piece as an index into targets.npz.
    likelihood_sum : ndarray of float64, shape (held-out pieces, 4 or 1), optional
        Log probability of each complete held-out piece, nats: by field; of a model that predicts other units than notes, in all.
    likelihood_notes : ndarray of int64, shape (held-out pieces,), optional
        Number of notes, or of such units, of each of them.
    likelihood_piece : ndarray of int64, shape (held-out pieces,), optional
        Their indices in the test split.
    """

    notes: dict[tuple[int, int], Notes]
    likelihood_sum: NDArray[np.float64] | None = None
    likelihood_notes: NDArray[np.int64] | None = None
    likelihood_piece: NDArray[np.int64] | None = None

    @property
    def by_field(self) -> bool:
        """Whether it has likelihoods of notes."""
        return self.likelihood_sum is not None and self.likelihood_sum.shape[1] == len(FIELDS)


#: Notes of a trial's samples that can be stored: beside them a little is, such as likelihoods.
MOST_NOTES = (MOST_RESULT - (1 << 24)) // sum(np.dtype(kind).itemsize for kind in NOTE_TYPES.values())


def notes_digest(parts: Sequence[Notes]) -> str:
    """Hash of the notes of several parts, in their order."""
    digest = hashlib.sha256()
    for notes in parts:
        for name in COLUMNS:
            digest.update(getattr(notes, name).tobytes() + b"\x1f")
    return digest.hexdigest()[:16]


#: Types and numbers of dimensions of the likelihoods.
_LIKELIHOOD = {"likelihood_sum": (np.float64, 2), "likelihood_notes": (np.int64, 1), "likelihood_piece": (np.int64, 1)}


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples.npz atomically. The same samples give the same bytes."""
    keys = sorted(samples.notes)
    likelihood = {name: (getattr(samples, name), dtype) for name, (dtype, _) in _LIKELIHOOD.items()}
    arrays = {
        "format": np.array(FORMAT, np.int64),
        "piece_index": np.array([k[0] for k in keys], np.int64),
        "sample_index": np.array([k[1] for k in keys], np.int64),
        **note_columns([samples.notes[k] for k in keys]),
        **{name: np.asarray(values, dtype) for name, (values, dtype) in likelihood.items() if values is not None},
    }
    write_arrays(path, arrays, MOST_RESULT)


def read_samples(path: Path) -> Samples:
    """Read samples.npz; a DataError if it is missing, damaged, or of another format."""
    return _read(path, _samples)


def _samples(arrays: Arrays) -> Samples:
    pieces, numbers = (column(arrays, name, np.int64) for name in ("piece_index", "sample_index"))
    if len(pieces) != len(numbers):
        raise ValueError("its samples are not numbered")
    parts = read_notes(arrays, pieces=len(pieces))
    if (pieces < 0).any() or (numbers < 0).any():
        raise ValueError("a piece or a sample has no number")
    return Samples(dict(zip(zip(pieces.tolist(), numbers.tolist(), strict=True), parts, strict=True)), *_likelihood(arrays))


def _likelihood(arrays: Arrays) -> list[NDArray[Any]]:
    """Take the likelihoods of the held-out pieces; none if they weren't measured."""
    if not any(name in arrays for name in _LIKELIHOOD):
        return []
    columns = [column(arrays, name, dtype, dimensions) for name, (dtype, dimensions) in _LIKELIHOOD.items()]
    pieces = len(columns[0])
    if [c.shape for c in columns] not in [[(pieces, width), (pieces,), (pieces,)] for width in (len(FIELDS), 1)]:
        raise ValueError("its likelihoods are not those of the same pieces")
    return columns


def incomplete(samples: Samples, pieces: Mapping[int, str], per_piece: int, n_notes: int) -> str:
    """Describe the first sample that is missing or has another length; empty if every piece has all of its samples.

    A trial is done, and can be scored, only if this is empty.

    Parameters
    ----------
    samples : Samples
    pieces : mapping of int to str
        Indices into targets.npz, and the pieces' names.
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
    """Combine the samples of all folds, held-out pieces in ascending order.

    They have a likelihood if each fold has: a mean over the others would leave out what a model finds impossible.
    """
    notes: dict[tuple[int, int], Notes] = {}
    for part in parts:
        notes |= part.notes
    sums = [p.likelihood_sum for p in parts if p.likelihood_sum is not None]
    counts = [p.likelihood_notes for p in parts if p.likelihood_notes is not None]
    index = [p.likelihood_piece for p in parts if p.likelihood_piece is not None]
    if len(sums) < len(parts):
        return Samples(notes)
    pieces = np.concatenate(index)
    order = np.argsort(pieces)
    return Samples(notes, np.concatenate(sums)[order], np.concatenate(counts)[order], pieces[order])


def write_targets(path: Path, targets: Targets) -> None:
    """Write targets.npz atomically: prompts and targets of the pieces used, and how they were chosen.

    Raises
    ------
    DataError
        If they are more than :data:`MOST_TARGETS`.
    """
    if len(targets.targets) > MOST_TARGETS:
        raise DataError(
            f"A run can hold {MOST_TARGETS:,} held-out pieces, not {len(targets.targets):,}.", "Set fewer protocol.pieces."
        )
    facts = _Facts(targets.test_pieces, targets.usable, targets.facts, tuple(t.piece for t in targets.targets))
    arrays: Arrays = {
        "format": np.array(FORMAT, np.int64),
        "facts": json_bytes(plain(dataclasses.asdict(facts)), MOST_RECORD),
        **note_columns([t.prompt for t in targets.targets], "prompt_"),
        **note_columns([t.target for t in targets.targets], "target_"),
    }
    write_arrays(path, arrays, MOST_RESULT)


def read_targets(path: Path) -> list[Target]:
    """Read the targets of targets.npz, in their order."""
    return list(read_target_file(path).targets)


def read_target_file(path: Path) -> Targets:
    """Read all of targets.npz; a DataError if it is missing, damaged, or of another format."""
    return _read(path, _targets)


def _targets(arrays: Arrays) -> Targets:
    facts = read_json_bytes(arrays["facts"], _FACTS, MOST_RECORD)
    check_values(facts.facts)
    if len(facts.pieces) > MOST_TARGETS:
        raise ValueError(f"it has more than {MOST_TARGETS:,} targets")
    prompts, continuations = (read_notes(arrays, prefix, pieces=len(facts.pieces)) for prefix in ("prompt_", "target_"))
    targets = tuple(Target(*row) for row in zip(facts.pieces, prompts, continuations, strict=True))
    if not all(len(target.target) for target in targets):
        raise ValueError("a target has no notes")
    return Targets(targets, facts.test_pieces, facts.usable, facts.facts)


def _read(path: Path, parse: Callable[[Arrays], T]) -> T:
    again = "The same command that made the run makes it again."
    try:
        arrays = read_arrays(path, MOST_RESULT)
        check_format(path, version(arrays))
        return parse(arrays)
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing.", again) from error
    except DAMAGE as error:
        check_damage(error)
        raise DamagedError(f"{path} can't be read: {error}.", again) from error
