"""What was read of single files, kept by their content: a changed folder is parsed again where it changed.

A part is a file of columns with the notes of some hundred files. Nothing but time depends on parts: one that is damaged is
removed, one that can't be read is left to whoever can, and what they held is read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import resource
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

from bench.errors import DataError
from bench.music.notes import COLUMNS, Notes
from bench.music.reading import Reading
from bench.storage.arrays import DAMAGE, check_offsets, column, json_bytes, note_columns, read_json_bytes
from bench.storage.columns import Column, Mapped, check_notes, write_columns
from bench.storage.files import check_cached
from bench.system.disk import MOST_CORPUS

#: Notes that are checked at a time.
_AT_ONCE = 1 << 20

#: Parts that are looked at, at most.
MOST_PARTS = 1024

_TEXTS = TypeAdapter(list[str])


def most_parts() -> int:
    """Return how many parts are looked at. Each is an open file: half of those that a process may have."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_PARTS if allowed == resource.RLIM_INFINITY else max(2, min(MOST_PARTS, allowed // 2))


class Row(NamedTuple):
    """Place of a file in a part."""

    part: Part
    number: int


class Part:
    """A part that was written before.

    Parameters
    ----------
    path : Path
    verify : bool
        False if a process of ours has just written it.

    Raises
    ------
    OSError, ValueError, ...
        One of :data:`bench.storage.arrays.DAMAGE`.
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self.path = path
        self._stored = Mapped(path, MOST_CORPUS, verify=verify)
        arrays = self._stored.arrays
        self._offsets = column(arrays, "offsets", np.int64).tolist()
        self._errors = read_json_bytes(arrays["errors"], _TEXTS)
        self.digests, self._same = (_hashes(arrays[name].tobytes()) for name in ("digests", "same"))
        if not len(self.digests) == len(self._same) == len(self._errors) == len(self._offsets) - 1:
            raise ValueError("its columns are of different lengths")
        if verify:
            check_offsets(column(arrays, "offsets", np.int64), len(column(arrays, "onset", np.float64)))
            check_notes(self._stored, column(arrays, "offsets", np.int64), _AT_ONCE)

    def reading(self, number: int) -> Reading:
        """Return the result of reading a file; its notes are views of the part."""
        digest = self.digests[number].hex()
        if error := self._errors[number]:
            return Reading(digest, error=DataError(error))
        begin, end = self._offsets[number : number + 2]
        notes = Notes._checked(*(self._stored.arrays[name][begin:end] for name in COLUMNS))
        return Reading(digest, notes, self._same[number])


def _looked_at(paths: Sequence[Path]) -> Sequence[Path]:
    """Choose from parts, ordered by size: all, or if they are too many so few that with what is read again all are looked at.

    Were as many kept as are looked at, what is read again would be too much the next time, and that for ever.
    """
    return paths if len(paths) <= most_parts() else paths[-max(1, most_parts() // 4) :]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # another process has just removed it
        return 0


def _remove(path: Path) -> None:
    """Remove a file of the cache; where that is refused, or it is a folder, it takes no more than room."""
    with contextlib.suppress(OSError):
        path.unlink()


def _hashes(content: bytes) -> list[bytes]:
    return [content[at : at + 32] for at in range(0, len(content), 32)]


def write_part(path: Path, readings: Sequence[Reading]) -> None:
    """Write a part of files whose content could be read. It isn't flushed to the disk: it is checked when it is read.

    Raises
    ------
    OSError
        If it can't be written.
    """
    empty = Notes.from_columns([], [], [], [])
    values = {
        **note_columns([empty if reading.notes is None else reading.notes for reading in readings]),
        "digests": np.frombuffer(b"".join(bytes.fromhex(reading.sha256) for reading in readings), np.uint8),
        "same": np.frombuffer(b"".join(reading.same or bytes(32) for reading in readings), np.uint8),
        "errors": json_bytes([getattr(reading.error, "message", "") for reading in readings]),
    }
    write_columns(path, {name: Column.of(array) for name, array in values.items()}, MOST_CORPUS, flush=False)


class Parts:
    """The parts in a folder that one reader wrote.

    Parameters
    ----------
    folder : Path
        Of one dataset. It is created with the first part.
    reader : str
        Identity of what was read of each file, by which version: parts of others are not looked at.
    """

    def __init__(self, folder: Path, reader: str) -> None:
        self.folder, self._reader = folder, hashlib.sha256(reader.encode()).hexdigest()[:16]
        self._rows: dict[bytes, Row] = {}
        self._used: set[Path] = set()
        for path in _looked_at(sorted(folder.glob(f"{self._reader}-*.npy"), key=_size)):
            try:
                self._add(Part(path))
            except DAMAGE as error:
                check_cached(error)
                if isinstance(error, OSError) and error.errno is not None:
                    self._used.add(path)  # perhaps by another user, who may read it
                else:
                    _remove(path)

    def _add(self, part: Part) -> None:
        self._rows |= zip(part.digests, map(Row, itertools.repeat(part), itertools.count()), strict=False)

    def find(self, sha256: str) -> Reading | None:
        """Look up what was read of a file of this content; None if it wasn't read."""
        row = self._rows.get(bytes.fromhex(sha256))
        if row is None:
            return None
        self._used.add(row.part.path)
        return row.part.reading(row.number)

    def new_path(self) -> Path:
        """Return the path of a new part."""
        return self.folder / f"{self._reader}-{secrets.token_hex(8)}.npy"

    def add(self, path: Path) -> list[Reading]:
        """Add a part that a process of ours has just written, and return what it holds."""
        part = Part(path, verify=False)
        self._add(part)
        self._used.add(path)
        return [part.reading(number) for number in range(len(part.digests))]

    def remove_unused(self) -> None:
        """Remove the parts from which nothing was used, those of other readers too, and what killed processes left."""
        for path in (*self.folder.glob("*.npy"), *self.folder.glob(".*.tmp")):
            if path not in self._used:
                _remove(path)
