"""Notes: validation, order, immutability."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import DataError, Notes

rows = st.lists(
    st.tuples(st.floats(0, 1e4, allow_nan=False), st.floats(1e-3, 60, allow_nan=False), st.integers(0, 127), st.integers(1, 127)),
    max_size=40,
)


def columns(table):
    return [list(c) for c in zip(*table, strict=True)] if table else [[], [], [], []]


@given(rows)
def test_from_columns_sorts_and_keeps_every_note(table):
    notes = Notes.from_columns(*columns(table))
    assert list(zip(notes.onset, notes.pitch, strict=True)) == sorted((o, p) for o, _, p, _ in table)
    assert sorted(zip(notes.onset, notes.duration, notes.pitch, notes.velocity, strict=True)) == sorted(table)


@given(rows, st.integers(0, 40))
def test_a_slice_is_a_view(table, cut):
    notes = Notes.from_columns(*columns(table))
    part = notes[:cut]
    assert len(part) == min(cut, len(notes))
    if len(part):
        assert np.shares_memory(part.onset, notes.onset)


def test_columns_cannot_be_written():
    notes = Notes.from_columns([0.0], [1.0], [60], [64])
    with pytest.raises(ValueError, match="read-only"):
        notes.pitch[0] = 61


def test_making_notes_leaves_the_callers_array_writable():
    onset, duration, pitch, velocity = np.zeros(1), np.ones(1), np.array([60], np.uint8), np.array([64], np.uint8)
    notes = Notes(onset, duration, pitch, velocity)
    onset[0], duration[0], pitch[0], velocity[0] = 1.0, 2.0, 61, 65
    assert notes == Notes.from_columns([0.0], [1.0], [60], [64]), "which may be used again, as for the next continuation"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("onset", [-0.1, 1.0], "onset must be at least 0 s and below"),
        ("onset", [0.0, np.nan], "onset must be at least 0 s and below"),
        ("onset", [1.0, 0.0], "not sorted"),
        ("duration", [0.0, 1.0], "duration must be above 0 s and below"),
        ("duration", [1.0, 1e-20], "duration is too short"),
        ("velocity", [0, 64], "velocity must be 1-127"),
        ("pitch", [60], r"Notes\.pitch has shape \(1,\), expected \(2,\)"),
        ("pitch", [128, 60], "pitch has 128"),
    ],
)
def test_bad_columns_are_named(column, value, message):
    good = {"onset": [0.0, 1.0], "duration": [1.0, 1.0], "pitch": [60, 62], "velocity": [64, 64]}
    with pytest.raises(DataError, match=message):
        Notes(**{k: np.asarray(v) for k, v in (good | {column: value}).items()})


def test_a_chord_is_sorted_by_pitch():
    with pytest.raises(DataError, match="sorted"):
        Notes(np.zeros(2), np.ones(2), np.array([64, 60]), np.array([1, 1]))


@pytest.mark.parametrize("make", [Notes, Notes.from_columns])
@pytest.mark.parametrize("column", ["onset", "duration", "pitch", "velocity"])
@given(value=st.one_of(st.integers(-600, 600), st.floats(-600, 600), st.just(float("nan")), st.sampled_from([math.inf, 2**70])))
def test_a_number_is_kept_or_refused(make, column, value):
    """Converted to a byte, 300 would be 44, and NaN 0."""
    numbers = {"onset": 0.0, "duration": 1.0, "pitch": 60, "velocity": 64} | {column: value}
    possible = {
        "onset": 0 <= value < 1e5,
        "duration": 0 < value < 1e5,  # the onset is 0
        "pitch": 0 <= value <= 127 and int(value) == value,
        "velocity": 1 <= value <= 127 and int(value) == value,
    }
    if possible[column]:
        assert getattr(make(**{name: np.array([number]) for name, number in numbers.items()}), column).tolist() == [value]
    else:
        with pytest.raises(DataError, match=column):
            make(**{name: np.array([number]) for name, number in numbers.items()})


@pytest.mark.parametrize("make", [Notes, Notes.from_columns])
@pytest.mark.parametrize("column", ["onset", "duration", "pitch", "velocity"])
@pytest.mark.parametrize(
    "value",
    [
        *([60 + 0j, 61 + 0j], [True, True], ["60", "61"], [None, 60], [60, 61, 62], [60], [[60, 61]], 60),
        *(
            np.array(pair, object)
            for pair in (["60", "61"], ["0.5", 1], [True, 60], [np.bool_(True), 60], [60 + 0j, Fraction(61)])
        ),
        *(np.array([(60,), (61,)], [("pitch", kind)]) for kind in ("u1", "f8")),
    ],
    ids=repr,
)
def test_what_is_no_column_is_refused(make, column, value):
    good = {"onset": [0.0, 1.0], "duration": [1.0, 1.0], "pitch": [60, 62], "velocity": [64, 64]}
    with pytest.raises(DataError, match=r"Notes\.\w+ (has|must)"):
        make(**good | {column: value})


def test_numbers_of_other_kinds_are_numbers():
    """As those of music21, of decimals, or of a matrix of objects."""
    notes = Notes.from_columns(
        [Fraction(1, 2), 0], [Decimal("0.25"), 1.0], np.array([64, 60], object), np.array([80, 70.0], object)
    )
    assert notes == Notes.from_columns([0.0, 0.5], [1.0, 0.25], [60, 64], [70, 80])


def test_later_notes_are_sorted_again_and_keep_a_length():
    """Onsets that a sum brings together, of pitches that fall, made a trial with a harmony fail, and a listening test."""
    notes = Notes.from_columns([7.3, np.nextafter(7.3, 8), 7.4], [1, 1, 1e-15], [64, 48, 50], [80, 81, 82])
    later = notes.shifted(1000.0)
    assert (later.pitch.tolist(), later.velocity.tolist()) == ([48, 64, 50], [81, 80, 82])
    assert later.onset[0] == later.onset[1] == 1007.3
    assert (later.onset + later.duration > later.onset).all()


def test_concatenate_sorts_tracks_together():
    low = Notes.from_columns([0.0, 1.0], [1, 1], [40, 41], [64, 64])
    high = Notes.from_columns([0.0, 0.5], [1, 1], [80, 81], [64, 64])
    assert Notes.concatenate([high, low]).pitch.tolist() == [40, 80, 81, 41]
    assert len(Notes.concatenate([])) == 0
