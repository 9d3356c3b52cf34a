"""The statistics, against hand-computed values, SciPy, and simulations of what they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.scoring import stats

values = st.lists(st.floats(-100, 100, allow_nan=False), min_size=stats.FEWEST, max_size=30)


class TestBootstrap:
    def test_fewer_than_two_pieces_say_nothing(self) -> None:
        assert stats.bootstrap_mean([]) is None
        assert stats.bootstrap_mean([3.0]) is None
        assert stats.bootstrap_mean([3.0, 4.0, 5.0, 6.0]) is None
        assert stats.bootstrap_mean([3.0, 4.0, 5.0, 6.0, 7.0]) is not None

    def test_equal_values_leave_no_doubt(self) -> None:
        assert stats.bootstrap_mean([2.0] * 5) == stats.Interval(2.0, 2.0)

    def test_it_is_seeded(self) -> None:
        data = np.random.default_rng(0).normal(size=20)
        assert stats.bootstrap_mean(data) == stats.bootstrap_mean(data)
        assert stats.bootstrap_mean(data, seed=1) != stats.bootstrap_mean(data)

    def test_normal_values_give_about_student_s_interval(self) -> None:
        data = np.random.default_rng(0).normal(size=20)
        low, high = scipy_stats.t.interval(0.95, 19, data.mean(), data.std(ddof=1) / np.sqrt(20))
        found = stats.bootstrap_mean(data, draws=100_000)
        assert found is not None
        assert found.low == pytest.approx(low, abs=0.06)
        assert found.high == pytest.approx(high, abs=0.06)

    def test_weights_are_those_of_the_mean(self) -> None:
        """30 pieces at 0, 30 at 10 that weigh four times as much: the mean is 8, not 5. Equal weights change nothing at all."""
        data, weights = [0.0] * 30 + [10.0] * 30, [1.0] * 30 + [4.0] * 30
        assert stats.bootstrap_mean(data, [3.0] * 60) == stats.bootstrap_mean(data)
        found = stats.bootstrap_mean(data, weights)
        assert found is not None
        assert (found.low + found.high) / 2 == pytest.approx(8.0, abs=0.2)
        assert found.excludes(5.0)

    @given(values, st.floats(-10, 10), st.floats(0.1, 10))
    @settings(max_examples=30, deadline=None)
    def test_moving_and_scaling_moves_and_scales_it(self, data: list[float], shift: float, factor: float) -> None:
        one, other = stats.bootstrap_mean(data, draws=500), stats.bootstrap_mean(np.array(data) * factor + shift, draws=500)
        assert one is not None
        assert other is not None
        assert other.low == pytest.approx(one.low * factor + shift, abs=1e-6)
        assert other.high == pytest.approx(one.high * factor + shift, abs=1e-6)

    @pytest.mark.parametrize("pieces", [10, 50])
    def test_95_of_100_intervals_hold_the_truth(self, pieces: int) -> None:
        """Pieces of a mildly skewed kind, as distances are; 2000 draws."""
        rng = np.random.default_rng(pieces)
        truth = 9.0
        held = 0
        for _ in range(2000):
            found = stats.bootstrap_mean(truth / 9 * rng.gamma(9.0, 1.0, pieces), draws=2000)
            held += found is not None and not found.excludes(truth)
        assert 0.93 <= held / 2000 <= 0.97


class TestPermutation:
    def test_by_hand(self) -> None:
        """Of the 8 sign patterns of (1, 2, 3), two are as extreme as all plus: all plus and all minus."""
        assert stats.paired_permutation([1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
        assert stats.paired_permutation([1.0, 2.0, -3.0]) == pytest.approx(8 / 8)

    def test_no_piece_and_no_difference_prove_nothing(self) -> None:
        assert stats.paired_permutation(np.empty(0)) == 1.0
        assert stats.paired_permutation([0.0] * 30) == 1.0

    def test_it_is_never_zero(self) -> None:
        assert stats.paired_permutation([1.0] * 100) == pytest.approx(1 / stats.DRAWS)

    @pytest.mark.parametrize("pieces", [1, 5, stats.EXACT, stats.EXACT + 1])
    def test_the_smallest_p_is_that_of_equal_signs(self, pieces: int) -> None:
        assert stats.paired_permutation(np.full(pieces, 1.0)) == pytest.approx(stats.smallest_p(pieces), rel=3)
        assert stats.paired_permutation(np.full(pieces, 1.0)) >= stats.smallest_p(pieces)

    def test_the_exact_test_is_scipy_s(self) -> None:
        data = np.random.default_rng(1).normal(0.4, 1, 10)
        theirs = scipy_stats.permutation_test((data,), lambda x: x.mean(), permutation_type="samples", n_resamples=np.inf)
        assert stats.paired_permutation(data) == pytest.approx(theirs.pvalue)

    def test_many_tests_at_once_are_the_same_as_one_by_one(self) -> None:
        table = np.random.default_rng(2).normal(0.2, 1, (25, 4))
        single = [float(stats.paired_permutation(table[:, i])) for i in range(4)]
        assert stats.paired_permutation(table).tolist() == single

    @pytest.mark.parametrize("pieces", [10, 50])
    def test_5_of_100_tests_of_nothing_find_something(self, pieces: int) -> None:
        noise = np.random.default_rng(pieces).normal(size=(pieces, 2000)) ** 3
        assert 0.04 <= (stats.paired_permutation(noise, draws=2000) <= 0.05).mean() <= 0.06

    @pytest.mark.parametrize("pieces", [12, 50])
    def test_the_detectable_difference_is_found_in_80_of_100(self, pieces: int) -> None:
        sd = 3.0
        difference = stats.detectable_difference(sd, pieces)
        assert difference is not None
        draws = np.random.default_rng(pieces).normal(difference, sd, (pieces, 2000))
        assert 0.75 <= (stats.paired_permutation(draws, draws=2000) <= 0.05).mean() <= 0.85


@pytest.mark.parametrize("pieces", [16, 50])
def test_the_detectable_difference_holds_at_holm_s_first_step(pieces: int) -> None:
    """The report's tables compare a dozen rows: 66 pairs, so the strictest level is 0.05 / 66, far out in the tail."""
    alpha = 0.05 / 66
    difference = stats.detectable_difference(3.0, pieces, alpha=alpha)
    assert difference is not None
    draws = np.random.default_rng(pieces).normal(difference, 3.0, (pieces, 1000))
    assert 0.75 <= (stats.paired_permutation(draws) <= alpha).mean() <= 0.85


def test_detectable_difference_of_a_known_design() -> None:
    """G*Power 3.1: a paired t-test with 34 pairs finds d = 0.5 with 81 % power, with 33 pairs 80 %."""
    assert stats.detectable_difference(1.0, 33) == pytest.approx(0.5, abs=0.005)
    assert stats.detectable_difference(1.0, 2) is None
    assert stats.detectable_difference(1.0, 15, alpha=0.05 / 66) is None


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, each at least the one before."""
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([]) == []
    assert stats.holm([0.7, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert all(0 <= a <= 1 for a in adjusted)
    for (p, a), (q, b) in itertools.combinations(zip(p_values, adjusted, strict=True), 2):
        assert (p <= q and a <= b) or (p >= q and a >= b)


def test_welch_is_scipy_s() -> None:
    one, other = [9.5, 9.7, 9.6], [9.1, 9.4, 9.3]
    theirs = scipy_stats.ttest_ind(one, other, equal_var=False).pvalue
    groups = [(float(np.mean(x)), float(np.std(x, ddof=1)), len(x)) for x in (one, other)]
    assert stats.welch(groups) == pytest.approx(theirs)
    assert stats.welch([(1.0, 0.0, 1), (9.0, 1.0, 3)]) == 1.0
    assert stats.welch([(1.0, 0.0, 3), (9.0, 0.0, 3)]) == 0.0


class TestCompareAll:
    def test_pairs_share_their_pieces_only(self) -> None:
        found = stats.compare_all({"a": {0: 1.0, 1: 2.0, 2: 4.0}, "b": {1: 1.0, 2: 1.0, 3: 9.0}, "c": {9: 1.0}})
        assert [(c.one, c.other, c.pieces) for c in found] == [("a", "b", 2)]
        assert found[0].difference == pytest.approx((1 + 3) / 2)

    def test_weights_make_it_the_difference_of_the_weighted_means(self) -> None:
        weights = {0: 1.0, 1: 3.0}
        (found,) = stats.compare_all({"a": {0: 4.0, 1: 8.0}, "b": {0: 2.0, 1: 2.0}}, weights)
        assert found.difference == pytest.approx((4 + 3 * 8) / 4 - 2.0)

    def test_a_large_difference_is_real_and_none_is_not(self) -> None:
        rng = np.random.default_rng(0)
        base = rng.normal(10, 2, 30)
        table = {
            "same": dict(enumerate(base)),
            "also": dict(enumerate(base + rng.normal(0, 1, 30))),
            "worse": dict(enumerate(base + 3 + rng.normal(0, 1, 30))),
        }
        real = {(c.one, c.other): c.real() for c in stats.compare_all(table)}
        assert real == {("same", "also"): False, ("same", "worse"): True, ("also", "worse"): True}
        ranks = stats.ranks({k: float(np.mean(list(v.values()))) for k, v in table.items()}, stats.compare_all(table))
        assert ranks == {"same": (1, 2), "also": (1, 2), "worse": (3, 3)}
