"""Processor time of processes that a process starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.system import cpu_time
from bench.system.cpu_time import StartedTime

#: Computes for half a second of processor time, says so, and waits.
BUSY = "import sys, time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\nsys.stdin.read()"


@pytest.fixture(params=["child", "grandchild"])
def busy(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", BUSY]
    if request.param == "grandchild":
        command = ["sh", "-c", '"$0" -c "$1"; exit 0', sys.executable, BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def test_it_counts_while_they_run_and_once_they_have_ended(busy: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_time, "EVERY", 0.0)
    clock = StartedTime()
    before = clock.seconds()
    assert busy.stdout is not None
    assert busy.stdout.readline() == "done\n"
    running = clock.seconds() - before
    busy.communicate("")
    ended = clock.seconds() - before
    assert 0.45 <= running <= 2, "0.5 s, and the start of two programs"
    assert running - 0.02 <= ended <= running + 0.5, "no part is counted twice"


def test_it_never_runs_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a process is gone that nobody waited for."""
    monkeypatch.setattr(cpu_time, "EVERY", 0.0)
    times = iter([3.0, 1.0, 4.0])
    monkeypatch.setattr(cpu_time, "_waited_for", lambda: next(times))
    monkeypatch.setattr(cpu_time, "_descendants", lambda pid: iter(()))
    clock = StartedTime()
    assert [clock.seconds() for _ in range(3)] == [3.0, 3.0, 4.0]
