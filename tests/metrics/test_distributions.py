"""Pitch classes and timing: by hand, at the edges, and invariants."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from bench.api import Notes
from bench.metrics import Undefined, distributions
from bench.music.notes import LONGEST

from .melodies import notes

histograms = st.lists(st.integers(0, 50), min_size=12, max_size=12).filter(any).map(np.array)
music = st.lists(
    st.tuples(st.integers(30, 90), st.integers(1, 127), st.floats(0, 60), st.floats(0.01, 5)), min_size=1, max_size=30
)


def made(rows: list[tuple[int, int, float, float]], up: int = 0) -> Notes:
    pitch, velocity, onset, duration = zip(*rows, strict=True)
    return Notes.from_columns(onset, duration, [p + up for p in pitch], velocity)


def test_by_hand() -> None:
    generated = Notes.from_columns([0, 1, 3], [1, 1, 1], [60, 62, 60], [10, 10, 40])
    real = Notes.from_columns([5, 6, 7], [1, 2, 3], [60, 64, 64], [10, 10, 20])
    found = distributions.evaluate(generated, real)
    # Pitch classes: C 2/3, D 1/3 against C 1/3, E 2/3. The mean has C 1/2, D 1/6, E 1/3; each side's entropy is one third's.
    third = math.log2(3) - 2 / 3
    middle = 1 / 2 + math.log2(6) / 6 + math.log2(3) / 3
    assert found == {
        "pitch_class_js": pytest.approx(middle - third, abs=1e-15),
        "ioi_w1": pytest.approx(0.5),  # 1 2 against 1 1
        "duration_w1": pytest.approx(1.0),  # 1 1 1 against 1 2 3
    }


def test_different_numbers_of_notes() -> None:
    found = distributions.evaluate(notes([60, 61]), notes([60, 62, 64], onset=[0.0, 0.5, 2.0]))
    assert found["ioi_w1"] == pytest.approx(0.5)  # half of 0.5 goes to 1.5


@given(*[st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)] * 2)
def test_wasserstein_is_scipys(one: list[float], other: list[float]) -> None:
    assert distributions.wasserstein(one, other) == wasserstein_distance(one, other)


def test_no_notes() -> None:
    for pair in ((notes([]), notes([60, 61])), (notes([60, 61]), notes([])), (notes([]), notes([]))):
        assert set(distributions.evaluate(*pair).values()) == {Undefined("no notes to compare")}


def test_one_note() -> None:
    assert distributions.evaluate(notes([60]), notes([61])) == {
        "pitch_class_js": 1.0,
        "ioi_w1": Undefined("one note has no inter-onset interval"),
        "duration_w1": 0.0,
    }


def test_a_chord_alone_has_intervals_of_0_s() -> None:
    chord, line = notes([60, 64, 67], onset=[1.0, 1.0, 1.0]), notes([60, 64, 67])
    assert distributions.ioi_w1(chord, line) == 0.5


def test_a_time_counts_for_10_s_at_most() -> None:
    def played(onset: list[float], duration: list[float]) -> Notes:
        return Notes.from_columns(onset, duration, [60, 62, 64], [80] * 3)

    usual = played([0, 1, 2], [1, 1, 1])
    assert distributions.evaluate(usual, played([0, 1, 2], [12_000, 1, 1]))["duration_w1"] == pytest.approx(3)
    assert distributions.ioi_w1(usual, played([0, 1, 12_000], [1, 1, 1])) == pytest.approx(4.5)


def test_octaves_are_one_pitch_class() -> None:
    assert distributions.evaluate(notes([48, 64]), notes([72, 76]))["pitch_class_js"] == 0.0


def test_entropy_by_hand() -> None:
    assert distributions.entropy(np.array([1, 1, 0, 2])) == 1.5
    assert str(distributions.entropy(np.array([0, 7]))) == "0.0"


@given(histograms, histograms)
def test_jensen_shannon(one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    found = distributions.jensen_shannon(one, other)
    assert 0 <= found <= 1
    assert found == pytest.approx(distributions.jensen_shannon(other, one), abs=1e-12)
    assert found == pytest.approx(float(jensenshannon(one, other, base=2)) ** 2, abs=1e-9)
    assert distributions.jensen_shannon(one, one) == pytest.approx(0, abs=1e-12)


@given(music, st.floats(0, 5))
def test_longer_notes_are_as_far_as_they_are_longer(rows: list[tuple[int, int, float, float]], longer: float) -> None:
    real = made(rows)
    generated = Notes(real.onset, real.duration + longer, real.pitch, real.velocity)
    assert distributions.evaluate(generated, real)["duration_w1"] == pytest.approx(longer, abs=1e-9)


@given(music, st.integers(-30, 30))
def test_music_against_itself_and_transposed(rows: list[tuple[int, int, float, float]], up: int) -> None:
    own = distributions.evaluate(made(rows), made(rows))
    assert own["pitch_class_js"] == pytest.approx(0, abs=1e-12)
    assert own["duration_w1"] == 0.0
    moved = distributions.evaluate(made(rows, up), made(rows))
    assert {k: v for k, v in moved.items() if k != "pitch_class_js"} == {k: v for k, v in own.items() if k != "pitch_class_js"}
    if up % 12 == 0:
        assert moved["pitch_class_js"] == own["pitch_class_js"]


def test_the_longest_times_stay_finite() -> None:
    huge = Notes.from_columns([0, LONGEST / 2], [LONGEST / 2, 1.0], [60, 61], [80, 80])
    found = distributions.evaluate(huge, notes([60, 61], [70, 90]))
    assert all(isinstance(v, float) and math.isfinite(v) for v in found.values())
