"""Rules of alignment: by hand, against slow versions, and what each promises."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Notes
from bench.metrics import Undefined, evaluate_sample, evaluate_samples, table2
from bench.metrics.alignment import METRICS, by_onset, by_soprano, by_warping, roll_distance
from bench.metrics.alignment import evaluate_samples as align
from bench.metrics.events import Events, events

from .chords import chords, music, scaled, transposed

NAMES = tuple(m.name for m in METRICS)


def distances(one: Notes, other: Notes) -> dict[str, float | Undefined]:
    return align([events(one)], [events(other)])[0]


def test_by_onset_takes_the_nearest_event_and_there_the_nearest_pitch() -> None:
    one, other = chords([60, 64], [62]), chords([61], [60, 65])
    # 60 and 64 to 61: 1, 3; 62 to 60: 2. The other way 61 to 60: 1; 60 and 65 to 62: 2, 3.
    assert by_onset(events(one), events(other)) == ((1 + 3 + 2) / 3 + (1 + 2 + 3) / 3) / 2


def test_by_onset_is_by_time_and_not_by_index() -> None:
    real = chords(*([p] for p in range(60, 70)))
    # One note too many at the start of the second bar: by index all later notes are a semitone off.
    late = Notes.from_columns([*range(10), 4.4], [1] * 11, [*range(60, 70), 64], [80] * 11)
    assert by_onset(events(late), events(real)) == 0


def test_of_two_events_as_near_the_earlier_counts() -> None:
    one = Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 62, 64], [80] * 3)
    other = Notes.from_columns([0, 2], [1, 1], [60, 70], [80] * 2)
    # 62 is as near to 60 as to 70 in time: 0, 2, 6 one way; 0, 6 the other.
    assert by_onset(events(one), events(other)) == pytest.approx((8 / 3 + 6 / 2) / 2)


def test_by_soprano_is_a_mean_over_time() -> None:
    one = Notes.from_columns([0, 0, 3], [3, 3, 1], [60, 48, 64], [80] * 3)
    other = Notes.from_columns([0, 1], [1, 3], [60, 62], [80] * 2)
    # 60 and 60 for 1 s, 60 and 62 for 2 s, 64 and 62 for 1 s.
    assert by_soprano(events(one), events(other)) == (0 * 1 + 2 * 2 + 2 * 1) / 4
    # The shorter side's last note is held: 62 against 64 for another 4 s.
    long = Notes.from_columns([0, 0, 3], [3, 3, 5], [60, 48, 64], [80] * 3)
    assert by_soprano(events(long), events(other)) == (0 * 1 + 2 * 2 + 2 * 5) / 8


def test_the_roll_counts_common_time_over_all() -> None:
    one = chords([60, 64], [62])
    assert roll_distance(one, chords([60], [62, 65])) == pytest.approx(100 * (1 - 2 / 4))
    assert roll_distance(one, transposed(one, 1)) == 100
    # At half tempo the first second of [60, 64] is common to both, and nothing of 62, which comes later.
    assert roll_distance(one, scaled(one, 2)) == pytest.approx(100 * (1 - 2 / (3 + 6 - 2)))


@given(music(), music())
def test_onsets_and_rolls_against_every_pair_of_notes(one: Notes, other: Notes) -> None:
    def one_way(of: Events, to: Events) -> float:
        there, sums = to.onset - to.onset[0], 0.0
        for pitch, event in zip(of.notes.pitch.tolist(), of.event.tolist(), strict=True):
            nearest = int(np.abs(there - (of.onset[event] - of.onset[0])).argmin())
            sums += min(abs(pitch - p) for p in to.notes.pitch[to.event == nearest].tolist())
        return sums / len(of.notes)

    def strokes(notes: Notes) -> list[tuple[int, float, float]]:
        rows = sorted(zip(notes.pitch.tolist(), notes.onset.tolist(), (notes.onset + notes.duration).tolist(), strict=True))
        again = [following[1] if following[0] == pitch else math.inf for (pitch, *_), following in pairwise([*rows, (-1, 0, 0)])]
        return [(pitch, a - notes.onset[0], min(b, c) - notes.onset[0]) for (pitch, a, b), c in zip(rows, again, strict=True)]

    left, right = strokes(one), strokes(other)
    both = sum(max(0.0, min(b, d) - max(a, c)) for p, a, b in left for q, c, d in right if p == q)
    either = sum(b - a for _, a, b in [*left, *right]) - both
    assert roll_distance(one, other) == pytest.approx(100 * (1 - both / either), abs=1e-6)
    a, b = events(one), events(other)
    assert by_onset(a, b) == pytest.approx((one_way(a, b) + one_way(b, a)) / 2)


@pytest.mark.parametrize("step", [0.0, 0.0625])
def test_long_samples_take_memory_by_their_notes_and_no_warping(step: float) -> None:
    """16,000 notes of one pitch are 38 kB in a run folder of others, and took 12 GB; their warping takes minutes."""
    n = 20_000
    long = Notes.from_columns(np.arange(n) * step, np.full(n, 0.1), np.full(n, 60), np.full(n, 80))
    tracemalloc.start()
    found = distances(long, long)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20
    assert isinstance(found.pop("pitch_by_warping"), Undefined)
    assert set(found.values()) == {0}


def test_a_key_struck_again_ends_the_note_before() -> None:
    again = Notes.from_columns([0, 1, 1], [3, 1, 0.5], [60, 60, 60], [80] * 3)
    assert roll_distance(again, Notes.from_columns([0], [2], [60], [80])) == 0


def slow_warping(one: list[int], other: list[int]) -> float:
    """The recurrence as Sakoe & Chiba wrote it."""
    best: dict[tuple[int, int], float] = {(-1, -1): 0.0}
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            cost = abs(a - b)
            steps = [best.get((i - 1, j), np.inf) + cost, best.get((i, j - 1), np.inf) + cost]
            best[i, j] = min(*steps, best.get((i - 1, j - 1), np.inf) + 2 * cost)
    return best[len(one) - 1, len(other) - 1] / (len(one) + len(other))


@given(st.data(), st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
def test_warping_many_pairs_against_one_by_one(data: st.DataObject, n: int, m: int, pairs: int) -> None:
    def series(length: int) -> np.ndarray:
        each = st.lists(st.integers(0, 127), min_size=length, max_size=length)
        return np.array(data.draw(st.lists(each, min_size=pairs, max_size=pairs)), np.uint8)

    ones, others = series(n), series(m)
    expected = [slow_warping(a, b) for a, b in zip(ones.tolist(), others.tolist(), strict=True)]
    assert by_warping(ones, others).tolist() == pytest.approx(expected)


def test_warping_of_long_and_far_series_does_not_overflow() -> None:
    assert by_warping(np.zeros((1, 1000), np.uint8), np.full((1, 1000), 127, np.uint8)).tolist() == [127]


def test_warping_forgives_a_note_too_many() -> None:
    real = [60, 62, 64, 65, 67]
    assert by_warping(np.array([[60, 60, 62, 64, 65]], np.uint8), np.array([real], np.uint8)).tolist() == [0.2]


@given(music())
def test_a_copy_has_no_distance(notes: Notes) -> None:
    assert distances(notes, notes) == dict.fromkeys(NAMES, 0.0)
    # Nor has one that begins later: times count from the first note.
    assert distances(notes.shifted(8.0), notes) == dict.fromkeys(NAMES, 0.0)


@given(music(), music())
def test_all_are_symmetric(one: Notes, other: Notes) -> None:
    there, back = distances(one, other), distances(other, one)
    assert there == pytest.approx(back)
    assert all(isinstance(value, float) and value >= 0 for value in there.values())


@given(music(), music(), st.integers(-30, 30))
def test_transposing_both_sides_changes_nothing(one: Notes, other: Notes, by: int) -> None:
    assert distances(transposed(one, by), transposed(other, by)) == pytest.approx(distances(one, other))


@given(music(), music(), st.sampled_from([0.5, 2.0, 4.0]))
def test_the_tempo_of_both_sides_changes_nothing(one: Notes, other: Notes, by: float) -> None:
    assert distances(scaled(one, by), scaled(other, by)) == pytest.approx(distances(one, other))


@given(music(size=12, least=12), music(size=12, least=12))
def test_warping_is_never_above_the_index_aligned_distance(one: Notes, other: Notes) -> None:
    found = evaluate_sample(one, other)
    assert found["pitch_by_warping"] <= found["pitch_distance"] + 1e-9  # type: ignore[operator]


@pytest.mark.parametrize("rule", [by_onset, by_soprano])
def test_a_transposed_melody_is_that_far(rule: Callable[..., float]) -> None:
    melody = chords(*([p] for p in (60, 62, 64, 65)))
    assert rule(events(melody), events(transposed(melody, 3))) == 3


def test_empty_music_is_undefined() -> None:
    nothing = Notes.from_columns([], [], [], [])
    for one, other in ((nothing, nothing), (nothing, chords([60])), (chords([60]), nothing)):
        assert distances(one, other) == dict.fromkeys(NAMES, Undefined("no notes to compare"))


def test_samples_of_several_lengths_are_measured_as_each_alone() -> None:
    samples = [chords([60], [62]), chords([60], [64], [65]), chords([61], [62]), chords([60, 64], [67])]
    targets = [chords([60], [63]), chords([60], [62], [64]), chords([60], [63]), chords([60], [62], [64])]
    prompts = [chords([60, 64, 67])] * 4
    together = evaluate_samples(samples, targets, seconds=None, prompts=prompts)
    alone = [evaluate_sample(s, t, None, p) for s, t, p in zip(samples, targets, prompts, strict=True)]
    assert together == alone


def test_seconds_limit_what_is_aligned() -> None:
    one, other = chords([60], [62], [90]), chords([60], [62], [40])
    found = evaluate_sample(one, other, seconds=2.0)
    assert [found[name] for name in ("pitch_distance", *NAMES)] == [0.0] * 5
    assert found["extra_voices"] == 0
    assert evaluate_sample(one, other)["pitch_by_soprano"] == pytest.approx(50 / 3)


def test_seconds_limit_distances_by_index_and_alignment_alone() -> None:
    """So say the manual and the report."""
    one, other = (
        Notes.from_columns(
            np.sort(rng.uniform(0, 30, 60)), rng.uniform(0.1, 1, 60), rng.integers(40, 90, 60), rng.integers(20, 110, 60)
        )
        for rng in map(np.random.default_rng, (1, 2))
    )
    whole, cut = evaluate_sample(one, other), evaluate_sample(one, other, seconds=5.0)
    changed = {name for name in whole if whole[name] != cut[name]}
    assert changed == {*NAMES, *(metric.name for metric in table2.METRICS)}
