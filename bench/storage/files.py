"""Locks, and JSON with a format version and a checksum.

Temporary files that a killed process left (``.name.0f3a.tmp``) are ignored. Unknown format versions are refused, and so is a file
that is not what was written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError, MachineError, UsageError, is_machines, machine_error
from bench.formatting import clean
from bench.system.disk import MOST_RECORD, DamagedFileError, open_lock, read_file, write_file, write_named_file

#: Version of run.json, outcome.json, targets.npz and samples.npz. It is part of every trial's key.
FORMAT = 4

#: Length of the end of a worker's stderr that an outcome quotes, and of a lock file's note.
TAIL_BYTES = 4000

#: Deepest nesting of a record: what reads or shows a value nobody named goes as deep as it does.
MOST_DEPTH = 50

#: Bytes for each value of the largest JSON: a record's 64 MiB may hold four million. Each becomes an object, so that `[{},{},…]`
#: takes thirty times its bytes in memory. A run of a hundred thousand pieces has less than a million.
VALUE_BYTES = 16

#: The same where a file holds hardly anything but short numbers; of the shipped baseline each value takes seven.
NUMBER_BYTES = 6

_CHECKSUM = re.compile(rb'\{"sha256":"([0-9a-f]{64})",\n')


#: ``errno`` of file systems, and of servers behind them, that lock no files.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def hold(file: Path, folder: Path, patience: float = 0.0, note: str = "") -> Iterator[None]:
    """Hold a lock file for this process; the lock ends with the process.

    Parameters
    ----------
    file : Path
        The lock file; created if it is missing.
    folder : Path
        The folder that it protects, for the message.
    patience : float
        Seconds to wait for another holder.
    note : str
        Written into the file, for the message of a process that finds it locked.

    Raises
    ------
    BusyError
        If another process still holds it.
    NoLocksError
        If the file system has no locks.
    OSError
        If the file can't be opened.
    """
    until = time.monotonic() + patience
    with open_lock(file) as opened:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    opened.seek(0)
                    holder = opened.read(TAIL_BYTES).decode("utf-8", "replace").strip()
                    raise BusyError(
                        f"Another bench ({holder or 'unknown process'}) is working in {folder}.",
                        "Wait for it, stop it, or give this one another place: --out DIR.",
                    ) from error
                time.sleep(0.05)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                raise NoLocksError(
                    f"{folder} can't be locked ({error.strerror}): its file system has no locks, as some over a network.",
                    "Two runs in one folder would mix. Give a folder on a disk of this machine: --out DIR.",
                ) from error
        if os.fstat(opened.fileno()).st_nlink == 1:  # a second name of it may be another's
            opened.truncate(0)
            opened.seek(0)
            opened.write((note or f"process {os.getpid()}, since {timestamp()}").encode())
            opened.flush()
        yield


class BusyError(UsageError):
    """A folder is in use by another process."""


class NoLocksError(MachineError):
    """A folder is on a file system without locks."""


class DamagedError(DataError):
    """A stored file is not what was written; the command that wrote it makes it again."""


def clear_temporaries(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a run's or a trial's folder, or in the folders in it."""
    for path in (
        file for place in (".", "midi", "sound", "stages", "checkpoint", "units") for file in folder.glob(f"{place}/.*.tmp")
    ):
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)


def make_way(root: Path, *names: str) -> None:
    """Set aside, as ``NAME.bad``, what is in the way of files below `root`: a folder of a file's name, a file of a folder's name.

    Parameters
    ----------
    root : Path
        A folder of ours, such as a run's.
    *names : str
        Paths below it of files that are written next.
    """
    for path in (root / name for name in names):
        folders = [root / part for part in path.relative_to(root).parents]
        for place in (*reversed(folders), path):
            if place.exists() and place.is_dir() == (place is path):
                set_aside(place)


def set_aside(place: Path) -> Path:
    """Rename a file or folder to ``NAME.bad``, or a number behind it where there is one already; return its new path."""
    first = place.with_name(f"{place.name}.bad")
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return place.rename(next(bad for bad in itertools.chain([first], numbered) if not os.path.lexists(bad)))


def write_text(path: Path, text: str) -> None:
    """Write a text for people in one step, in UTF-8; characters that can't be shown are replaced, see :func:`clean`."""
    write_file(path, clean(text).encode())


def write_data(path: Path, text: str) -> None:
    """Write a text for machines in one step, in UTF-8 and as it is: cleaned it could name another thing when it is read again."""
    write_file(path, text.encode("utf-8", "replace"))


def write_named_data(path: Path, text: str) -> None:
    """Write a text as :func:`write_data` to a file that the user named."""
    write_named_file(path, text.encode("utf-8", "replace"))


def write_named_text(path: Path, text: str) -> None:
    """Write a text as :func:`write_text` to a file that the user named, see :func:`bench.system.disk.write_named_file`."""
    write_named_file(path, clean(text).encode())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object in one step, with its checksum."""
    write_file(path, json_bytes(value))


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Encode a JSON object with its checksum in the first line; NaN and infinity, which JSON lacks, become null.

    Raises
    ------
    DataError
        If :func:`read_json` would refuse it.
    """
    value = {key: item for key, item in value.items() if key != "sha256"}  # of a file that was read, changed and is written again
    try:
        check_values(value := plain(value))
    except (ValueError, RecursionError) as error:
        raise DataError(f"This can't be stored: {error}.") from error
    content = json.dumps(value, indent=1, allow_nan=False).removeprefix("{\n").encode() + b"\n"
    content = b'{"sha256":"%s",\n' % hashlib.sha256(content).hexdigest().encode() + content
    try:
        check_size(content, MOST_RECORD)
    except ValueError as error:
        raise DataError(f"This can't be stored: {error}.") from error
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of this format version.

    Raises
    ------
    DamagedError
        If it is missing, or any byte of it has changed since it was written.
    DataError
        If it is intact and has another format.
    MachineError
        If the system refuses to read it now: that is no damage.
    """
    again = "Remove it; the same command makes it again."
    try:
        data = read_file(path, MOST_RECORD)
        check_size(data, MOST_RECORD)
        value = json.loads(data)
        check_values(value)
    except (OSError, ValueError, RecursionError) as error:
        check_damage(error)
        raise DamagedError(f"{path} can't be read: {error}.", again) from error
    if not isinstance(value, dict):
        raise DamagedError(f"{path} holds no JSON object.", again)
    intact = is_intact(data)
    # Files before format 3 have no checksum: they are refused for their format, not as damaged.
    if intact or _CHECKSUM.match(data) is None:
        check_format(path, value.get("format"))
    if not intact:
        raise DamagedError(f"{path} doesn't match its checksum: it is damaged, or was edited by hand.", again)
    value.pop("sha256")
    return value


def check_size(content: bytes, limit: int, each: int = VALUE_BYTES) -> None:
    """Refuse JSON of more than `limit` bytes, or with more values than these have room for, of `each` bytes at least on average.

    Values are counted by what stands before each, before any is made; commas and brackets in texts count too.
    """
    if len(content) > limit:
        raise ValueError(f"it has {len(content):,} bytes, and may have {limit:,} at most")
    if (values := sum(map(content.count, (b",", b"[", b"{")))) > limit // each:
        raise ValueError(f"it has about {values:,} values, and may have {limit // each:,} at most")


def check_values(value: Any) -> None:
    """Refuse what :func:`read_json` doesn't read: numbers that aren't finite, which JSON has not, and endless nesting."""
    level = [value]
    for _ in range(MOST_DEPTH):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [item for part in parts for item in part]
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            raise ValueError("it holds a number that isn't finite")
        if not level:
            return
    raise ValueError(f"it is nested more than {MOST_DEPTH} deep")


def is_intact(data: bytes) -> bool:
    """Whether the bytes of a JSON file match the checksum in its first line."""
    header = _CHECKSUM.match(data)
    return header is not None and hashlib.sha256(data[header.end() :]).hexdigest().encode() == header[1]


def is_intact_file(path: Path) -> bool:
    """Whether there is a JSON file that matches its checksum."""
    try:
        return is_intact(read_file(path, MOST_RECORD))
    except (FileNotFoundError, DamagedFileError):
        return False


def check_damage(error: Exception) -> None:
    """Raise a MachineError unless an exception on reading a stored file shows that it is missing or damaged.

    Too many open files, for one, must not make a finished trial train again.
    """
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise machine_error(error) from error


def check_cached(error: Exception) -> None:
    """Raise a MachineError if an exception on reading a file of a cache shows that the machine is short of something.

    Any other costs time alone, also where this user may not read the file: what it holds is computed again.
    """
    if isinstance(error, OSError) and is_machines(error) and error.errno not in (errno.EIO, errno.ESTALE):
        raise machine_error(error) from error


def check_format(path: Path, version: object) -> None:
    """Refuse a file of another format version."""
    if isinstance(version, int | np.integer) and version == FORMAT:
        return
    if isinstance(version, int | np.integer) and version > FORMAT:
        raise DataError(
            f"{path} has format {version}; this version of bench reads format {FORMAT}.",
            "It was written by a newer bench: upgrade, or use another folder (--out).",
        )
    raise DataError(
        f"{path} has format {version!r}; this version of bench reads format {FORMAT}.",
        "Move it away, or give --out DIR.",
    )


def tail(path: Path, start: int = 0) -> str:
    """Read the last :data:`TAIL_BYTES` bytes of a text file, nothing before byte `start`; empty if there is no file."""
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def timestamp() -> str:
    """Return the current time, UTC, in ISO 8601 to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def plain(value: Any) -> Any:
    """Convert to values that JSON has: NumPy scalars and arrays to numbers and lists, paths to text, NaN to null.

    Examples
    --------
    >>> plain({"seconds": np.float64(1.5), "pieces": (1, 2), "loss": float("nan")})
    {'seconds': 1.5, 'pieces': [1, 2], 'loss': None}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
