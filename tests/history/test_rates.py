"""How often trends change without a cause, whether changes are found, and whether the gate stays right with a history's noise."""

from __future__ import annotations

from . import gate_simulation, simulation


def test_at_most_5_percent_of_histories_without_a_change_show_one() -> None:
    """Of 60, 3 would be 5 %: more than 6 in 1 of 100 cases. ``docs/history.md`` has more."""
    found = simulation.equal(60, 10, 5, seed=11)
    assert found["tests"] > 600
    assert found["alarms"] <= 6, found["called"]
    assert found["last"] <= 6, found["called"]


def test_changes_of_twice_a_threshold_are_found_at_their_run() -> None:
    found = simulation.changed(40, 10, 5, seed=12)
    assert found["exact"] >= 0.8 * 40
    assert found["others"] <= 5


def test_trainings_that_come_again_show_no_change() -> None:
    found = simulation.again(30, 12, 3, seed=15)
    assert found["alarms"] <= 4, found["called"]
    assert found["last"] <= 4, found["called"]


def test_a_training_that_takes_twice_as_long_is_found() -> None:
    found = simulation.slower(20, 12, 3, seed=16, percent=100)
    assert found["exact"] >= 0.8 * 20
    assert found["others"] <= 3


def test_the_gate_with_a_history_calls_at_most_5_percent_of_equal_runs_worse() -> None:
    assert gate_simulation.equal(40, 3, 4, seed=13)["alarms"] <= 5


def test_a_history_helps_the_gate() -> None:
    found = gate_simulation.worse(40, 3, 4, seed=14)
    assert found["with"] >= found["without"]
    assert found["with"] >= 0.85 * 40
