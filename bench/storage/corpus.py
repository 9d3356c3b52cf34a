"""A parsed dataset as one file of arrays, which is read completely.

Layout, by :data:`FORMAT`: the notes of all pieces (see :mod:`bench.storage.arrays`); ``splits``, how many of them each of
:data:`SPLITS` has, in this order; ``pieces``, ``skipped``, ``remarks``, ``entropy``, ``noise``, ``fingerprint`` and ``parsed`` as
JSON; ``format``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat, TypeAdapter

from bench.api import Piece, Skipped, Splits
from bench.errors import DataError
from bench.formatting import plural, tally
from bench.music.notes import COLUMNS, Notes, check_columns
from bench.storage.arrays import (
    DAMAGE,
    MOST_PIECES,
    NOTE_TYPES,
    check_offsets,
    column,
    json_bytes,
    note_columns,
    read_json_bytes,
)
from bench.storage.columns import Column, Mapped, check_notes, release_columns, write_columns
from bench.storage.files import check_cached, make_way
from bench.system.disk import MOST_CORPUS, is_file

FORMAT = 7

SPLITS = ("train", "validation", "test", "samples")

#: Reasons that a summary lists, at most.
REASONS = 8

#: Fields of a piece other than its notes.
FACTS = ("id", "title", "composer", "source", "sha256", "group")

#: What the JSON of a corpus must be.
_PIECES, _PAIRS, _TEXTS = TypeAdapter(list[dict[str, str]]), TypeAdapter(list[tuple[str, str]]), TypeAdapter(list[str])
_BITS, _TEXT = TypeAdapter(dict[str, FiniteFloat] | None), TypeAdapter(str)


#: Notes that are looked at before the memory of the columns is released.
_AT_ONCE = 1 << 20


class Pieces(Sequence[Piece]):
    """Pieces of a corpus, each made when it is asked for: its notes are views of columns on the disk.

    Parameters
    ----------
    stored : Mapped
        Holds the columns.
    facts : sequence of dict
        Fields of each piece of the corpus other than its notes.
    first : int
        The first piece.
    number : int
    """

    def __init__(self, stored: Mapped, facts: Sequence[Mapping[str, str]], first: int, number: int) -> None:
        self._stored, self._facts, self._places = stored, facts, range(first, first + number)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Piece: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Piece, ...]: ...

    def __getitem__(self, index: int | slice) -> Piece | tuple[Piece, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(len(self))[index])
        place, arrays = self._places[index], self._stored.arrays
        begin, end = arrays["offsets"][place : place + 2].tolist()
        return Piece(Notes._checked(*(arrays[name][begin:end] for name in COLUMNS)), **self._facts[place])

    def __iter__(self) -> Iterator[Piece]:
        looked_at = 0
        for index in range(len(self)):
            piece = self[index]
            yield piece
            looked_at += len(piece.notes)
            if looked_at > _AT_ONCE:
                self._stored.release()
                looked_at = 0

    def lengths(self) -> list[int]:
        """Count the notes of each piece."""
        lengths: list[int] = np.diff(self._stored.arrays["offsets"][self._places.start : self._places.stop + 1]).tolist()
        return lengths


def lengths(pieces: Sequence[Piece]) -> list[int]:
    """Count the notes of each piece, which of those of a corpus takes no look at them."""
    return pieces.lengths() if isinstance(pieces, Pieces) else [len(piece.notes) for piece in pieces]


@dataclass(frozen=True)
class Corpus:
    """Result of a dataset's `load`, read back. The notes of all pieces are views of four columns on the disk.

    Parameters
    ----------
    train, validation, test : sequence of Piece
    skipped : tuple of Skipped
        Files left out, and the reasons.
    remarks : tuple of str
        Facts for the report.
    fingerprint : str
        Identity of the dataset and its options.
    entropy, noise : dict of str to float, optional
        See :class:`bench.api.Splits`.
    samples : sequence of Piece
        See :class:`bench.api.Splits`.
    parsed : str
        Hash of the notes of all pieces but the samples, see :func:`parsed_digest`.
    """

    train: Sequence[Piece]
    validation: Sequence[Piece]
    test: Sequence[Piece]
    skipped: tuple[Skipped, ...]
    remarks: tuple[str, ...]
    fingerprint: str
    entropy: Mapping[str, float] | None = None
    noise: Mapping[str, float] | None = None
    samples: Sequence[Piece] = ()
    parsed: str = ""

    def summary(self) -> str:
        """Count the pieces, and the files left out by reason, for the hint of an error."""
        pieces = plural(len(self.train) + len(self.validation) + len(self.test), "piece")
        reasons = [f"{plural(n, 'file')}: {reason}" for reason, n in tally(skipped.reason for skipped in self.skipped)]
        files = f"{plural(len(self.skipped), 'file')} left out{':' if reasons else '.'}"
        return "\n".join([f"{pieces} read, {files}", *reasons[:REASONS], *self.remarks])


def save_corpus(path: Path, splits: Splits, fingerprint: str) -> None:
    """Write a corpus atomically.

    Parameters
    ----------
    path : Path
        An earlier file of that name is replaced, a folder set aside.
    splits : Splits
        Result of a dataset's `load`.
    fingerprint : str
        Identity of the dataset and its options.

    Raises
    ------
    DataError
        If a piece's notes are not what :class:`bench.music.notes.Notes` promises, which names the piece, or it would be too large
        to be read again: nothing is written.
    """
    columns = _columns(splits, fingerprint)
    make_way(path.parent, path.name)
    write_columns(path, columns, MOST_CORPUS)


def load_corpus(path: Path) -> Corpus:
    """Read a corpus.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another format, or this user may not read it.
    """
    hint = f"Delete {path}; the next run parses the dataset again."
    if not is_file(path):
        raise DataError(f"There is no corpus at {path}.", "Run the benchmark again: it is parsed when it is missing.")
    try:
        stored = Mapped(path, MOST_CORPUS)
        number = column(stored.arrays, "format", np.int64).tolist()
        if number != [FORMAT]:
            raise DataError(f"it has corpus format {number[0] if number else None}, this version reads format {FORMAT}.", hint)
        return _read(stored)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint) from error
    except DAMAGE as error:
        check_cached(error)
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path} can't be read: {error.strerror}.", hint) from error
        raise DataError(f"{path} is damaged and can't be read ({error}).", hint) from error


def cached_corpora(path: str, caches: Iterable[Path]) -> list[Path]:
    """List the files of a corpus in these caches, by its name alone: the path in a received run may be someone else's."""
    name = Path(path).name
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*-[0-9a-f]{16}\.npy", name, re.ASCII):
        return []
    return [file for cache in caches if is_file(file := cache / "corpora" / name)]


def parsed_digest(pieces: Sequence[Piece]) -> str:
    """Hash the notes of pieces, times in tenths of a millisecond: the last bits of a float depend on the processor."""
    digest = hashlib.sha256()
    for notes in (piece.notes for batch in _batches(pieces) for piece in batch):
        times = np.round(1e4 * np.stack([notes.onset, notes.duration])).astype(np.int64)
        digest.update(times.tobytes() + notes.pitch.tobytes() + notes.velocity.tobytes() + b"\x1f")
    return digest.hexdigest()[:16]


def _columns(splits: Splits, fingerprint: str) -> dict[str, Column]:
    groups = [tuple(getattr(splits, name)) for name in SPLITS]
    pieces = [piece for group in groups for piece in group]
    if len(pieces) > MOST_PIECES:
        raise DataError(f"A corpus can hold {MOST_PIECES:,} pieces, not {len(pieces):,}.", "Use fewer.")
    for batch in _batches(pieces):
        _check(batch)
    offsets = np.cumsum([0, *(len(piece.notes) for piece in pieces)], dtype=np.int64)
    values = {
        "pieces": [{k: getattr(p, k) for k in FACTS} for p in pieces],
        "skipped": [[s.source, s.reason] for s in splits.skipped],
        "remarks": list(splits.remarks),
        "entropy": _numbers(splits.entropy),
        "noise": _numbers(splits.noise),
        "fingerprint": fingerprint,
        "parsed": parsed_digest([piece for group in groups[:3] for piece in group]),
    }
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array([FORMAT], np.int64),
        "offsets": offsets,
        "splits": np.array([len(group) for group in groups], np.int64),
        **{name: json_bytes(value) for name, value in values.items()},
    }
    notes = {name: Column(dtype, int(offsets[-1]), partial(_parts, pieces, name)) for name, dtype in NOTE_TYPES.items()}
    return notes | {name: Column.of(array) for name, array in arrays.items()}


def _numbers(bits: Mapping[str, float] | None) -> dict[str, float] | None:
    """Convert to numbers that JSON has: a plug-in may have computed them with NumPy."""
    return None if bits is None else {name: float(value) for name, value in bits.items()}


def _batches(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Divide pieces into batches of about :data:`_AT_ONCE` notes; what was looked at for a batch is released after it."""
    batch, size = [], 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.notes)
        if size > _AT_ONCE:
            yield batch
            release_columns()
            batch, size = [], 0
    yield batch


def _parts(pieces: Sequence[Piece], name: str) -> Iterator[NDArray[Any]]:
    for batch in _batches(pieces):
        yield np.concatenate([np.empty(0, NOTE_TYPES[name]), *(getattr(piece.notes, name) for piece in batch)])


def _check(pieces: Sequence[Piece]) -> None:
    """Check the notes of pieces at once; only if one is wrong, each by itself, to name it."""
    columns = note_columns([piece.notes for piece in pieces])
    try:
        check_columns(**{name: columns[name] for name in COLUMNS}, starts=columns["offsets"][:-1])
    except DataError:
        for piece in pieces:
            try:
                check_columns(*(getattr(piece.notes, name) for name in COLUMNS))
            except DataError as error:
                raise DataError(f"The piece {piece.id!r}: {error.message}") from error
        raise


def _read(stored: Mapped) -> Corpus:
    arrays = stored.arrays
    sizes, offsets = column(arrays, "splits", np.int64), column(arrays, "offsets", np.int64)
    facts = read_json_bytes(arrays["pieces"], _PIECES)
    if len(sizes) != len(SPLITS) or not (sizes >= 0).all() or int(sizes.sum()) != len(facts):
        raise ValueError("its pieces are not those of its splits")
    check_offsets(offsets, len(column(arrays, "onset", np.float64)), len(facts))
    check_notes(stored, offsets, _AT_ONCE)
    first, remarks = np.cumsum([0, *sizes]).tolist(), read_json_bytes(arrays["remarks"], _TEXTS)
    train, validation, test, samples = (Pieces(stored, facts, at, n) for at, n in zip(first, sizes.tolist(), strict=False))
    if any(set(piece) != set(FACTS) for piece in facts):
        raise ValueError("a piece lacks a field")
    return Corpus(
        train,
        validation,
        test,
        skipped=tuple(Skipped(*pair) for pair in read_json_bytes(arrays["skipped"], _PAIRS)),
        remarks=tuple(remarks),
        fingerprint=read_json_bytes(arrays["fingerprint"], _TEXT),
        entropy=read_json_bytes(arrays["entropy"], _BITS),
        noise=read_json_bytes(arrays["noise"], _BITS),
        samples=samples,
        parsed=read_json_bytes(arrays["parsed"], _TEXT),
    )
