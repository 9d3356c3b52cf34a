"""A controller of Slurm that is too busy to answer, by commands in the place of Slurm's."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import bench
from bench.errors import MachineError
from bench.runner.engines import slurm
from bench.runner.engines.remote import UNANSWERED, UnansweredError
from tests.engines.clusters import Cluster, wait_for
from tests.engines.conftest import PLUGINS, Bench

#: Of each command what it does beside writing down that it was called; ``{starts}`` is what sbatch does with its script.
TOOLS = {
    "sbatch": "for script; do :; done; {starts}; echo 17",
    "squeue": '[ $(grep -c squeue {log}) -gt {busy} ] || {{ echo "squeue: retrying" >&2; echo "{error}" >&2; exit 1; }}\n'
    "rm -f {hold}; for i in 0 1 2 3 4 5; do echo 17_$i'|RUNNING|None'; done",
    "scancel": "",
    "scontrol": "echo MaxArraySize = 1000",
}
TIMED_OUT = "slurm_load_jobs error: Socket timed out on send/recv operation"
STARTS = "for i in 0 1 2 3 4 5; do SLURM_ARRAY_TASK_ID=$i sh $script >/dev/null 2>&1 & done"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PATH", str(tmp_path / "tools"), prepend=":")
    return Bench(tmp_path, Cluster("slurm", {}))


def install(toy: Bench, busy: int, starts: str = ":", error: str = TIMED_OUT) -> None:
    """Put the commands in the path; squeue doesn't answer `busy` times, and then lets the trials go on."""
    (toy.folder / "tools").mkdir(exist_ok=True)
    for name, does in TOOLS.items():
        log, hold = toy.folder / "calls", toy.folder / "hold"
        text = f"#!/bin/sh\necho {name} $* >> {log}\n{does.format(log=log, busy=busy, hold=hold, starts=starts, error=error)}\n"
        (toy.folder / "tools" / name).write_text(text)
        (toy.folder / "tools" / name).chmod(0o755)


def calls(toy: Bench, name: str) -> list[str]:
    file = toy.folder / "calls"
    return [line for line in file.read_text().splitlines() if line.startswith(name)] if file.exists() else []


def run(toy: Bench) -> None:
    bench.run(toy.spec, scale="cpu", sound=False, reports=False, plugins=[PLUGINS], out=toy.out, engine="slurm")


def test_a_busy_controller_is_asked_again(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ended at the first question that wasn't answered, while its trials went on in the queue."""
    monkeypatch.setattr(slurm.Arrays, "every", 0.1)
    install(toy, busy=UNANSWERED - 1, starts=STARTS)
    toy.hold()
    run(toy)
    assert {outcome["status"] for outcome in toy.outcomes().values()} == {"done"}
    assert len(toy.outcomes()) == 6
    assert len(calls(toy, "squeue")) >= UNANSWERED
    assert not calls(toy, "scancel")


@pytest.mark.parametrize(
    ("error", "kind", "asked"),
    [
        (TIMED_OUT, UnansweredError, UNANSWERED),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", MachineError, 1),
    ],
)
def test_one_that_stays_busy_or_is_down_ends_the_command(
    toy: Bench, monkeypatch: pytest.MonkeyPatch, error: str, kind: type[MachineError], asked: int
) -> None:
    monkeypatch.setattr(slurm.Arrays, "every", 0.1)
    install(toy, busy=99, error=error)
    with pytest.raises(MachineError, match=r"squeue failed: squeue: retrying\nslurm_load_jobs error") as caught:
        run(toy)
    assert caught.type is kind
    assert caught.value.hint == "The same command resumes."
    assert len(calls(toy, "squeue")) == asked
    assert not calls(toy, "scancel")


def test_what_an_earlier_call_submitted_is_asked_for_again_too(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.Arrays, "every", 0.1)
    install(toy, busy=99, starts=STARTS)
    toy.hold()
    with pytest.raises(UnansweredError):
        run(toy)
    install(toy, busy=UNANSWERED + 3, starts=STARTS)
    run(toy)
    assert {outcome["status"] for outcome in toy.outcomes().values()} == {"done"}
    assert len(calls(toy, "sbatch")) == 1


#: sbatch doesn't answer, though the controller may have what it submits.
NO_NUMBER = f"sleep 3; echo '{TIMED_OUT}' >&2; exit 1"


@pytest.mark.parametrize(("starts", "during"), [(":", "squeue"), (NO_NUMBER, "sbatch")])
def test_ctrl_c_cancels_while_the_controller_is_busy(toy: Bench, starts: str, during: str) -> None:
    """It was seen after all that was asked again, and then nothing was cancelled; nor was what had no number yet."""
    install(toy, busy=99, starts=starts)
    process = toy.start()
    wait_for(lambda: calls(toy, during))
    process.send_signal(signal.SIGINT)
    code, said = toy.end(process)
    assert code == 130, said
    (name,) = [word for call in calls(toy, "sbatch") for word in call.split() if word.startswith("--job-name=bench-")]
    assert calls(toy, "scancel") == [f"scancel --user={os.getuid()} {name.replace('job-', '')}"]
    assert len(calls(toy, "squeue")) == (during == "squeue")


def test_ctrl_c_ends_the_waiting_for_an_answer(toy: Bench) -> None:
    """Of a controller that hangs, up to two minutes; and one that takes no orders is no reason to say that all is cancelled."""
    install(toy, busy=0)
    for name, does in (("squeue", "exec sleep 60"), ("scancel", f"echo '{TIMED_OUT}' >&2; exit 1")):
        with (toy.folder / "tools" / name).open("a") as tool:
            tool.write(f"{does}\n")
    process = toy.start()
    wait_for(lambda: calls(toy, "squeue"))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, said = toy.end(process)
    assert time.monotonic() - began < 40
    assert code == 3, said
    assert f"The trials go on: scancel --user={os.getuid()} --name=bench-" in said


def test_no_answer_in_time_is_worth_another_question(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    install(toy, busy=0)
    (toy.folder / "tools" / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(slurm, "PATIENCE", 0.1)
    monkeypatch.setattr(slurm, "LOOK", 0.1)
    with pytest.raises(UnansweredError, match="squeue gives no answer"):
        slurm._ask("squeue")
