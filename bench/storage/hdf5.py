"""Layout in HDF5 that corpora, targets and samples share: notes as columns, and JSON.

Notes of several pieces are stored end to end in ``onset``, ``duration`` (float64), ``pitch`` and ``velocity`` (uint8),
gzip-compressed; ``offsets`` (pieces + 1) says where each begins.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import TypeAdapter

from bench.errors import DataError
from bench.music.notes import COLUMNS, Notes, check_columns
from bench.system.disk import read_sealed, write_sealed

T = TypeVar("T")

#: What HDF5 and its reader raise at a file that is damaged or was written by something else.
DAMAGE = (OSError, KeyError, ValueError, TypeError, IndexError, OverflowError, RuntimeError)

#: Greatest ratio of deflate's compression: it needs at least two bits for 258 bytes.
_MOST_PACKED = 1032


@contextlib.contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file in memory; if no exception is raised, it replaces `path` in one step, with its checksum.

    HDF5 itself would write straight to disk: it may lose a refused write without a word, and crashes on a full disk.
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        yield file
    write_sealed(path, memory.getvalue())


@contextlib.contextmanager
def reading(path: Path, limit: int) -> Iterator[h5py.File]:
    """Open an HDF5 file of at most `limit` bytes that :func:`writing` wrote, from a copy in memory."""
    content = read_sealed(path, limit)
    with h5py.File(io.BytesIO(content), "r") as file:
        _check_self_contained(file, len(content))
        yield file


def _check_self_contained(group: h5py.Group, size: int) -> None:
    """Refuse what leads out of the file (links, external and virtual datasets), and what `size` bytes can't hold."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link to another place")
        part = group[name]
        if isinstance(part, h5py.Group):
            if part.parent.name != "/":  # the layouts have groups of one level
                raise ValueError(f"{part.name} is nested too deeply")
            _check_self_contained(part, size)
        elif not isinstance(part, h5py.Dataset) or part.is_virtual or part.external:
            raise ValueError(f"{name} is no data of this file")
        elif part.nbytes > size * _MOST_PACKED:
            raise ValueError(f"{name} claims {part.nbytes} bytes, more than its file can hold")


_DTYPES = dict(zip(COLUMNS, (np.float64, np.float64, np.uint8, np.uint8), strict=True))


def write_notes(group: h5py.Group, parts: Sequence[Notes]) -> None:
    """Write the notes of several pieces as compressed columns; the same notes give the same bytes."""
    group["offsets"] = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)]).astype(np.int64)
    for name, dtype in _DTYPES.items():
        column = np.concatenate([np.empty(0, dtype), *(getattr(p, name) for p in parts)])
        # An empty dataset can't be chunked, hence not compressed.
        group.create_dataset(name, data=column, **({"compression": "gzip", "shuffle": True} if len(column) else {}))


def read_notes(group: h5py.Group) -> list[Notes]:
    """Read the notes of all pieces, as views of four columns that are read and checked once.

    Raises
    ------
    ValueError
        If the columns hold anything but sorted notes of complete pieces.
    """
    columns = {name: read_column(group[name], dtype) for name, dtype in _DTYPES.items()}
    offsets = group["offsets"][:]
    if not len(offsets) or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError("its offsets don't rise from 0")
    if offsets[-1] != len(columns["onset"]):
        raise ValueError(f"it has {len(columns['onset'])} notes, expected {offsets[-1]}")
    try:
        check_columns(**columns, starts=offsets[:-1])
    except DataError as error:
        raise ValueError(error.message) from error
    return [Notes._checked(**{name: c[a:b] for name, c in columns.items()}) for a, b in itertools.pairwise(offsets)]


def read_column(dataset: h5py.Dataset, dtype: DTypeLike) -> NDArray[Any]:
    """Read a column of this type; a ValueError if a value doesn't fit into it."""
    stored: NDArray[Any] = dataset[:]
    if stored.dtype == dtype:
        return stored
    with np.errstate(invalid="ignore", over="ignore"):  # of a value that doesn't fit: it is refused below
        column = stored.astype(dtype)
    if not np.array_equal(column, stored, equal_nan=stored.dtype.kind == "f"):
        raise ValueError(f"{dataset.name.strip('/')} holds a value that is no {np.dtype(dtype)}")
    return column


def json_bytes(value: Any) -> NDArray[np.uint8]:
    """Encode a value as JSON in bytes: HDF5's own strings can hold neither a NUL nor a lone surrogate."""
    return np.frombuffer(json.dumps(value).encode("ascii"), np.uint8)


def read_json_bytes(dataset: h5py.Dataset, kind: TypeAdapter[T]) -> T:
    """Decode a value that :func:`json_bytes` encoded; a ValueError if it is of another kind."""
    return kind.validate_python(json.loads(dataset[:].tobytes()))
