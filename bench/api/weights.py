"""Files of weights: downloaded once, checked against known checksums, and identified by their content."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from bench.api.dataset import Progress, Verified
from bench.errors import DataError

#: Bytes read at once; seconds without an answer after which a server is given up; most bytes of a file.
PIECE, PATIENCE, MOST = 1 << 20, 60, 64 << 30


def download(url: str, sha256: str, target: Path, progress: Progress, most: int = MOST) -> None:
    """Download a file of known content, unless `target` has it already.

    Parameters
    ----------
    url : str
    sha256 : str
        Expected checksum, hexadecimal.
    target : Path
        Appears only when it is complete and correct; its folder is made.
    progress : callable
    most : int
        Bytes after which it is given up.

    Raises
    ------
    DataError
        If it can't be downloaded or written, is larger than `most`, or has another checksum (both are named). Then `target` is
        as before.
    """
    if target.is_file() and file_sha256(target) == sha256:
        return
    partial = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer, partial.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0)
            while piece := answer.read(PIECE):
                out.write(piece)
                digest.update(piece)
                if out.tell() > most:
                    raise DataError(f"{url} has more than {most:,} bytes.", "It is not the expected file.")
                progress(out.tell(), total, f"downloading {target.name}")
            if total and out.tell() < total:
                raise DataError(f"{url} ended after {out.tell():,} of {total:,} bytes.", "Try again.")
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != sha256:
            checksums = f"sha256 expected {sha256}\n           got {digest.hexdigest()}"
            raise DataError(
                f"{url} is not the expected file, so it was not kept.\n{checksums}",
                "It was changed or damaged in transit. Try again.",
            )
        partial.replace(target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(f"{url} could not be downloaded to {target}: {error}.", "Try again later.") from error
    finally:
        partial.unlink(missing_ok=True)


def compared(folder: Path, sha256: Mapping[str, str], progress: Progress) -> Verified:
    """Compare files of a folder with their known checksums, by name."""
    differences = []
    for number, (name, expected) in enumerate(sha256.items(), 1):
        path = folder / name
        if not path.is_file():
            differences.append(f"{name} is missing")
        elif (actual := file_sha256(path)) != expected:
            differences.append(f"{name} has sha256 {actual}, expected {expected}")
        progress(number, len(sha256), name)
    return Verified(tuple(differences), compared=len(sha256))


def file_sha256(path: Path) -> str:
    """Hash the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(source: Path) -> str:
    """Hash the names and contents of a file, or of all files in a folder; hidden ones don't count."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(source.parent).as_posix() if path == source else path.relative_to(source).as_posix()
        if not any(part.startswith(".") for part in Path(name).parts):
            digest.update(f"{name}\x1f{file_sha256(path)}\x1f".encode())
    return digest.hexdigest()
