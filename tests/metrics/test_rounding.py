"""Times that rounding alone makes differ are the same: music on a grid has the same values wherever it begins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Notes
from bench.metrics.alignment import by_onset
from bench.metrics.events import events
from bench.metrics.frechet import descriptors

#: Steps of 10 ms, as models of events write them; 53 of them less 50 are above 30 ms.
GAPS = st.lists(st.sampled_from([0, 1, 3, 5, 12, 25]), min_size=9, max_size=40)


def on_grid(gaps: list[int], begin: int, length: int = 5) -> Notes:
    step = begin + np.cumsum(gaps)
    pitch = 60 + np.arange(len(gaps)) % 12
    return Notes.from_columns(step / 100, np.full(len(gaps), length / 100), pitch, np.full(len(gaps), 80))


@given(GAPS, st.integers(0, 10_000))
def test_music_on_a_grid_is_described_alike_wherever_it_begins(gaps: list[int], begin: int) -> None:
    here, there = on_grid(gaps, 0), on_grid(gaps, begin)
    assert descriptors(there) == pytest.approx(descriptors(here), abs=1e-6)
    one, other = events(here), events(there)
    assert one.event.tolist() == other.event.tolist()
    assert (one.sounding == other.sounding).all(), "a note of 50 ms doesn't sound at an event 50 ms later"


def test_gaps_of_exactly_30_ms_are_chords() -> None:
    step = np.arange(0, 300, 3)
    notes = Notes.from_columns(step / 100, np.full(100, 0.1), np.full(100, 60), np.full(100, 80))
    assert (np.diff(notes.onset) > 0.03).sum() > 30, "as doubles, many are above it"
    assert descriptors(notes)[8] == 1.0


@pytest.mark.parametrize("tempo", [90, 100, 110, 140])
@pytest.mark.parametrize("beats", [0, 1, 7])
def test_of_two_events_as_near_the_earlier_is_taken_at_any_tempo(tempo: int, beats: int) -> None:
    quarter = 60 / tempo
    quavers = (np.arange(64) / 2 + beats) * quarter
    semiquavers = (np.arange(127) / 4 + beats) * quarter
    slow = Notes.from_columns(quavers, np.full(64, 0.1), 40 + np.arange(64), np.full(64, 80))
    fast = Notes.from_columns(semiquavers, np.full(127, 0.1), 40 + np.arange(127) // 2, np.full(127, 80))
    # Each semiquaver between two quavers has the pitch of the one before it.
    assert by_onset(events(fast), events(slow)) == 0.0
