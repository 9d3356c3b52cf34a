"""How pitches and velocities are spread: by hand, at the edges, and invariants."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from bench.api import Notes
from bench.metrics import Undefined, spread, table2

from .melodies import notes, pairs, pitches


@given(pitches, st.integers(-20, 20))
def test_transposing_by_k_is_a_distance_of_k(low: list[int], k: int) -> None:
    middle = [20 + p % 88 for p in low]
    one, other = notes(middle), notes([p + k for p in middle])
    assert table2.evaluate(other, one)["pitch_distance"] == abs(k)
    assert spread.evaluate(other, one)["pitch_w1"] == pytest.approx(abs(k))
    ratio = spread.sd_ratio(other, one)
    assert isinstance(ratio, Undefined) if len(set(middle)) == 1 else ratio == pytest.approx(1.0)


def test_by_hand() -> None:
    found = spread.evaluate(notes([60, 60, 60, 64], [50, 50, 50, 50]), notes([58, 62, 58, 62], [60, 60, 40, 40]))
    assert found == {
        "pitch_sd_ratio": pytest.approx(math.sqrt(3) / 2),
        "velocity_sd_ratio": 0.0,
        "step_ratio": pytest.approx((4 / 3) / 4),
        "unique_pitches": 2.0,
        "top_pitch_share": 75.0,
        "pitch_w1": pytest.approx((2 + 2 + 2 + 2) / 4),  # sorted: 60 60 60 64 against 58 58 62 62
        "velocity_w1": 10.0,
    }


def test_one_note_has_no_spread() -> None:
    found = spread.evaluate(notes([60]), notes([62]))
    assert found["pitch_sd_ratio"] == Undefined("the real notes all have one pitch")
    assert found["velocity_sd_ratio"] == Undefined("the real notes all have one velocity")
    assert found["step_ratio"] == Undefined("one note has no interval")
    assert (found["unique_pitches"], found["top_pitch_share"], found["pitch_w1"]) == (1.0, 100.0, 2.0)


def test_two_equal_notes_against_varied_ones_have_ratio_zero() -> None:
    assert spread.sd_ratio(notes([60, 60]), notes([60, 64])) == 0.0


def test_two_equal_notes() -> None:
    varied = notes([60, 64], [70, 90])
    assert spread.step_ratio(notes([60, 60]), varied) == 0.0
    assert spread.step_ratio(varied, notes([60, 60])) == Undefined("the real notes all have one pitch")


def test_steps_of_different_numbers_of_notes() -> None:
    assert spread.step_ratio(notes([60, 61]), notes([60, 62, 64])) == 0.5
    assert spread.step_ratio(notes([60, 62, 60]), notes([60, 64, 64])) == 1.0


def test_steps_inside_a_chord_go_up() -> None:
    assert spread.step_ratio(notes([67, 60, 64], onset=[1.0, 1.0, 1.0]), notes([60, 64, 67])) == 1.0


def test_constant_velocity() -> None:
    assert spread.velocity_sd_ratio(notes([60, 64], [64, 64]), notes([60, 64], [70, 90])) == 0.0
    assert spread.velocity_sd_ratio(notes([60, 64], [70, 90]), notes([60, 64], [64, 64])) == Undefined(
        "the real notes all have one velocity"
    )
    assert spread.evaluate(notes([60, 62], [64, 64]), notes([60, 62], [64, 64]))["velocity_w1"] == 0.0


def test_a_wider_spread_of_velocities() -> None:
    assert spread.velocity_sd_ratio(notes([60] * 3, [10, 10, 40]), notes([60] * 3, [10, 10, 20])) == pytest.approx(3.0)


def test_no_notes() -> None:
    for pair in ((notes([]), notes([60])), (notes([60]), notes([])), (notes([]), notes([]))):
        assert set(spread.evaluate(*pair).values()) == {Undefined("no notes to compare")}


@given(pairs(), st.integers(-20, 20))
def test_a_transposed_copy_is_as_varied(pair: tuple[Notes, Notes], up: int) -> None:
    real = pair[0]
    low = 20 + real.pitch.astype(np.int64) % 88
    original, copy = (Notes.from_columns(real.onset, real.duration, pitch, real.velocity) for pitch in (low, low + up))
    found = spread.evaluate(copy, original)
    for name in ("pitch_sd_ratio", "velocity_sd_ratio", "step_ratio"):
        assert isinstance(found[name], Undefined) or found[name] == pytest.approx(1.0)


def test_order_is_nothing_to_wasserstein() -> None:
    one, backwards = notes([60, 72, 65, 61]), notes([61, 65, 72, 60])
    assert spread.evaluate(one, backwards)["pitch_w1"] == 0.0


@given(pairs())
def test_w1_is_never_above_the_distance(pair: tuple[Notes, Notes]) -> None:
    one, other = pair
    assert spread.evaluate(one, other)["pitch_w1"] <= table2.evaluate(one, other)["pitch_distance"] + 1e-9  # type: ignore[operator]
