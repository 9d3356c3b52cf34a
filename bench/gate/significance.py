"""Significance: how likely a change is by chance alone, for all comparisons of a run together.

Two kinds of evidence:

- on pieces: a paired permutation test over the pieces of both runs (:func:`bench.scoring.stats.paired_permutation`);
- on seeds, for what belongs to a whole training (its cost, metrics on sets): one to three values per side. A permutation test
  over three seeds can't give a p below 0.25, so this is a t-test with the noise pooled over all rows of the same kind, on the
  logarithm where all values are positive (noise in percent). A row with larger noise of its own is tested with that. With one
  seed per side there is nothing to estimate noise from, unless other rows have more.

All p-values are adjusted together (Holm 1979). Tests that could not give a small p whatever happened are not counted, as they
can't be called worse either (Tarone 1990): those over few pieces, or without a difference in any.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.scoring.stats import DRAWS, holm, paired_permutation, smallest_p

#: Level of the adjusted p-values below which a change is significant.
ALPHA = 0.05

#: Number of tests that share one matrix of signs; bounds the memory.
BLOCK = 64


@dataclass(frozen=True)
class Chance:
    """Result of one test.

    Parameters
    ----------
    p : float
        Adjusted over all tests of the family; 1 outside it.
    tested : bool
        Whether it is in the family: whether it could have given a small enough p.
    """

    p: float
    tested: bool


@dataclass(frozen=True)
class SeedValues:
    """Values of one row on seeds, before and now.

    Parameters
    ----------
    group : str
        Metric and kind of row; rows of one group share their noise.
    before, now : ndarray, shape (seeds,)
    ratios : bool
        Whether noise is in percent where all values have one sign; not so for distances from an ideal.
    """

    group: str
    before: NDArray[np.float64]
    now: NDArray[np.float64]
    ratios: bool = True


def family_size(smallest: Sequence[float], alpha: float = ALPHA) -> int:
    """Compute Tarone's number: the smallest k such that at most k tests can reach alpha / k. At least 1.

    References
    ----------
    Tarone 1990, A Modified Bonferroni Method for Discrete Data, Biometrics 46.

    Examples
    --------
    Two tests can reach 0.05 / 2; the third, 0.03, can't:

    >>> family_size([0.001, 0.02, 0.03])
    2
    """
    ordered = np.sort(np.asarray(smallest, np.float64))
    for k in range(1, len(ordered) + 1):
        if np.searchsorted(ordered, alpha / k, side="right") <= k:
            return k
    return max(1, len(ordered))


def paired_p(differences: Sequence[NDArray[np.float64]], draws: int) -> NDArray[np.float64]:
    """Compute p-values of paired permutation tests, each over its own number of pieces."""
    result = np.ones(len(differences))
    for n in sorted({len(d) for d in differences}):
        same = [i for i, d in enumerate(differences) if len(d) == n]
        for start in range(0, len(same), BLOCK):
            block = same[start : start + BLOCK]
            result[block] = paired_permutation(np.stack([differences[i] for i in block], axis=1), draws=draws)
    return result


def pooled_t(rows: Sequence[SeedValues]) -> tuple[list[float], list[int]]:
    """Compute two-sided p-values of t-tests with noise pooled within groups, and the degrees of freedom behind each.

    Degrees of freedom are those of the group; 0 where no row of it has two seeds, and p is then 1.
    """
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.group, []).append(i)
    p_values, freedom = [1.0] * len(rows), [0] * len(rows)
    for members in groups.values():
        sides = _sides([rows[i] for i in members])
        squares = [sum(_squares(side) for side in pair) for pair in sides]
        own = [sum(len(side) - 1 for side in pair) for pair in sides]
        if not sum(own):
            continue
        pooled = sum(squares) / sum(own)
        for i, (before, now), square, degrees in zip(members, sides, squares, own, strict=True):
            variance = max(pooled, square / degrees if degrees else 0.0)
            error = math.sqrt(variance * (1 / len(before) + 1 / len(now)))
            change = abs(float(now.sum()) / len(now) - float(before.sum()) / len(before))
            p_values[i] = _t_test(change, error, sum(own))
            freedom[i] = sum(own)
    return p_values, freedom


def _squares(values: NDArray[np.float64]) -> float:
    """Sum the squared deviations from the mean."""
    deviations = values - values.sum() / len(values)
    return float(deviations @ deviations)


def _sides(rows: Sequence[SeedValues]) -> list[list[NDArray[np.float64]]]:
    """List before and now of each row; logarithms if all have one sign. A speed's values are negative, as more is better."""
    sides = [[row.before, row.now] for row in rows]
    every = np.concatenate([side for pair in sides for side in pair])
    if not all(row.ratios for row in rows) or not ((every > 0).all() or (every < 0).all()):
        return sides
    return [[np.log(np.abs(side)) for side in pair] for pair in sides]


def _t_test(change: float, error: float, degrees: int) -> float:
    if change == 0:
        return 1.0
    return float(2 * special.stdtr(degrees, -change / error)) if error > 0 else 0.0


def judge_all(
    differences: Sequence[NDArray[np.float64]],
    rows: Sequence[SeedValues],
    *,
    needed: Sequence[bool] | None = None,
    alpha: float = ALPHA,
    draws: int | None = None,
) -> tuple[list[Chance], list[Chance], int]:
    """Run every test of a check.

    Parameters
    ----------
    differences : sequence of ndarray, shape (pieces,)
        Now minus before, for each comparison on pieces.
    rows : sequence of SeedValues
        For each comparison on seeds.
    needed : sequence of bool, optional
        For `differences`, then for `rows`: whether its p is needed; by default all are. The others are counted with p = 1, which
        can only make the other p larger, and saves most of the work.
    alpha : float
    draws : int, optional
        Sign patterns; by default :data:`bench.scoring.stats.DRAWS`, or more where there are so many tests that the smallest
        possible p, 1 / draws, would come near alpha when adjusted.

    Returns
    -------
    list of Chance, list of Chance, int
        For `differences`, for `rows`, and the number of tests that p is adjusted for.
    """
    seed_p, freedom = pooled_t(rows)
    smallest = [smallest_p(int(np.count_nonzero(d)), draws=None) for d in differences]
    smallest += [0.0 if degrees >= 2 else 1.0 for degrees in freedom]
    size = family_size(smallest, alpha)
    family = [i for i, p in enumerate(smallest) if p <= alpha / size]
    wanted = [i for i in family if needed is None or needed[i]]
    on_pieces = [i for i in wanted if i < len(differences)]
    drawn = draws or max(DRAWS, math.ceil(10 * len(family) / alpha))
    p_values = np.ones(len(smallest))
    p_values[on_pieces] = paired_p([differences[i] for i in on_pieces], drawn)
    on_seeds = [i for i in wanted if i >= len(differences)]
    p_values[on_seeds] = [seed_p[i - len(differences)] for i in on_seeds]
    answers = [Chance(1.0, False)] * len(smallest)
    for i, p in zip(family, holm(p_values[family].tolist()), strict=True):
        answers[i] = Chance(p, True)
    return answers[: len(differences)], answers[len(differences) :], len(family)
