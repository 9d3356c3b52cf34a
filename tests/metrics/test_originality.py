"""What is copied: by hand, at the edges, and against a search that tries every place."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from bench.api import Notes, Piece
from bench.errors import DataError
from bench.metrics import Undefined, copying
from bench.metrics import originality as columns
from bench.metrics.copying import Copied, TrainingIndex, longest_common_run, measure_trial


def notes(pitches: list[int]) -> Notes:
    n = len(pitches)
    return Notes(np.arange(n) * 0.5, np.full(n, 0.25), np.array(pitches, np.uint8), np.full(n, 64, np.uint8))


def pieces(*pitches: list[int]) -> list[Piece]:
    return [Piece(notes(p), str(i)) for i, p in enumerate(pitches)]


def measure(train: list[list[int]], sample: list[int], prompt: list[int] | None = None) -> Copied:
    (found,) = TrainingIndex(pieces(*train)).measure([notes(sample)], [notes(prompt or [])])
    return found


SCALE = list(range(60, 80))


def test_by_hand() -> None:
    # 60-69 are the scale's first ten notes, three of its windows of 8; no window with 1 or 2 in it is known.
    found = measure([[5, 6, 7], SCALE], [1, 2, *range(60, 70), 1, 2], prompt=[9, 66, 67, 68, 9])
    assert found == Copied(longest_training_run=10, longest_prompt_run=3, known_patterns=3 / 7)


def test_a_full_copy() -> None:
    assert measure([SCALE], SCALE, prompt=SCALE) == Copied(20, 20, 1.0)


def test_a_stretch_of_a_longer_piece_is_copied_to_its_end() -> None:
    assert measure([[1, *range(100)]], list(range(99))).longest_training_run == 99
    assert measure([list(range(50))], list(range(10, 90))).longest_training_run == 40


def test_no_run_crosses_from_one_piece_to_the_next() -> None:
    assert measure([SCALE[:10], SCALE[10:]], SCALE) == Copied(10, None, 6 / 13)
    assert measure([SCALE[:3], SCALE[3:5]], SCALE).longest_training_run == 3


def test_no_run_crosses_from_one_sample_to_the_next() -> None:
    samples = [notes(SCALE[:5]), notes(SCALE[5:])]
    found = TrainingIndex(pieces(SCALE)).measure(samples, [notes([])] * 2)
    assert [f.longest_training_run for f in found] == [5, 15]


@pytest.mark.parametrize("n", range(1, 12))
def test_runs_of_every_short_length(n: int) -> None:
    assert measure([[1, *SCALE[:n], 2]], [3, *SCALE[:n], 4]).longest_training_run == n


def test_a_copy_in_another_key_is_not_found() -> None:
    assert measure([[60, 64, 67]], [61, 65, 68]).longest_training_run == 0


def test_constant_pitch() -> None:
    assert measure([[60] * 30], [60] * 20, prompt=[60] * 7) == Copied(20, 7, 1.0)
    assert measure([[60] * 30], [61] * 20, prompt=[60] * 7) == Copied(0, 0, 0.0)


def test_little_music() -> None:
    assert measure([SCALE], []) == Copied(0, None, None)
    assert measure([SCALE], [60]) == Copied(1, None, None)
    assert measure([SCALE], [60, 60]) == Copied(1, None, None)
    assert measure([SCALE], SCALE[:7]) == Copied(7, None, None)
    assert measure([SCALE], SCALE[:8]) == Copied(8, None, 1.0)
    assert measure([], SCALE) == Copied(0, None, 0.0)
    assert measure([[], [60]], SCALE) == Copied(1, None, 0.0)
    assert TrainingIndex(pieces(SCALE)).measure([], []) == []


def test_a_chord_is_its_pitches_from_the_lowest() -> None:
    chord = Notes.from_columns([0, 0, 0, 1], [1, 1, 1, 1], [67, 60, 64, 72], [64, 64, 64, 64])
    (found,) = TrainingIndex(pieces([60, 64, 67, 72])).measure([chord], [chord])
    assert (found.longest_training_run, found.longest_prompt_run) == (4, 4)


def brute_run(one: list[int], other: list[int]) -> int:
    return max(
        (
            n
            for i in range(len(one))
            for j in range(len(other))
            for n in range(1, min(len(one) - i, len(other) - j) + 1)
            if one[i : i + n] == other[j : j + n]
        ),
        default=0,
    )


def brute(train: list[list[int]], sample: list[int], prompt: list[int]) -> Copied:
    windows = [sample[i : i + 8] for i in range(len(sample) - 7)]
    known = [any(w == t[j : j + 8] for t in train for j in range(len(t))) for w in windows]
    return Copied(
        max((brute_run(sample, t) for t in train), default=0),
        brute_run(sample, prompt) if prompt else None,
        sum(known) / len(known) if known else None,
    )


# Few pitches, so that runs are long; 0 and 127 as the ends of what a note may be.
tunes = st.lists(st.sampled_from([0, 1, 127]), max_size=25)


@given(st.lists(tunes, max_size=4), st.lists(st.tuples(tunes, tunes), max_size=4), st.sampled_from([3, 1 << 19]))
def test_as_a_search_of_every_place(train: list[list[int]], samples: list[tuple[list[int], list[int]]], chunk: int) -> None:
    before, copying.CHUNK = copying.CHUNK, chunk
    try:
        index = TrainingIndex(pieces(*train))
        found = index.measure([notes(s) for s, _ in samples], [notes(p) for _, p in samples])
    finally:
        copying.CHUNK = before
    assert found == [brute(train, sample, prompt) for sample, prompt in samples]


@given(tunes, tunes, st.integers(0, 24), st.integers(9, 24))
def test_a_planted_run_is_found(train: list[int], sample: list[int], at: int, n: int) -> None:
    run = SCALE[:n]
    found = measure([[*train[:at], *run, *train[at:]]], [*sample, *run])
    assert found.longest_training_run >= len(run)
    assert longest_common_run(notes([*sample, *run]), notes(run)) == len(run)


def test_what_a_trial_stores() -> None:
    stored = measure_trial(pieces(SCALE), [notes(SCALE[:9])], [notes([])], [(notes([60, 61]), notes([61, 60, 61]))])
    assert stored == {
        "samples": {"longest_training_run": [9], "longest_prompt_run": [None], "known_patterns": [1.0]},
        "targets": {"longest_training_run": [2], "longest_prompt_run": [2], "known_patterns": [None]},
    }
    assert columns.evaluate(stored, 0, 0) == {
        "copied_run": 9.0,
        "copied_from_prompt": Undefined("there is no prompt that it could copy"),
        "known_patterns": 100.0,
        "copied_run_real": 2.0,
        "copied_from_prompt_real": 2.0,
        "known_patterns_real": Undefined("fewer than 8 notes"),
    }
    assert columns.evaluate(stored, 0, 0).keys() == {m.name for m in columns.METRICS}


def test_nothing_to_measure_stores_empty_lists() -> None:
    empty: dict[str, list[object]] = {"longest_training_run": [], "longest_prompt_run": [], "known_patterns": []}
    assert measure_trial([], [], [], []) == {"samples": empty, "targets": empty}


def test_an_outcome_of_an_older_version_has_no_number() -> None:
    found = columns.evaluate(None, 0, 0)
    assert set(found.values()) == {Undefined("originality was not measured: the trial was run by an older version")}
    assert found.keys() == {m.name for m in columns.METRICS}


@pytest.mark.parametrize("stored", [{}, {"samples": {}, "targets": {}}, measure_trial([], [], [], [])])
def test_an_outcome_that_lacks_a_sample_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(DataError, match="says nothing of sample 0 and piece 0"):
        columns.evaluate(stored, 0, 0)
