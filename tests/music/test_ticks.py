"""Ticks and scores of symusic: there and back, by hand and for any notes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic import Note, Score, Tempo, Track

from bench.api import DataError, Notes, Ticks, from_score, from_ticks, midi_bytes, read_midi, to_score, to_ticks

NOTES = Notes.from_columns([0.0, 0.5, 0.5, 2.0], [0.5, 1.0, 0.25, 0.125], [60, 64, 67, 72], [80, 70, 60, 50])
columns = st.lists(st.tuples(st.integers(0, 10**5), st.integers(1, 10**5), st.integers(0, 127), st.integers(1, 127)), max_size=20)
grids = st.tuples(st.sampled_from([4, 24, 480, 960]), st.floats(20, 300))


def on_grid(rows: list[tuple[int, int, int, int]]) -> Ticks:
    """Columns sorted as notes are."""
    rows = sorted(rows, key=lambda row: (row[0], row[2]))
    onset, duration, pitch, velocity = (np.array([row[i] for row in rows], np.int64) for i in range(4))
    return Ticks(onset, duration, pitch.astype(np.uint8), velocity.astype(np.uint8))


def test_ticks_by_hand() -> None:
    ticks = to_ticks(NOTES, ticks_per_quarter=24, tempo=60)
    assert ticks.onset.tolist() == [0, 12, 12, 48]
    assert ticks.duration.tolist() == [12, 24, 6, 3]
    assert to_ticks(NOTES, 2, 60).duration.tolist() == [1, 2, 1, 1], "no note vanishes"


@given(columns, grids)
def test_notes_on_the_grid_come_back(rows: list[tuple[int, int, int, int]], grid: tuple[int, float]) -> None:
    ticks = on_grid(rows)
    back = to_ticks(from_ticks(ticks, *grid), *grid)
    assert all(np.array_equal(*pair) for pair in zip(ticks, back, strict=True))


@given(columns)
def test_a_score_holds_what_ticks_hold(rows: list[tuple[int, int, int, int]]) -> None:
    """Overlapping notes of one pitch too, which a MIDI file must spread over channels."""
    notes = from_ticks(on_grid(rows))
    back = from_score(to_score(notes))
    np.testing.assert_allclose(back.onset, notes.onset, atol=1e-9)
    np.testing.assert_allclose(back.duration, notes.duration, atol=1e-9)
    assert back.pitch.tolist() == notes.pitch.tolist()
    assert sorted(back.velocity) == sorted(notes.velocity)


def test_a_score_by_its_tempos_without_drums() -> None:
    score = Score(4)
    score.tempos.extend([Tempo(time=0, qpm=60), Tempo(time=4, qpm=120)])
    for drum, pitch in ((False, 60), (True, 36)):
        track = Track(is_drum=drum)
        track.notes.extend([Note(0, 4, pitch, 80), Note(4, 4, pitch, 80)])
        score.tracks.append(track)
    notes = from_score(score)
    assert (notes.onset.tolist(), notes.duration.tolist(), notes.pitch.tolist()) == ([0, 1], [1, 0.5], [60, 60])
    assert from_score(Score(4)) == Notes.concatenate([])


def test_a_score_and_a_file_are_one() -> None:
    assert from_score(Score.from_midi(midi_bytes(NOTES))) == read_midi(midi_bytes(NOTES)) == NOTES
    seconds = from_score(Score.from_midi(midi_bytes(NOTES), ttype="Second"))
    np.testing.assert_allclose(seconds.onset, NOTES.onset, atol=1e-6)


@pytest.mark.parametrize("grid", [(0, 120.0), (480, 0.0), (480, -1.0), (480, float("inf")), (480, float("nan"))])
def test_what_is_no_grid(grid: tuple[int, float]) -> None:
    with pytest.raises(DataError, match="give no grid"):
        to_ticks(NOTES, *grid)


def test_more_ticks_than_a_file_holds() -> None:
    late = Notes.from_columns([90_000.0], [1.0], [60], [80])
    with pytest.raises(DataError, match=r"more than 2\^28 ticks"):
        to_ticks(late, 960, 300)
