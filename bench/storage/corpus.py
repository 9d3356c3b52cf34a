"""A parsed dataset as one HDF5 file: the columns of all pieces end to end, read whole at open.

Layout, format 2: datasets ``onset``, ``duration`` (float64), ``pitch``, ``velocity`` (uint8), gzip-compressed;
``offsets`` (pieces + 1); ``split`` (0 train, 1 validation, 2 test) a piece; ``pieces``, ``skipped``, ``remarks`` and ``entropy``
as JSON texts, so titles may hold any character; attributes ``format`` and ``fingerprint``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.api import Piece, Skipped, Splits
from bench.errors import DataError
from bench.music.notes import Notes, check_columns

FORMAT = 2

SPLITS = ("train", "validation", "test")

#: Of a piece, beside its notes.
FACTS = ("id", "title", "composer", "source", "sha256")

_DTYPES = {"onset": np.float64, "duration": np.float64, "pitch": np.uint8, "velocity": np.uint8}


@dataclass(frozen=True)
class Corpus:
    """What a dataset's `load` returned, read back. The notes of all pieces are views of four columns.

    Parameters
    ----------
    train, validation, test : tuple of Piece
    skipped : tuple of Skipped
        Files left out, and why.
    remarks : tuple of str
        Facts for the report.
    fingerprint : str
        Of the dataset and selection that made it.
    entropy : dict of str to float, optional
        See :class:`bench.api.Splits`.
    """

    train: tuple[Piece, ...]
    validation: tuple[Piece, ...]
    test: tuple[Piece, ...]
    skipped: tuple[Skipped, ...]
    remarks: tuple[str, ...]
    fingerprint: str
    entropy: Mapping[str, float] | None = None


def save_corpus(path: Path, splits: Splits, fingerprint: str) -> None:
    """Write a corpus under a temporary name in the same folder, then rename: it is there whole or not at all.

    Parameters
    ----------
    path : Path
        An earlier file of that name is replaced.
    splits : Splits
        What a dataset's `load` returned.
    fingerprint : str
        From the dataset's `fingerprint`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        with h5py.File(temporary, "w") as file:
            _write(file, splits, fingerprint)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_corpus(path: Path) -> Corpus:
    """Read a corpus: each column once, whole.

    Raises
    ------
    DataError
        If the file is missing, damaged, or of a format that this version does not know.
    """
    hint = f"Delete {path}; the next run parses the dataset again."
    if not path.is_file():
        raise DataError(f"There is no corpus at {path}.", "Run the benchmark again: it is parsed when it is missing.")
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("format")
            if found != FORMAT:
                raise DataError(f"it has corpus format {found}, this version reads format {FORMAT}.", hint)
            return _read(file)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint) from error
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise DataError(f"{path} is damaged and can't be read ({error}).", hint) from error


def _write(file: h5py.File, splits: Splits, fingerprint: str) -> None:
    pieces = [p for name in SPLITS for p in getattr(splits, name)]
    for name, dtype in _DTYPES.items():
        parts = [getattr(p.notes, name) for p in pieces]
        column = np.concatenate(parts) if parts else np.empty(0, dtype)
        file.create_dataset(
            name, data=column, maxshape=(None,), chunks=(1 << 17,), compression="gzip", compression_opts=4, shuffle=True
        )
    file["offsets"] = np.concatenate([[0], np.cumsum([len(p.notes) for p in pieces])]).astype(np.int64)
    file["split"] = np.repeat(np.arange(3, dtype=np.uint8), [len(getattr(splits, name)) for name in SPLITS])
    file["pieces"] = _bytes([{k: getattr(p, k) for k in FACTS} for p in pieces])
    file["skipped"] = _bytes([[s.source, s.reason] for s in splits.skipped])
    file["remarks"] = _bytes(list(splits.remarks))
    file["entropy"] = _bytes(None if splits.entropy is None else dict(splits.entropy))
    file.attrs["format"] = FORMAT
    file.attrs["fingerprint"] = fingerprint


def _read(file: h5py.File) -> Corpus:
    columns = {name: np.asarray(file[name][:], dtype) for name, dtype in _DTYPES.items()}
    offsets, split = file["offsets"][:], file["split"][:]
    facts = _value(file["pieces"])
    if not len(facts) == len(split) == len(offsets) - 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError("its pieces and offsets don't fit each other")
    if offsets[-1] != len(columns["onset"]):
        raise ValueError(f"{offsets[-1]} notes expected, {len(columns['onset'])} there")
    onset, duration, pitch, velocity = columns.values()
    check_columns(onset, duration, pitch, velocity, offsets[:-1])
    groups: tuple[list[Piece], ...] = ([], [], [])
    for i, known in enumerate(facts):
        piece = slice(offsets[i], offsets[i + 1])
        groups[split[i]].append(Piece(Notes._checked(onset[piece], duration[piece], pitch[piece], velocity[piece]), **known))
    skipped = tuple(Skipped(*pair) for pair in _value(file["skipped"]))
    remarks = tuple(_value(file["remarks"]))
    train, validation, test = map(tuple, groups)
    return Corpus(train, validation, test, skipped, remarks, str(file.attrs["fingerprint"]), _value(file["entropy"]))


def _bytes(value: Any) -> NDArray[np.uint8]:
    """JSON as bytes: HDF5's own strings can't hold a NUL or a lone surrogate."""
    return np.frombuffer(json.dumps(value).encode("ascii"), np.uint8)


def _value(dataset: h5py.Dataset) -> Any:
    return json.loads(dataset[:].tobytes())
