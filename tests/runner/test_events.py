"""Children that write to the pipe of their events what they like: programs of the system in place of a worker."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.display import Clock, epoch_text
from bench.errors import StoppedError
from bench.runner import processes
from bench.runner.events import EventReader, parse_event
from bench.runner.processes import Ending, Signals, Task, run_tasks

pytestmark = pytest.mark.timeout(60)

LIKELIHOOD = '{"event": "likelihood", "pieces": 1}'

#: More than a child could send while a test runs.
NO_LIMIT = 1 << 60


def task(folder: Path, script: str, **options: Any) -> Task:
    """A task whose interpreter is a shell script."""
    program = folder / f"program{len(list(folder.iterdir()))}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return Task({}, program.with_suffix(".json"), folder / "log", str(program), dict(os.environ), **options)


def run(*tasks: Task) -> tuple[dict[str, Ending], dict[str, int]]:
    """Run them together: how each ended, and the number of its events."""
    endings: dict[str, Ending] = {}
    counts = {t.python: 0 for t in tasks}

    def count(t: Task, event: dict[str, Any]) -> None:
        counts[t.python] += 1

    with Signals() as signals:
        run_tasks(tasks, len(tasks), signals, lambda _: None, count, lambda t, ending: bool(endings.update({t.python: ending})))
    return {t.python: endings[t.python] for t in tasks}, counts


def test_a_slot_has_its_own_gpu(tmp_path: Path) -> None:
    """Five trials on two GPUs, two at a time, and one that computes on the CPU: no two at once see the same GPU."""
    note = f'"$CUDA_VISIBLE_DEVICES" >> {tmp_path}/seen'
    see = f"date +%s%N-start-{note}; sleep 0.2; date +%s%N-end-{note}"
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    tasks = [task(tmp_path, see, gpu=True) for _ in range(5)]
    tasks.append(replace(task(tmp_path, see), environment=hidden))
    with Signals() as signals:
        run_tasks(tasks, 2, signals, lambda _: None, lambda *_: None, lambda *_: False, ["GPU-a", "GPU-b"])
    running: set[str] = set()
    used = []
    for line in sorted((tmp_path / "seen").read_text().split()):
        _, what, gpu = line.split("-", 2)
        if what == "start":
            assert gpu not in running
            running.add(gpu)
            used.append(gpu)
        else:
            running.remove(gpu)
    assert sorted(set(used)) == ["", "GPU-a", "GPU-b"]
    assert used.count("") == 1


def test_more_trials_than_gpus_share_them_in_turn(tmp_path: Path) -> None:
    tasks = [task(tmp_path, f'echo "$CUDA_VISIBLE_DEVICES" >> {tmp_path}/seen; sleep 0.2', gpu=True) for _ in range(4)]
    with Signals() as signals:
        run_tasks(tasks, 4, signals, lambda _: None, lambda *_: None, lambda *_: False, ["GPU-a", "GPU-b"])
    assert sorted((tmp_path / "seen").read_text().split()) == ["GPU-a", "GPU-a", "GPU-b", "GPU-b"]


FLOODS = {
    "lines": f"exec yes '{LIKELIHOOD}'",
    "one line": "exec cat /dev/zero",
    "long lines": "exec yes \"$(head -c 100000 /dev/zero | tr '\\0' x)\"",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_ended_at_its_timeout(tmp_path: Path, flood: str) -> None:
    first, second = (
        task(tmp_path, flood, timeout=1.5, most=NO_LIMIT),
        task(tmp_path, f"echo '{LIKELIHOOD}'; sleep 0.3; echo '{LIKELIHOOD}'"),
    )
    endings, counts = run(first, second)
    assert endings[first.python].timed_out
    assert endings[first.python].seconds < 10
    assert (endings[second.python].code, counts[second.python]) == (0, 2)


def test_a_flood_is_ended_by_ctrl_c(tmp_path: Path) -> None:
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(StoppedError, match="Ctrl-C"):
        run(task(tmp_path, FLOODS["lines"], most=NO_LIMIT))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_ended_at_its_limit(tmp_path: Path, flood: str) -> None:
    flooding = task(tmp_path, flood, most=10_000_000)
    endings, _ = run(flooding)
    assert endings[flooding.python].reason == "it sent too many events, and was ended"


def test_a_flood_of_output_is_ended_before_it_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier attempt printed doesn't count."""
    monkeypatch.setattr(processes, "MOST_OUTPUT", 5 << 20)
    flooding, talking = task(tmp_path, "exec yes warning >&2"), task(tmp_path, "exec head -c 5000000 /dev/zero >&2")
    flooding, talking = (replace(t, log=tmp_path / f"log{i}") for i, t in enumerate((flooding, talking)))
    talking.log.write_bytes(bytes(5_000_000))
    endings, _ = run(flooding, talking)
    assert endings[flooding.python].reason == "it sent too much output, more than 5 MiB, and was ended"
    assert endings[talking.python].code == 0


def test_a_descendant_that_got_away_holds_nothing_up(tmp_path: Path) -> None:
    """It is in a session of its own, so it isn't killed with the group, and goes on writing to the pipe."""
    away = task(tmp_path, f"setsid yes '{LIKELIHOOD}' & sleep 0.5", most=NO_LIMIT)
    endings, _ = run(away)
    assert (endings[away.python].code, endings[away.python].seconds < 10) == (0, True)


def test_all_that_was_sent_before_the_end_arrives(tmp_path: Path) -> None:
    """Ten megabytes in lines, the last of them five megabytes long."""
    many = f"yes '{LIKELIHOOD}' | head -n 150000"
    result = """printf '{"event": "result", "x": "'; head -c 5000000 /dev/zero | tr '\\0' x; echo '"}'"""
    sending = task(tmp_path, f"{many}; {result}", longest=1 << 23)
    endings, counts = run(sending)
    assert (endings[sending.python].code, counts[sending.python]) == (0, 150_001)


def test_lines_are_put_together_and_long_ones_dropped() -> None:
    reading, writing = os.pipe()
    reader = EventReader(reading, most=1000, longest=40)
    line = LIKELIHOOD.encode()
    seen = []
    for part in (line[:5], line[5:] + b"\n" + line, b"\n" + b"x" * 30, b"x" * 30 + line + b"\n" + line + b"\n\n"):
        os.write(writing, part)
        seen.append(len(list(reader.events())))
    assert seen == [0, 1, 1, 1]
    os.close(writing)
    assert (list(reader.events()), reader.closed, reader.flooded) == ([], True, False)
    os.close(reading)


@pytest.mark.parametrize(("epoch", "counts"), [(1, True), (1e-15, True), (5e-324, False), (0, False)])
def test_numbers_whose_ratio_is_none_are_no_event(epoch: float, counts: bool) -> None:
    """The least float is above 0, but half of it isn't: the display of the progress divided by that."""
    evaluation = {"event": "epoch", "epoch": epoch, "epochs": 2, "in_epochs": True, "seconds": 5, "loss": 2, "notes": 0}
    event = parse_event(json.dumps(evaluation).encode())
    assert (event is not None) == counts
    if event is not None:
        assert epoch_text({**event, "key": "k"}, Clock()).endswith("left at most")


@pytest.mark.parametrize(
    "value", ["null", "1", "[]", "{}", '{"event": 1}', '{"event": "done"}', '{"event": "likelihood"}', "[" * 9999]
)
def test_what_is_no_event(value: str) -> None:
    assert parse_event(value.encode()) is None
