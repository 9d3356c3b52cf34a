"""Every file that midibench writes or reads again: replaced in one step, with a checksum, and never through a link.

A file is built in memory, written under a temporary name in the same folder, flushed to the disk and renamed; then the folder is
flushed. So a reader, a kill or a power cut meets the old content or the new, never a part of either. A library that writes
straight to disk (HDF5 does) may lose a refused write without a word, and crash on a full disk; here a refused write raises.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

#: Bytes in front of sealed content: its checksum in words, padded. HDF5 allows a block of this size before its own first byte, so
#: other programs still open a sealed HDF5 file.
HEADER = 512

#: Greatest size in bytes of a record: run.json, an outcome, a history, a baseline, an index, a job. Real ones have less than a
#: hundredth of it, and JSON takes about ten times its size in memory.
MOST_RECORD = 64 << 20

#: Folders within folders of a run.
DEEPEST = 8

#: Greatest size in bytes of one trial's samples, of a run's targets, or of a file of MIDI or sound: 14 million notes.
MOST_RESULT = 256 << 20

#: Greatest size in bytes of a parsed dataset: 230 million notes, about 30 times MAESTRO's.
MOST_CORPUS = 4 << 30

#: Greatest size in bytes of a file that a model keeps for itself: a billion weights with their optimizer's state.
MOST_CHECKPOINT = 16 << 30

#: Bytes of a file that one byte on its disk may stand for. File systems that compress reach 250; a file with holes, no limit.
MOST_SPARSE = 1000

#: Bytes of holes that a copied result may have: they become bytes.
MOST_HOLES = 1 << 20

#: Seconds after which a reading that the disk refused is tried again.
AGAIN = 1.0

_MARK = b"midibench, sha256 of what follows byte 512: "


class DamagedFileError(OSError):
    """A file is not what was written or too large, can't be read back, or isn't an ordinary file. It has no `errno`."""


def write_file(path: Path, content: bytes | Iterable[bytes], mode: int | None = None) -> None:
    """Replace a file in one step, and flush it to the disk; missing parent folders are created.

    Parameters
    ----------
    path : Path
    content : bytes or iterable of bytes
        As a whole, or in parts.
    mode : int, optional
        Permissions of the file; by default those of any new file.

    Raises
    ------
    OSError
        If it can't be written completely; then `path` is as it was.
    """
    with _replacing(path, mode) as file:
        for part in _parts(content):
            with _named(path):  # what makes the next part may be refused another file
                file.write(part)


def _parts(content: bytes | Iterable[bytes]) -> Iterable[bytes]:
    return [bytes(content)] if isinstance(content, bytes | bytearray | memoryview) else content


def copy_file(source: Path, to: Path) -> None:
    """Copy a result of at most :data:`MOST_RESULT` bytes as :func:`write_file` writes it, which makes bytes of holes.

    Raises
    ------
    DamagedFileError
        If it can't be read (:func:`read_file`), or is nearly all holes, as no result is.
    """
    write_file(to, _read(source, MOST_RESULT, lambda file, size: file.read(size), MOST_HOLES))


@contextlib.contextmanager
def _replacing(path: Path, mode: int | None = None, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path`, in one step, when it is complete, and is flushed to the disk if `flush`.

    A temporary file that a killed process leaves is named ``.NAME.RANDOM.tmp``. A process ID would not tell apart two containers
    that share the folder, in each of which this is process 1.
    """
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        # A new file: a name that someone else left there, a link perhaps, is never written to.
        with temporary.open("x+b") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            with _named(path):
                file.flush()
                if flush:
                    os.fsync(file.fileno())
        temporary.replace(path)
        if flush:
            _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file it is that a call was refused on: those on an open file know no name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_named_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Replace, as :func:`write_file`, a file that the user named, or write to a device or pipe.

    What a link points to is replaced, not the link, and an existing file keeps its permissions. Not for files in a run's folder,
    where a link is someone else's.
    """
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
    if mode is not None and not stat.S_ISREG(mode):
        with path.open("wb") as file:
            file.writelines(_parts(content))
    else:
        write_file(Path(os.path.realpath(path)), content, None if mode is None else stat.S_IMODE(mode))


def _make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each of them as lasting as what is written into it."""
    if folder.is_dir():
        return
    if folder.exists() and not folder.is_dir():  # looked at again: another process may have made it meanwhile
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder; some file systems can't, and then a rename is as lasting as they make it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with _named(folder):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def read_file(path: Path, limit: int) -> bytes:
    """Read an ordinary file; a link isn't followed, and a named pipe isn't waited for.

    Parameters
    ----------
    path : Path
    limit : int
        Greatest size in bytes, which is known before anything is read.

    Raises
    ------
    DamagedFileError
        If it is a link, a folder, a pipe or a device, larger than `limit` or nearly all holes, or the disk has lost it.
    OSError
        If it can't be read.
    """
    return _read(path, limit, lambda file, size: file.read(size))


def _read(path: Path, limit: int, use: Callable[[BinaryIO, int], T], sparse: int = MOST_RECORD) -> T:
    """Return what `use` makes of an open file and its size; one of more than `sparse` bytes may not be nearly all holes.

    A bad sector stays bad, but a network or a cable may recover, and what is taken for lost is computed again: so a refused
    reading is tried once more.
    """
    for pause in (AGAIN, None):
        with _open(path, os.O_RDONLY, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise DamagedFileError(f"{path} has {size:,} bytes, and may have {limit:,} at most")
            if is_sparse(file.fileno(), size, sparse):
                raise DamagedFileError(f"{path} has {size:,} bytes, nearly all of them holes")
            try:
                return use(file, size)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                if pause is None:
                    raise DamagedFileError(f"{path} can't be read back from its disk") from error
        time.sleep(pause)
    raise AssertionError  # the last round returns or raises


def is_sparse(descriptor: int, size: int, above: int = MOST_RECORD) -> bool:
    """Whether an open file of more than `above` bytes is nearly all holes."""
    return size > above and size > MOST_SPARSE * data_bytes(descriptor, size // MOST_SPARSE + 1)


def data_bytes(descriptor: int, enough: int) -> int:
    """Count the bytes of an open file that are no holes. Its number of blocks doesn't tell: ZFS counts them seconds later.

    Parameters
    ----------
    descriptor : int
        It stands at the beginning afterwards.
    enough : int
        At so many the counting ends.

    Returns
    -------
    int
        All bytes of the file where the system doesn't tell.
    """
    total = at = 0
    try:
        while total < enough:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
            total += at - start
    except OSError as error:
        if error.errno != errno.ENXIO:  # which says that no data follows
            total = os.fstat(descriptor).st_size
    os.lseek(descriptor, 0, os.SEEK_SET)
    return total


def open_log(path: Path) -> BinaryIO:
    """Open an ordinary file for appending; missing parent folders are created. Raises as :func:`read_file`.

    A file that has a second name, as in a copy by hard links, is first replaced by a copy: the other name keeps what it had.
    """
    _make_folder(path.parent)
    if path.is_file() and not path.is_symlink() and path.stat().st_nlink > 1:
        write_file(path, read_file(path, MOST_RECORD))
    return _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, "a+b")


def open_lock(path: Path) -> BinaryIO:
    """Open an ordinary file for a lock; missing parent folders are created. Raises as :func:`read_file`.

    It is the same file for every process, also one with a second name: nothing is ever put in its place.
    """
    _make_folder(path.parent)
    return _open(path, os.O_RDWR | os.O_CREAT, "r+b")


def _open(path: Path, flags: int, mode: str) -> BinaryIO:
    if path.is_symlink():
        raise DamagedFileError(f"{path} is a link, and must be a file")
    # Between that check and this call nothing can turn it into a link that is followed, or a pipe that is waited for.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (flags & os.O_APPEND and found.st_nlink > 1):
        os.close(descriptor)
        raise DamagedFileError(f"{path} is not a file of its own (a folder, a pipe, a device or a second name of another file)")
    return os.fdopen(descriptor, mode)  # type: ignore[return-value]


def is_file(path: Path) -> bool:
    """Whether a file is there, perhaps by a link; False too where the system can't say, as :meth:`Path.is_file` raises then."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether a folder is there, see :func:`is_file`."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: Path) -> bool:
    """Whether a name is there; an OSError if the system can't say. :meth:`Path.exists` is silent then from Python 3.14 on."""
    try:
        path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False
    return True


def check_ordinary(folder: Path, own: Callable[[Path], bool] = lambda _: False) -> None:
    """Refuse a folder that holds anything but ordinary files and folders, however deep.

    Reading or writing through a link would show, or change, what lies outside of the folder.

    Parameters
    ----------
    folder : Path
    own : callable, optional
        Whether the content of a folder in it is someone else's affair, and isn't looked at.

    Raises
    ------
    DamagedFileError
        With the path of the first link, pipe, socket or device; or if folders are nested deeper than ours are: paths may get too
        long for the system.
    """
    waiting = [(folder, 0)]
    while waiting:
        place, depth = waiting.pop()
        if depth > DEEPEST:
            raise DamagedFileError(f"{folder} holds folders nested more than {DEEPEST} deep")
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not own(Path(entry.path)):
                        waiting.append((Path(entry.path), depth + 1))
                elif not entry.is_file(follow_symlinks=False):
                    kind = "a link" if entry.is_symlink() else "neither a file nor a folder"
                    raise DamagedFileError(f"{entry.path} is {kind}")


def regain(folder: Path) -> None:
    """Let its owner, this user, read and write a folder and all below it again, whatever a program that ran there took away.

    What belongs to others, and links, hard ones too, are left as they are: they are names of what lies elsewhere.
    """
    if folder.is_symlink():
        return
    _regain(folder)
    for place, folders, files in os.walk(folder):  # from above, so that a folder can be entered before it is
        for name in (*folders, *files):
            _regain(Path(place, name))


def _regain(path: Path) -> None:
    with contextlib.suppress(OSError):  # it may have gone
        found = path.lstat()
        wanted = stat.S_IRWXU if stat.S_ISDIR(found.st_mode) else stat.S_IRUSR | stat.S_IWUSR
        ordinary = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
        if ordinary and found.st_uid == os.geteuid() and found.st_mode & wanted != wanted:
            path.chmod(stat.S_IMODE(found.st_mode) | wanted)


def write_sealed(path: Path, content: bytes) -> None:
    """Replace a file in one step by `content` behind a header of :data:`HEADER` bytes with its checksum."""
    write_file(path, _header(hashlib.sha256(content).hexdigest()) + content)


@contextlib.contextmanager
def sealing(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Replace a file as :func:`write_sealed` by what is written to the file that is given, which need not fit into memory.

    Without `flush` a power cut may take it, or leave it damaged.
    """
    with _replacing(path, flush=flush) as file, _named(path):
        file.write(bytes(HEADER))
        yield file
        file.seek(HEADER)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        file.seek(0)
        file.write(_header(digest))


def read_sealed(path: Path, limit: int = MOST_CHECKPOINT) -> bytes:
    """Read the content of a file that :func:`write_sealed` wrote.

    Parameters
    ----------
    path : Path
    limit : int, optional
        Greatest size of the content, bytes.

    Raises
    ------
    DamagedFileError
        If any byte of it changed, it is another file, or it is larger than `limit`.
    OSError
        If it can't be read.
    """

    def use(file: BinaryIO, size: int) -> bytes:
        header = file.read(HEADER)
        content = file.read(max(0, size - HEADER)) if header.startswith(_MARK) else b""
        _check_header(header, hashlib.sha256(content).hexdigest())
        return content

    return _read(path, HEADER + limit, use)


def map_sealed(path: Path, limit: int, *, verify: bool = True) -> mmap.mmap:
    """Map a file that :func:`write_sealed` or :func:`sealing` wrote into memory, its header included, and verify it.

    It is verified as it is read, not as it is mapped: so what is verified counts as nobody's memory, and a disk that has lost a
    part of it raises, where a mapping would end the process.

    Raises
    ------
    DamagedFileError, OSError
        As :func:`read_sealed`.
    """

    def use(file: BinaryIO, size: int) -> mmap.mmap:
        header = file.read(HEADER)
        if verify:
            _check_header(header, hashlib.file_digest(file, "sha256").hexdigest())  # type: ignore[arg-type]
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)

    return _read(path, HEADER + limit, use)


def _check_header(header: bytes, digest: str) -> None:
    if not header.startswith(_MARK):
        raise DamagedFileError("it has no checksum, so it is damaged or another program's")
    if header != _header(digest):
        raise DamagedFileError("it doesn't match its checksum, so it is damaged")


def file_digest(path: Path) -> str:
    """SHA-256 of a result's content, in hexadecimal digits; raises as :func:`read_file`."""
    return _read(path, MOST_RESULT, lambda file, _: hashlib.file_digest(file, "sha256").hexdigest())  # type: ignore[arg-type]


def _header(digest: str) -> bytes:
    return (_MARK + digest.encode() + b"\n").ljust(HEADER, b"\0")
