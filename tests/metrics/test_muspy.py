"""MuSpy's descriptors: by hand, at the edges, and invariants. Beats are 0.5 s, bars 2 s, a step is 1/48 s."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from bench.api import Notes
from bench.metrics import METRICS, Undefined, Value, evaluate_sample, muspy

NAMES = {m.name for m in muspy.METRICS}
NO_NOTES = Notes.from_columns([], [], [], [])


def measure(onset: list[float], duration: list[float], pitch: list[int]) -> dict[str, Value]:
    return muspy.evaluate(Notes.from_columns(onset, duration, pitch, [80] * len(pitch)), NO_NOTES)


rows = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(1, 400), st.integers(30, 90)),
    min_size=1,
    max_size=40,
)


def on_grid(rows: list[tuple[int, int, int]], up: int = 0, later: int = 0) -> dict[str, Value]:
    step = 1 / muspy.STEPS_PER_SECOND
    onset, duration, pitch = zip(*rows, strict=True)
    return measure([(o + later) * step for o in onset], [d * step for d in duration], [p + up for p in pitch])


def test_pitches_by_hand() -> None:
    found = measure([0, 1, 2, 3], [1, 1, 1, 1], [60, 72, 62, 61])
    assert found["pitch_range"] == 12.0
    assert found["unique_pitch_classes"] == 3.0
    assert found["pitch_entropy"] == 2.0
    assert found["pitch_class_entropy"] == 1.5  # C twice, C sharp, D
    assert found["scale_consistency"] == 0.75  # no major scale has C, C sharp and D


def test_scales_by_hand() -> None:
    a_minor = Notes.from_columns(range(4), [1] * 4, [57, 60, 64, 67], [80] * 4)  # A C E G
    assert muspy.scale_consistency(a_minor) == 1.0
    harmonic = Notes.from_columns(range(4), [1] * 4, [57, 60, 65, 68], [80] * 4)  # A C F G sharp
    assert muspy.scale_consistency(harmonic) == 0.75
    chromatic = Notes.from_columns(range(12), [1] * 12, range(60, 72), [80] * 12)
    assert muspy.scale_consistency(chromatic) == 7 / 12


def test_polyphony_by_hand() -> None:
    """1 s alone, 1 s with a second pitch, 0.5 s with a third, 0.5 s alone, a rest of 1 s, 1 s alone."""
    found = measure([10, 11, 12, 14], [3, 1.5, 0.5, 1], [60, 64, 67, 72])
    assert found["polyphony"] == pytest.approx((1 + 2 + 1.5 + 0.5 + 1) / 4, abs=1e-12)
    assert found["polyphony_rate"] == pytest.approx(1.5 / 5, abs=1e-12)
    assert found["muspy_polyphony_rate"] == pytest.approx(0.5 / 5, abs=1e-12)


def test_notes_of_one_pitch_count_once() -> None:
    """The second lies in the first, the third laps over its end, the fourth follows at once, the fifth later."""
    found = measure([0, 1, 3, 6, 8], [4, 1, 3, 1, 1], [60] * 5)
    assert (found["polyphony"], found["polyphony_rate"]) == (1.0, 0.0)
    assert found["empty_beat_rate"] == pytest.approx(2 / 18)


def test_empty_beats_by_hand() -> None:
    """Beats 0 and 3 of four. In MuSpy the first note, which ends with its beat, also fills beat 1, and there is a beat 4."""
    found = measure([0, 1.5], [0.5, 0.5], [60, 60])
    assert found["empty_beat_rate"] == 0.5
    assert found["muspy_empty_beat_rate"] == pytest.approx(1 / 5)
    # Bar 0 of one; MuSpy has a bar 1, filled by the end at 2 s.
    assert (found["empty_measure_rate"], found["muspy_empty_measure_rate"]) == (0.0, 0.0)


def test_empty_bars_by_hand() -> None:
    """Bars 0 and 3 of four. In MuSpy the note that ends at 8 s fills bar 4 too."""
    found = measure([0, 6], [1, 2], [60, 60])
    assert found["empty_measure_rate"] == 0.5
    assert found["muspy_empty_measure_rate"] == pytest.approx(2 / 5)


def test_groove_by_hand() -> None:
    """Onsets at steps 0, 24 | 0, 48 |, and a last note that ends with bar 1: MuSpy compares bar 1 with an empty bar 2."""
    found = measure([0, 0.5, 2, 3], [0.25, 0.25, 0.25, 1], [60] * 4)
    assert found["groove_consistency"] == pytest.approx(1 - 2 / 96, abs=1e-12)
    assert found["muspy_groove_consistency"] == pytest.approx(1 - (2 + 2) / 192, abs=1e-12)


def test_a_rest_of_a_bar_counts_in_the_groove() -> None:
    found = measure([0, 4], [0.25, 0.25], [60, 60])
    assert found["groove_consistency"] == pytest.approx(1 - 2 / 192, abs=1e-12)


def test_no_notes() -> None:
    found = muspy.evaluate(NO_NOTES, NO_NOTES)
    assert found.keys() == NAMES
    assert set(found.values()) == {Undefined("no notes")}


def test_one_note() -> None:
    short = Undefined("less than two bars of 2 s")
    assert measure([7], [0.25], [60]) == {
        "pitch_range": 0.0,
        "unique_pitch_classes": 1.0,
        "pitch_entropy": 0.0,
        "pitch_class_entropy": 0.0,
        "scale_consistency": 1.0,
        "polyphony": 1.0,
        "polyphony_rate": 0.0,
        "empty_beat_rate": 0.0,
        "empty_measure_rate": 0.0,
        "groove_consistency": short,
        "muspy_polyphony_rate": 0.0,
        "muspy_empty_beat_rate": 0.0,
        "muspy_empty_measure_rate": 0.0,
        "muspy_groove_consistency": short,
    }


def test_a_note_is_at_least_a_step() -> None:
    found = measure([0, 0.001], [0.001, 0.001], [60, 64])
    assert (found["polyphony"], found["polyphony_rate"]) == (2.0, 1.0)


def test_two_equal_notes() -> None:
    together, apart = measure([1, 1], [0.5, 0.5], [60, 60]), measure([1, 3], [0.5, 0.5], [60, 60])
    assert (together["pitch_entropy"], together["polyphony"]) == (0.0, 1.0)
    assert together["groove_consistency"] == Undefined("less than two bars of 2 s")
    assert apart["groove_consistency"] == 1.0


def test_a_chord_alone() -> None:
    found = measure([1, 1, 1], [2, 2, 2], [60, 64, 67])
    assert (found["polyphony"], found["polyphony_rate"], found["muspy_polyphony_rate"]) == (3.0, 1.0, 1.0)
    assert found["groove_consistency"] == Undefined("less than two bars of 2 s")
    assert found["muspy_groove_consistency"] == pytest.approx(1 - 1 / 96, abs=1e-12)  # a phantom bar 1


def test_the_cost_is_not_in_the_seconds() -> None:
    """A day of silence: a piano roll of it would have 500 million cells."""
    day = 86400.0
    found = measure([0, day], [1, 1], [60, 60])
    assert found["polyphony"] == 1.0
    assert found["empty_beat_rate"] == pytest.approx(1 - 4 / (2 * day + 2))


@given(rows)
def test_ranges(rows: list[tuple[int, int, int]]) -> None:
    found = on_grid(rows)
    assert found.keys() == NAMES
    n = len(rows)
    for name, value in found.items():
        if isinstance(value, Undefined):
            assert "groove" in name
            continue
        assert math.isfinite(value)
        if METRICS[name].unit == "":
            assert 0 <= value <= 1
    highest = {"polyphony": n, "pitch_entropy": math.log2(n) + 1e-9, "pitch_class_entropy": math.log2(12) + 1e-9}
    assert all(value <= highest[name] for name, value in found.items() if name in highest and not isinstance(value, Undefined))
    assert found["polyphony"] >= 1
    assert found["scale_consistency"] >= 7 / 12 - 1e-12
    assert found["pitch_class_entropy"] <= found["pitch_entropy"] + 1e-12
    assert found["muspy_polyphony_rate"] <= found["polyphony_rate"]


@given(rows, st.integers(-30, 30), st.integers(0, 10_000))
def test_transposed_and_later_is_the_same(rows: list[tuple[int, int, int]], up: int, later: int) -> None:
    first, moved = on_grid(rows), on_grid(rows, up, later)
    for name, value in first.items():
        assert moved[name] == (value if isinstance(value, Undefined) else pytest.approx(value, abs=1e-12)), name


@given(rows)
def test_steps_by_pitches_are_a_piano_rolls(rows: list[tuple[int, int, int]]) -> None:
    onset, duration, pitch = (np.array(c) for c in zip(*sorted(rows), strict=True))
    roll = np.zeros((onset.max() + duration.max() + 1, 128), bool)
    for o, d, p in zip(onset, duration, pitch, strict=True):
        roll[o : o + d, p] = True
    found = muspy.steps_by_pitches(onset - onset[0], onset - onset[0] + duration, pitch.astype(np.uint8))
    expected = np.bincount(roll.sum(1)[onset[0] : (onset + duration).max()])
    assert np.trim_zeros(found, "b") == expected.tolist()


def test_they_are_columns_of_a_sample() -> None:
    one = Notes.from_columns([0, 1], [1, 1], [60, 64], [80, 90])
    assert NAMES <= evaluate_sample(one, one).keys() <= METRICS.keys()
