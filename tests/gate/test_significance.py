"""The tests behind a verdict, against SciPy's and against hand counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.gate.significance import SeedValues, family_size, judge_all, pooled_t


def seeds(before, now, group="cost"):
    return SeedValues(group, np.array(before, float), np.array(now, float))


class TestTarone:
    @pytest.mark.parametrize(("differ", "tested"), [(5, False), (6, True)])
    def test_only_pieces_that_differ_count(self, differ, tested):
        # Of 5 signs the smallest p is 2 / 32, of 6 it is 2 / 64.
        (answer,), _, _ = judge_all([np.repeat([1.0, 0.0], [differ, 50 - differ])], [])
        assert answer.tested == tested

    def test_tests_that_can_not_tell_are_not_counted(self):
        # At k = 2 two tests can reach 0.05 / 2; the third, 0.03, can't.
        assert family_size([0.001, 0.02, 0.03]) == 2
        assert family_size([0.001, 0.001, 0.001]) == 3
        assert family_size([1.0, 1.0]) == 1
        assert family_size([]) == 1

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
    def test_never_more_tests_than_counted(self, smallest):
        size = family_size(smallest)
        assert sum(p <= 0.05 / size for p in smallest) <= size <= len(smallest)

    def test_equal_pieces_cost_the_others_nothing(self):
        changed = np.full(20, 0.5)
        alone, _, one = judge_all([changed], [])
        among, _, still_one = judge_all([np.zeros(20)] * 40 + [changed], [])
        assert (one, still_one) == (1, 1)
        assert alone[0].p == among[40].p < 0.001
        assert not among[0].tested


class TestSeeds:
    def test_one_row_is_a_t_test_of_logarithms(self):
        before, now = [10.0, 11.0, 12.5], [13.0, 15.0, 14.0]
        p, freedom = pooled_t([seeds(before, now)])
        assert p[0] == pytest.approx(stats.ttest_ind(np.log(before), np.log(now)).pvalue, rel=1e-12)
        assert freedom == [4]

    def test_with_a_value_of_zero_it_is_one_of_the_values(self):
        before, now = [0.0, 1.0, 2.0], [3.0, 5.0, 4.0]
        p, _ = pooled_t([seeds(before, now)])
        assert p[0] == pytest.approx(stats.ttest_ind(before, now).pvalue, rel=1e-12)

    def test_rows_share_their_noise(self):
        # log e = 1: squares 0.5 a side with two values one apart, so 2 / 4 pooled over four sides; the error is sqrt(0.5).
        e = np.e
        p, freedom = pooled_t([seeds([1, e], [e**2, e**3]), seeds([1, e], [1, e])])
        assert freedom == [4, 4]
        assert p == [pytest.approx(2 * stats.t.sf(2 / np.sqrt(0.5), 4)), 1.0]

    def test_a_noisier_row_counts_with_its_own_noise(self):
        noisy, calm = seeds([1, 4, 16], [2, 8, 64]), seeds([1, 1.01, 1.02], [1, 1.01, 1.02])
        both, _ = pooled_t([noisy, calm])
        shift = abs(np.log([2, 8, 64]).mean() - np.log([1, 4, 16]).mean())
        squares = sum(((x - x.mean()) ** 2).sum() for x in (np.log([1, 4, 16]), np.log([2, 8, 64])))
        assert both[0] == pytest.approx(2 * stats.t.sf(shift / np.sqrt(squares / 4 * 2 / 3), 8))

    def test_one_seed_a_side_tells_nothing(self):
        assert pooled_t([seeds([1.0], [9.0])]) == ([1.0], [0])
        _, (answer,), tests = judge_all([], [seeds([1.0], [9.0])])
        assert (answer.p, answer.tested, tests) == (1.0, False, 0)

    def test_one_seed_borrows_the_noise_of_rows_with_more(self):
        p, freedom = pooled_t([seeds([1.0], [9.0]), seeds([1.0, 1.1, 1.2], [1.0, 1.1, 1.2])])
        assert freedom == [4, 4]
        assert p[0] < 0.001

    def test_other_groups_do_not_mix(self):
        p, freedom = pooled_t([seeds([1.0], [9.0]), seeds([1.0, 1.1], [1.0, 1.1], "memory")])
        assert (p[0], freedom) == (1.0, [0, 2])

    def test_without_any_noise_a_change_is_certain(self):
        assert pooled_t([seeds([3.0, 3.0], [4.0, 4.0])])[0] == [0.0]
        assert pooled_t([seeds([3.0, 3.0], [3.0, 3.0])])[0] == [1.0]


def test_all_p_values_are_adjusted_together():
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=20) for _ in range(9)]
    one, _, _ = judge_all([noise[0] + 0.8], [])
    ten, (cost,), tests = judge_all([noise[0] + 0.8, *noise[1:]], [seeds([10, 11, 12], [10, 11, 12])])
    assert tests == 10
    assert ten[0].p == pytest.approx(10 * one[0].p, rel=0.3)
    assert cost.p == 1.0


def test_many_tests_get_permutations_enough():
    # Each of 300 tests is certain; with 10 000 permutations none could fall below 300 / 10 000 by much.
    answers, _, tests = judge_all([np.linspace(1, 2, 20)] * 300, [])
    assert tests == 300
    assert max(a.p for a in answers) < 0.02
