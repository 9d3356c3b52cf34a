"""Atomic writes, locks, and JSON with a format version.

A file is written under a temporary name in the same folder, then renamed, so a reader sees the old content or the new, never a
part of it. Temporary files that a killed process left (``.name.123.tmp``) are ignored. Unknown format versions are refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError, UsageError

#: Version of run.json, outcome.json, targets.h5 and samples.h5. It is part of every trial's key.
FORMAT = 2

#: Length of the end of a worker's stderr that an outcome quotes.
TAIL_BYTES = 4000


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; if no exception is raised, it is flushed to disk and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    OSError
        If the file can't be opened.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    with file.open("a+") as opened:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    opened.seek(0)
                    raise BusyError(
                        f"Another bench ({opened.read().strip() or 'unknown process'}) is working in {folder}.",
                        "Wait for it, stop it, or give this one another place: --out DIR.",
                    ) from error
                time.sleep(0.05)
        opened.truncate(0)
        opened.write(note or f"process {os.getpid()}, since {timestamp()}")
        opened.flush()
        yield


class BusyError(UsageError):
    """A folder is in use by another process."""


def clear_temporaries(folder: Path) -> None:
    """Remove the temporary files that a killed process left in `folder`, among its MIDI files, or among its stages' samples."""
    for path in (*folder.glob(".*.tmp"), *folder.glob("midi/.*.tmp"), *folder.glob("stages/.*.tmp")):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON atomically; NaN and infinity, which JSON lacks, become null."""
    text = json.dumps(plain(value), indent=1, allow_nan=False) + "\n"
    with atomic(path) as temporary:
        temporary.write_text(text)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of this format version.

    Raises
    ------
    DataError
        If it can't be read or has another format.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}.", "Remove it; the same command makes it again.") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object.", "Remove it; the same command makes it again.")
    check_format(path, value.get("format"))
    return value


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
