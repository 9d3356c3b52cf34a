"""A parsed dataset as one HDF5 file, which is read completely.

Layout, format 4: the notes of all pieces (see :mod:`bench.storage.hdf5`); ``split`` of each piece (0 train, 1 validation,
2 test, 3 samples); ``pieces``, ``skipped``, ``remarks``, ``entropy`` and ``noise`` as JSON; attributes ``format`` and
``fingerprint``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from pydantic import FiniteFloat, TypeAdapter

from bench.api import Piece, Skipped, Splits
from bench.errors import DataError
from bench.formatting import plural, tally
from bench.storage.files import check_damage
from bench.storage.hdf5 import DAMAGE, json_bytes, read_json_bytes, read_notes, reading, write_notes, writing
from bench.system.disk import MOST_CORPUS

FORMAT = 4

SPLITS = ("train", "validation", "test", "samples")

#: Reasons that a summary lists, at most.
REASONS = 8

#: Fields of a piece other than its notes.
FACTS = ("id", "title", "composer", "source", "sha256")

#: What the JSON of a corpus must be.
_PIECES, _PAIRS, _TEXTS = TypeAdapter(list[dict[str, str]]), TypeAdapter(list[tuple[str, str]]), TypeAdapter(list[str])
_BITS = TypeAdapter(dict[str, FiniteFloat] | None)


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
        return "\n".join([f"{pieces} read, {files}", *reasons[:REASONS]])


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
    """
    with writing(path) as file:
        _write(file, splits, fingerprint)


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
        with reading(path, MOST_CORPUS) as file:
            version = file.attrs.get("format")
            if version != FORMAT:
                raise DataError(f"it has corpus format {version}, this version reads format {FORMAT}.", hint)
            return _read(file)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint) from error
    except DAMAGE as error:
        check_damage(error)
        raise DataError(f"{path} is damaged and can't be read ({error}).", hint) from error


def _write(file: h5py.File, splits: Splits, fingerprint: str) -> None:
    pieces = [p for name in SPLITS for p in getattr(splits, name)]
    write_notes(file, [piece.notes for piece in pieces])
    file["split"] = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), [len(getattr(splits, name)) for name in SPLITS])
    file["pieces"] = json_bytes([{k: getattr(p, k) for k in FACTS} for p in pieces])
    file["skipped"] = json_bytes([[s.source, s.reason] for s in splits.skipped])
    file["remarks"] = json_bytes(list(splits.remarks))
    for name in ("entropy", "noise"):
        bits = getattr(splits, name)
        file[name] = json_bytes(None if bits is None else dict(bits))
    file.attrs["format"] = FORMAT
    file.attrs["fingerprint"] = fingerprint


def _read(file: h5py.File) -> Corpus:
    groups: tuple[list[Piece], ...] = ([], [], [], [])
    splits, pieces, remarks = file["split"][:], read_json_bytes(file["pieces"], _PIECES), read_json_bytes(file["remarks"], _TEXTS)
    if not np.isin(splits, range(len(SPLITS))).all():
        raise ValueError("a piece is in no split")
    for notes, split, facts in zip(read_notes(file), splits, pieces, strict=True):
        groups[split].append(Piece(notes, **facts))
    train, validation, test, samples = map(tuple, groups)
    return Corpus(
        train,
        validation,
        test,
        skipped=tuple(Skipped(*pair) for pair in read_json_bytes(file["skipped"], _PAIRS)),
        remarks=tuple(remarks),
        fingerprint=str(file.attrs["fingerprint"]),
        entropy=read_json_bytes(file["entropy"], _BITS),
        noise=read_json_bytes(file["noise"], _BITS),
        samples=samples,
    )
