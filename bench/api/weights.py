"""Files of weights: downloaded once, checked against known checksums, and identified by their content."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from bench.api.dataset import Progress, Verified
from bench.errors import DataError
from bench.system.connections import RefusedError, Watch, watched_session
from bench.system.disk import is_sparse

if TYPE_CHECKING:
    from requests import Response, Session

#: Files and folders of a folder of weights: links to folders of links may lead to any number.
MOST_FILES = 100_000

#: Bytes that a server must send within so many seconds, as well as its answer's beginning; most bytes; most redirects.
PIECE, PATIENCE, MOST, MOST_REDIRECTS = 1 << 16, 60.0, 64 << 30, 5


def download(url: str, sha256: str, target: Path, progress: Progress, most: int = MOST) -> None:
    """Download a file of known content, unless `target` has it already.

    Redirects lead to any server, as those of a hub do, but never from https to http nor from a public address to a private one.

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
    from urllib3.exceptions import HTTPError

    if target.is_file() and target.stat().st_size <= most and file_sha256(target, most) == sha256:
        return
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url} could not be downloaded: its address must begin with http:// or https://.")
    partial = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, watch = hashlib.sha256(), Watch()
        with watched_session(watch) as session, _open(session, watch, url) as answer, partial.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0)
            while piece := _read(answer, watch):
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
    except TimeoutError as error:
        raise DataError(f"{url} sent no {PIECE:,} bytes in {PATIENCE:.0f} s.", "Try again later.") from error
    except (OSError, RefusedError, HTTPError, ValueError) as error:  # those of requests are OSErrors
        raise DataError(f"{url} could not be downloaded to {target}: {error}.", "Try again later.") from error
    finally:
        partial.unlink(missing_ok=True)


def _open(session: Session, watch: Watch, url: str) -> Response:
    """Ask for the address, and for those that it redirects to."""
    session.headers["Accept-Encoding"] = "identity"
    for _ in range(MOST_REDIRECTS + 1):
        with watch.deadline(PATIENCE):
            answer = session.get(url, stream=True, timeout=PATIENCE, allow_redirects=False)
        if not answer.is_redirect:
            answer.raise_for_status()
            return answer
        answer.close()
        url, earlier = urljoin(url, answer.headers["Location"]), url
        if not url.startswith("https://" if earlier.startswith("https://") else ("http://", "https://")):
            raise ValueError(f"it redirects to {url}")
    raise ValueError(f"it redirects more than {MOST_REDIRECTS} times")


def _read(answer: Response, watch: Watch) -> bytes:
    with watch.deadline(PATIENCE):
        piece: bytes = answer.raw.read(PIECE, decode_content=False)
    return piece


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


def file_sha256(path: Path, most: int = MOST) -> str:
    """Hash the content of a file.

    Raises
    ------
    DataError
        If it has more than `most` bytes, or is nearly all holes: a sparse file takes no disk, and would take hours.
    """
    remove = "Remove what is no file of weights."
    if (size := path.stat().st_size) > most:
        raise DataError(f"{path} has {size:,} bytes, and may have {most:,} at most.", remove)
    with path.open("rb") as file:
        if is_sparse(file.fileno(), size):
            raise DataError(f"{path} has {size:,} bytes, nearly all of them holes.", remove)
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(source: Path) -> str:
    """Hash the names and contents of a file, or of all files in a folder, linked ones too; hidden ones don't count.

    Raises
    ------
    DataError
        If a link in it leads back to a folder above, or links lead to any number of files.
    """
    files = {source.name: source} if source.is_file() else dict(_files(source, source, (), itertools.count(1)))
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(os.fsencode(name) + f"\x1f{file_sha256(path)}\x1f".encode())
    return digest.hexdigest()


def _files(folder: Path, top: Path, above: tuple[Path, ...], seen: Iterator[int]) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder with their names from `top` on; trainers link folders: ``latest -> step-100``."""
    real = folder.resolve()
    if real in above:
        raise DataError(f"{folder} leads back to a folder above it.", "Remove that link.")
    for path in folder.iterdir():
        if not path.name.startswith("."):
            if next(seen) > MOST_FILES:
                raise DataError(
                    f"{top} holds more than {MOST_FILES:,} files and folders, linked ones too.",
                    "Remove what is no file of weights.",
                )
            if path.is_dir():
                yield from _files(path, top, (*above, real), seen)
            elif path.is_file():
                yield path.relative_to(top).as_posix(), path
