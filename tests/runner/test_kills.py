"""Killed at any point, the same command goes on and ends in the same results."""

import os
import random
import signal
import subprocess
import time
from dataclasses import replace
from typing import Any

import psutil
import pytest

from bench.errors import StoppedError
from bench.runner.engines import local
from bench.runner.unit import DONE, STOPPED, command, unit_files
from bench.storage.files import BusyError, write_json
from bench.storage.run_folder import RunFolder
from bench.storage.samples import read_target_file, read_targets, write_targets

from .conftest import Bench, until, workers

SLOW = {"steady": {"params": {"delay": 0.08}}}
BUDGET = {"epochs": 12, "timeout": 60}
#: Columns that a clock decides; everything else must be the same.
CLOCKED = ("seconds", "yardsticks", "rate", "memory", "per_second")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Samples and table of a run that nothing disturbed."""
    toy = Bench(tmp_path_factory.mktemp("straight"))
    toy.write(SLOW, budget=BUDGET, seeds=[0, 1])
    table = toy.run(jobs=2).table
    return toy.samples(), timeless(table)


@pytest.fixture
def straight(toy: Bench, undisturbed: Any) -> Any:
    """The same spec, to be disturbed, and what must come out."""
    toy.write(SLOW, budget=BUDGET, seeds=[0, 1])
    return undisturbed


def timeless(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not any(word in k for word in CLOCKED)} for row in table]


def epochs(toy: Bench) -> list[int]:
    """Epochs that each trial has logged, the trials that have logged none left out."""
    return [len(f.read_text().splitlines()) for f in toy.run_folder.glob("trials/*/checkpoint/history.jsonl")]


def held(toy: Bench, trials: int) -> bool:
    """Whether so many trials have come as far as `Bench.hold` lets them."""
    return sorted(epochs(toy)) == [4] * trials


def test_worker_killed_mid_epoch(toy: Bench, straight: Any) -> None:
    toy.hold()
    process = toy.start()
    until(lambda: held(toy, 1))
    (worker,) = workers(toy)
    worker.send_signal(signal.SIGKILL)
    toy.release()
    # The other trial still runs, and the row that failed says why.
    assert process.wait(60) == 3
    failed, done = toy.outcome("steady", 0), toy.outcome("steady", 1)
    assert done["status"] == "done"
    assert failed["status"] == "failed"
    assert failed["error"]["kind"] == "Killed"
    assert failed["error"]["message"].startswith("killed by SIGKILL, perhaps out of memory; peak was ")
    assert "failed" in (toy.run_folder / "report.csv").read_text()

    result = toy.run()
    assert result.failed == 0
    assert [e["seed"] for e in toy.events if e["event"] == "trial"] == [0]
    outcome = toy.outcome("steady", 0)
    assert outcome["training"]["resumed"] == 1
    assert [e["epoch"] for e in outcome["training"]["history"]] == list(range(1, 13))
    # It went on: fewer epochs were trained than there are.
    assert 0 < len([e for e in toy.events if e["event"] == "epoch"]) <= 12 - 2
    assert (toy.samples(), timeless(result.table)) == straight


@pytest.mark.parametrize("jobs", [1, 2])
def test_runner_killed_mid_trial(toy: Bench, straight: Any, jobs: int) -> None:
    toy.hold()
    process = toy.start(jobs)
    until(lambda: held(toy, jobs))
    children = workers(toy)
    assert len(children) == jobs
    process.kill()
    process.wait()
    # Nobody is left to stop the workers: they see the end of their stdin.
    psutil.wait_procs(children, timeout=60)
    assert workers(toy) == []
    toy.release()
    # A trial that was cut off has not failed.
    assert not list(toy.run_folder.glob("trials/*/outcome.json"))
    result = toy.run(jobs=jobs)
    assert (toy.samples(), timeless(result.table)) == straight
    assert toy.outcome("steady", 0)["training"]["resumed"] == 1


def test_runner_killed_again_and_again(toy: Bench, straight: Any) -> None:
    """At random points, those before the first trial and after the last included."""
    draw = random.Random(4)
    for _ in range(6):
        process = toy.start()
        time.sleep(draw.uniform(0.2, 1.6))
        process.kill()
        process.wait()
    # At once, while the last worker may still be dying.
    result = toy.run()
    assert result.failed == 0
    assert (toy.samples(), timeless(result.table)) == straight
    assert not list(toy.run_folder.rglob(".*.tmp"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_workers_and_leave_a_resumable_run(toy: Bench, number: int, code: int) -> None:
    toy.write(SLOW, budget={"epochs": 100, "timeout": 60}, seeds=[0, 1])
    toy.hold()
    process = toy.start(jobs=2)
    until(lambda: held(toy, 2))
    children = [c for w in workers(toy) for c in (w, *w.children(recursive=True))]
    assert len(children) == 2
    process.send_signal(number)
    assert process.wait(60) == code
    assert process.stderr is not None
    said = process.stderr.read()
    assert said.startswith(f"Stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}.")
    assert f"resumes from here: {toy.run_folder}" in said
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    # A trial that was stopped has not failed.
    assert not list(toy.run_folder.glob("trials/*/outcome.json"))
    toy.release()
    before = sum(epochs(toy))
    toy.start(jobs=2)
    until(lambda: sum(epochs(toy)) > before)


def test_a_signal_in_a_notebook_leaves_pythons_own_handlers_as_they_were(toy: Bench) -> None:
    toy.write(SLOW, budget={"epochs": 100, "timeout": 60})
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    sent = []

    def display(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))

    with pytest.raises(StoppedError) as caught:
        toy.run(display=display)
    assert caught.value.exit_code == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert workers(toy) == []


def test_an_error_in_the_display_ends_the_workers(toy: Bench) -> None:
    toy.write(SLOW, budget={"epochs": 100, "timeout": 60})

    def display(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="terminal"):
        toy.run(display=display)
    assert workers(toy) == []


def test_two_runners_in_one_folder(toy: Bench) -> None:
    toy.write(SLOW, budget={"epochs": 100, "timeout": 60})
    toy.hold()
    first = toy.start()
    until(lambda: epochs(toy))
    second = toy.start()
    assert second.wait(60) == BusyError.exit_code
    assert second.stderr is not None
    assert f"Another bench (process {first.pid}, since " in second.stderr.read()
    assert first.poll() is None


def test_files_of_a_cut_off_writer_mean_nothing(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    folder = toy.trials()["steady", 0]
    samples = (folder / "samples.npz").read_bytes()
    (folder / "outcome.json").write_text('{"format": 3, "key"')
    (folder / ".samples.npz.1.tmp").write_bytes(samples[:100])
    (toy.run_folder / ".run.json.1.tmp").write_text("{")
    assert RunFolder(toy.run_folder).outcome(folder.name) is None
    toy.run()
    assert toy.outcome("steady")["status"] == "done"
    assert (folder / "samples.npz").read_bytes() == samples
    assert not list(toy.run_folder.rglob(".*.tmp"))


def test_only_done_with_samples_is_done(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    folder = toy.trials()["steady", 0]
    run, outcome = RunFolder(toy.run_folder), toy.outcome("steady")
    targets = read_targets(run.targets)
    assert run.fault(folder.name, targets) == ""
    write_json(folder / "outcome.json", outcome | {"status": "failed"})
    assert run.fault(folder.name, targets) == "outcome.json is damaged"
    write_json(folder / "outcome.json", outcome | {"key": "of another trial"})
    assert run.fault(folder.name, targets) == "outcome.json is damaged"
    write_json(folder / "outcome.json", outcome)
    assert run.fault(folder.name, [*targets, targets[0]]) == "it continued other pieces"
    write_json(folder / "outcome.json", outcome | {"held_out": ""})  # of a version that didn't store it
    missing = f"sample 0 of piece {len(targets)} ({targets[0].piece.id}) is missing"
    assert run.fault(folder.name, [*targets, targets[0]]) == missing


def test_a_trial_that_waited_in_a_queue_continues_what_it_was_planned_for(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Any] = []
    run = local.Engine.run
    monkeypatch.setattr(local.Engine, "run", lambda self, work: jobs.extend(work.jobs) or run(self, work))
    toy.write({"steady": {}})
    toy.run(reports=False)
    folder, samples = toy.trials()["steady", 0], toy.samples()
    file, *_ = unit_files(toy.run_folder, folder.name)
    file.parent.mkdir(exist_ok=True)
    write_json(file, next(job for job in jobs if job["key"] == folder.name))
    targets = RunFolder(toy.run_folder).targets
    own = targets.read_bytes()

    def start() -> int:
        return subprocess.run([*command(toy.run_folder), folder.name], timeout=60).returncode

    stored = read_target_file(targets)
    write_targets(targets, replace(stored, targets=stored.targets[1:]))
    before = (folder / "outcome.json").read_bytes()
    assert start() == STOPPED
    assert (folder / "outcome.json").read_bytes() == before, "a trial that was done stays done"
    (folder / "outcome.json").unlink()
    assert start() == STOPPED
    assert not (folder / "outcome.json").exists()
    targets.write_bytes(own)
    assert start() == DONE
    assert toy.samples() == samples


@pytest.mark.parametrize("left", [None, 0, 0.5])
def test_a_done_trial_whose_samples_are_lost_or_damaged_runs_again(toy: Bench, left: float | None) -> None:
    toy.write({"steady": {}})
    toy.run()
    before = toy.samples()
    file = toy.trials()["steady", 0] / "samples.npz"
    if left is None:
        file.unlink()
    else:
        file.write_bytes(before["steady", 0][: int(left * len(before["steady", 0]))])
    assert toy.run().failed == 0
    assert toy.samples() == before


def test_a_trial_that_the_table_shows_as_failed_counts_as_failed(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write({"steady": {}})
    toy.run()
    damaged = RunFolder.finish

    def finish(folder: RunFolder, run: dict[str, Any]) -> None:
        (toy.trials()["steady", 0] / "samples.npz").write_bytes(b"no archive")
        damaged(folder, run)

    monkeypatch.setattr(RunFolder, "finish", finish)
    result = toy.run()
    assert (result.failed, [row["status"] for row in result.table]) == (1, ["failed"])
