"""Events: what begins together, what sounds, and the top line, on music small enough to draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from bench.api import Notes
from bench.metrics.events import TOLERANCE, Events, events

from .chords import music


def pitches(heard: Events) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in heard.sounding]


def test_notes_within_the_tolerance_of_the_first_are_one_event() -> None:
    notes = Notes.from_columns([0, 0.025, 0.05, 0.075, 0.5], [0.02] * 5, [60, 64, 67, 71, 72], [80] * 5)
    heard = events(notes)
    # 0.075 is within 50 ms of its neighbour but not of the first: events don't grow note by note.
    assert heard.event.tolist() == [0, 0, 0, 1, 2]
    assert heard.onset.tolist() == [0, 0.075, 0.5]
    assert pitches(heard) == [[60, 64, 67], [71], [72]]


@pytest.mark.parametrize(("duration", "held"), [(1.0, False), (1.04, False), (1.06, True), (2.5, True)])
def test_a_note_sounds_on_if_it_outlasts_the_tolerance(duration: float, held: bool) -> None:
    notes = Notes.from_columns([0, 1, 2], [duration, 0.5, 0.5], [48, 60, 62], [80] * 3)
    assert pitches(events(notes))[1] == ([48, 60] if held else [60])
    assert pitches(events(notes))[2] == ([48, 62] if duration > 2 + TOLERANCE else [62])


def test_one_pitch_that_sounds_twice_is_one_voice() -> None:
    notes = Notes.from_columns([0, 0, 1], [3, 1, 1], [60, 60, 60], [80] * 3)
    assert events(notes).voices.tolist() == [1, 1]


def test_the_top_line_has_no_note_that_is_held() -> None:
    # The soprano holds 72 over three chords, then steps down.
    notes = Notes.from_columns([0, 0, 1, 2, 3], [2.5, 1, 1, 1, 1], [72, 60, 62, 64, 71], [80] * 5)
    heard = events(notes)
    assert heard.top.tolist() == [72, 72, 72, 71]
    assert heard.line.tolist() == [72, 71]


def test_pitch_classes_fold_octaves() -> None:
    notes = Notes.from_columns([0, 0, 0], [1, 1, 1], [0, 67, 127], [80] * 3)
    assert np.flatnonzero(events(notes).classes[0]).tolist() == [0, 7]


def test_empty_music_has_no_event() -> None:
    heard = events(Notes.from_columns([], [], [], []))
    assert (len(heard.onset), heard.sounding.shape, heard.classes.shape, len(heard.line)) == (0, (0, 128), (0, 12), 0)


@given(music())
def test_against_a_slow_version(notes: Notes) -> None:
    heard = events(notes)
    ends = notes.onset + notes.duration
    for at, start in enumerate(heard.onset):
        begun = {int(p) for p, t in zip(notes.pitch, notes.onset, strict=True) if start <= t <= start + TOLERANCE}
        held = {int(p) for p, t, e in zip(notes.pitch, notes.onset, ends, strict=True) if t < start and e > start + TOLERANCE}
        assert pitches(heard)[at] == sorted(begun | held)
        assert np.flatnonzero(heard.classes[at]).tolist() == sorted({p % 12 for p in begun | held})
        assert heard.top[at] == max(begun | held)
