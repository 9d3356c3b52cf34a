"""The tests behind a verdict, against SciPy's and against hand counts."""

import numpy as np
import pytest
from scipy import stats

from bench.gate.significance import PieceValues, SeedValues, estimate_on_pieces, estimate_on_seeds, judge_all


def seeds(before, now, group="cost"):
    return SeedValues(group, np.array(before, float), np.array(now, float))


def pieces(before, now, group="distance", weights=None):
    return PieceValues(group, np.array(before, float), np.array(now, float), None if weights is None else np.array(weights))


def noise(seeds, count, seed, trained=0.0):
    """Values of `seeds` trainings that differ by `trained`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(seeds, count)) + trained * rng.normal(size=(seeds, 1))


def crossed_p(rows):
    return [estimate.p for estimate in estimate_on_pieces(rows)]


def moderated_t(rows):
    estimates = estimate_on_seeds(rows)
    return [estimate.p for estimate in estimates], [estimate.df for estimate in estimates]


class TestPieces:
    def test_one_seed_a_side_is_student_s_paired_test(self):
        before, now = noise(1, 20, 0), noise(1, 20, 1) + 0.5
        assert crossed_p([pieces(before, now)]) == [pytest.approx(stats.ttest_rel(before[0], now[0]).pvalue, rel=1e-6)]

    def test_the_interval_of_one_seed_a_side_is_student_s(self):
        before, now = noise(1, 20, 0), noise(1, 20, 1) + 0.5
        (estimate,) = estimate_on_pieces([pieces(before, now)])
        low, high = stats.ttest_rel(now[0], before[0]).confidence_interval()
        assert (estimate.change - estimate.reach, estimate.change + estimate.reach) == pytest.approx((low, high))

    def test_too_few_pieces_have_a_change_and_no_interval(self):
        (estimate,) = estimate_on_pieces([pieces([[1.0, 2.0]], [[2.0, 5.0]])])
        assert (estimate.change, estimate.reach, estimate.p, estimate.testable) == (2.0, None, 1.0, False)

    def test_seeds_that_differ_by_chance_hide_a_change_that_pieces_would_show(self):
        apart = np.array([[0.0], [2.0], [4.0]])
        before, now = noise(3, 50, 0) + apart, noise(3, 50, 1) + apart + 1
        alone = stats.ttest_rel(before.mean(0), now.mean(0)).pvalue
        (p,) = crossed_p([pieces(before, now)])
        assert alone < 1e-6
        assert p > 0.05

    def test_the_noise_of_other_rows_tells_more_than_two_seeds_do(self):
        row = pieces(noise(2, 20, 0), noise(2, 20, 1) + 2.0)
        others = [pieces(noise(2, 20, 2 * i), noise(2, 20, 2 * i + 1)) for i in range(1, 31)]
        assert crossed_p([row, *others])[0] < crossed_p([row])[0] / 10

    def test_a_noisier_row_counts_with_its_own_noise(self):
        wild = pieces(noise(3, 50, 0, trained=2.0), noise(3, 50, 1, trained=2.0))
        calm = [pieces(noise(3, 50, 2 * i), noise(3, 50, 2 * i + 1)) for i in range(1, 31)]
        assert crossed_p([wild, *calm])[0] > 0.02

    def test_noise_is_that_of_both_sides_together(self):
        # Seeds' means are 0, 2 and 1, 1: squares 2 over 2 degrees of freedom. No piece differs from another.
        before, now = np.array([[0.0], [2.0]]) + np.zeros(9), np.full((2, 9), 4.0)
        assert crossed_p([pieces(before, now)]) == [pytest.approx(2 * stats.t.sf(3.0, 2))]

    def test_unequal_weights_are_worth_fewer_pieces(self):
        # Of six pieces one weighs as much as the others together: (10)^2 / (25 + 5) = 10 / 3 pieces.
        before, now = np.zeros((1, 6)), np.array([[1.0, 2, 3, 4, 5, 6]])
        worth = 10 / 3
        error = np.sqrt(now.var() * worth / (worth - 1) / 6)
        weighted = crossed_p([pieces(before, now, weights=[5.0, 1, 1, 1, 1, 1])])
        assert weighted == [pytest.approx(2 * stats.t.sf(3.5 / error, worth - 1), rel=1e-6)]
        assert weighted[0] > crossed_p([pieces(before, now)])[0]

    def test_one_seed_borrows_the_noise_of_rows_with_more(self):
        lone = pieces(noise(1, 50, 0), noise(1, 50, 1) + 1.0)
        wild = pieces(noise(3, 50, 2, trained=2.0), noise(3, 50, 3, trained=2.0))
        assert crossed_p([lone])[0] < 0.001 < 0.1 < crossed_p([lone, wild])[0]
        assert crossed_p([lone, pieces(wild.before, wild.now, "another")])[0] < 0.001

    def test_pieces_that_a_seed_lacks_are_in_the_change_only(self):
        before, now = noise(2, 12, 0), noise(2, 12, 1)
        lacking = before.copy()
        lacking[0, 11] = np.nan
        row = pieces(lacking, now)
        assert (row.complete.before.shape, row.complete.now.shape) == ((2, 11), (2, 11))
        assert row.change == pytest.approx(now.mean() - (before[:, :11].mean(0).sum() + before[1, 11]) / 12)
        lacking[0, :8] = np.nan
        few = pieces(lacking, now).complete
        assert (few.before.shape, few.now.shape) == ((1, 12), (1, 12))

    def test_one_piece_that_outweighs_all_others_is_no_test(self):
        # (15)^2 / (100 + 5) = 2.1 pieces; of equal weight they are 6.
        before, now = noise(2, 6, 0), noise(2, 6, 1) + 9.0
        (answer,), _, tests = judge_all([pieces(before, now, weights=[10.0, 1, 1, 1, 1, 1])], [])
        assert (answer.p, answer.tested, tests) == (1.0, False, 0)
        assert judge_all([pieces(before, now)], [])[2] == 1

    def test_equal_values_and_too_few_pieces_are_not_counted(self):
        changed = pieces(noise(2, 20, 0), noise(2, 20, 1) + 6.0)
        same, few = pieces(noise(2, 20, 2), noise(2, 20, 2)), pieces(noise(2, 4, 3), noise(2, 4, 4) + 9.0)
        (alone,), _, one = judge_all([changed], [])
        among, _, still_one = judge_all([same] * 40 + [few, changed], [])
        assert (one, still_one) == (1, 1)
        assert [answer.tested for answer in among] == [False] * 41 + [True]
        assert alone.p < 0.001


class TestSeeds:
    def test_one_row_is_a_t_test_of_logarithms(self):
        before, now = [10.0, 11.0, 12.5], [13.0, 15.0, 14.0]
        p, freedom = moderated_t([seeds(before, now)])
        assert p[0] == pytest.approx(stats.ttest_ind(np.log(before), np.log(now)).pvalue, rel=1e-12)
        assert freedom == [4]

    def test_its_interval_is_that_of_the_logarithms(self):
        before, now = np.array([10.0, 11.0, 12.5]), np.array([13.0, 15.0, 14.0])
        (estimate,) = estimate_on_seeds([seeds(before, now)])
        low, high = stats.ttest_ind(np.log(now), np.log(before)).confidence_interval()
        assert estimate.relative
        assert (estimate.change - estimate.reach, estimate.change + estimate.reach) == pytest.approx((low, high))
        (plain,) = estimate_on_seeds([seeds([0.0, 1.0, 2.0], [3.0, 5.0, 4.0])])
        low, high = stats.ttest_ind([3.0, 5.0, 4.0], [0.0, 1.0, 2.0]).confidence_interval()
        assert not plain.relative
        assert (plain.change - plain.reach, plain.change + plain.reach) == pytest.approx((low, high))

    def test_with_a_value_of_zero_it_is_one_of_the_values(self):
        before, now = [0.0, 1.0, 2.0], [3.0, 5.0, 4.0]
        p, _ = moderated_t([seeds(before, now)])
        assert p[0] == pytest.approx(stats.ttest_ind(before, now).pvalue, rel=1e-12)

    def test_rows_moderate_each_other_s_noise(self):
        calm = [seeds([1, 1.01, 1.02], [1, 1.02, 1.03]), seeds([1, 1.02, 1.04], [1, 1.01, 1.02])] * 15
        lucky = seeds([1.0, 1.00001, 1.00002], [1.001, 1.00101, 1.00102])
        (alone,), _ = moderated_t([lucky])
        among, freedom = moderated_t([lucky, *calm])
        assert alone < 1e-6
        assert among[0] > 0.5
        assert min(freedom) > 4

    def test_a_noisier_row_counts_with_its_own_noise(self):
        noisy, calm = seeds([1, 4, 16], [2, 8, 64]), seeds([1, 1.01, 1.02], [1, 1.01, 1.02])
        both, freedom = moderated_t([noisy, calm])
        assert both[0] == pytest.approx(stats.ttest_ind(np.log([1, 4, 16]), np.log([2, 8, 64])).pvalue)
        assert freedom == [4, 4]

    def test_one_seed_a_side_tells_nothing(self):
        assert moderated_t([seeds([1.0], [9.0])]) == ([1.0], [0])
        _, (answer,), tests = judge_all([], [seeds([1.0], [9.0])])
        assert (answer.p, answer.tested, tests) == (1.0, False, 0)

    def test_one_seed_borrows_the_noise_of_rows_with_more(self):
        p, freedom = moderated_t([seeds([1.0], [9.0]), seeds([1.0, 1.1, 1.2], [1.0, 1.1, 1.2])])
        assert freedom == [pytest.approx(4), 4]
        assert p[0] < 0.001

    def test_other_groups_do_not_mix(self):
        p, freedom = moderated_t([seeds([1.0], [9.0]), seeds([1.0, 1.1], [1.0, 1.1], "memory")])
        assert (p[0], freedom) == (1.0, [0, 2])

    def test_without_any_noise_a_change_is_certain(self):
        assert moderated_t([seeds([3.0, 3.0], [4.0, 4.0])])[0] == [0.0]
        assert moderated_t([seeds([3.0, 3.0], [3.0, 3.0])])[0] == [1.0]


def test_all_p_values_are_adjusted_together():
    rows = [pieces(noise(2, 20, 2 * i), noise(2, 20, 2 * i + 1), str(i)) for i in range(10)]
    rows[0] = pieces(rows[0].before, rows[0].before - 0.7 + 0.1 * noise(2, 20, 99), "0")
    (one,), _, _ = judge_all(rows[:1], [])
    ten, (cost,), tests = judge_all(rows, [seeds([10, 11, 12], [10, 11, 12])])
    assert tests == 11
    assert ten[0].p == pytest.approx(11 * one.p)
    assert cost.p == 1.0
