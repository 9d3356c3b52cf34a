"""Arrays that targets and samples are stored as: a NumPy archive (``.npz``) behind a checksum.

Notes of several pieces are stored end to end in ``onset``, ``duration`` (float64), ``pitch`` and ``velocity`` (uint8);
``offsets`` (pieces + 1) says where each begins. Names of a second set of notes have a prefix. Anything else is JSON in bytes.

A stranger may have made the file. HDF5's C library can crash at a crafted one; here :mod:`zipfile` reads an archive whose
directory is bounded, a pattern allows members as they are written here only, and sizes are checked before anything is unpacked.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import TypeAdapter

from bench.errors import DataError
from bench.music.notes import COLUMNS, Notes, check_columns
from bench.storage.files import check_size
from bench.system.disk import MOST_RESULT, read_sealed, write_sealed

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]

#: What is raised at a file that is damaged or was written by something else.
DAMAGE = (
    *(OSError, KeyError, ValueError, TypeError, IndexError, OverflowError, RuntimeError),
    *(EOFError, struct.error, zipfile.BadZipFile, zlib.error),
)

#: Greatest number of pieces in a file: each is an object in memory, and thousands of empty ones fit into a byte.
MOST_PIECES = 1 << 20

#: Of deflate. On notes level 6 saves half a percent more and takes three times as long.
_LEVEL = 4

#: Greatest ratio of deflate's compression: it needs at least two bits for 258 bytes.
_MOST_PACKED = 1032

#: Greatest size of an archive's directory, bytes: room for 40 members. `zipfile` makes an object of each.
_MOST_DIRECTORY = 4096

#: Bytes that are unpacked at once.
_CHUNK = 1 << 18

_NAME = re.compile(r"[a-z_]{1,40}\.npy", re.ASCII)

#: The header of a member as NumPy writes it: type and shape. NumPy's own reader would evaluate it as Python.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<|][fiu]\d)', 'fortran_order': False, 'shape': \(([\d, ]{0,60})\), \} *\n", re.DOTALL
)


def write_arrays(path: Path, arrays: Arrays, limit: int) -> None:
    """Replace a file in one step by arrays of numbers. The same arrays give the same bytes.

    Raises
    ------
    DataError
        If they have more than `limit` bytes, so that they would not be read again.
    """
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array).reshape(array.shape), (1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getbuffer(), zipfile.ZIP_DEFLATED, _LEVEL)
    if (size := max(sum(array.nbytes for array in arrays.values()), len(memory.getbuffer()))) > limit:
        raise DataError(f"{path} would hold {size:,} bytes, and may hold {limit:,} at most.", "Use fewer pieces or samples.")
    write_sealed(path, memory.getvalue())


def read_arrays(path: Path, limit: int) -> dict[str, NDArray[Any]]:
    """Read the arrays that :func:`write_arrays` wrote, `limit` bytes at most; one of :data:`DAMAGE` if they are damaged."""
    return {name: _array(name, content) for name, content in _members(read_sealed(path, limit), limit)}


def _members(content: bytes, limit: int) -> Iterator[tuple[str, bytearray]]:
    """Unpack an archive, no member further than its directory says."""
    end = content[-22:]  # of an archive without a comment
    if not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):
        raise ValueError("it is no archive of arrays")
    directories = [end[12:16], *([content[-58:-50]] if content[-42:-38] == b"PK\6\7" else [])]  # the second one of large archives
    if any(int.from_bytes(size, "little") > _MOST_DIRECTORY for size in directories):
        raise ValueError("it has too many parts")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        most = min(limit, len(content) * _MOST_PACKED)
        if (size := sum(entry.file_size for entry in entries)) > most + len(entries) * _MOST_DIRECTORY:
            raise ValueError(f"it claims {size:,} bytes, and may hold {most:,} at most")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_DEFLATED or not _NAME.fullmatch(entry.filename):
                raise ValueError("it has a part that isn't an array, or is packed in another way")
            with archive.open(entry) as member:
                yield entry.filename.removesuffix(".npy"), _read(member, entry.file_size)


def _read(member: IO[bytes], size: int) -> bytearray:
    """Unpack a member in chunks: at once, `zipfile` would hold it twice."""
    content = bytearray(size)
    for at in range(0, size, _CHUNK):
        chunk = member.read(min(_CHUNK, size - at))
        if len(chunk) != min(_CHUNK, size - at):
            raise ValueError("a part of it is cut off")
        content[at : at + len(chunk)] = chunk
    return content


def _array(name: str, content: bytearray) -> NDArray[Any]:
    dtype, shape, begin = read_npy_header(content, name)
    if math.prod(shape) * dtype.itemsize != len(content) - begin:
        raise ValueError(f"{name} doesn't have the size that it claims")
    array = np.frombuffer(content, dtype, offset=begin).reshape(shape)
    array.flags.writeable = False
    return array


def npy_header(dtype: DTypeLike, length: int) -> bytes:
    """Write the header of an array of one dimension, as in a file of NumPy's."""
    content = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": (length,)})
    return content.getvalue()


def read_npy_header(content: bytearray | mmap.mmap, name: str, at: int = 0) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Read the type and the shape of an array whose header begins at byte `at`, and where its numbers begin."""
    header = _HEADER.match(content, at)
    if header is None:
        raise ValueError(f"{name} is no array of numbers")
    return np.dtype(header[1].decode()), tuple(map(int, re.findall(rb"\d+", header[2]))), header.end()


def column(arrays: Arrays, name: str, dtype: DTypeLike, dimensions: int = 1) -> NDArray[Any]:
    """Look up an array of one type; it isn't converted, which could take eight times the memory."""
    array = arrays[name]
    if array.dtype != dtype or array.ndim != dimensions:
        raise ValueError(f"{name} holds something else")
    return array


def version(arrays: Arrays) -> object:
    """Look up the format's number; None if there is none."""
    array = arrays.get("format")
    return array.item() if array is not None and array.shape == () else None


#: Types of the columns of notes.
NOTE_TYPES = dict(zip(COLUMNS, (np.float64, np.float64, np.uint8, np.uint8), strict=True))


def note_columns(parts: Sequence[Notes], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Join the notes of several pieces to columns.

    Raises
    ------
    DataError
        If they are more than :data:`MOST_PIECES`.
    """
    if len(parts) > MOST_PIECES:
        raise DataError(f"A file can hold {MOST_PIECES:,} pieces or samples, not {len(parts):,}.", "Use fewer.")
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate([np.empty(0, dtype), *(getattr(p, name) for p in parts)]) for name, dtype in NOTE_TYPES.items()
    }
    columns["offsets"] = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return {prefix + name: column for name, column in columns.items()}


def read_notes(arrays: Arrays, prefix: str = "", *, pieces: int) -> list[Notes]:
    """Take the notes of so many pieces, as views of four columns that are checked once.

    Raises
    ------
    ValueError
        If the columns hold anything but sorted notes of so many complete pieces.
    """
    columns = {name: column(arrays, prefix + name, dtype) for name, dtype in NOTE_TYPES.items()}
    offsets = column(arrays, f"{prefix}offsets", np.int64)
    check_offsets(offsets, len(columns["onset"]), pieces)
    try:
        check_columns(**columns, starts=offsets[:-1])
    except DataError as error:
        raise ValueError(error.message) from error
    return [Notes._checked(**{name: c[a:b] for name, c in columns.items()}) for a, b in itertools.pairwise(offsets)]


def check_offsets(offsets: NDArray[np.int64], notes: int, pieces: int | None = None) -> None:
    """Raise a ValueError unless offsets divide `notes` notes into pieces, `pieces` if that is given."""
    if not 0 < len(offsets) <= MOST_PIECES + 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError(f"its offsets don't rise from 0, or are more than {MOST_PIECES:,}")
    if offsets[-1] != notes:
        raise ValueError(f"it has {notes} notes, expected {offsets[-1]}")
    if pieces not in (None, len(offsets) - 1):
        raise ValueError(f"it has {len(offsets) - 1} pieces, expected {pieces}")


def json_bytes(value: Any, limit: int = MOST_RESULT) -> NDArray[np.uint8]:
    """Encode a value as JSON in bytes, which hold a NUL and a lone surrogate too; a DataError if they couldn't be read again."""
    content = json.dumps(value).encode("ascii")
    try:
        check_size(content, limit)
    except ValueError as error:
        raise DataError(
            f"The list of the pieces' names and titles can't be stored: {error}.", "Use fewer files, or shorter paths."
        ) from error
    return np.frombuffer(content, np.uint8)


def read_json_bytes(array: NDArray[Any], kind: TypeAdapter[T], limit: int = MOST_RESULT) -> T:
    """Decode a value that :func:`json_bytes` encoded; a ValueError if it is of another kind, or larger than any."""
    if array.nbytes > limit:  # before it is copied
        raise ValueError(f"it has {array.nbytes:,} bytes of JSON, and may have {limit:,} at most")
    content = array.tobytes()
    check_size(content, limit)
    return kind.validate_python(json.loads(content))
