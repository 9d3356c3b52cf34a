"""What people hear: chords, voices, scale and melody by hand, and what may not change any of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Notes
from bench.metrics import Undefined, Value, evaluate_sample
from bench.metrics.events import events
from bench.metrics.hearing import METRICS, chord_events, evaluate, extra_voices, repeated_melody, semitone_clashes
from bench.plugins.discovery import get_plugin, load

from .chords import chords, music, scaled, transposed

NOTHING = Notes.from_columns([], [], [], [])
#: A scale up and down in C major.
PROMPT = chords([60], [62], [64], [65], [67], [60])


@pytest.mark.parametrize(
    ("chord", "clash"),
    [
        ([60, 61], True),
        ([60, 71], True),  # a major seventh
        ([60, 73], True),  # a minor ninth
        ([36, 95], True),  # far apart: the same two classes as a major seventh
        ([60, 62], False),
        ([60, 72], False),
        ([60, 64, 67, 70], False),
        ([60, 64, 67, 71], True),
        ([60], False),
    ],
)
def test_clashes_are_pitch_classes_a_semitone_apart(chord: Sequence[int], clash: bool) -> None:
    assert semitone_clashes(events(chords(chord))) == 100 * clash


def test_a_held_note_clashes_with_what_begins_later() -> None:
    notes = Notes.from_columns([0, 1, 2, 3], [1.5, 1, 1, 1], [60, 61, 62, 64], [80] * 4)
    assert semitone_clashes(events(notes)) == 25


@pytest.mark.parametrize(
    ("chord", "fits"),
    [
        ([60, 64, 67], True),
        ([52, 60, 67, 72], True),  # an inversion, its root doubled
        ([62, 65, 69], True),
        ([59, 62, 65], True),
        ([60, 64, 68], True),
        ([55, 59, 62, 65], True),
        ([55, 59, 65], True),  # a dominant seventh without its fifth
        ([59, 62, 65, 68], True),
        ([60, 65, 67], False),  # a fourth suspended
        ([60, 62, 67], False),
        ([60, 67, 70], False),  # a seventh without its third
        ([60, 64, 67, 69, 74], False),
        ([60, 61, 62], False),
    ],
)
def test_chords(chord: Sequence[int], fits: bool) -> None:
    assert chord_events(events(chords(chord))) == 100 * fits


def test_as_many_chords_as_theory_counts() -> None:
    """12 roots of each kind; an augmented triad has 4 different ones, a diminished seventh 3."""
    sets = [c for size in (3, 4) for c in combinations(range(60, 72), size)]
    count = sum(chord_events(events(chords(c))) == 100 for c in sets)
    assert count == (3 * 12 + 4) + (4 * 12 + 3) + 3 * 12


def test_events_with_fewer_classes_are_not_counted() -> None:
    assert chord_events(events(chords([60, 64, 67], [60, 72], [60], [60, 61, 62]))) == 50
    assert chord_events(events(chords([60, 72], [60]))) == Undefined("no event has three pitch classes")


def test_extra_voices_are_more_than_the_real_continuation_ever_has() -> None:
    real = events(chords([60], [60, 64, 67, 72], [60, 60]))
    assert extra_voices(events(chords([60, 62, 64, 65], [60, 62, 64, 65, 67], [60])), real) == pytest.approx(100 / 3)
    assert extra_voices(real, real) == 0


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ([60, 62, 64, 65, 67], 0),
        ([60] * 6, 50),  # two patterns, the second is the first
        ([60] * 25, 100 * 20 / 21),
        ([60, 62, 64, 65, 67, 60, 62, 64, 65, 67], 100 / 6),
        ([60, 62, 64, 65, 67, 61, 63, 65, 66, 68], 0),  # a sequence is no repetition of pitches
    ],
)
def test_repeated_melody(line: Sequence[int], share: float) -> None:
    assert repeated_melody(events(chords(*([p] for p in line))).line) == pytest.approx(share)


def test_a_short_line_has_no_pattern() -> None:
    assert repeated_melody(events(chords([60], [62], [64], [65])).line) == Undefined("the top line has fewer than 5 notes")


def test_the_scale_is_that_of_the_prompt() -> None:
    generated, real = chords([60], [61], [62], [63]), chords([60], [62], [64], [66])
    found = evaluate_sample(generated, real, prompt=PROMPT)
    assert (found["prompt_scale"], found["prompt_scale_real"]) == (50, 75)


@pytest.mark.parametrize("prompt", [None, NOTHING])
def test_without_a_prompt_there_is_no_scale(prompt: Notes | None) -> None:
    found = evaluate_sample(PROMPT, PROMPT, prompt=prompt)
    assert found["prompt_scale"] == found["prompt_scale_real"] == Undefined("no prompt has a key")
    assert found["semitone_clashes"] == 0


@pytest.mark.parametrize(("generated", "real"), [(NOTHING, PROMPT), (PROMPT, NOTHING), (NOTHING, NOTHING)])
def test_empty_music_is_undefined(generated: Notes, real: Notes) -> None:
    found = evaluate(events(generated), events(real), PROMPT)
    assert found == dict.fromkeys((m.name for m in METRICS), Undefined("no notes to compare"))


def heard(notes: Notes, real: Notes, prompt: Notes) -> dict[str, Value]:
    return evaluate(events(notes), events(real), prompt)


@given(music(), music(), music(), st.integers(-30, 30))
def test_transposition_changes_nothing(notes: Notes, real: Notes, prompt: Notes, by: int) -> None:
    before, after = heard(notes, real, prompt), heard(transposed(notes, by), real, prompt)
    same = ("semitone_clashes", "chord_events", "extra_voices", "repeated_melody", "prompt_scale_real")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


@given(music(), music(), music(), st.sampled_from([0.5, 2.0, 4.0]))
def test_the_tempo_changes_nothing(notes: Notes, real: Notes, prompt: Notes, by: float) -> None:
    assert heard(scaled(notes, by), real, prompt) == heard(notes, real, prompt)


@given(music(), music(), music())
def test_shares_are_between_0_and_100(notes: Notes, real: Notes, prompt: Notes) -> None:
    values = [v for v in heard(notes, real, prompt).values() if not isinstance(v, Undefined)]
    assert all(0 <= value <= 100 for value in values)


def test_real_chorales() -> None:
    """As they are counted elsewhere: a clash at one event in twelve, four voices at most, five of six chords complete."""
    splits = load(get_plugin("dataset", "chorales"))().load(None, lambda done, total, what: None)
    pieces = [piece.notes[:160] for piece in splits.test if len(piece.notes) >= 160]
    values = [heard(piece[32:], piece[32:], piece[:32]) for piece in pieces]

    def mean(name: str) -> float:
        numbers = [v for each in values if not isinstance(v := each[name], Undefined)]
        return sum(numbers) / len(numbers)

    assert mean("semitone_clashes") == pytest.approx(8, abs=1)
    assert mean("chord_events") == pytest.approx(82, abs=1)
    assert mean("prompt_scale") == pytest.approx(91, abs=1)
    assert {events(piece).voices.max() for piece in pieces} == {4}
