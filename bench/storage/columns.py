"""Columns that are read where they lie on the disk: NumPy arrays (``.npy``), one after another, behind a checksum.

A file is written and verified part by part and mapped into memory, so that neither takes more memory as it grows. The operating
system reads what is looked at, and drops it again where memory is needed; all processes that read a file share it.

`numpy.load` reads the arrays one by one from an open file after ``file.seek(512)``; the last one holds their names, as JSON.
"""

from __future__ import annotations

import json
import math
import mmap
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.music.notes import check_columns
from bench.storage.arrays import NOTE_TYPES, Arrays, column, npy_header, read_npy_header
from bench.system.disk import HEADER, map_sealed, sealing


@dataclass(frozen=True)
class Column:
    """A column that is written part by part.

    Parameters
    ----------
    dtype : numpy type
    length : int
        Of all parts together.
    parts : callable
        Returns the parts, in order.
    """

    dtype: Any
    length: int
    parts: Callable[[], Iterable[NDArray[Any]]]

    @classmethod
    def of(cls, array: NDArray[Any]) -> Column:
        """Make a column of one part."""
        return cls(array.dtype, len(array), lambda: (array,))


class Mapped:
    """Columns of a file, mapped into memory: read-only arrays of one dimension.

    Parameters
    ----------
    path : Path
    limit : int
        Greatest size of the file, bytes.
    verify : bool
        False for a file that a process of ours has just written.

    Raises
    ------
    DamagedFileError, OSError, ValueError
        If it can't be read, or isn't what :func:`write_columns` wrote.
    """

    def __init__(self, path: Path, limit: int, *, verify: bool = True) -> None:
        self._map = map_sealed(path, limit, verify=verify)
        self.arrays: Arrays = _arrays(self._map)
        _open.add(self)

    def release(self) -> None:
        """Give the memory of what was looked at back to the system. It is read again where it is looked at again."""
        self._map.madvise(mmap.MADV_DONTNEED)


_open: weakref.WeakSet[Mapped] = weakref.WeakSet()


def release_columns() -> None:
    """Release all mapped columns of this process, see :meth:`Mapped.release`: they count as its memory until then."""
    for mapped in tuple(_open):
        mapped.release()


def check_notes(mapped: Mapped, offsets: NDArray[np.int64], at_once: int) -> None:
    """Check the columns of notes, about `at_once` of them at a time, so that they are never all in memory.

    Parameters
    ----------
    mapped : Mapped
    offsets : ndarray of int64, shape (pieces + 1,)
        Where each piece begins; they rise from 0. A part begins with a piece.
    at_once : int

    Raises
    ------
    ValueError
        If they hold anything but sorted notes of complete pieces.
    """
    columns = {name: column(mapped.arrays, name, dtype) for name, dtype in NOTE_TYPES.items()}
    if any(len(values) != offsets[-1] for values in columns.values()):
        raise ValueError("its columns are of different lengths")
    at = 0
    while at < len(offsets) - 1:
        to = max(at + 1, int(np.searchsorted(offsets, offsets[at] + at_once, side="right")) - 1)
        part = slice(*offsets[[at, to]].tolist())
        try:
            check_columns(**{name: values[part] for name, values in columns.items()}, starts=offsets[at:to] - offsets[at])
        except DataError as error:
            raise ValueError(error.message) from error
        mapped.release()
        at = to


def write_columns(path: Path, columns: Mapping[str, Column], limit: int, *, flush: bool = True) -> None:
    """Replace a file in one step by columns, part by part. The same columns give the same bytes.

    Without `flush` a power cut may take it, or leave it damaged.

    Raises
    ------
    DataError
        If they have more than `limit` bytes, so that they would not be read again.
    OSError
        If they can't be written; then the file is as it was.
    """
    # Those of 8 bytes come first, so that each begins at a multiple of 8: headers are multiples of 64 bytes.
    ordered = dict(sorted(columns.items(), key=lambda item: -np.dtype(item[1].dtype).itemsize))
    names = np.frombuffer(json.dumps(list(ordered)).encode(), np.uint8)
    if (size := sum(c.length * np.dtype(c.dtype).itemsize for c in ordered.values())) > limit:
        raise DataError(f"{path} would hold {size:,} bytes, and may hold {limit:,} at most.", "Use fewer pieces.")
    with sealing(path, flush=flush) as file:
        for column in (*ordered.values(), Column.of(names)):
            file.write(npy_header(column.dtype, column.length))
            for part in column.parts():
                file.write(np.ascontiguousarray(part, column.dtype).data)


def _arrays(content: mmap.mmap) -> dict[str, NDArray[Any]]:
    arrays, at = [], HEADER
    while at < len(content):
        dtype, shape, begin = read_npy_header(content, "a part of it", at)
        if len(shape) != 1 or begin + math.prod(shape) * dtype.itemsize > len(content):
            raise ValueError("a column of it is cut off")
        arrays.append(np.frombuffer(content, dtype, shape[0], begin))
        at = begin + shape[0] * dtype.itemsize
    names = json.loads(arrays.pop().tobytes()) if arrays else []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError("its columns have no names")
    return dict(zip(names, arrays, strict=True))
