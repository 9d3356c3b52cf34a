"""The distances between notes of the same index: by hand, at the edges, and invariants."""

from __future__ import annotations

import pytest
from hypothesis import given

from bench.api import DataError, Notes
from bench.metrics import Undefined, table2

from .melodies import notes, pairs


def test_distances_by_hand() -> None:
    found = table2.evaluate(notes([60, 64, 67], [80, 80, 80]), notes([62, 60, 67], [70, 90, 81]))
    assert found == {"pitch_distance": pytest.approx((2 + 4 + 0) / 3), "velocity_distance": pytest.approx((10 + 10 + 1) / 3)}


def test_distance_of_one_note() -> None:
    assert table2.evaluate(notes([0], [1]), notes([127], [127])) == {"pitch_distance": 127.0, "velocity_distance": 126.0}


def test_a_copy_shifted_by_one_note_looks_bad() -> None:
    scale = [60, 72] * 10
    assert table2.evaluate(notes(scale[1:]), notes(scale[:-1]))["pitch_distance"] == 12


def test_different_numbers_of_notes_are_refused() -> None:
    with pytest.raises(DataError, match="sample of 2 notes can't be compared with a target of 3 notes"):
        table2.evaluate(notes([60, 61]), notes([60, 61, 62]))


def test_seconds_compare_only_the_beginning() -> None:
    generated = notes([60, 61, 62, 63], onset=[5.0, 5.5, 6.9, 7.0])
    real = notes([70, 71, 72, 73], onset=[0.0, 1.0, 1.5, 2.0])
    one, other = table2.aligned(generated, real, seconds=2.0)
    assert (list(one.pitch), list(other.pitch)) == ([60, 61, 62], [70, 71, 72])  # the note at exactly 2 s is outside
    assert table2.evaluate(generated, real, seconds=2.0)["pitch_distance"] == 10


def test_seconds_allow_different_numbers_of_notes() -> None:
    assert table2.evaluate(notes([60, 60]), notes([61, 62, 90]), seconds=90.0)["pitch_distance"] == 1.5


@given(pairs())
def test_distance_is_a_metric(pair: tuple[Notes, Notes]) -> None:
    one, other = pair
    assert set(table2.evaluate(one, one).values()) == {0.0}
    assert table2.evaluate(one, other) == table2.evaluate(other, one)


def test_no_notes_give_no_number() -> None:
    assert set(map(type, table2.evaluate(notes([]), notes([])).values())) == {Undefined}
