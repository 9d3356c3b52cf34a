"""Comparisons and permutation tests, against hand-computed values and SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.scoring import stats
from bench.scoring.crossed import Values


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


@settings(max_examples=60)
@given(
    notes=st.sampled_from([99, 100, 128, 300]),
    sums=st.lists(st.integers(0, 5000), min_size=5, max_size=50),
    trainings=st.integers(1, 10),
    others=st.integers(1, 10),
)
def test_equal_values_of_other_numbers_of_trainings_differ_in_nothing(
    notes: int, sums: list[int], trainings: int, others: int
) -> None:
    """Means over three equal values are rounded, on each piece alike: a difference of 2e-15 had p = 1e-16."""
    same = {piece: total / notes for piece, total in enumerate(sums)}
    values = {"one": Values(dict.fromkeys(range(trainings), same)), "other": Values(dict.fromkeys(range(others), same))}
    (c,) = stats.compare_all(values, [("one", "other")], "lower")
    assert (c.difference, c.p) == (0.0, 1.0)
    assert c.wins is None or c.wins == c.pairings / 2
    assert c.interval is not None
    assert not c.interval.excludes(0.0)


def test_a_rounding_error_wins_nothing() -> None:
    one, other = ({seed: {0: value, 1: 5.0} for seed in range(3)} for value in (0.3, 0.1 + 0.2))
    (c,) = stats.compare_all({"one": Values(one), "other": Values(other)}, [("one", "other")], "lower")
    assert (c.wins, c.pairings) == (4.5, 9)


def test_a_small_difference_is_no_rounding_error() -> None:
    rng = np.random.default_rng(3)
    one = {piece: float(value) for piece, value in enumerate(rng.normal(9, 1, 50))}
    other = {piece: value + 1e-6 + float(rng.normal(0, 1e-7)) for piece, value in one.items()}
    (c,) = stats.compare_all({"one": Values({0: one}), "other": Values({0: other})}, [("one", "other")], "lower")
    assert c.difference == pytest.approx(-1e-6, rel=0.2)
    assert c.p < 1e-6


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


def one_seed(**values: dict[int, float]) -> dict[str, Values]:
    return {name: Values({0: by_piece}) for name, by_piece in values.items()}


class TestCompareAll:
    def test_pairs_share_their_pieces_only(self) -> None:
        values = one_seed(a={0: 1.0, 1: 2.0, 2: 4.0}, b={1: 1.0, 2: 1.0, 3: 9.0}, c={9: 1.0})
        found = stats.compare_all(values, list(itertools.combinations(values, 2)))
        assert [(c.one, c.other, c.pieces) for c in found] == [("a", "b", 2)]
        assert found[0].difference == pytest.approx((1 + 3) / 2)
        assert (found[0].interval, found[0].p) == (None, 1.0)

    def test_weights_make_it_the_difference_of_the_weighted_means(self) -> None:
        weights = {0: 1.0, 1: 3.0}
        values = {"a": Values({0: {0: 4.0, 1: 8.0}}, weights), "b": Values({0: {0: 2.0, 1: 2.0}}, weights)}
        (found,) = stats.compare_all(values, [("a", "b")])
        assert found.difference == pytest.approx((4 + 3 * 8) / 4 - 2.0)

    def test_one_piece_that_is_nearly_all_of_the_mean_is_not_enough_for_a_test(self) -> None:
        """Weights 100, 1, 1, 1, 1 and 1 are worth 105^2 / 10 005 = 1.1 pieces; 3, 3, 3, 1, 1 and 1 are worth 144 / 30 = 4.8."""
        rows = {"a": np.arange(6.0), "b": np.arange(6.0) * 2 + 5}
        tested = []
        for weights in ([100.0, 1.0, 1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 1.0, 1.0, 1.0]):
            values = {n: Values({0: dict(enumerate(row.tolist()))}, dict(enumerate(weights))) for n, row in rows.items()}
            (pair,) = stats.compare_all(values, [("a", "b")])
            tested.append((pair.interval is not None, pair.p < 0.05))
        assert tested == [(False, False), (True, True)]

    def test_a_large_difference_is_real_and_none_is_not(self) -> None:
        rng = np.random.default_rng(0)
        base = rng.normal(10, 2, 30)
        table = {
            name: Values({seed: dict(enumerate(base + shift + rng.normal(0, 1, 30))) for seed in range(3)})
            for name, shift in (("same", 0), ("also", 0), ("worse", 3))
        }
        found = stats.compare_all(table, list(itertools.combinations(table, 2)))
        assert {(c.one, c.other): c.real() for c in found} == {
            ("same", "also"): False,
            ("same", "worse"): True,
            ("also", "worse"): True,
        }
        ranks = stats.ranks({k: float(np.mean(list(v.by_piece.values()))) for k, v in table.items()}, found)
        assert ranks == {"same": (1, 2), "also": (1, 2), "worse": (3, 3)}

    @given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4), st.integers(5, 12))
    @settings(max_examples=30)
    def test_swapping_a_pair_mirrors_it_and_the_interval_agrees_with_p(self, seed: int, s: int, t: int, pieces: int) -> None:
        rng = np.random.default_rng(seed)
        a, b = (
            Values({i: dict(enumerate(rng.normal(shift, 1, pieces).tolist())) for i in range(n)}) for shift, n in ((0, s), (1, t))
        )
        (one,) = stats.compare_all({"a": a, "b": b}, [("a", "b")], "lower")
        (other,) = stats.compare_all({"a": a, "b": b}, [("b", "a")], "lower")
        assert other.difference == pytest.approx(-one.difference)
        assert other.p == pytest.approx(one.p, rel=1e-9)
        assert one.interval is not None
        assert one.interval.excludes(0.0) == one.real()
        if s > 1 and t > 1:
            assert one.wins is not None
            assert other.wins is not None
            assert one.wins + other.wins == one.pairings == s * t
