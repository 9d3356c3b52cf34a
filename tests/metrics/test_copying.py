"""What is copied: by hand, at the edges, and against a search that tries every place."""

from __future__ import annotations

import tracemalloc

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from bench.api import Notes, Piece
from bench.errors import DataError
from bench.metrics import Undefined, copying
from bench.metrics.copying import METRICS, Copied, TrainingIndex, evaluate, measure_samples
from bench.storage.outcome import Copying, Originality
from bench.storage.samples import PieceName, Target

from .melodies import notes


def measure(train: list[list[int]], sample: list[int], prompt: list[int] | None = None) -> Copied:
    return TrainingIndex(map(notes, train)).measure(notes(sample), notes(prompt or []))


SCALE = list(range(60, 80))
EMPTY = Copying(longest_training_run=(), longest_prompt_run=(), known_patterns=())


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


def test_a_chord_is_its_pitches_from_the_lowest() -> None:
    chord = Notes.from_columns([0, 0, 0, 1], [1, 1, 1, 1], [67, 60, 64, 72], [64, 64, 64, 64])
    found = TrainingIndex([notes([60, 64, 67, 72])]).measure(chord, chord)
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


@given(st.lists(tunes, max_size=4), tunes, tunes)
def test_as_a_search_of_every_place(train: list[list[int]], sample: list[int], prompt: list[int]) -> None:
    assert measure(train, sample, prompt) == brute(train, sample, prompt)


@given(tunes, tunes, st.integers(0, 24), st.integers(9, 24))
def test_a_planted_run_is_found(train: list[int], sample: list[int], at: int, n: int) -> None:
    run = SCALE[:n]
    planted = [*train[:at], *run, *train[at:]]
    assert measure([planted], [*sample, *run], prompt=run) == brute([planted], [*sample, *run], prompt=run)


def test_known_windows_of_two_pieces_are_no_longer_run() -> None:
    # All windows of 8 are known, but no piece has more than 12 of the 20 notes.
    assert measure([SCALE[:12], SCALE[5:17], SCALE[10:]], SCALE) == Copied(12, None, 1.0)


def test_a_run_is_found_behind_its_shorter_beginnings() -> None:
    assert measure([SCALE[:9], [*SCALE[:11], 1], SCALE[1:10], [2, *SCALE[:14]]], [*SCALE[:15], 3]).longest_training_run == 14


def test_training_music_is_converted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    train = [notes(rng.integers(60, 63, n).tolist()) for n in (5, 30, 0, 64, 7)]
    whole = TrainingIndex(train)._sorted
    for size in (1, 7, 8, 50):
        monkeypatch.setattr(copying, "AT_ONCE", size)
        assert TrainingIndex(train)._sorted.tolist() == whole.tolist()


def test_the_index_takes_little_more_memory_than_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "AT_ONCE", 1 << 12)
    train = [notes([60, 64, 67, 72] * 250)] * 500
    tracemalloc.start()
    index = TrainingIndex(train)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert index._sorted.nbytes < peak < 12 * 500_000


def test_what_a_trial_stores() -> None:
    train = [Piece(notes(SCALE), "0")]
    targets = [Target(PieceName(i, str(i)), notes([60, 61]), notes(real)) for i, real in enumerate(([60, 61, 62], [61, 60, 61]))]
    samples = {(1, 0): notes(SCALE[:9]), (0, 1): notes([60, 61, 62]), (0, 0): notes([])}
    stored = measure_samples(train, samples, targets)
    assert stored.samples.rows() == [(0, 0, None), (3, 2, None), (9, 2, 1.0)]
    assert stored.targets.rows() == [(3, 2, None), (2, 2, None)]
    found = evaluate(stored, 2, 1)
    assert found == {
        "copied_run": 9.0,
        "copied_from_prompt": 2.0,
        "known_patterns": 100.0,
        "copied_run_real": 2.0,
        "copied_from_prompt_real": 2.0,
        "known_patterns_real": Undefined("fewer than 8 notes"),
    }
    assert found.keys() == {m.name for m in METRICS}


def test_a_system_that_takes_no_prompt_has_no_run_from_it() -> None:
    targets = [Target(PieceName(0, "0"), notes([60, 61]), notes([60]))]
    stored = measure_samples([], {(0, 0): notes([60, 61])}, targets, takes_prompt=False)
    assert (stored.samples.longest_prompt_run, stored.targets.longest_prompt_run) == ((None,), (1,))
    assert evaluate(stored, 0, 0)["copied_from_prompt"] == Undefined("there is no prompt that it could copy")


def test_nothing_to_measure_stores_empty_lists() -> None:
    assert measure_samples([], {}, []) == Originality(samples=EMPTY, targets=EMPTY)


def test_an_outcome_of_an_older_version_has_no_number() -> None:
    found = evaluate(None, 0, 0)
    assert set(found.values()) == {Undefined("originality was not measured: the trial was run by an older version")}
    assert found.keys() == {m.name for m in METRICS}


def test_an_outcome_that_lacks_a_sample_is_refused() -> None:
    with pytest.raises(DataError, match="says nothing of sample 0 and piece 0"):
        evaluate(Originality(samples=EMPTY, targets=EMPTY), 0, 0)
