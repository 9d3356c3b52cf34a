"""Variance over training seeds and pieces, against hand-computed values and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from bench.scoring.crossed import (
    Interval,
    Values,
    Variance,
    contributions,
    effective_number,
    rerun_interval,
    seeds_interval,
    variance,
    variance_of_difference,
)
from bench.scoring.stats import detectable, limit, p_values

#: Two seeds, three pieces: seeds' means 2 and 4, pieces' means 1, 3 and 5, all 3. Neither explains -1, 1, 0 and its opposite.
HAND = [[-1.0, 3.0, 4.0], [3.0, 3.0, 6.0]]


def values_of(matrix: NDArray[np.float64], weights: list[float] | None = None) -> Values:
    by_seed = {seed: dict(enumerate(row.tolist())) for seed, row in enumerate(matrix)}
    return Values(by_seed, None if weights is None else dict(enumerate(weights)))


class TestVariance:
    def test_by_hand(self) -> None:
        """MS seed 3 x 2 = 6, MS piece 2 x 4 = 8, MS rest (1 + 1) x 2 / 2 = 2, each over 6 values."""
        parts = variance(HAND)
        assert (parts.seeds, parts.pieces, parts.rest) == (1.0, pytest.approx(8 / 6), pytest.approx(2 / 6))
        assert (parts.seeds_df, parts.pieces_df, parts.rest_df) == (1, 2, 2)
        assert parts.total == pytest.approx((6 + 8 - 2) / 6)
        assert parts.df == pytest.approx(12**2 / (6**2 / 1 + 8**2 / 2 + 2**2 / 2))

    def test_it_is_never_below_that_of_the_pieces(self) -> None:
        parts = Variance(0.1, 2, 0.5, 9, 0.3, 18)
        assert (parts.total, parts.df) == (0.5, 9)

    def test_one_seed_leaves_the_pieces(self) -> None:
        parts = variance([[1.0, 2.0, 6.0]])
        assert (parts.seeds, parts.rest, parts.df) == (0.0, 0.0, 2)
        assert parts.total == pytest.approx(scipy_stats.sem([1.0, 2.0, 6.0]) ** 2)

    def test_equal_seeds_are_as_one(self) -> None:
        one, three = (variance([[1.0, 2.0, 6.0]] * n) for n in (1, 3))
        assert (three.seeds, three.rest) == (0.0, 0.0)
        assert (three.total, three.df) == (one.total, one.df)

    def test_of_a_difference_by_hand(self) -> None:
        """Against a system that is 1 everywhere and another whose pieces' means are the same."""
        parts = variance_of_difference(HAND, np.ones((2, 3)))
        assert (parts.seeds, parts.pieces, parts.rest) == (1.0, pytest.approx(8 / 6), pytest.approx(2 / 6))
        assert parts.seeds_df == 1
        twice = variance_of_difference(HAND, HAND)
        assert (twice.seeds, twice.seeds_df, twice.pieces, twice.rest) == (2.0, 2, 0.0, pytest.approx(4 / 6))


class TestContributions:
    def test_their_means_are_the_weighted_ones(self) -> None:
        given_values, weights = np.array([[1.0, 2.0, 9.0], [2.0, 0.0, 4.0]]), [1.0, 2.0, 5.0]
        each = contributions(given_values, weights)
        assert each.mean(1) == pytest.approx(np.average(given_values, axis=1, weights=weights))

    def test_unequal_weights_are_worth_fewer_pieces(self) -> None:
        """One row, weights 1 and 3: mean 6 of 3 and 7, squares (3 / 4)^2 + (3 / 4)^2 over 1 - 1 / 1.6."""
        parts = variance(contributions([[3.0, 7.0]], [1.0, 3.0]), effective_number([1.0, 3.0]))
        assert parts.pieces == pytest.approx((0.75**2 + 0.75**2) / (1 - 1 / 1.6))

    def test_degrees_of_freedom_are_one_less_and_never_below_one(self) -> None:
        one, two, many = (variance(HAND, worth) for worth in (1.6, 2.0, 2.5))
        assert [v.pieces_df for v in (one, two, many)] == [1.0, 1.0, 1.5]
        assert [v.rest_df for v in (one, two, many)] == [1.0, 1.0, 1.5]

    def test_unequal_lengths_alone_are_no_spread(self) -> None:
        assert np.ptp(contributions([[7.0, 7.0, 7.0]], [1.0, 2.0, 50.0])) == pytest.approx(0, abs=1e-12)


class TestInterval:
    def test_with_one_seed_it_is_student_s_over_pieces_and_says_so(self) -> None:
        row = np.random.default_rng(0).normal(size=12)
        interval, over = values_of(row[None]).interval()
        assert over == "pieces"
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx(scipy_stats.t.interval(0.95, 11, row.mean(), scipy_stats.sem(row)))

    def test_four_pieces_give_none(self) -> None:
        assert values_of(np.ones((3, 4))).interval() == (None, "pieces")
        assert values_of(np.ones((3, 5))).interval() == (Interval(1.0, 1.0), "seeds and pieces")

    def test_pieces_worth_less_than_three_of_equal_weight_give_none(self) -> None:
        """Weights 10, 1, 1, 1, 1 and 1 are worth 225 / 105 = 2.1 pieces; 3, 1, 1, 1, 1 and 1 are worth 64 / 14 = 4.6."""
        values = np.random.default_rng(0).normal(size=(3, 6))
        assert values_of(values, [10.0, 1.0, 1.0, 1.0, 1.0, 1.0]).interval() == (None, "pieces")
        assert values_of(values, [3.0, 1.0, 1.0, 1.0, 1.0, 1.0]).interval()[1] == "seeds and pieces"

    def test_of_two_seeds_by_hand(self) -> None:
        """Seeds' means differ by 2: variance 2 / 2 = 1, t(1) = 12.706. Pieces' means 1 to 5: 2.5 / 5 = 0.5, t(4) = 2.776."""
        interval, over = values_of(np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0, 6.0]])).interval()
        assert over == "seeds and pieces"
        assert interval is not None
        assert (interval.high - interval.low) / 2 == pytest.approx((12.706**2 * 1 + 2.776**2 * 0.5) ** 0.5, rel=1e-4)

    def test_of_two_seeds_with_equal_means_it_is_never_below_that_of_the_pieces(self) -> None:
        values = np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 2.0, 3.0, 2.0]])
        interval, _ = values_of(values).interval()
        assert interval is not None
        # Pieces' means 1, 1, 2, 3 and 3: their variance is 1.
        assert (interval.high - interval.low) / 2 == pytest.approx(2.776 * (1 / 5) ** 0.5, rel=1e-3)

    def test_seeds_that_differ_widen_it(self) -> None:
        calm = np.random.default_rng(0).normal(size=(3, 20))
        calm -= calm.mean(1, keepdims=True)
        wild = calm + np.array([[-2.0], [0.0], [2.0]])
        # The seeds' SD is 2: the interval is about Student's over three seeds, 4.3 x 2 / sqrt(3) to each side.
        (narrow, _), (wide, over) = values_of(calm).interval(), values_of(wild).interval()
        assert narrow is not None
        assert wide is not None
        assert over == "seeds and pieces"
        assert narrow.high - narrow.low < 1.5
        assert (wide.high - wide.low) / 2 == pytest.approx(4.3 * 2 / 3**0.5, rel=0.1)

    def test_a_piece_that_a_seed_lacks_is_in_the_mean_only(self) -> None:
        full = np.random.default_rng(0).normal(size=(3, 12))
        lacking = values_of(full)
        missing = Values({**lacking.by_seed, 0: {p: v for p, v in lacking.by_seed[0].items() if p != 11}})
        interval, over = missing.interval()
        whole, _ = values_of(full[:, :11]).interval()
        assert interval is not None
        assert whole is not None
        assert over == "seeds and pieces"
        assert interval.high - interval.low == pytest.approx(whole.high - whole.low)
        mean = (full[:, :11].mean(0).sum() + full[1:, 11].mean()) / 12
        assert (interval.high + interval.low) / 2 == pytest.approx(mean)

    def test_with_too_few_complete_pieces_it_is_over_pieces_alone(self) -> None:
        full = values_of(np.random.default_rng(0).normal(size=(2, 8))).by_seed
        missing = Values({0: {p: full[0][p] for p in range(4)}, 1: full[1]})
        assert missing.interval()[1] == "pieces"

    @given(st.integers(0, 1000), st.floats(-10, 10), st.floats(0.1, 10))
    @settings(max_examples=30)
    def test_moving_and_scaling_moves_and_scales_it(self, seed: int, shift: float, factor: float) -> None:
        rng = np.random.default_rng(seed)
        values, weights = rng.normal(size=(3, 9)), rng.uniform(1, 9, 9).tolist()
        (one, _), (other, _) = values_of(values, weights).interval(), values_of(values * factor + shift, weights).interval()
        assert one is not None
        assert other is not None
        assert (other.low, other.high) == pytest.approx((one.low * factor + shift, one.high * factor + shift), abs=1e-9)

    def test_it_is_as_wide_whichever_cell_differs(self) -> None:
        """The three mean squares are one number then, and rounding alone said whether there are degrees of freedom of seeds."""
        widths = []
        for cell in np.ndindex(3, 12):
            values = np.zeros((3, 12))
            values[cell] = 1 / 3
            interval, _ = values_of(values).interval()
            assert interval is not None
            widths.append(interval.high - interval.low)
        assert widths == pytest.approx([widths[0]] * 36)
        assert widths[0] == pytest.approx(2 * scipy_stats.t.isf(0.025, 11) / 3 / 36)


def test_over_seeds_alone_by_hand() -> None:
    """Seeds 1, 2 and 3: mean 2, SD 1, t(2) = 4.303."""
    own, again = seeds_interval([1.0, 2.0, 3.0]), rerun_interval([1.0, 2.0, 3.0])
    assert own is not None
    assert again is not None
    assert own.high == pytest.approx(2 + 4.303 / 3**0.5, abs=1e-3)
    assert again.high == pytest.approx(2 + 4.303 * (2 / 3) ** 0.5, abs=1e-3)
    assert seeds_interval([1.0]) is None


class TestTest:
    def test_it_is_student_s_where_one_part_is_all(self) -> None:
        seeds, pieces = Variance(0.04, 4, 0.0, 49, 0.0, 196), Variance(0.0, 4, 0.04, 49, 0.0, 196)
        expected = [2 * scipy_stats.t.sf(0.7 / 0.2, df) for df in (4, 49)]
        assert p_values([0.7, 0.7], [seeds, pieces]) == pytest.approx(expected, rel=1e-6)

    def test_parts_add_by_squares(self) -> None:
        both = limit([Variance(0.04, 4, 0.09, 49, 0.0, 196)], 0.001)[0]
        assert both == pytest.approx(np.hypot(0.2 * scipy_stats.t.isf(0.0005, 4), 0.3 * scipy_stats.t.isf(0.0005, 49)))

    def test_what_is_in_both_counts_once(self) -> None:
        assert limit([Variance(0.09, 4, 0.09, 49, 0.08, 196)], 0.05)[0] == pytest.approx(
            np.hypot(0.3 * scipy_stats.t.isf(0.025, 4), 0.1 * scipy_stats.t.isf(0.025, 49))
        )

    def test_without_noise_a_difference_is_certain_and_none_is_none(self) -> None:
        nothing = variance_of_difference(np.ones((3, 6)), np.ones((3, 6)))
        assert p_values([0.0, 0.5], [nothing, nothing]) == [1.0, pytest.approx(0, abs=1e-20)]
        assert p_values([], []) == []


class TestDetectable:
    def test_of_a_known_design(self) -> None:
        """G*Power 3.1: a paired t-test with 34 pairs finds d = 0.5 with 81 % power, with 33 pairs 80 %."""
        assert detectable(Variance(0.0, 1e9, 1 / 33, 32, 0.0, 1e9), 0.05) == pytest.approx(0.5, abs=0.005)

    @pytest.mark.parametrize("rows", [64, 130, 300])
    def test_of_two_seeds_among_many_rows(self, rows: int) -> None:
        """A t of one degree of freedom is a tangent, and a normal value is within 1.2816 four times in five."""
        alpha = 0.05 / math.comb(rows, 2)
        found = detectable(Variance(1.0, 1, 1e-12, 49, 0.0, 49), alpha)
        assert found == pytest.approx(1.2815516 / math.tan(math.pi * alpha / 2), rel=1e-5)

    def test_it_is_smooth_where_the_method_changes(self) -> None:
        around = [
            detectable(Variance(1.0, 1, 1e-12, 49, 0.0, 49), 2 / (math.pi * critical)) / critical for critical in (990, 1010)
        ]
        assert around == pytest.approx([1.2815516] * 2, rel=1e-4)

    def test_training_variance_raises_it(self) -> None:
        calm, wild = (detectable(Variance(seeds, 8, 0.01, 49, 0.0, 196), 0.001) for seeds in (0.0, 0.03))
        assert wild > 2 * calm

    def test_certain_values_show_any_difference(self) -> None:
        assert detectable(Variance(0.0, 1e9, 0.0, 9, 0.0, 1e9), 0.05) == 0.0
