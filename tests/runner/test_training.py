"""A trial's budget as its training gets it, and what its outcome says of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.api import Budget, Run
from bench.errors import TrialError
from bench.runner.training import TrainingRun, limits
from bench.specs.schema import BudgetChoice, Compute
from bench.storage.outcome import Stage
from bench.storage.run_folder import samples_file
from bench.storage.samples import Samples, write_samples


def choice(**compute: float) -> BudgetChoice:
    return BudgetChoice(compute=Compute(**compute), patience=3, max_seconds=60.0, evaluations=8, stages=(0.5,))


@pytest.mark.parametrize(
    ("spec", "device", "yardstick", "expected"),
    [
        (BudgetChoice(epochs=5, patience=3, max_seconds=60.0), "cpu", 0.05, Budget(5, 3, 60.0)),
        (BudgetChoice(epochs=0), "cpu", None, Budget(0)),
        (choice(updates=600), "cpu", 0.05, Budget(1, 3, 60.0, updates=600, evaluations=8, stages=(0.5,))),
        (choice(notes=600), "cpu", 0.05, Budget(1, 3, 60.0, notes=600, evaluations=8, stages=(0.5,))),
        # Half the yardstick's time on this machine: half the seconds, for the same work. On a GPU it says nothing.
        (choice(seconds=30.0), "cpu", 0.05, Budget(1, 3, 60.0, seconds=15.0, evaluations=8, stages=(0.5,))),
        (choice(seconds=30.0), "cuda", 0.05, Budget(1, 3, 60.0, seconds=30.0, evaluations=8, stages=(0.5,))),
        (choice(seconds=30.0), "cpu", None, Budget(1, 3, 60.0, seconds=30.0, evaluations=8, stages=(0.5,))),
    ],
)
def test_a_spec_budget_becomes_a_trainings(spec: BudgetChoice, device: str, yardstick: float, expected: Budget) -> None:
    assert limits(spec, device, yardstick) == expected


def test_the_measured_updates_stand_for_yardstick_seconds_alone() -> None:
    pinned = {"updates": 450}
    assert limits(choice(seconds=30.0).model_copy(update=pinned), "cpu", 0.05).updates == 450
    assert limits(choice(seconds=30.0).model_copy(update=pinned), "cpu", 0.05).seconds is None
    assert limits(choice(updates=600).model_copy(update=pinned), "cpu", 0.05).updates == 600
    assert limits(choice(notes=600).model_copy(update=pinned), "cpu", 0.05).updates is None


def run_in(folder: Path, budget: Budget) -> TrainingRun:
    def take(share: float) -> None:
        write_samples(samples_file(folder, share), Samples({}))

    return TrainingRun(seed=0, budget=budget, folder=folder / "checkpoint", take=take)


STAGED = Budget(updates=40, evaluations=4, stages=(0.25, 0.1, 0.6))  # shares 0.1 0.25 0.5 0.6 0.75 1


def test_stages_are_those_that_were_taken(tmp_path: Path) -> None:
    run = run_in(tmp_path, STAGED)
    run.begin()
    # An evaluation at 0.25 is the first past 0.1, too.
    for number, updates, shares in ((2, 10, (0.1, 0.25)), (3, 20, ()), (4, 24, (0.6,))):
        run.log(number, loss=1.0, notes=100, updates=updates)
        for share in shares:
            run.stage(share)
    first, second, third = run.stages()
    assert first == Stage(share=0.1, updates=10, notes=100, seconds=run.history[0]["seconds"])
    assert second == first.model_copy(update={"share": 0.25})
    assert (third.share, third.updates, third.notes) == (0.6, 24, 300)
    # Of 0.6 the samples exist; the kill came before the evaluation's checkpoint.
    resumed = run_in(tmp_path, STAGED)
    resumed.begin(3)
    assert [stage.share for stage in resumed.stages()] == [0.1, 0.25]
    assert [entry["epoch"] for entry in resumed.history] == [2, 3]


def test_a_stage_has_the_figures_of_the_evaluation_before_it_however_these_are_numbered(tmp_path: Path) -> None:
    run = run_in(tmp_path, Budget(updates=100, evaluations=4, stages=(0.5,)))
    run.begin()
    for number in range(10, 101, 10):
        run.log(number, loss=1.0, notes=100, updates=number, share=number / 100)
        if number == 50:
            run.stage(0.5)
    (stage,) = run.stages()
    assert stage == Stage(share=0.5, updates=50, notes=500, seconds=run.history[4]["seconds"])
    again = run_in(tmp_path, run.budget)
    again.begin(70)
    assert again.stages() == (stage,)


def test_no_stage_before_its_share(tmp_path: Path) -> None:
    run = run_in(tmp_path, STAGED)
    run.begin()
    run.log(1, loss=1.0, notes=100, updates=4, share=0.1)
    run.stage(0.1)
    with pytest.raises(TrialError, match=r"run.stage\(0.25\) was called at 0.1 of the budget"):
        run.stage(0.25)
    assert [stage.share for stage in run.stages()] == [0.1]
    run.log(2, loss=1.0, notes=100, updates=8)  # of 40
    with pytest.raises(TrialError, match=r"run.stage\(0.25\) was called at 0.2 of the budget"):
        run.stage(0.25)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_a_stage_that_was_taken_and_is_lost_is_not_passed_over(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    run = run_in(tmp_path, STAGED)
    run.begin()
    run.log(2, loss=1.0, notes=100, updates=10)
    run.stage(0.25)
    damage(samples_file(tmp_path, 0.25))
    with pytest.raises(TrialError, match=r"The result at 0\.25 of the budget is lost"):
        run_in(tmp_path, STAGED).begin(2)


@pytest.mark.parametrize(
    ("budget", "logged", "share", "held"),
    [
        (Budget(updates=40), {"updates": 40, "share": 1.0}, 1.0, True),
        (Budget(updates=40), {"updates": 20, "share": 0.5}, 0.5, True),
        (Budget(updates=40), {"updates": 80, "share": 2.0}, 2.0, False),
        (Budget(updates=40), {"updates": 80, "share": 1.0}, 2.0, False),
        (Budget(updates=40), {"share": 1.0}, 1.0, True),
        (Budget(updates=40), {"updates": 40}, None, False),
        (Budget(notes=200), {"share": 1.0}, 1.0, True),
        (Budget(notes=100), {"share": 1.0}, 2.0, False),
        (Budget(notes=100), {"updates": 20, "share": 1.0}, 1.95, False),
        (Budget(notes=200), {"updates": 20, "share": 1.0}, 1.0, True),
        (Budget(seconds=100.0), {"share": 1.05}, 1.05, True),
        (Budget(seconds=1e-9), {"share": 1.0}, None, False),
    ],
)
def test_the_share_of_a_budget_is_counted_whatever_was_logged(
    tmp_path: Path, budget: Budget, logged: dict[str, float], share: float | None, held: bool
) -> None:
    run = run_in(tmp_path, budget)
    run.begin()
    run.log(1, loss=1.0, notes=100, **({"updates": 0} if "updates" in logged else {}))
    run.log(2, loss=1.0, notes=100, **logged)
    summary = run.summary(wall=1.0)
    if share is not None:
        assert summary.share == share
    assert summary.held_to_budget == held


Step = tuple[int, float, bool]


@pytest.mark.parametrize(
    ("steps", "used"),
    [
        # Updates and seconds until a call of share(), and whether an evaluation is logged then.
        ([(1, 4.0, True), (2, 9.0, False), (3, 14.0, True)], 1.0),  # the last update ended behind the end
        ([(1, 4.0, True), (2, 9.0, False), (2, 13.0, True)], 1.0),  # the last evaluation did
        ([(9, 9.0, True), (19, 10.5, True)], 1.035),  # it was asked for after ten updates
        ([(50, 50.0, True)], 4.9),  # after a whole pass, once
        ([(1, 5.0, False), (2, 10.0, True), (3, 15.0, False), (4, 20.0, True)], 2.0),  # it went on
    ],
)
@pytest.mark.parametrize("killed", [False, True])
def test_what_ends_a_budget_in_seconds_may_end_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[Step], used: float, killed: bool
) -> None:
    """How long an update and an evaluation take beside the budget depends on the machine, and so would a row's rank."""
    now = 0.0
    monkeypatch.setattr(TrainingRun, "core_seconds", property(lambda run: now))
    run, number = run_in(tmp_path, Budget(seconds=10.0)), 0
    run.begin()
    for updates, now, logged in steps:  # noqa: B007 (what the clock shows)
        share = run.share(updates=updates)
        if logged:
            number += 1
            run.log(number, loss=1.0, notes=10, updates=updates, share=share)
    if killed:  # after its last checkpoint
        run = run_in(tmp_path, run.budget)
        run.begin(number)
        run.share(updates=updates)
    summary = run.summary(wall=1.0)
    assert (summary.share, summary.held_to_budget) == (pytest.approx(used), used <= 1.1)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(
    ("asks", "logs", "used"),
    [
        (
            lambda run, updates: run.share(updates=updates),
            {"updates", "clamped"},
            4.96,
        ),  # min(1, share), each epoch of 100 updates
        (lambda run, updates: 1.0, {"updates", "clamped"}, 4.96),  # never
        (lambda run, updates: 1.0, {"clamped"}, 5.0),
        (lambda run, updates: run.share(), {"clamped"}, 5.0),
        (lambda run, updates: run.share(), {"updates"}, 5.0),
    ],
)
def test_what_goes_beyond_a_budget_in_seconds_is_seen_whatever_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: Callable[[Run, int], float], logs: set[str], used: float, killed: bool
) -> None:
    now = 0.0
    monkeypatch.setattr(TrainingRun, "core_seconds", property(lambda run: now))
    run = run_in(tmp_path, Budget(seconds=10.0))
    run.begin()
    asks(run, 0)
    for number, clock in enumerate([4.0, 8.0, 50.0], 1):
        if killed:  # before each epoch, after the checkpoint
            run = run_in(tmp_path, run.budget)
            run.begin(number - 1)
        now = clock
        share = asks(run, 100 * number)
        counts = {"updates": 100.0 * number} if "updates" in logs else {}
        run.log(number, loss=1.0, notes=10, share=min(1.0, share) if "clamped" in logs else share, **counts)
    summary = run.summary(wall=1.0)
    assert not summary.held_to_budget
    assert summary.share == pytest.approx(used, abs=0.01)


@pytest.mark.parametrize(
    ("asked", "share", "used"),
    [
        (None, 1.0, 1.0),  # a row that counts, in a single pass
        (None, 5.0, 5.0),  # as it says itself
        (1.0, 1.0, 5.0),  # the rest wasn't asked for
        (9.5, 5.0, 1.0),  # the last update and the evaluation
    ],
)
def test_a_single_evaluation_without_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: float | None, share: float, used: float
) -> None:
    now = 0.0
    monkeypatch.setattr(TrainingRun, "core_seconds", property(lambda run: now))
    run = run_in(tmp_path, Budget(seconds=10.0))
    run.begin()
    if asked is not None:
        now = asked
        run.share()
    now = 50.0
    run.log(1, loss=1.0, notes=10, share=share)
    assert run.summary(wall=1.0).share == used


def test_the_last_update_of_a_budget_in_notes_may_end_behind_it(tmp_path: Path) -> None:
    for updates, held in ((1, True), (2, False)):
        run = run_in(tmp_path / str(updates), Budget(notes=100))
        run.begin()
        run.log(1, loss=1.0, notes=300, updates=updates, share=3.0)
        assert run.summary(wall=1.0).held_to_budget == held


@pytest.mark.parametrize(
    ("budget", "numbers", "share", "stopped"),
    [
        (Budget(3), 3, 1.0, "budget"),
        (Budget(3), 2, 2 / 3, "early"),
        (Budget(3, max_seconds=1e-9), 2, 2 / 3, "clock"),
        (Budget(0), 0, 0.0, "untrained"),
        (Budget(0, updates=40, evaluations=4), 4, 1.0, "budget"),
        (STAGED, 6, 1.0, "budget"),
        # A budget in seconds may end in a validation.
        (Budget(seconds=9.0, evaluations=4), 3, 1.1, "budget"),
        (Budget(seconds=9.0, evaluations=4), 3, 0.8, "early"),
    ],
)
def test_the_reason_for_the_end(tmp_path: Path, budget: Budget, numbers: int, share: float, stopped: str) -> None:
    run = run_in(tmp_path, budget)
    run.begin()
    for number in range(1, numbers + 1):
        run.log(number, loss=1.0, notes=100, share=share * number / numbers, updates=10 * number, passes=0.3 * number)
    summary = run.summary(wall=1.0)
    assert summary.stopped == stopped
    if numbers:
        assert (summary.updates, summary.epochs) == (10 * numbers, pytest.approx(0.3 * numbers))


@pytest.mark.parametrize(
    ("budget", "values", "epochs"),
    [
        (Budget(3), {}, 2),
        (Budget(0, updates=40, evaluations=4), {"share": 0.5}, 0.8),
        (Budget(0, updates=40, evaluations=4), {}, 2),  # it knows epochs only
        (Budget(0, updates=40, evaluations=4), {"share": 0.5, "passes": 0.7}, 0.7),
    ],
)
def test_evaluations_are_no_epochs(tmp_path: Path, budget: Budget, values: dict[str, float], epochs: float) -> None:
    """A training that followed the manual's own loop, without the passes, was given one epoch for each evaluation."""
    run = run_in(tmp_path, budget)
    run.training_notes = 250
    run.begin()
    for number in (1, 2):
        run.log(number, loss=1.0, notes=100, **values)
    assert run.summary(wall=1.0).epochs == epochs


def test_the_energy_of_a_resumed_training_is_unknown(tmp_path: Path) -> None:
    run = run_in(tmp_path, Budget(2))
    run.begin()
    run.log(1, loss=1.0, notes=100)
    assert run.summary(wall=1.0, joules=7.0).joules == 7.0
    resumed = run_in(tmp_path, Budget(2))
    resumed.begin(1)
    assert resumed.summary(wall=1.0, joules=7.0).joules is None


@pytest.mark.parametrize(("after", "held"), [(2.0, True), (40.0, False)])
def test_what_comes_after_the_last_evaluation_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: float, held: bool
) -> None:
    """A training of 12 times its budget behind its last log was held to it, and told as 1.2 s."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: now[0])
    run = TrainingRun(0, Budget(seconds=20.0), tmp_path)
    run.begin()
    now[0] += 20
    run.log(1, loss=1.0, notes=10, updates=1, share=run.share(updates=1))
    with run.paused():
        now[0] += 100
    now[0] += after
    summary = run.summary(wall=1.0)
    assert (summary.seconds, summary.core_seconds) == ((20.0, 20.0) if held else (60.0, 60.0))
    assert summary.share == pytest.approx(1.0 if held else 3.0)
    assert summary.held_to_budget is held
