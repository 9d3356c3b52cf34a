"""Run: the log of epochs, the shares of its budget, and its state after a kill or a power cut."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Budget, Run, TrialError, training
from bench.system import cpu_time


def trained(folder: Path, epochs: int, **options: Any) -> Run:
    run = Run(0, Budget(9), folder, **options)
    run.begin()
    for epoch in range(1, epochs + 1):
        run.log(epoch, loss=1 / epoch, notes=10)
    return run


@pytest.mark.parametrize(
    "tail",
    [
        b'{"epoch": 3, "sec',
        b'{"epoch": 3, "sec\n{"epoch": 3, "seconds": 1, "loss": 1, "notes": 1}\n',
        b"\0" * 64,
        b"\xff\n",
        b"3\n",
        b"{}\n",
        b'{"epoch": null, "seconds": 1}\n',
    ],
)
def test_a_torn_line_ends_the_history_and_is_healed(tmp_path: Path, tail: bytes) -> None:
    entries = trained(tmp_path, 2).history
    file = tmp_path / "history.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    run = Run(0, Budget(9), tmp_path)
    run.begin(2)
    assert run.history == entries
    assert file.read_bytes() == whole
    run.log(4, loss=1.0, notes=10)
    assert [json.loads(line)["epoch"] for line in file.read_text().splitlines()] == [1, 2, 4]


def test_a_checkpoint_ahead_of_its_history_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, 3)
    file = tmp_path / "history.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]))
    with pytest.raises(TrialError, match="doesn't hold evaluation 3"):
        Run(0, Budget(9), tmp_path).begin(3)
    file.unlink()
    with pytest.raises(TrialError, match="doesn't hold evaluation 1"):
        Run(0, Budget(9), tmp_path).begin(1)


def test_lines_that_are_lost_before_the_last_are_noticed(tmp_path: Path) -> None:
    trained(tmp_path, 3)
    file = tmp_path / "history.jsonl"
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[2])
    with pytest.raises(TrialError, match="doesn't hold evaluation 3"):
        Run(0, Budget(9), tmp_path).begin(3)


def test_a_copy_by_hard_links_during_a_training_costs_no_line(tmp_path: Path) -> None:
    run = trained(tmp_path, 3)
    (tmp_path / "backup").hardlink_to(tmp_path / "history.jsonl")
    run.log(4, loss=1.0, notes=10)
    resumed = Run(0, Budget(9), tmp_path)
    resumed.begin(4)
    assert resumed.history == run.history
    assert len((tmp_path / "backup").read_text().splitlines()) == 3


@given(at=st.integers(0), bit=st.integers(0, 7))
def test_no_flipped_bit_of_the_history_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    folder = tmp_path_factory.mktemp("history")
    entries = trained(folder, 3).history
    data = bytearray((folder / "history.jsonl").read_bytes())
    data[at % len(data)] ^= 1 << bit
    (folder / "history.jsonl").write_bytes(data)
    run = Run(0, Budget(9), folder)
    try:
        run.begin(3)
    except TrialError:
        return
    assert run.history == entries  # the last line break isn't data


def test_what_was_logged_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    trained(tmp_path, 3)
    run = Run(0, Budget(9), tmp_path)
    run.begin(2)
    run.log(3, loss=1.0, notes=10)
    assert [entry["epoch"] for entry in run.history] == [1, 2, 3]


@pytest.mark.parametrize("epoch", [-1, 0, 1, 2, float("nan")])
def test_an_epoch_that_does_not_rise_is_refused(tmp_path: Path, epoch: int) -> None:
    events: list[dict[str, object]] = []
    run = trained(tmp_path, 2, emit=events.append)
    events.clear()
    with pytest.raises(TrialError, match=f"called with epoch {epoch} after epoch 2"):
        run.log(epoch, loss=1.0, notes=10)
    assert events == []
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("budget", "shares"),
    [
        (Budget(epochs=4), (0.25, 0.5, 0.75, 1.0)),
        (Budget(epochs=0), ()),
        (Budget(seconds=9.0, evaluations=2), (0.5, 1.0)),
        # A stage at an evaluation's share is no further one.
        (Budget(updates=600, evaluations=4, stages=(0.25, 0.1)), (0.1, 0.25, 0.5, 0.75, 1.0)),
        (Budget(notes=600, evaluations=10, stages=(0.3, 0.7)), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
    ],
)
def test_a_budget_is_evaluated_at_its_shares(budget: Budget, shares: tuple[float, ...]) -> None:
    assert budget.shares == shares


def test_a_budget_is_in_one_unit() -> None:
    assert (Budget(0).untrained, Budget(0, updates=5).untrained, Budget(0, updates=5).in_epochs) == (True, False, False)
    with pytest.raises(TrialError, match="in updates, in notes or in seconds, not in two"):
        Budget(updates=5, seconds=5.0)


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(time, "process_time", lambda: clock.time / 2)
    return clock


@pytest.mark.parametrize(
    ("budget", "share"),
    [(Budget(4), 0.5), (Budget(updates=80), 0.25), (Budget(notes=1000), 0.3), (Budget(seconds=10.0), 0.35), (Budget(0), 2.0)],
)
def test_share_counts_what_the_budget_is_in(tmp_path: Path, clock: Clock, budget: Budget, share: float) -> None:
    run = Run(0, budget, tmp_path)
    run.begin()
    clock.time += 7
    assert run.share(updates=20, notes=300, passes=2.0) == share


def test_a_budget_in_seconds_is_of_processor_time_on_a_cpu_only(tmp_path: Path, clock: Clock) -> None:
    run = Run(0, Budget(seconds=10.0), tmp_path, device="cuda")
    run.begin()
    clock.time += 7
    assert run.share() == 0.7
    run.log(1, loss=1.0, notes=10)
    assert (run.history[-1]["seconds"], run.history[-1]["core_seconds"]) == (7.0, 3.5)
    again = Run(0, Budget(seconds=10.0), tmp_path)
    again.begin(1)
    clock.time += 2
    assert (again.seconds, again.core_seconds, again.share()) == (9.0, 4.5, 0.45)


@pytest.mark.parametrize(("there", "used"), [(None, 4.0), (0.1, 4.0), (0.2, 8.0), (0.05, 2.0)])
def test_a_training_that_moves_to_another_machine_keeps_its_share_of_the_budget(
    tmp_path: Path, clock: Clock, there: float | None, used: float
) -> None:
    """A machine that needs twice as long for the yardstick has twice the seconds, of which the first's count twice."""
    run = Run(0, Budget(seconds=10.0), tmp_path, yardstick=0.1)
    run.begin()
    clock.time += 8  # 4 s of processor time
    run.log(1, loss=1.0, notes=10, updates=1, share=run.share(updates=1))
    for _ in range(2):  # nothing is lost by a second move
        again = Run(0, Budget(seconds=10.0 if there is None else 100 * there), tmp_path, yardstick=there)
        again.begin(1)
    assert [entry["core_seconds"] for entry in again.history] == [used]
    assert "yardstick" not in again.history[0]
    assert (again.seconds, again.core_seconds, again.share()) == (8.0, used, 0.4)
    clock.time += 8
    assert again.share(updates=2) == (used + 4) / again.budget.seconds


def test_a_stage_is_taken_where_it_is_due_while_the_clock_stands_still(tmp_path: Path, clock: Clock) -> None:
    taken: list[float] = []

    def take(share: float) -> None:
        clock.time += 1000
        taken.append(share)
        assert run.seconds == 3.0

    run = Run(0, Budget(updates=4, evaluations=4, stages=(0.25,), max_seconds=10.0), tmp_path, take=take)
    run.begin()
    for number, share in enumerate(run.budget.shares, 1):
        clock.time += 3
        run.log(number, loss=1.0, notes=10, updates=number)
        run.stage(share)
    assert taken == [0.25]
    assert [entry["seconds"] for entry in run.history] == [3.0, 6.0, 9.0, 12.0]
    assert (run.seconds, run.out_of_time) == (12.0, True)
    resumed = Run(0, run.budget, tmp_path, take=take)
    resumed.begin(2)
    assert resumed.seconds == 6.0


def test_a_stage_needs_its_number_of_updates(tmp_path: Path) -> None:
    run = Run(0, Budget(updates=4, evaluations=4, stages=(0.25,)), tmp_path)
    run.begin()
    with pytest.raises(TrialError, match=r"run.stage\(0.25\) needs the number of updates"):
        run.stage(0.25)
    run.log(1, loss=1.0, notes=10)
    run.stage(0.5)  # none is due there
    with pytest.raises(TrialError, match=r"run.stage\(0.25\) needs the number of updates"):
        run.stage(0.25)


def test_events_say_whether_epochs_count(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    trained(tmp_path / "epochs", 1, emit=events.append)
    run = Run(0, Budget(updates=8, evaluations=4, stages=(0.125,)), tmp_path / "updates", emit=events.append)
    run.begin()
    run.log(1, loss=1.0, notes=10, share=0.125)
    assert [(e["epochs"], e["in_epochs"], e.get("share")) for e in events] == [(9, True, None), (5, False, 0.125)]


def test_a_long_budget_costs_each_evaluation_no_time(tmp_path: Path) -> None:
    run = Run(0, Budget(epochs=300_000), tmp_path)
    run.begin()
    run.log(1, loss=1.0, notes=1)  # the shares are computed once
    before = time.process_time()
    for epoch in range(2, 22):
        run.log(epoch, loss=1.0, notes=1)
    assert time.process_time() - before < 1.0, "computed each time: 10 s"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only ended processes tell their time")
def test_a_log_has_what_a_worker_used_until_then(tmp_path: Path) -> None:
    """Not only what it had used when it was last looked at, up to a tenth of a second before."""
    busy = "import sys, time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\nsys.stdin.read()"
    run = Run(0, Budget(2), tmp_path)
    run.begin()
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        with mock.patch.object(cpu_time, "EVERY", 60.0):
            assert worker.stdout is not None
            worker.stdout.readline()
            run.log(1, loss=1.0, notes=1)
        worker.communicate("")
    assert run.history[0]["core_seconds"] >= 0.35


def test_nothing_is_logged_before_the_clock_runs(tmp_path: Path) -> None:
    """Its training would have taken no time, and a budget in seconds no end."""
    run = Run(0, Budget(2), tmp_path)
    with pytest.raises(TrialError, match=r"run.log\(\) was called before run.begin\(\)"):
        run.log(1, loss=1.0, notes=10)


def test_the_clock_and_the_log_begin_once(tmp_path: Path) -> None:
    """In the loop of evaluations, begin() threw away what was logged: a training of 11 s was told as one of 1.2 s."""
    run = trained(tmp_path, 2)
    with pytest.raises(TrialError, match=r"begin\(\) was called again, after evaluation 2"):
        run.begin()
    run.begin(2)
    assert [entry["epoch"] for entry in run.history] == [1, 2]


def test_updates_are_those_so_far(tmp_path: Path) -> None:
    """Given since the last time, a search took 4 of them for its whole budget of 26."""
    run = Run(0, Budget(updates=40), tmp_path)
    run.begin()
    run.log(1, loss=1.0, notes=10, updates=5, share=run.share(updates=5))
    with pytest.raises(TrialError, match="with 4 updates, after 5 had been told"):
        run.log(2, loss=1.0, notes=10, updates=4, share=0.25)
    share = run.share(updates=10)
    with pytest.raises(TrialError, match="with 5 updates, after 10 had been told"):
        run.log(2, loss=1.0, notes=10, updates=5, share=share)
    run.log(2, loss=1.0, notes=10, updates=10, share=share)


def test_a_log_of_each_update_is_refused_before_nothing_can_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MOST_LOG", 4000)
    run = Run(0, Budget(epochs=1000), tmp_path)
    run.begin()

    def log() -> None:
        for epoch in range(1, 1000):
            run.log(epoch, loss=1.0, notes=10)

    with pytest.raises(TrialError, match="MiB are logged already") as caught:
        log()
    assert "Log evaluations" in caught.value.hint
    kept = len(run.history)
    assert 20 < kept < 60
    resumed = Run(0, run.budget, tmp_path)
    resumed.begin(kept - 1)
    resumed.log(kept, loss=1.0, notes=10)
    with pytest.raises(TrialError, match="MiB are logged already"):
        resumed.log(kept + 1, loss=1.0, notes=10)


def test_a_clock_that_stands_goes_on_after_the_outermost_block_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    run = Run(0, Budget(updates=4, evaluations=2, stages=(0.5,)), tmp_path)
    run.begin()
    now = 3.0
    with run.paused():
        now = 5.0
        run.log(1, loss=1.0, notes=10, updates=2)
        run.stage(0.5)
        now = 9.0
    now = 10.0
    assert run.seconds == 4.0
    assert run.history[0]["seconds"] == 3.0


def test_an_untrained_network_logs_nothing(tmp_path: Path) -> None:
    """A plug-in that trains all the same would fill the row of initial weights with a trained network."""
    run = Run(0, Budget(0), tmp_path)
    run.begin()
    with pytest.raises(TrialError, match="the budget is 0 epochs"):
        run.log(1, loss=1.0, notes=10)


@pytest.mark.parametrize("notes", [-1, 10**18, float("nan")])
def test_notes_are_a_number_of_them(tmp_path: Path, notes: float) -> None:
    run = trained(tmp_path, 1)
    with pytest.raises(TrialError, match=r"called with .* notes"):
        run.log(2, loss=1.0, notes=notes)  # type: ignore[arg-type]
    assert len(run.history) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"fold": 1},
        {"seconds": 2.0},
        {"updates": 10**18},
        {"updates": float("nan")},
        {"updates": -1},
        {"share": float("nan")},
        {"share": -1},
        {"validation_bits": -5},
    ],
)
def test_what_can_not_be_logged_is_refused_in_words(tmp_path: Path, values: dict[str, float]) -> None:
    run = trained(tmp_path, 1)
    with pytest.raises(TrialError, match=f"called with .*{next(iter(values))}"):
        run.log(2, loss=1.0, notes=10, **values)
    assert len(run.history) == 1
