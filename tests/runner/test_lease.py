"""Who has a trial: one process at a time, whatever became of those before."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path

import pytest

from bench.runner.lease import Holder, Lease
from bench.runner.unit import waiting


@pytest.fixture(params=["", "no hard links"])
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A lease's file, also as on a file system such as FAT."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if request.param:
        monkeypatch.setattr(os, "link", refused)
    return tmp_path / "key.lease"


def test_one_has_it_until_it_gives_it_up(file: Path) -> None:
    mine, other = Lease(file), Lease(file)
    assert (mine.take(), other.take(), mine.take()) == (True, False, True)
    other.release()  # isn't its to give up
    assert not other.take()
    mine.release()
    assert (other.take(), mine.take()) == (True, False)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_that_of_a_process_of_this_machine_that_ended_is_free_at_once(file: Path) -> None:
    code = f"from pathlib import Path; from bench.runner.lease import Lease; print(Lease(Path({str(file)!r})).take())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
    assert Lease(file).take()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the holder's start isn't known")
def test_a_holder_whose_name_is_no_text_is_alive(file: Path) -> None:
    code = (
        "import ctypes, sys; from pathlib import Path; from bench.runner.lease import Lease; libc = ctypes.CDLL(None)\n"
        f"print(libc.prctl(15, b'a\\xe8\\xae'), Lease(Path({str(file)!r})).take(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "0 True\n"
        assert not Lease(file).take()
        holder.communicate("")
    assert Lease(file).take()


@pytest.mark.parametrize("change", [{"where": "another machine"}, {"where": ""}])
def test_that_of_another_machine_is_free_when_nobody_touched_it_for_as_long_as_it_said(
    file: Path, change: dict[str, str]
) -> None:
    file.write_text(dumps(asdict(replace(Holder.this(1.0), pid=1, **change))))
    lease = Lease(file)
    assert not lease.take()
    time.sleep(0.6)
    file.touch()  # it is alive
    assert not lease.take()
    time.sleep(0.6)
    assert not lease.take()
    time.sleep(0.6)
    assert lease.take()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"token": 1}', "[" * 100_000, '{"expires": 1e300}'])
def test_one_that_cannot_be_read_has_a_holder_that_is_waited_for(file: Path, content: str) -> None:
    file.write_text(content)
    holder = Lease(file).holder()
    assert holder is not None
    assert (holder.host, holder.ended) == ("unknown machine", False)
    assert not Lease(file).take()


def test_it_is_touched_and_its_loss_noticed(file: Path) -> None:
    lease, lost = Lease(file, 1.0), threading.Event()
    assert lease.take()
    with lease.kept(lost.set):
        before = file.stat().st_mtime_ns
        time.sleep(0.5)
        assert file.stat().st_mtime_ns > before
        assert not lost.is_set()
        file.write_text(dumps(asdict(Holder.this())))  # taken over
        assert lost.wait(5)
    assert file.exists()  # it is another's now


def test_of_many_that_take_over_at_once_one_gets_it(file: Path) -> None:
    for _ in range(20):
        file.write_text(dumps(asdict(replace(Holder.this(), pid=2**22 + 1))))  # of no process
        taken: list[bool] = []
        start = threading.Barrier(8)

        def take(taken: list[bool] = taken, start: threading.Barrier = start) -> None:
            lease = Lease(file)
            start.wait()
            taken.append(lease.take())

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(taken) == 1
        file.unlink()


def test_who_waits_is_told_how_long_and_what_ends_it(file: Path) -> None:
    file.write_text(dumps(asdict(replace(Holder.this(3600), host="n1", where="another machine"))))
    lease = Lease(file)
    holder = lease.holder()
    assert holder is not None
    assert waiting("lstm, seed 0", lease, holder) == (
        "lstm, seed 0: waits for its process on n1 to end, and takes over 3600 s after the last sign of it; "
        f"if that machine is gone, remove {file}"
    )
    file.unlink()
    assert lease.take()
