"""Downloads by pooch with checksum, progress and retries; unpacking that leaves a complete folder or none."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from bench.api import DataError, Progress, Verified

from ._files import file_sha256

#: Checksums of an unpacked archive's files, written when the archive's own checksum had been verified.
MANIFEST = "checksums.json"

ATTEMPTS = 4
#: Seconds before the first retry; doubled for each further one.
BACK_OFF = 0.5
TIMEOUT = 30.0


class _Bar:
    """Pooch's progress bar protocol, forwarded to our callback."""

    def __init__(self, progress: Progress, what: str) -> None:
        self.total, self._done, self._progress, self._what = 0, 0, progress, what

    def update(self, n: int) -> None:
        self._done += n
        self._progress(min(self._done, self.total or self._done), self.total, self._what)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing to close."""


def download(url: str, sha256: str, target: Path, progress: Progress) -> Path:
    """Download `url` to `target` and verify it. The file appears under its name only when complete and correct.

    Parameters
    ----------
    url : str
    sha256 : str
        Expected checksum, hexadecimal.
    target : Path
    progress : callable
        Called with bytes done, bytes in all.

    Raises
    ------
    DataError
        If all attempts fail, or the content has another checksum. Both checksums are named.
    """
    import pooch  # type: ignore[import-untyped]
    from requests import HTTPError, RequestException

    pooch.get_logger().setLevel("ERROR")
    target.parent.mkdir(parents=True, exist_ok=True)
    name = PurePosixPath(url).name
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(BACK_OFF * 2 ** (attempt - 1))
        bar = _Bar(progress, f"downloading {name}")
        fetcher = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT)
        try:
            with scratch_folder(target.parent) as scratch:
                # Without an expected hash pooch keeps the file, so that our message can name the wrong checksum.
                body = Path(pooch.retrieve(url, known_hash=None, fname="body", path=str(scratch), downloader=fetcher))
                actual = file_sha256(body)
                if actual != sha256:
                    raise _refused(url, sha256, actual)
                body.replace(target)
            return target
        except HTTPError as error:
            status = error.response.status_code
            problem: object = f"the server answered {status}"
            if status < 500 and status not in (408, 429):
                break
        except RequestException as error:
            problem = unreachable(url, error) or f"{type(error).__name__}: {error}"
    raise DataError(
        f"{url} could not be downloaded: {problem}.", "Try again later, or name a folder that holds it with --data DIR."
    )


def unreachable(url: str, error: Exception) -> str:
    """Reason why no connection was made, in words; empty if one was."""
    from requests import ConnectionError, ConnectTimeout

    host = urlsplit(url).hostname or url
    if isinstance(error, ConnectTimeout):
        return f"{host} did not answer"
    cause = getattr(error.args[0], "reason", None) if error.args else None
    # A connection that broke later has no such reason.
    return f"{host} can't be reached (is there a network?)" if isinstance(error, ConnectionError) and cause is not None else ""


def _refused(url: str, expected: str, actual: str) -> DataError:
    return DataError(
        f"{url} is not the expected file, so it was not kept.\nsha256 expected {expected}\n            got {actual}",
        "It was changed or damaged in transit. Try again; if it happens again, tell the maintainers.",
    )


def unzip(archive: Path, name: str, folder: Path, progress: Progress) -> Path:
    """Unpack `archive`, whose files all lie below a folder `name`, to ``folder/name``.

    It is unpacked to a temporary folder, which is renamed when complete. Names that point elsewhere are refused.

    Raises
    ------
    DataError
        If it isn't a zip file, or holds a file outside `name`.
    """
    try:
        with scratch_folder(folder) as scratch, zipfile.ZipFile(archive) as opened:
            files = [i for i in opened.infolist() if not i.is_dir()]
            sums: dict[str, str] = {}
            for i, info in enumerate(files):
                progress(i, len(files), "unpacking")
                parts = PurePosixPath(info.filename.replace("\\", "/")).parts
                if len(parts) < 2 or parts[0] != name or ".." in parts:
                    raise DataError(f"{archive.name} holds {info.filename!r}, which is outside {name}/.", "Nothing was unpacked.")
                target = scratch.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(info) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
                sums["/".join(parts[1:])] = file_sha256(target)
            if not sums:
                raise DataError(f"{archive.name} is empty.", "Nothing was unpacked.")
            (scratch / name / MANIFEST).write_text(json.dumps(sums, indent=1))
            _put(scratch / name, folder / name)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive} is not a zip file ({error}).", "Fetch it again.") from error
    return folder / name


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for unfinished files, removed at the end; also remove those that killed downloads left over an hour ago."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".unfinished-*"):
        if time.time() - left.stat().st_mtime > 3600:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as name:
        yield Path(name)


def _put(new: Path, place: Path) -> None:
    if not place.exists():
        new.rename(place)
        return
    old = place.with_name(f".{place.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def checked_manifest(folder: Path, progress: Progress) -> Verified | None:
    """Compare with the checksums written at unpacking; None if there are none."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        sums: dict[str, str] = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}).", f"Delete {folder} and fetch again.") from error
    return compare(folder, sums, progress)


def compare(folder: Path, sums: dict[str, str], progress: Progress) -> Verified:
    """Compare files with known checksums; each difference names both."""
    lines = []
    for i, (name, expected) in enumerate(sorted(sums.items())):
        progress(i, len(sums), "verifying")
        path = folder / name
        if not path.is_file():
            lines.append(f"{name}: missing")
        elif (actual := file_sha256(path)) != expected:
            lines.append(f"{name}: sha256 expected {expected}, got {actual}")
    return Verified(tuple(lines), compared=len(sums))
