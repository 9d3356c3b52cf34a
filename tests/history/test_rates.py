"""How often trends change without a cause, and whether changes are found."""

from __future__ import annotations

from . import simulation


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
