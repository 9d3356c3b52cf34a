"""Sections, transposition and the chords under them, by hand."""

import io

import numpy as np
import pretty_midi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.music.harmony.accompaniment import accompaniment, voiced
from bench.music.harmony.form import form_piece, layout, transposed
from bench.music.harmony.plan import Plan
from bench.music.harmony.settings import Form
from bench.music.midi import midi_bytes, tracks_bytes
from bench.music.notes import Notes

PLAN = Plan("C major", (0, 2, 4, 5, 7, 9, 11), ((0, 4, 7), (7, 11, 2)), 2)
PAPER = Form()


def melody(pitches, start=0.0, duration=0.5):
    n = len(pitches)
    return Notes(start + np.arange(n) / 2, np.full(n, duration), np.array(pitches, np.uint8), np.full(n, 80, np.uint8))


def written(seed=0, n=180):
    return melody(np.random.default_rng(seed).integers(40, 90, n), start=7.25)


def test_the_papers_form_has_four_sections_and_420_notes():
    assert (PAPER.written, PAPER.length) == (180, 420)
    piece = form_piece(written(), PAPER)
    assert len(piece) == 420
    a, b = written().pitch[:120], written().pitch[120:]
    np.testing.assert_array_equal(piece.pitch, np.concatenate([a, a, b + 3, a]))
    assert [len(part) for part in np.split(piece.pitch, [120, 240, 300])] == [120, 120, 60, 120]


def test_the_sections_follow_each_other_without_overlap():
    piece = form_piece(written(), PAPER)
    # 120 and 60 notes, half a second each.
    np.testing.assert_allclose(piece.onset[[0, 120, 240, 300]], [7.25, 67.25, 127.25, 157.25])
    np.testing.assert_allclose(piece.onset[:120] - 7.25, piece.onset[300:] - 157.25)
    np.testing.assert_array_equal(piece.duration[:120], piece.duration[120:240])


def test_a_held_note_ends_its_section():
    held = Notes(np.array([0.0, 0.5, 1.0]), np.array([4.0, 0.5, 0.5]), np.array([60, 62, 64], np.uint8), np.full(3, 80, np.uint8))
    piece = form_piece(held, Form(sections="AB", a=2, b=1))
    assert piece.onset.tolist() == [0.0, 0.5, 4.0]


def test_a_minor_third_is_three_semitones_and_stays_in_midis_range():
    notes = melody([0, 60, 124, 125, 127])
    assert transposed(notes, 3).pitch.tolist() == [3, 63, 127, 116, 118]
    assert transposed(notes, -3).pitch.tolist() == [9, 57, 121, 122, 124]


@given(st.integers(0, 127), st.integers(-12, 12))
def test_transposition_moves_the_pitch_class_whatever_the_range(pitch, semitones):
    (moved,) = transposed(melody([pitch]), semitones).pitch.tolist()
    assert (moved - pitch - semitones) % 12 == 0


@given(st.text("AB", min_size=1, max_size=5).filter(lambda s: "A" in s), st.integers(1, 6), st.integers(1, 6), st.integers(-5, 5))
def test_the_layout_says_where_each_note_came_from(sections, a, b, semitones):
    form = Form(sections=sections, a=a, b=b, transpose=semitones)
    source = melody(np.arange(50, 50 + form.written))
    piece, where = form_piece(source, form), layout(form, form.length)
    assert len(piece) == form.length
    np.testing.assert_array_equal(piece.pitch, source.pitch[where.source] + where.shift)
    assert where.section.tolist() == [i for i, s in enumerate(sections) for _ in range({"A": a, "B": b}[s])]


def test_without_a_form_nothing_changes():
    assert form_piece(written(), None) == written()
    assert layout(None, 3).source.tolist() == [0, 1, 2]


def test_no_more_is_laid_out_than_is_asked_for() -> None:
    """A run of others asked for a section of 10^9 notes, and its score for 32 GB."""
    found = layout(Form(sections="BA", a=10**9, b=3, transpose=2), 5)
    assert [column.tolist() for column in found] == [[10**9, 10**9 + 1, 10**9 + 2, 0, 1], [2, 2, 2, 0, 0], [0, 0, 0, 1, 1]]
    assert layout(Form(sections="A" * 10**6, a=1), 2).section.tolist() == [0, 1]


@pytest.mark.parametrize(("chord", "shift", "pitches"), [((0, 4, 7), 0, [48, 52, 55]), ((7, 11, 2), 0, [55, 59, 62]),
                                                         ((7, 11, 2), 3, [58, 62, 65]), ((11, 2, 5, 9), 0, [59, 62, 65, 69]),
                                                         ((10, 2, 5), 3, [49, 53, 56])])  # fmt: skip
def test_chords_in_close_position(chord, shift, pitches):
    assert voiced(chord, shift) == pitches


def test_the_chords_lie_under_the_melody():
    # Two notes a chord, A = 3 notes, B = 1: I I V | V | I I V, and B a tone up.
    form = Form(sections="ABA", a=3, b=1, transpose=2)
    piece = form_piece(melody([60, 64, 67, 71]), form)
    chords = accompaniment(piece, PLAN, layout(form, 7))
    found = sorted(set(zip(chords.onset.tolist(), (chords.onset + chords.duration).tolist(), strict=True)))
    assert found == [(0.0, 1.0), (1.0, 1.5), (1.5, 2.0), (2.0, 3.0), (3.0, 3.5)]
    by_onset = [chords.pitch[chords.onset == start].tolist() for start, _ in found]
    assert by_onset == [[48, 52, 55], [55, 59, 62], [57, 61, 64], [48, 52, 55], [55, 59, 62]]
    assert set(chords.velocity.tolist()) == {50}


def test_a_chord_without_length_is_left_out():
    at_once = Notes(np.zeros(4), np.full(4, 1.0), np.array([60, 64, 67, 71], np.uint8), np.full(4, 80, np.uint8))
    chords = accompaniment(at_once, PLAN, layout(None, 4))
    assert chords.pitch.tolist() == [55, 59, 62]
    assert len(accompaniment(at_once[:0], PLAN, layout(None, 0))) == 0


def test_a_file_of_two_named_tracks_with_tempo():
    piece = form_piece(written(), PAPER)
    tracks = {"melody": piece, "accompaniment": accompaniment(piece, PLAN, layout(PAPER, 420))}
    midi = pretty_midi.PrettyMIDI(io.BytesIO(tracks_bytes(tracks, tempo=90)))
    assert [(track.name, len(track.notes)) for track in midi.instruments] == [("melody", 420), ("accompaniment", 3 * 210)]
    assert midi.get_tempo_changes()[1].tolist() == pytest.approx([90], rel=1e-5)
    assert midi_bytes(piece) == tracks_bytes({"": piece})
