"""Downloads with checksum and progress; unpacking that leaves a complete folder or none."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from bench.api import DataError, Progress, Verified, write_file

from ._files import file_sha256, git_blob, read_list
from ._web import ARCHIVE, Client, GoneError, Limits

#: Checksums of an unpacked archive's files, written when the archive's own checksum had been verified.
MANIFEST = "checksums.json"

#: Limits of an archive's files, in all and of each: MAESTRO v3's zip has 1282 files of 81 MB in all.
MOST_FILES = 20_000
MOST_BYTES = 1_000_000_000
MOST_FILE_BYTES = 50_000_000

#: Bytes unpacked for one packed, at most, of a file of over a megabyte: deflate reaches 1032, music and tables stay below 20.
MOST_RATIO = 100

#: Bytes of an archive's list of files.
MOST_LIST = 16 << 20

#: What damaged archives raise, besides an error of the disk.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, NotImplementedError)


#: Kinds of checksums: what computes them from a file.
CHECKSUMS = {"sha256": file_sha256, "git blob": git_blob}


def download(
    url: str,
    checksum: str | None,
    target: Path,
    progress: Progress,
    limits: Limits = ARCHIVE,
    kind: Literal["sha256", "git blob"] = "sha256",
) -> Path:
    """Download `url` to `target` and verify it. The file appears under its name only when complete and correct.

    Parameters
    ----------
    url : str
    checksum : str or None
        Expected, hexadecimal. None for an archive that its server packs anew each time: its content must be verified instead.
    target : Path
    progress : callable
        Called with bytes done, bytes in all.
    limits : Limits
    kind : {"sha256", "git blob"}
        Of the checksum.

    Raises
    ------
    DataError
        If all attempts fail, or the content has another checksum (both are named), or it can't be written.
    """
    name = PurePosixPath(url).name
    try:
        with scratch_folder(target.parent) as scratch:
            body = scratch / "body"
            with body.open("w+b") as out:
                Client(url).save(url, out, limits, lambda done, total: progress(done, total, f"downloading {name}"))
                _flush(out)
            if checksum is not None and (actual := CHECKSUMS[kind](body)) != checksum:
                raise _refused(url, kind, checksum, actual)
            body.replace(target)
            _flush_folder(target.parent)
    except GoneError as error:
        raise DataError(
            f"{url} could not be downloaded: {error}.", "Try again later, or name a folder that holds it with --data DIR."
        ) from error
    except OSError as error:
        raise unwritable(target.parent, error) from error
    return target


def _refused(url: str, kind: str, expected: str, actual: str) -> DataError:
    lines = f"{kind} expected {expected}\n{'got':>{len(kind) + 9}} {actual}"
    return DataError(
        f"{url} is not the expected file, so it was not kept.\n{lines}",
        "It was changed or damaged in transit. Try again; if it happens again, tell the maintainers.",
    )


def fetch_zip(
    url: str,
    checksum: str | None,
    name: str,
    folder: Path,
    progress: Progress,
    *,
    kind: Literal["sha256", "git blob"] = "sha256",
    keep: Callable[[str], bool] | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Download a zip and unpack it to ``folder/name``; see :func:`download` and :func:`unzip`."""
    archive = download(url, checksum, folder / f".{name}.zip", progress, kind=kind)
    try:
        unzip(archive, name, folder, progress, keep, check)
    finally:
        archive.unlink()


def unzip(
    archive: Path,
    name: str,
    folder: Path,
    progress: Progress,
    keep: Callable[[str], bool] | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Unpack `archive`, whose files all lie below a folder `name`, to ``folder/name``.

    It is examined as a whole, unpacked to a temporary folder, flushed to the disk and renamed when complete.

    Parameters
    ----------
    archive : Path
    name : str
    folder : Path
    progress : callable
    keep : callable, optional
        Called with each path below `name`; false for a file that isn't needed. Those, and all outside `name`, are ignored.
    check : callable, optional
        Called with the complete temporary folder; raises a DataError if it isn't what it should be.

    Raises
    ------
    DataError
        If it isn't a zip file, holds anything but ordinary files below `name`, or more than the limits above allow, or the disk
        can't take it, or `check` raises one. Then nothing is left of it.
    """
    try:
        _check_directory(archive)
        with scratch_folder(folder) as scratch, zipfile.ZipFile(archive) as opened:
            files = _checked_members(opened, archive.name, name, keep)
            sums: dict[str, str] = {}
            for i, (path, info) in enumerate(files.items()):
                progress(i, len(files), "unpacking")
                target = scratch / name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(info) as source, target.open("xb") as out:
                    # No more than announced: zipfile stops there.
                    shutil.copyfileobj(source, out)
                    _flush(out)
                sums[path] = file_sha256(target)
            if check is not None:
                check(scratch / name)
            write_file(scratch / name / MANIFEST, json.dumps(sums, indent=1).encode())
            for made in (path for path in scratch.rglob("*") if path.is_dir()):
                _flush_folder(made)
            _put(scratch / name, folder / name, scratch / "replaced")
            _flush_folder(folder)
    except DAMAGE as error:
        raise DataError(f"{archive} is not a zip file, or a damaged one ({error}).", "Fetch it again.") from error
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder / name


def _check_directory(archive: Path) -> None:
    """Refuse an archive whose list of files is larger than any that is unpacked: it would be read as a whole.

    The size of the list stands in the last record, which a comment of up to 65 535 bytes may follow (APPNOTE.TXT, 4.3.16), or in
    one of ZIP64 before it, which archives that may be unpacked don't need. What looks like such a record counts too.
    """
    with archive.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 20 - 22 - 0xFFFF))
        end = file.read()
    if b"PK\6\7" in end:
        raise DataError(f"{archive.name} is a ZIP64 archive.", "Nothing was unpacked. Is it the right archive?")
    places = (found.start() for found in re.finditer(b"(?=PK\5\6)", end))
    size = max((int.from_bytes(end[at + 12 : at + 16], "little") for at in places), default=0)
    if size > MOST_LIST:
        raise DataError(
            f"{archive.name} has a list of files of {size:,} bytes; at most {MOST_LIST:,} are read.",
            "Nothing was unpacked. Is it the right archive?",
        )


def _checked_members(
    opened: zipfile.ZipFile, archive: str, name: str, keep: Callable[[str], bool] | None
) -> dict[str, zipfile.ZipInfo]:
    """Return an archive's files by their path below `name`, if all of it may be unpacked."""
    files = {}
    for info in opened.infolist():
        if not info.filename or info.is_dir():
            continue
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        inside = len(parts) >= 2 and parts[0] == name and ".." not in parts
        if keep is not None and not (inside and keep("/".join(parts[1:]))):
            continue
        if not inside:
            raise _member_error(archive, info, f"which is outside {name}/")
        if not _is_inside("/".join(parts[1:])):
            raise _member_error(archive, info, "a name that no file can have")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _member_error(archive, info, "which is a link or a device")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _member_error(archive, info, "which is encrypted or packed by a method other than deflate")
        if info.file_size > MOST_FILE_BYTES or info.file_size > max(1_000_000, MOST_RATIO * info.compress_size):
            raise _member_error(
                archive, info, f"of {info.file_size} bytes, packed into {info.compress_size}: more than is unpacked"
            )
        files["/".join(parts[1:])] = info
    total = sum(info.file_size for info in files.values())
    if len(files) > MOST_FILES or total > MOST_BYTES:
        raise DataError(
            f"{archive} holds {len(files)} files of {total} bytes in all; at most {MOST_FILES} of {MOST_BYTES} are unpacked.",
            "Nothing was unpacked. Is it the right archive?",
        )
    if not files:
        what = "is empty" if keep is None else f"holds none of the files that are needed below {name}/"
        raise DataError(f"{archive} {what}.", "Nothing was unpacked.")
    return files


def _member_error(archive: str, info: zipfile.ZipInfo, problem: str) -> DataError:
    return DataError(f"{archive} holds {info.filename!r}, {problem}.", "Nothing was unpacked.")


def unwritable(folder: Path, error: OSError) -> DataError:
    """Describe a refused write, such as one on a full disk."""
    return DataError(
        f"{folder} can't be written ({error.strerror or error}).",
        "Nothing incomplete was left. Free space there, or choose a folder.",
    )


def _flush(file: BinaryIO) -> None:
    """Flush a file to the disk; with its folders (see :func:`_flush_folder`) it is there after a power cut."""
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for unfinished files, removed at the end; also remove those that killed downloads left over an hour ago."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in _abandoned(folder, ".unfinished-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as name:
        yield Path(name)


def clear_temporaries(*folders: Path) -> None:
    """Remove the temporary files that killed downloads left over an hour ago; another download may be writing newer ones."""
    for left in (path for folder in folders for path in _abandoned(folder, ".*.tmp")):
        if left.is_file():
            left.unlink(missing_ok=True)


def _abandoned(folder: Path, pattern: str) -> Iterator[Path]:
    return (path for path in folder.glob(pattern) if time.time() - path.lstat().st_mtime > 3600)


def _put(new: Path, place: Path, replaced: Path) -> None:
    """Rename a folder to its place; what was there goes to `replaced`, and back if that fails."""
    there = place.exists()
    if there:
        place.rename(replaced)
    try:
        new.rename(place)
    except OSError:
        if there:
            replaced.rename(place)
        raise


def checked_manifest(folder: Path, progress: Progress) -> Verified | None:
    """Compare with the checksums written at unpacking; None if there are none."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        sums = json.loads(read_list(path))
        if not isinstance(sums, dict) or not all(_is_inside(name) for name in sums):
            raise ValueError("it is no list of files and their checksums")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}).", f"Delete {folder} and fetch again.") from error
    return compare(folder, sums, progress)


def _is_inside(name: str) -> bool:
    """Whether a name can be that of a file below a folder."""
    parts = PurePosixPath(name).parts
    short = all(len(os.fsencode(part)) < 256 for part in parts) and len(parts) <= 64 and len(os.fsencode(name)) < 2048
    return bool(parts) and short and "\0" not in name and ".." not in parts and not name.startswith("/")


def compare(folder: Path, sums: dict[str, str], progress: Progress) -> Verified:
    """Compare files with known checksums; each difference names both."""
    lines = []
    for i, (name, expected) in enumerate(sorted(sums.items())):
        progress(i, len(sums), "verifying")
        path = folder / name
        if not path.is_file():
            lines.append(f"{name}: missing")
        elif (size := path.stat().st_size) > MOST_FILE_BYTES:  # a sparse file of terabytes takes no disk, and hours
            lines.append(f"{name}: {size:,} bytes; at most {MOST_FILE_BYTES:,} are unpacked")
        elif (actual := file_sha256(path)) != expected:
            lines.append(f"{name}: sha256 expected {expected}, got {actual}")
    return Verified(tuple(lines), compared=len(sums))
