"""Layout in HDF5 that corpora, targets and samples share: notes as columns, and JSON.

Notes of several pieces are stored end to end in ``onset``, ``duration`` (float64), ``pitch`` and ``velocity`` (uint8),
gzip-compressed; ``offsets`` (pieces + 1) says where each begins.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.music.notes import COLUMNS, Notes, check_columns

#: What HDF5 and its reader raise at a file that is damaged or was written by something else.
DAMAGE = (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError)

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
    columns = {name: np.asarray(group[name][:], dtype) for name, dtype in _DTYPES.items()}
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


def json_bytes(value: Any) -> NDArray[np.uint8]:
    """Encode a value as JSON in bytes: HDF5's own strings can hold neither a NUL nor a lone surrogate."""
    return np.frombuffer(json.dumps(value).encode("ascii"), np.uint8)


def read_json_bytes(dataset: h5py.Dataset) -> Any:
    """Decode a value that :func:`json_bytes` encoded."""
    return json.loads(dataset[:].tobytes())
