"""Whether samples differ from each other: by hand, and at the edges."""

from __future__ import annotations

from itertools import combinations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.stats import wasserstein_distance

from bench.api import Notes
from bench.metrics import Undefined
from bench.metrics.diversity import METRICS, evaluate_set, pitch_spread, shared_patterns


def notes(pitches: list[int]) -> Notes:
    n = len(pitches)
    return Notes(np.arange(n) * 0.5, np.full(n, 0.25), np.array(pitches, np.uint8), np.full(n, 64, np.uint8))


SCALE = list(range(60, 72))
OTHER = list(range(20, 32))


def test_shared_patterns_by_hand() -> None:
    # 12 notes have 5 windows of 8. The second sample has the first two of the scale's, and 3 of its own.
    samples = [notes(SCALE), notes([*SCALE[:9], 1, 2, 3]), notes(OTHER)]
    assert shared_patterns(samples, [0, 1, 2]) == pytest.approx((40 + 40 + 0) / 3)


def test_samples_of_one_piece_are_not_compared() -> None:
    samples = [notes(SCALE), notes(SCALE), notes(OTHER), notes(OTHER)]
    assert shared_patterns(samples, [0, 0, 1, 1]) == 0
    assert shared_patterns(samples, [0, 1, 0, 1]) == 100


def test_what_a_sample_repeats_is_not_shared() -> None:
    assert shared_patterns([notes([60] * 20), notes(SCALE)], [0, 1]) == 0


def test_no_pattern_crosses_from_one_sample_to_the_next() -> None:
    # Laid end to end, the windows over the border would be those of the third sample.
    samples = [notes(SCALE), notes(OTHER), notes([*SCALE[6:], *OTHER[:6]])]
    assert shared_patterns(samples, [0, 1, 2]) == 0


def test_pitch_spread_by_hand() -> None:
    # Distances 2, 6 and 4.
    assert pitch_spread([notes([60, 60]), notes([62, 62, 62]), notes([65, 67])], [0, 1, 2]) == pytest.approx(4)
    assert pitch_spread([notes([60]), notes([90]), notes([62])], [0, 0, 1]) == pytest.approx((2 + 28) / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 127), min_size=1, max_size=9)), min_size=2, max_size=6))
def test_pitch_spread_is_the_mean_of_scipys_distances(samples: list[tuple[int, list[int]]]) -> None:
    pieces, pitches = zip(*samples, strict=True)
    apart = [wasserstein_distance(a, b) for (one, a), (other, b) in combinations(samples, 2) if one != other]
    expected = pytest.approx(np.mean(apart), abs=1e-9) if apart else Undefined("fewer than two pieces")
    assert pitch_spread([notes(p) for p in pitches], pieces) == expected


def test_the_columns() -> None:
    real = [notes(SCALE), notes(OTHER)]  # 40 semitones apart
    assert evaluate_set([notes(SCALE), notes([p + 10 for p in SCALE])], real) == {
        "shared_patterns": 0.0,
        "pitch_spread_ratio": pytest.approx(0.25),
    }
    # Two samples a piece, in the order of pieces, then samples.
    found = evaluate_set([notes(SCALE), notes(SCALE), notes(OTHER), notes(OTHER)], real)
    assert found == {"shared_patterns": 0.0, "pitch_spread_ratio": pytest.approx(1)}
    assert found.keys() == {m.name for m in METRICS}


@pytest.mark.timeout(60)
def test_the_pieces_of_a_large_set_cost_their_number() -> None:
    """As many as a received run may have: compared with each other piece by piece they took five minutes."""
    assert evaluate_set([notes(SCALE), notes(OTHER)] * 30_000, [notes(SCALE), notes(OTHER)] * 30_000) == {
        "shared_patterns": 100,
        "pitch_spread_ratio": 1,
    }


def test_a_model_that_always_gives_the_same_is_seen() -> None:
    assert evaluate_set([notes(SCALE)] * 2, [notes(SCALE), notes(OTHER)]) == {"shared_patterns": 100, "pitch_spread_ratio": 0}


@pytest.mark.parametrize(
    ("generated", "real", "patterns", "spread"),
    [
        ([], [], "fewer than two pieces", "fewer than two pieces"),
        ([notes(SCALE)] * 3, [notes(SCALE)], "fewer than two pieces", "fewer than two pieces"),
        (
            [notes(SCALE[:7])] * 2,
            [notes(SCALE)] * 2,
            "a sample has fewer than 8 notes",
            "the real pieces all have the same pitches",
        ),
        ([notes([])] * 2, [notes(SCALE)] * 2, "a sample has fewer than 8 notes", "a sample has no notes"),
    ],
)
def test_what_has_no_number_says_why(generated: list[Notes], real: list[Notes], patterns: str, spread: str) -> None:
    assert evaluate_set(generated, real) == {"shared_patterns": Undefined(patterns), "pitch_spread_ratio": Undefined(spread)}
