"""The one writer: whole files or none, and no changed byte goes unnoticed."""

import errno
import hashlib
import io
import os
import resource
import signal
from pathlib import Path

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.system import disk
from bench.system.disk import (
    HEADER,
    MOST_RECORD,
    DamagedFileError,
    read_file,
    read_sealed,
    sealing,
    write_file,
    write_named_file,
    write_sealed,
)


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    for content in (bytearray(b"none"), memoryview(b"none"), iter([b"no", b"ne"])):
        write_file(path, content)
        assert path.read_bytes() == b"none"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_refused_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_file(path, b"old")

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left") as refused:
        write_file(path, b"new")
    assert refused.value.filename == str(path), "the call knows none"
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_refused_part_of_a_sealed_file_names_it(tmp_path: Path) -> None:
    path, most = tmp_path / "a.bin", resource.getrlimit(resource.RLIMIT_FSIZE)
    write_sealed(path, b"old")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEADER + 100, most[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused, sealing(path) as file:
            file.write(bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
        signal.signal(signal.SIGXFSZ, before)
    assert refused.value.filename == str(path), "the call knows none"
    assert read_sealed(path) == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_named_file_is_replaced_where_its_link_points_and_keeps_its_permissions(tmp_path: Path) -> None:
    target, link, loop = tmp_path / "elsewhere" / "a.json", tmp_path / "a.json", tmp_path / "loop"
    link.symlink_to(target)
    write_named_file(link, b"one")  # to nothing yet
    target.chmod(0o640)
    write_named_file(link, b"two")
    assert link.is_symlink()
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o640
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="symbolic links"):
        write_named_file(loop, b"three")
    assert loop.is_symlink()


def test_a_named_pipe_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_named_file(path, b"one")
    assert os.read(reader, 9) == b"one"
    os.close(reader)
    assert path.is_fifo()


def test_two_writers_with_one_process_id_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two containers may be that share a folder: here one writes while the other flushes."""
    path = tmp_path / "a.bin"
    flush = os.fsync

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", flush)
        write_file(path, b"of the other")
        assert path.read_bytes() == b"of the other"
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_file(path, b"mine")
    assert path.read_bytes() == b"mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@given(content=st.binary(max_size=300), at=st.integers(0), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int, bit: int) -> None:
    path = tmp_path_factory.getbasetemp() / "sealed.bin"
    write_sealed(path, content)
    assert read_sealed(path) == content
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(DamagedFileError):
        read_sealed(path)


@pytest.mark.parametrize("length", [0, 10, 60, 200, HEADER - 1, HEADER, HEADER + 3])
def test_a_truncated_file_is_damaged(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.bin"
    write_sealed(path, b"content")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedFileError):
        read_sealed(path)


def test_a_file_that_is_nearly_all_holes_is_not_read(tmp_path: Path) -> None:
    """Its checksum may be right, and 16 GiB of it take 4 KiB of a disk, or of an archive."""
    path, holes = tmp_path / "weights.bin", MOST_RECORD + 1
    digest = hashlib.sha256()
    for _ in range(holes >> 20):
        digest.update(bytes(1 << 20))
    digest.update(bytes(holes & (1 << 20) - 1))
    write_sealed(path, b"")
    seal = path.read_bytes().replace(hashlib.sha256(b"").hexdigest().encode(), digest.hexdigest().encode())
    path.write_bytes(seal)
    os.truncate(path, HEADER + holes)
    with pytest.raises(DamagedFileError, match="nearly all of them holes"):
        read_sealed(path)
    (tmp_path / "full.bin").write_bytes(seal + bytes(holes))
    assert len(read_sealed(tmp_path / "full.bin")) == holes


def test_bytes_that_are_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "a.bin").open("w+b") as file:
        for at in (1 << 20, 4 << 20):
            file.seek(at)
            file.write(b"x" * 4096)
        file.truncate(8 << 20)
        file.flush()
        assert disk.data_bytes(file.fileno(), 1 << 30) == 8192
        assert disk.data_bytes(file.fileno(), 1) == 4096
        file.truncate(0)
        assert disk.data_bytes(file.fileno(), 1) == 0
        file.truncate(8 << 20)

        with monkeypatch.context() as patched:  # a file system that doesn't tell
            patched.setattr(disk.os, "SEEK_DATA", 99)
            assert disk.data_bytes(file.fileno(), 1) == 8 << 20


def test_other_programs_still_read_sealed_hdf5(tmp_path: Path) -> None:
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["x"] = range(1000)
    write_sealed(tmp_path / "a.h5", memory.getvalue())
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"][-1] == 999
        assert file.userblock_size == HEADER


@pytest.mark.parametrize("times", [1, 2])
def test_a_reading_that_is_refused_once_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    path = tmp_path / "a.bin"
    write_file(path, b"content")
    refused = iter(range(times))

    class Refusing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            if next(refused, None) is not None:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return super().read(-1 if size is None else size)

    monkeypatch.setattr(disk, "AGAIN", 0.0)
    monkeypatch.setattr(disk, "_open", lambda path, flags, mode: Refusing(path))
    if times == 1:
        assert read_file(path, 100) == b"content"
    else:
        with pytest.raises(DamagedFileError, match="can't be read back from its disk"):
            read_file(path, 100)


def test_what_was_closed_is_regained_but_nothing_elsewhere(tmp_path: Path) -> None:
    place, mine = tmp_path / "trial", tmp_path / "mine"
    (place / "closed").mkdir(parents=True)
    (place / "closed" / "file").touch(mode=0o040)
    (place / "closed").chmod(0)
    mine.touch(mode=0o444)
    (place / "hard").hardlink_to(mine)
    (place / "soft").symlink_to(mine)
    place.chmod(0o500)
    disk.regain(place)
    (tmp_path / "elsewhere").mkdir(mode=0o500)
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    disk.regain(tmp_path / "linked")
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o500
    modes = {path.name: path.lstat().st_mode & 0o777 for path in (place, place / "closed", place / "closed" / "file", mine)}
    assert modes == {"trial": 0o700, "closed": 0o700, "file": 0o640, "mine": 0o444}


def test_a_folder_that_another_process_makes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two readers that began together, one said of the new folder that it is none."""
    folder, look = tmp_path / "new", Path.is_dir

    def late(path: Path) -> bool:
        found = look(path)
        if path == folder and not found:
            folder.mkdir()
        return found

    monkeypatch.setattr(Path, "is_dir", late)
    disk.write_file(folder / "file", b"content")
    assert (folder / "file").read_bytes() == b"content"
