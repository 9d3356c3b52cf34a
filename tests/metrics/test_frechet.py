"""The descriptor Fréchet distance by hand, by closed forms, and at the edges."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import linalg

from bench.api import Notes
from bench.metrics import Undefined
from bench.metrics.frechet import descriptor_frechet, descriptors, evaluate_set, gaussian_distance, shrunk_covariance
from bench.music.midi import midi_bytes, read_midi


def piece(seed: int, n: int = 40, high: int = 70) -> Notes:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.exponential(0.2, n))
    return Notes.from_columns(onset, rng.uniform(0.1, 1.2, n), rng.integers(50, high, n), rng.integers(1, 128, n))


def moved(notes: Notes, by: int) -> Notes:
    return Notes(notes.onset, notes.duration, notes.pitch + np.uint8(by), notes.velocity)


def test_descriptors_by_hand() -> None:
    # Pitches 60 64 72 60: classes 0 4 0 0. Shifts 0, 1, 2 s.
    notes = Notes.from_columns([0, 0, 1, 3], [1, 2, 4, 2], [60, 64, 72, 60], [10, 30, 30, 10])
    expected = [
        64,
        np.sqrt((16 + 0 + 64 + 16) / 4),
        -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)),
        (4 + 8 + 12) / 3,
        20,
        10,
        (20 + 0 + 20) / 3,
        0,  # log2 of (0 + 1 + 2) / 3 s
        1 / 3,
        0.5,  # of 0 and 1
        1,  # of 0 1 2 1
        np.sqrt(0.5),
    ]
    np.testing.assert_allclose(descriptors(notes), expected, rtol=1e-12, atol=1e-12)


def test_descriptors_of_little_music_are_numbers() -> None:
    chord = Notes.from_columns([0, 0, 0], [1, 1, 1], [60, 64, 67], [64, 64, 64])
    equal = Notes.from_columns([0, 0], [1, 1], [60, 60], [64, 64])
    for notes in (chord, equal):
        found = descriptors(notes)
        assert np.isfinite(found).all()
        assert found[7] == np.log2(0.001)  # the shortest mean
        assert (found[8], found[9]) == (1, 0)  # all of it one chord


def test_shrinkage_by_hand() -> None:
    # Two axes, values +-2 and +-1: S = diag(2, 1/2), the target diag(5/4, 5/4), |S - T|^2 = 9/8.
    # The mean of |x x' - S|^2 is (16 + 1) / 2 - |S|^2 = 17/2 - 17/4, over n = 4: 17/16, so the weight is 17/18.
    vectors = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    expected = 17 / 18 * np.diag([1.25, 1.25]) + 1 / 18 * np.diag([2, 0.5])
    np.testing.assert_allclose(shrunk_covariance(vectors), expected, rtol=1e-12)


def test_shrinkage_fades_with_more_pieces_and_keeps_the_mean_variance() -> None:
    rng = np.random.default_rng(0)
    many = rng.normal(size=(20_000, 3)) * [1, 2, 3]
    np.testing.assert_allclose(shrunk_covariance(many), np.cov(many.T, bias=True), atol=0.02)
    few = many[:6]
    assert np.trace(shrunk_covariance(few)) == pytest.approx(np.trace(np.cov(few.T, bias=True)))
    assert np.linalg.cond(shrunk_covariance(few)) < np.linalg.cond(np.cov(few.T, bias=True))


def test_equal_vectors_have_no_covariance() -> None:
    assert not shrunk_covariance(np.ones((5, 3))).any()


def test_distance_in_one_dimension_by_hand() -> None:
    # |3 - 1|^2 + (4 - 3)^2 for standard deviations 4 and 3.
    one, other = (np.array([3.0]), np.array([[16.0]])), (np.array([1.0]), np.array([[9.0]]))
    assert gaussian_distance(*one, *other) == pytest.approx(5)


def test_distance_to_a_point_is_that_of_the_means_and_the_variance() -> None:
    found = gaussian_distance(np.zeros(2), np.diag([1.0, 4.0]), np.array([3.0, 4.0]), np.zeros((2, 2)))
    assert found == pytest.approx(25 + 5)


squares = hnp.arrays(np.float64, (3, 3), elements=st.floats(-3, 3, width=32))


@given(squares, squares)
def test_distance_of_any_gaussians(one: np.ndarray, other: np.ndarray) -> None:
    a, b, m = one @ one.T, other @ other.T, np.arange(3.0)
    found = gaussian_distance(m, a, m, b)
    assert 0 <= found == pytest.approx(gaussian_distance(m, b, m, a), abs=1e-5)
    assert gaussian_distance(m, a, m, a) == pytest.approx(0, abs=1e-5)


def test_distance_is_that_by_the_root_of_the_product() -> None:
    rng = np.random.default_rng(1)
    a, b = (np.cov(rng.normal(size=(4, 30))) for _ in range(2))
    expected = 1 + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert gaussian_distance(np.zeros(4), a, np.array([1.0, 0, 0, 0]), b) == pytest.approx(expected)


REAL = [piece(seed) for seed in range(30)]


def test_the_same_pieces_are_at_no_distance() -> None:
    assert descriptor_frechet(REAL, REAL) == pytest.approx(0, abs=1e-9)


def test_a_transposition_is_its_square_in_standard_deviations() -> None:
    spread = np.std([notes.pitch.mean() for notes in REAL])
    # Twelve semitones leave the pitch classes and all else as they are.
    assert descriptor_frechet([moved(n, 12) for n in REAL], REAL) == pytest.approx((12 / spread) ** 2)


def test_other_pieces_of_the_same_kind_are_near_and_others_far() -> None:
    same = descriptor_frechet([piece(100 + i) for i in range(30)], REAL)
    other = descriptor_frechet([piece(100 + i, high=90) for i in range(30)], REAL)
    assert 0 < same < 4 < 30 < other  # type: ignore[operator]


def test_a_descriptor_that_real_pieces_do_not_differ_in_is_left_out() -> None:
    flat = [Notes(n.onset, n.duration, n.pitch, np.full(len(n), 64, np.uint8)) for n in REAL]
    assert descriptor_frechet(REAL, flat) == pytest.approx(0, abs=1e-9)


def even(seed: int, tempo: float) -> Notes:
    """Notes in even steps as a file gives them: ticks, of a quarter note at that many to the minute."""
    n = 48
    pitch = np.random.default_rng(seed).integers(48, 80, n)
    score = Notes.from_columns(np.arange(n) * 60 / tempo, np.full(n, 54 / tempo), pitch, np.full(n, 80))
    return read_midi(midi_bytes(score))[16:]


@pytest.mark.parametrize("tempi", [[240, 300], [240, 240], [240, 231, 222, 214, 207, 200]])
def test_rounding_of_even_steps_is_no_difference(tempi: list[float]) -> None:
    real = [even(seed, tempo) for seed, tempo in enumerate(tempi * 6)]
    assert descriptor_frechet([piece(seed) for seed in range(12)], real) < 30_000  # type: ignore[operator]


def test_one_note_repeated_has_a_distance() -> None:
    constant = Notes(np.arange(9.0), np.ones(9), np.full(9, 60, np.uint8), np.full(9, 64, np.uint8))
    assert 30 < descriptor_frechet([constant] * 5, REAL) < float("inf")  # type: ignore[operator]
    assert descriptor_frechet(REAL, [constant] * 5) == Undefined("the real pieces don't differ in any descriptor")


@pytest.mark.parametrize(
    ("generated", "real", "reason"),
    [
        ([], REAL, "fewer than two pieces"),
        (REAL[:1], REAL, "fewer than two pieces"),
        (REAL, REAL[:1], "fewer than two pieces"),
        ([piece(1, n=1)] * 2, REAL, "a piece has fewer than two notes"),
        ([piece(1, n=0)] * 2, REAL, "a piece has fewer than two notes"),
    ],
)
def test_what_has_no_number_says_why(generated: list[Notes], real: list[Notes], reason: str) -> None:
    assert evaluate_set(generated, real) == {"descriptor_frechet": Undefined(reason)}


def test_rounding_in_singular_covariances_does_not_show():
    # Roots of eigenvalues that only rounding made differ from 0 added 1e-7, another on each processor.
    spread = np.array([1.0, 3.0, 7.0, 0.1])
    ours, theirs = np.outer(spread, spread), 4 * np.outer(spread, spread)
    nothing = np.zeros(4)
    assert gaussian_distance(nothing, ours, nothing, theirs) == pytest.approx(float(spread @ spread), rel=1e-14)
