"""A sample of what ``make faults`` does at every place: refused calls, kills, full disks, rot, runs that meet each other.

Each test disturbs real commands in real processes. Which places are tried is fixed, so that a failure can be had again.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.__main__ import campaign
from tests.faults.machine import PLUGINS, REFUSALS, TOY, Fault, Machine, Undisturbed, build, faults, problems, settled

#: Places of each kind of call that are tried here.
PLACES = {"open": 3, "read": 2, "write": 3, "fsync": 3, "rename": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def library(base: Path) -> Path:
    try:
        return build(base)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def finished(base: Path, library: Path) -> tuple[Machine, Undisturbed, list[str]]:
    """A run that nothing disturbed, what it ends in, and the calls that it made."""
    machine = Machine(base / "undisturbed", library)
    undisturbed = Undisturbed.of(machine)
    counted = Machine(base / "counted", library)
    assert counted.run(count=",".join(REFUSALS)).code == 0
    return machine, undisturbed, counted.calls()


@pytest.mark.parametrize("call", list(REFUSALS))
def test_a_call_that_is_refused_once(
    base: Path, library: Path, finished: tuple[Machine, Undisturbed, list[str]], call: str
) -> None:
    _, undisturbed, calls = finished
    for fault in faults(calls, call, REFUSALS[call], PLACES[call]):
        assert not problems(Machine(base / f"{fault}", library), fault, undisturbed)


def test_a_disk_that_fills_up(base: Path, library: Path, finished: tuple[Machine, Undisturbed, list[str]]) -> None:
    _, undisturbed, calls = finished
    for fault in faults(calls, "write", ("ENOSPC",), 3):
        full = Fault("write", fault.number, "ENOSPC", stays=True)
        assert not problems(Machine(base / f"{full}", library), full, undisturbed)


def test_a_kill_where_something_reaches_the_disk(
    base: Path, library: Path, finished: tuple[Machine, Undisturbed, list[str]]
) -> None:
    _, undisturbed, calls = finished
    for fault in (*faults(calls, "fsync", ("KILL",), 4), *faults(calls, "rename", ("KILL",), 2)):
        assert not problems(Machine(base / f"{fault}", library), fault, undisturbed)


def copied(source: Machine, to: Path, library: Path) -> Machine:
    """Copy a finished run and its cache."""
    machine = Machine(to, library)
    shutil.copytree(source.out, machine.out)
    shutil.copytree(source.folder / "cache", machine.folder / "cache")
    return machine


def test_refusals_on_a_finished_run_cost_nothing(
    base: Path, library: Path, finished: tuple[Machine, Undisturbed, list[str]]
) -> None:
    """Too many open files must not look like damage: no trial runs again."""
    source, undisturbed, _ = finished
    machine = copied(source, base / "finished", library)
    times = {file: file.stat().st_mtime_ns for file in machine.run_folder.glob("trials/*/outcome.json")}
    assert machine.run(count="open").code == 0
    for fault in faults(machine.calls(), "open", ("EMFILE",), 8):
        refused = machine.run(fault)
        assert refused.code in (0, 3), refused.output
        assert "Traceback" not in refused.output
        assert {file: file.stat().st_mtime_ns for file in times} == times, fault
    assert not settled(machine, undisturbed)


def test_every_rotten_file_is_found_and_made_again(
    base: Path, library: Path, finished: tuple[Machine, Undisturbed, list[str]]
) -> None:
    source, undisturbed, _ = finished
    machine = copied(source, base / "rot", library)
    draw = random.Random(3)
    stored = [file for file in sorted(machine.run_folder.rglob("*")) if file.is_file() and file.name in VOUCHED_FOR]
    stored += sorted(machine.run_folder.glob("**/*.mid"))
    assert len(stored) >= 2 + 4 * 4
    for file in stored:
        intact = file.read_bytes()
        flip(file, draw)
        code = machine.command("verify", "toy-cpu", "--out", str(machine.out)).code
        assert code == 3, f"verify misses {file.name}"
        file.write_bytes(intact)
    for file in (*stored, *(machine.folder / "cache").glob("corpora/*.npy")):
        flip(file, draw)
    assert not settled(machine, undisturbed)


#: Names of files that are read again.
VOUCHED_FOR = ("run.json", "trial.json", "outcome.json", "targets.npz", "samples.npz")


def flip(file: Path, draw: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(file.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


@pytest.mark.parametrize("what", ["weights.npz", "history.jsonl", "resumed"])
def test_a_rotten_checkpoint_costs_a_training_from_the_start_at_most(
    base: Path, library: Path, finished: tuple[Machine, Undisturbed, list[str]], what: str
) -> None:
    _, undisturbed, calls = finished
    machine = Machine(base / f"checkpoint-{what}", library)
    # Killed at its second checkpoint, resumed, and killed at the third; then a bit is flipped.
    renames = [call for call in calls if call.startswith("rename")]
    places = [i for i, call in enumerate(renames, 1) if call.endswith("weights.npz")]
    machine.run(Fault("rename", places[1], "KILL"))
    machine.run(count="rename")
    again = [i for i, call in enumerate(machine.calls(), 1) if call.endswith("weights.npz")]
    assert again
    shutil.rmtree(machine.run_folder)
    machine.run(Fault("rename", places[1], "KILL"))
    machine.run(Fault("rename", again[-1], "KILL"))
    (weights,) = machine.run_folder.glob("trials/*/checkpoint/weights.npz")
    flip(weights.with_name(what), random.Random(7))
    assert not settled(machine, undisturbed)


def test_a_command_that_hangs_is_broken_and_ends_no_campaign(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.machine.PATIENCE", 0.05)
    planned = [Fault("open", 1, "EIO"), Fault("fsync", 1, "KILL")]
    tried, broken = campaign(base, base / "no-library", planned, Undisturbed((), {}), time.monotonic() + 60)
    assert tried == broken == {"open EIO": 1, "fsync KILL": 1}


def test_six_runs_at_once_leave_one_run(base: Path, library: Path, finished: tuple[Machine, Undisturbed, list[str]]) -> None:
    """One works, the others are refused in words; none clears what another is writing."""
    _, undisturbed, _ = finished
    machine = Machine(base / "six", library)
    words = ("run", "toy.yaml", "--plugins", str(PLUGINS), "--out", str(machine.out), "--scale", "cpu", "--no-sound", "-q")
    environment = {**os.environ, "BENCH_CACHE": str(machine.folder / "cache")}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bench", *words], cwd=machine.folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert sorted({code for _, code in ends}) in ([0], [0, 2]), ends
    assert all("is working in" in error for error, code in ends if code == 2)
    assert not settled(machine, undisturbed)


@pytest.mark.training
@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_a_network_killed_at_random_ends_in_the_same_table(base: Path, library: Path, model: str) -> None:
    """The frameworks' checkpoints too: killed with all its workers, twice, each after another epoch was trained."""
    spec = {
        **TOY,
        "models": {model: {"params": SMALL[model]}},
        "budget": {"epochs": 30, "timeout": 240},
        "references": [],
    }
    undisturbed = Undisturbed.of(Machine(base / f"{model}-undisturbed", library, spec))
    machine = Machine(base / f"{model}-killed", library, spec)
    # One job, as the undisturbed run: another number of threads may round otherwise.
    words = (
        "run",
        "toy.yaml",
        "--out",
        str(machine.out),
        "--plugins",
        str(PLUGINS),
        "--scale",
        "cpu",
        "--jobs",
        "1",
        "--no-sound",
    )
    environment = {**os.environ, "BENCH_CACHE": str(machine.folder / "cache")}
    draw = random.Random(11)
    met = 0
    for _ in range(2):
        before = epochs(machine)
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *words], cwd=machine.folder, env=environment, start_new_session=True
        )
        until = time.monotonic() + 240
        while epochs(machine) <= before and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        met += process.poll() is None and not list(machine.run_folder.glob("trials/*/outcome.json"))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert met, "no kill met a training"
    assert not settled(machine, undisturbed)


def epochs(machine: Machine) -> int:
    """Epochs that the run's only trial has logged."""
    return sum(len(file.read_bytes().splitlines()) for file in machine.run_folder.glob("trials/*/checkpoint/history.jsonl"))


SMALL = {
    "lstm": {"units": 16, "layers": 1},
    "transformer": {"layers": 1, "width": 16, "heads": 2},
}
