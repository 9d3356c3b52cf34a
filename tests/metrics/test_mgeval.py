"""MGEval's features by hand, its densities against SciPy's and against closed forms, and the columns."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from scipy import integrate, stats

from bench.api import Notes
from bench.metrics import Undefined, mgeval
from bench.metrics.mgeval import Density, densities, divergence, features, overlap_area


def piece(seed: int, n: int = 30, high: int = 70, pace: float = 0.3) -> Notes:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.exponential(pace, n))
    return Notes.from_columns(onset, rng.uniform(0.1, 1.2, n), rng.integers(50, high, n), rng.integers(1, 128, n))


def density(values: object) -> Density:
    found = Density.of(values)  # type: ignore[arg-type]
    assert isinstance(found, Density), found
    return found


def test_features_by_hand() -> None:
    # C4 a quarter long, E4 a half, both at 0 s; C5 an eighth at 1 s; C4 a dotted half at 2 s.
    notes = Notes.from_columns([0, 0, 1, 2], [0.5, 1.0, 0.25, 1.5], [60, 64, 72, 60], [90, 80, 70, 60])
    found = features(notes)
    assert found["pitch_count"] == [3]
    expected = np.zeros(12)
    expected[0], expected[4] = (0.5 + 0.25 + 1.5) / 3.25, 1.0 / 3.25
    np.testing.assert_allclose(found["pitch_class_histogram"], expected, rtol=1e-12)
    assert dict(zip(*np.unique(np.flatnonzero(found["pitch_class_transitions"]), return_counts=True), strict=True)) == {
        0 * 12 + 0: 1,  # C5 C4
        0 * 12 + 4: 1,  # C4 E4
        4 * 12 + 0: 1,  # E4 C5
    }
    np.testing.assert_allclose(found["pitch_class_transitions"].sum(), 1)
    assert found["pitch_range"] == [12]
    np.testing.assert_allclose(found["pitch_interval"], [(4 + 8 + 12) / 3])
    np.testing.assert_allclose(found["note_count"], [4 / 3.5])
    np.testing.assert_allclose(found["inter_onset_interval"], [2 / 3])
    quarter, half, eighth, dotted_half = 2, 1, 3, 5
    np.testing.assert_allclose(np.flatnonzero(found["note_length_histogram"]), [half, quarter, eighth, dotted_half])
    pairs = [quarter * 12 + half, half * 12 + eighth, eighth * 12 + dotted_half]
    np.testing.assert_allclose(found["note_length_transitions"][pairs], 1 / 3)


@pytest.mark.parametrize(
    ("seconds", "length"), [(9.0, 0), (2.0, 0), (0.01, 4), (0.125, 4), (0.18, 8), (0.17, 11), (0.3, 10), (0.68, 9), (0.74, 6)]
)
def test_a_note_goes_to_the_nearest_length(seconds: float, length: int) -> None:
    notes = Notes.from_columns([0, 1], [seconds, seconds], [60, 60], [64, 64])
    assert np.flatnonzero(features(notes)["note_length_histogram"]).tolist() == [length]


def test_two_equal_notes() -> None:
    found = features(Notes.from_columns([1, 1], [2, 2], [60, 60], [64, 64]))
    assert [float(found[n][0]) for n in ("pitch_count", "pitch_range", "pitch_interval", "inter_onset_interval")] == [1, 0, 0, 0]
    assert found["note_count"] == [1]


def test_a_chord_alone() -> None:
    found = features(Notes.from_columns([0, 0, 0], [1, 1, 1], [60, 64, 67], [64, 64, 64]))
    assert (found["inter_onset_interval"], found["note_count"], found["pitch_interval"]) == ([0], [3], [3.5])


def test_a_density_is_scipys() -> None:
    values = np.random.default_rng(1).gamma(2, 3, 200)
    ours, scipys = density(values), stats.gaussian_kde(values)
    points = np.linspace(values.min() - 3, values.max() + 3, 500)
    np.testing.assert_allclose(ours.at(points), scipys(points), atol=2e-3 * scipys(points).max())
    assert np.trapezoid(ours.height, ours.grid) == pytest.approx(1, abs=1e-9)


def test_overlap_and_divergence_are_scipys_over_the_whole_line() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(0, 1, 80), rng.normal(1, 2, 120)
    x = np.linspace(-15, 15, 3001)
    p, q = stats.gaussian_kde(one)(x), stats.gaussian_kde(other)(x)
    assert overlap_area(density(one), density(other)) == pytest.approx(integrate.trapezoid(np.minimum(p, q), x), abs=1e-3)
    assert divergence(density(one), density(other)) == pytest.approx(integrate.trapezoid(p * np.log(p / q), x), abs=1e-3)


def test_two_normal_densities_by_closed_form() -> None:
    # Kernels of bandwidth h on normal values: a density near that of a normal of variance s^2 = 1 + h^2.
    values = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    s = math.hypot(1, values.std(ddof=1) * 2000**-0.2)
    one, other = density(values), density(values + 1.5)
    assert overlap_area(one, other) == pytest.approx(2 * stats.norm.cdf(-1.5 / 2 / s), rel=5e-3)
    assert divergence(one, other) == pytest.approx(1.5**2 / 2 / s**2, rel=3e-2)  # its tails end


def test_a_set_that_was_moved_diverges() -> None:
    values = np.random.default_rng(3).normal(0, 1, 100)
    assert divergence(density(values), density(values + 100)) > 10
    assert overlap_area(density(values), density(values + 100)) == 0


@given(st.lists(st.integers(0, 50), min_size=2, max_size=30), st.lists(st.integers(0, 50), min_size=2, max_size=30))
@example([18, 18, 19], [18, 18, 20])
@settings(deadline=None)
def test_overlap_and_divergence_of_any_two_sets(one: list[int], other: list[int]) -> None:
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert Undefined("all distances are equal") in (Density.of(one), Density.of(other))
        return
    a, b = density(one), density(other)
    assert 0 <= overlap_area(a, b) <= 1
    assert overlap_area(a, b) == pytest.approx(overlap_area(b, a))
    assert 0 <= divergence(a, b) < 50
    assert overlap_area(a, a) == pytest.approx(1)
    assert divergence(a, a) == 0
    # In another unit rounding alone may differ, and cut a kernel a point earlier: its height there is 4e-6 of its highest.
    c, d = density(np.array(one) * 0.001), density(np.array(other) * 0.001)
    assert overlap_area(c, d) == pytest.approx(overlap_area(a, b), abs=1e-6)


def test_equal_distances_have_no_density() -> None:
    assert Density.of([2.0] * 5) == Undefined("all distances are equal")
    assert Density.of([0.0] * 5) == Undefined("all distances are equal")
    assert Density.of([0.1 + 0.2, 0.3]) == Undefined("all distances are equal")  # equal but for the last digit
    assert Density.of([1.0]) == Undefined("fewer than two distances")


REAL = [piece(seed) for seed in range(25)]


def test_pieces_of_the_same_kind_overlap_most_and_others_less() -> None:
    same = mgeval.evaluate_set([piece(100 + seed) for seed in range(25)], REAL)
    higher = mgeval.evaluate_set([piece(100 + seed, high=110) for seed in range(25)], REAL)
    assert same["mgeval_oa"] > 0.85 > 0.75 > higher["mgeval_oa"]  # type: ignore[operator]
    assert same["mgeval_kl"] < 0.2 < higher["mgeval_kl"]  # type: ignore[operator]


def overlaps(generated: list[Notes], real: list[Notes]) -> dict[str, float]:
    """Overlap area of each feature that real pieces differ in."""
    pairs = densities(generated, real).items()
    return {name: overlap_area(a, b) for name, (a, b) in pairs if isinstance(a, Density) and isinstance(b, Density)}


def test_the_columns_are_means_over_the_features() -> None:
    generated = [piece(100 + seed, pace=0.6) for seed in range(10)]
    areas = overlaps(generated, REAL)
    assert len(areas) == 9
    assert min(areas, key=areas.__getitem__) in ("inter_onset_interval", "note_count")
    found = mgeval.evaluate_set(generated, REAL)
    assert found["mgeval_oa"] == pytest.approx(sum(areas.values()) / 9)
    assert found.keys() == {m.name for m in mgeval.METRICS}


def test_a_feature_that_real_pieces_do_not_differ_in_is_left_out() -> None:
    steady = [Notes(np.arange(30.0), n.duration, n.pitch, n.velocity) for n in REAL]
    areas = overlaps(REAL, steady)
    assert len(areas) == 8
    assert "inter_onset_interval" not in areas
    assert mgeval.evaluate_set(REAL, steady)["mgeval_oa"] == pytest.approx(sum(areas.values()) / 8)


def constant(n: int = 30) -> Notes:
    return Notes(np.arange(n) * 0.5, np.full(n, 0.5), np.full(n, 60, np.uint8), np.full(n, 64, np.uint8))


def test_one_note_repeated_has_numbers() -> None:
    found = mgeval.evaluate_set([constant()] * 25, REAL)
    assert found["mgeval_oa"] < 0.35  # type: ignore[operator]
    assert found["mgeval_kl"] > 3  # type: ignore[operator]


@pytest.mark.parametrize(
    ("generated", "real", "reason"),
    [
        ([], REAL, "no samples"),
        ([piece(100)], REAL[:1], "fewer than three real pieces"),
        ([piece(100)], REAL[:2], "fewer than three real pieces"),
        ([piece(100, n=1)], REAL, "a piece has fewer than two notes"),
        ([piece(100, n=0)], REAL, "a piece has fewer than two notes"),
        ([piece(100)] * 5000, [*REAL] * 2000, "more than 10,000,000 distances between pieces"),  # gigabytes, of 0.1 MB
        ([piece(100)], [constant()] * 5, "the real pieces differ equally in every feature"),
    ],
)
def test_what_has_no_number_says_why(generated: list[Notes], real: list[Notes], reason: str) -> None:
    assert mgeval.evaluate_set(generated, real) == dict.fromkeys(("mgeval_oa", "mgeval_kl"), Undefined(reason))


def test_samples_that_are_equally_far_from_all_real_pieces_have_no_number() -> None:
    # Pitch counts 1, 3, 1, 3: the sample with 2 is 1 away from each, real pieces are 0 or 2 apart.
    real = [Notes.from_columns([0, 1, 2], [1, 1, 1 + 0.1 * i], [60, 60 + i % 2, 60 + i % 2 * 2], [64] * 3) for i in range(4)]
    sample = Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 60, 61], [64] * 3)
    found = mgeval.evaluate_set([sample], real)["mgeval_oa"]
    assert found == Undefined("pitch_count, from samples to real pieces: all distances are equal")
