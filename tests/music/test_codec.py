"""The shared codec: edges, order, round trips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import DataError, NoteCodec, Notes, PluginError
from bench.music.codec import DURATION_SPAN, TIME_SPAN

codec = NoteCodec()


def test_hand_computed_note():
    notes = Notes.from_columns([1.0, 1.0, 1.5], [0.5, 0.010, 20.0], [60, 64, 67], [80, 1, 127])
    codes = codec.encode(notes)
    assert codes[:, 0].tolist() == [60, 64, 67]
    assert codes[:, 1].tolist() == [80, 1, 127]
    # Shift 0.5 s: edges are 0.004 * 2000**(k/62), so ln(125) / ln(2000) * 62 = 39.38 edges from the first, class 40.
    assert codes[:, 2].tolist() == [0, 0, 40]
    # 0.5 s: ln(0.5/0.015) / ln(800) * 62 = 32.52, class 33; 10 ms is below the first edge; 20 s above the last.
    assert codes[:, 3].tolist() == [33, 0, 63]


def test_first_note_has_no_silence_before_it_unless_told():
    note = Notes.from_columns([3.0], [1.0], [60], [64])
    assert codec.encode(note)[0, 2] == 0
    assert codec.encode(note, previous_onset=2.5)[0, 2] == 40


def test_empty():
    nothing = Notes.from_columns([], [], [], [])
    assert codec.encode(nothing).shape == (0, 4)
    assert len(codec.decode(np.empty((0, 4), int))) == 0


@pytest.mark.parametrize("classes", [8, 64, 100])
def test_every_class_decodes_into_itself(classes):
    codec = NoteCodec(classes, classes)
    k = np.arange(classes)
    assert np.array_equal(np.searchsorted(codec.time_edges, codec.time_values, side="right"), k)
    assert np.array_equal(np.searchsorted(codec.duration_edges, codec.duration_values, side="right"), k)
    assert codec.time_edges[[0, -1]] == pytest.approx(TIME_SPAN)
    assert codec.duration_edges[[0, -1]] == pytest.approx(DURATION_SPAN)


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(1, 127), st.integers(1, 63), st.integers(0, 63)), min_size=1))
def test_codes_survive_notes(rows):
    # Time class 0 is left out: a chord is sorted by pitch, so its codes come back in another order.
    codes = np.array(rows)
    again = codec.encode(codec.decode(codes, start=5.0), previous_onset=5.0)
    assert np.array_equal(again, codes)


@given(st.floats(0.004, 7.0), st.floats(0.015, 11.0))
def test_quantisation_error_is_within_a_class(shift, duration):
    notes = codec.decode(codec.encode(Notes.from_columns([0.0, shift], [1.0, duration], [60, 60], [1, 1])))
    assert abs(np.log(notes.onset[1] / shift)) <= np.log(2000) / 62
    assert abs(np.log(notes.duration[1] / duration)) <= np.log(800) / 62


def test_a_note_off_velocity_is_heard():
    assert codec.decode(np.array([[60, 0, 0, 0]])).velocity[0] == 1


@pytest.mark.parametrize("classes", [(2, 64), (64, 2), (1, 1), (64, 32_769), (8.0, 8.0), (True, 8), ("8", 8)])
def test_other_numbers_of_classes_are_refused(classes: tuple[int, int]) -> None:
    with pytest.raises(PluginError, match="needs a whole number from 3 to 32,768"):
        NoteCodec(*classes)
    assert NoteCodec(3, 3).sizes == (128, 128, 3, 3)


def test_numpys_numbers_of_classes_are_numbers() -> None:
    sizes = NoteCodec(*np.array([8, 4])).sizes
    assert (sizes, {type(size) for size in sizes}) == ((128, 128, 8, 4), {int})


def test_the_last_of_the_most_classes_has_a_code_of_its_own() -> None:
    fine = NoteCodec(2**15, 2**15)
    codes = fine.encode(Notes.from_columns([0.0, 1000.0], [1000.0, 1000.0], [60, 60], [1, 1]))
    assert codes[1].tolist() == [60, 1, 2**15 - 1, 2**15 - 1]


@pytest.mark.parametrize("codes", [[-1, 1, 0, 0], [128, 1, 0, 0], [0, 128, 0, 0], [60, 1, -1, 0], [60, 1, 64, 0], [60, 1, 0, -1]])
def test_codes_that_there_are_not_are_refused(codes: list[int]) -> None:
    """As an index -1 is the last."""
    with pytest.raises(DataError, match=r"A code of (pitch|velocity|time|duration) isn't from 0 to"):
        codec.decode(np.array([[60, 1, 0, 0], codes]))
