"""Reading of many MIDI files, in the order of their paths.

A program that has set :func:`reading_by` may read them elsewhere: in other processes, or from what it kept of an earlier reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import DataError, MachineError
from bench.music.midi import midi_content, read_midi, refused
from bench.music.notes import COLUMNS, Notes

#: Seconds after which a change of a file shows in its times, on the coarsest file systems.
GRANULARITY = 2.5


@dataclass(frozen=True)
class Selection:
    """Notes of a file that are read.

    Parameters
    ----------
    programs, names, pedal
        See :func:`bench.music.midi.read_midi`.
    """

    programs: range | None = None
    names: frozenset[str] | None = None
    pedal: bool = False


@dataclass(frozen=True)
class Reading:
    """Result of reading one file.

    Parameters
    ----------
    sha256 : str
        Checksum of its content, hexadecimal; empty if that can't be read.
    notes : Notes or None
        None if there is an error.
    same : bytes
        Hash of the notes, equal for equal ones.
    error : OSError, ValueError or DataError, optional
        The file can't be read, its name holds a NUL, or its content isn't MIDI.
    """

    sha256: str = ""
    notes: Notes | None = None
    same: bytes = b""
    error: OSError | ValueError | DataError | None = None


ReadAll = Callable[[Sequence[Path], Selection], Iterator[Reading]]


def read_midi_files(
    paths: Sequence[Path], programs: range | None = None, names: Collection[str] | None = None, pedal: bool = False
) -> Iterator[Reading]:
    """Read the notes of many MIDI files; one that can't be read costs itself only.

    Parameters
    ----------
    paths : sequence of Path
    programs, names, pedal
        See :func:`bench.music.midi.read_midi`.

    Yields
    ------
    Reading
        Of each file, in the order of the paths.
    """
    selection = Selection(programs, None if names is None else frozenset(names), pedal)
    return (_read_all or _read_here)(paths, selection)


def _read_here(paths: Sequence[Path], selection: Selection) -> Iterator[Reading]:
    return (read_midi_file(path, selection) for path in paths)


def read_midi_file(path: Path, selection: Selection) -> Reading:
    """Read one file; see :func:`read_midi_files`."""
    digest = ""
    try:
        raw = midi_content(path)
        digest = hashlib.sha256(raw).hexdigest()
        if not raw:
            raise DataError("the file is empty")
        notes = read_midi(raw, selection.programs, selection.names, selection.pedal)
    except MachineError as error:
        raise refused(path, error) from error
    except (OSError, ValueError, DataError) as error:
        return Reading(digest, error=error)
    same = hashlib.sha256()
    for column in COLUMNS:
        same.update(np.ascontiguousarray(getattr(notes, column)).data)
    return Reading(digest, notes, same.digest())


@contextlib.contextmanager
def reading_by(read_all: ReadAll) -> Iterator[None]:
    """Let :func:`read_midi_files` read by another function."""
    global _read_all
    _read_all = read_all
    try:
        yield
    finally:
        _read_all = None


_read_all: ReadAll | None = None


def midi_digest(path: Path) -> str:
    """Checksum of the content of a file that should be MIDI, SHA-256 in hexadecimal digits.

    A file is read once by a process unless its size, its identity or its times change, or had changed shortly before: a second
    change in the same moment might not show.

    Raises
    ------
    OSError, DataError
        See :func:`bench.music.midi.midi_content`.
    """
    name, now = os.fspath(path), time.time_ns()
    facts = path.stat() if name in _digests else None
    if facts is not None and _digests[name][0] == _state(facts):
        return _digests[name][1]
    digest = hashlib.sha256(midi_content(path)).hexdigest()
    facts = path.stat()
    if max(facts.st_mtime_ns, facts.st_ctime_ns) < now - GRANULARITY * 1e9:
        _digests[name] = _state(facts), digest
    return digest


def _state(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_mode, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


_digests: dict[str, tuple[tuple[int, ...], str]] = {}
