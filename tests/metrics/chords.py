"""Small music for tests of events: chords by hand, and drawn by hypothesis on a grid far wider than an event's tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from bench.api import Notes

#: Seconds between the places where drawn notes begin.
GRID = 0.25


def chords(*pitches: Sequence[int]) -> Notes:
    """One chord a second, each a second long."""
    onset = np.repeat(np.arange(len(pitches), dtype=float), [len(chord) for chord in pitches])
    pitch = [p for chord in pitches for p in chord]
    return Notes.from_columns(onset, np.ones(len(pitch)), pitch, np.full(len(pitch), 80))


@st.composite
def music(draw: st.DrawFn, size: int = 24, least: int = 1) -> Notes:
    """`least` to `size` notes between pitches 40 and 88, which leaves room to transpose."""
    n = draw(st.integers(least, size))

    def many(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=n, max_size=n))

    onset, duration = np.array(many(0, 2 * size)) * GRID, np.array(many(1, 12)) * GRID
    return Notes.from_columns(onset, duration, many(40, 88), np.full(n, 80))


def transposed(notes: Notes, by: int) -> Notes:
    return Notes(notes.onset, notes.duration, notes.pitch.astype(np.int64) + by, notes.velocity)


def scaled(notes: Notes, by: float) -> Notes:
    return Notes(notes.onset * by, notes.duration * by, notes.pitch, notes.velocity)
