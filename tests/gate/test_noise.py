"""Moderated noise: by hand, and how often tests with it are wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special

from bench.gate.noise import inverse_trigamma, moderate

from . import noise as simulated

#: Variance of the logarithm of a variance with 4 degrees of freedom: trigamma(2).
ERROR = np.pi**2 / 6 - 1


def root(value):
    return optimize.brentq(lambda x: special.polygamma(1, x) - value, 1e-3, 1e6)


@pytest.mark.parametrize("value", [1e-4, 0.3, 1.0, 4.9, 200.0])
def test_inverse_trigamma(value):
    assert float(inverse_trigamma(value)) == pytest.approx(root(value), rel=1e-6)


def test_with_few_rows_each_keeps_its_own():
    variances, freedom = moderate([1.0, 4.0, 9.0], [4, 4, 4], ["a", "a", "a"])
    assert (variances.tolist(), freedom.tolist()) == ([1, 4, 9], [4, 4, 4])


def test_a_row_without_noise_of_its_own_takes_that_of_others_as_if_all_were_alike():
    # The geometric mean of two; that there are two halves the error of its logarithm.
    variances, freedom = moderate([0.0, 1.0, 4.0], [0, 4, 4], ["a", "a", "a"])
    half = root(ERROR / 2)
    assert freedom[0] == pytest.approx(2 * half)
    bias = np.log(2) - special.digamma(2)
    assert variances[0] == pytest.approx(2 * np.exp(bias + special.digamma(half) - np.log(half)))


def test_nothing_is_known_where_no_row_of_the_group_has_two_seeds():
    variances, freedom = moderate([0.0, 2.0], [0, 4], ["a", "b"])
    assert (variances.tolist(), freedom.tolist()) == ([0, 2], [0, 4])


def test_by_hand():
    # 22 rows, the logarithms half 1 and half -1: their variance within the group is 22 / 21, that of the true ones ERROR less.
    rows = [np.e, 1 / np.e] * 11
    variances, freedom = moderate(rows, [4] * 22, ["a"] * 22)
    spread = 22 / 21 - ERROR
    half = root(spread + (spread + ERROR) / 21)
    # The other 21 have a sum of -1: one more is below than above.
    centre = -1 / 21 + np.log(2) - special.digamma(2)
    prior = np.exp(centre + special.digamma(half) - np.log(half))
    assert freedom[0] == pytest.approx(2 * half + 4)
    assert variances[0] == pytest.approx((2 * half * prior + 4 * np.e) / (2 * half + 4))


def test_the_spread_is_that_of_all_groups():
    alike, unlike = [1.0] * 11, [np.exp(3), np.exp(-3)] * 10
    alone, _ = moderate([*alike, 9.0], [4] * 12, ["a"] * 12)
    _, much = moderate([*alike, *alike], [4] * 22, ["a"] * 22)
    _, little = moderate([*alike, *unlike], [4] * 31, ["a"] * 11 + ["b"] * 20)
    assert alone[-1] == 9.0
    assert much[0] > 20 > 6 > little[0] > 4


def test_a_deterministic_row_says_nothing_of_others_and_borrows_nothing():
    rows = [1.0, 2.0] * 15
    with_it, df = moderate([*rows, 0.0], [4] * 31, ["a"] * 31)
    without, same_df = moderate(rows, [4] * 30, ["a"] * 30)
    assert np.allclose(with_it[:-1], without)
    assert np.allclose(df[:-1], same_df)
    assert with_it[-1] == 0


VARIANCES = st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=40)


@given(VARIANCES, st.floats(1e-3, 1e3), st.integers(1, 8), st.integers(1, 3))
def test_units_do_not_matter_and_nothing_is_lost(rows, factor, df, groups):
    names = [str(i % groups) for i in range(len(rows))]
    variances, freedom = moderate(rows, [df] * len(rows), names)
    scaled, same = moderate(np.array(rows) * factor, [df] * len(rows), names)
    assert np.allclose(scaled, variances * factor, rtol=1e-6)
    assert np.allclose(same, freedom)
    assert (freedom >= df).all()
    assert (variances > 0).all()


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("noisier", [1.0, 2.0, 3.0, 5.0, None])
def test_the_level_holds_over_all_rows(seeds, noisier):
    """Also far in the tail. A row noisier than its group has more than its share, the others have less."""
    first, every, _ = simulated.rates(simulated.moderated, seeds, noisier, checks=40)
    assert max(every) < 2.2
    assert max(first) < 15


def test_pooled_noise_does_not_hold_it():
    first, every, _ = simulated.rates(simulated.pooled, 3, 3.0, checks=10)
    assert first[1] > 30
    assert every[1] > 6


def test_moderated_noise_finds_more_than_a_row_s_own():
    for seeds in (3, 5):
        found = [simulated.rates(rule, seeds, None, checks=10)[2] for rule in (simulated.moderated, simulated.own)]
        assert found[0] > found[1] + 0.05
