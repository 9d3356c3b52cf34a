"""A parsed dataset as one file of arrays, which is read completely.

Layout, format 5: the notes of all pieces (see :mod:`bench.storage.arrays`); ``split`` of each piece (0 train, 1 validation,
2 test, 3 samples); ``pieces``, ``skipped``, ``remarks``, ``entropy``, ``noise`` and ``fingerprint`` as JSON; ``format``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat, TypeAdapter

from bench.api import Piece, Skipped, Splits
from bench.errors import DataError
from bench.formatting import plural, tally
from bench.music.notes import COLUMNS, check_columns
from bench.storage.arrays import (
    DAMAGE,
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
from bench.storage.files import check_damage
from bench.system.disk import MOST_CORPUS

FORMAT = 6

SPLITS = ("train", "validation", "test", "samples")

#: Reasons that a summary lists, at most.
REASONS = 8

#: Fields of a piece other than its notes.
FACTS = ("id", "title", "composer", "source", "sha256", "group")

#: What the JSON of a corpus must be.
_PIECES, _PAIRS, _TEXTS = TypeAdapter(list[dict[str, str]]), TypeAdapter(list[tuple[str, str]]), TypeAdapter(list[str])
_BITS, _TEXT = TypeAdapter(dict[str, FiniteFloat] | None), TypeAdapter(str)


@dataclass(frozen=True)
class Corpus:
    """Result of a dataset's `load`, read back. The notes of all pieces are views of four columns.

    Parameters
    ----------
    train, validation, test : tuple of Piece
    skipped : tuple of Skipped
        Files left out, and the reasons.
    remarks : tuple of str
        Facts for the report.
    fingerprint : str
        Identity of the dataset and its options.
    entropy, noise : dict of str to float, optional
        See :class:`bench.api.Splits`.
    samples : tuple of Piece
        See :class:`bench.api.Splits`.
    """

    train: tuple[Piece, ...]
    validation: tuple[Piece, ...]
    test: tuple[Piece, ...]
    skipped: tuple[Skipped, ...]
    remarks: tuple[str, ...]
    fingerprint: str
    entropy: Mapping[str, float] | None = None
    noise: Mapping[str, float] | None = None
    samples: tuple[Piece, ...] = ()

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
        An earlier file of that name is replaced.
    splits : Splits
        Result of a dataset's `load`.
    fingerprint : str
        Identity of the dataset and its options.

    Raises
    ------
    DataError
        If a piece's notes are not what :class:`bench.music.notes.Notes` promises: nothing is written. Names the piece.
    """
    write_arrays(path, _arrays(splits, fingerprint), MOST_CORPUS)


def load_corpus(path: Path) -> Corpus:
    """Read a corpus.

    Raises
    ------
    DataError
        If the file is missing, damaged, or of another format.
    """
    hint = f"Delete {path}; the next run parses the dataset again."
    if not path.is_file():
        raise DataError(f"There is no corpus at {path}.", "Run the benchmark again: it is parsed when it is missing.")
    try:
        arrays = read_arrays(path, MOST_CORPUS)
        if version(arrays) != FORMAT:
            raise DataError(f"it has corpus format {version(arrays)}, this version reads format {FORMAT}.", hint)
        return _read(arrays)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint) from error
    except DAMAGE as error:
        check_damage(error)
        raise DataError(f"{path} is damaged and can't be read ({error}).", hint) from error


def cached_corpora(path: str, caches: Iterable[Path]) -> list[Path]:
    """List the files of a corpus in these caches, by its name alone: the path in a received run may be someone else's."""
    name = Path(path).name
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*-[0-9a-f]{16}\.npz", name, re.ASCII):
        return []
    return [file for cache in caches if (file := cache / "corpora" / name).is_file()]


def _arrays(splits: Splits, fingerprint: str) -> dict[str, NDArray[Any]]:
    pieces = [p for name in SPLITS for p in getattr(splits, name)]
    for piece in pieces:
        try:
            check_columns(*(getattr(piece.notes, name) for name in COLUMNS))
        except DataError as error:
            raise DataError(f"The piece {piece.id!r}: {error.message}") from error
    values = {
        "pieces": [{k: getattr(p, k) for k in FACTS} for p in pieces],
        "skipped": [[s.source, s.reason] for s in splits.skipped],
        "remarks": list(splits.remarks),
        "entropy": None if splits.entropy is None else dict(splits.entropy),
        "noise": None if splits.noise is None else dict(splits.noise),
        "fingerprint": fingerprint,
    }
    return {
        "format": np.array(FORMAT, np.int64),
        **note_columns([piece.notes for piece in pieces]),
        "split": np.repeat(np.arange(len(SPLITS), dtype=np.uint8), [len(getattr(splits, name)) for name in SPLITS]),
        **{name: json_bytes(value) for name, value in values.items()},
    }


def _read(arrays: Arrays) -> Corpus:
    groups: tuple[list[Piece], ...] = ([], [], [], [])
    splits, pieces = column(arrays, "split", np.uint8), read_json_bytes(arrays["pieces"], _PIECES)
    remarks = read_json_bytes(arrays["remarks"], _TEXTS)
    if not np.isin(splits, range(len(SPLITS))).all():
        raise ValueError("a piece is in no split")
    for notes, split, facts in zip(read_notes(arrays), splits, pieces, strict=True):
        groups[split].append(Piece(notes, **facts))
    train, validation, test, samples = map(tuple, groups)
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
    )
