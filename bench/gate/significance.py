"""Significance: how likely a change is by chance alone, for all comparisons of a run together.

Two kinds of evidence:

- on pieces: the change of the mean against the variance between training seeds and between the changes of the pieces, by the test
  of :mod:`bench.scoring.crossed`. A retraining with other seeds or other versions of a library moves all pieces at once; a test
  over pieces alone would call it a change;
- on seeds, for what belongs to a whole training (its cost, metrics on sets): a t-test, on the logarithm where all values are
  positive (noise in percent).

A few seeds show their noise badly, so both also take the noise pooled over all rows of the same metric and kind. A row with
larger noise of its own is tested with that. With one seed per side there is nothing to estimate noise from, unless other rows
have more: the test on pieces is then over pieces alone.

All p-values are adjusted together (Holm 1979). Tests that could not give a small p whatever happened are not counted, as they
can't be called worse either (Tarone 1990): those over few pieces or seeds, or without a difference in any.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.scoring.crossed import FEWEST, variance_of_difference
from bench.scoring.stats import holm, p_values

#: Level of the adjusted p-values below which a change is significant.
ALPHA = 0.05


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


@dataclass(frozen=True)
class PieceValues:
    """Values of one row on pieces, before and now; NaN where a seed has none.

    Parameters
    ----------
    group : str
        Metric and kind of row; rows of one group share their training noise.
    before, now : ndarray, shape (seeds, pieces)
        On the same pieces.
    """

    group: str
    before: NDArray[np.float64]
    now: NDArray[np.float64]

    @property
    def change(self) -> float:
        """Mean now minus mean before."""
        return float(over_seeds(self.now).mean() - over_seeds(self.before).mean())

    @property
    def complete(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both sides on the pieces that all seeds have; where these are too few, means over seeds on all pieces."""
        whole = np.isfinite(self.before).all(0) & np.isfinite(self.now).all(0)
        if whole.sum() < FEWEST:
            return over_seeds(self.before)[None], over_seeds(self.now)[None]
        return self.before[:, whole], self.now[:, whole]

    @property
    def testable(self) -> bool:
        """Whether any difference could be significant: enough pieces, and values that are not all equal."""
        return self.before.shape[1] >= FEWEST and not np.array_equal(over_seeds(self.before), over_seeds(self.now))


def over_seeds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over seeds, (seeds, pieces) to (pieces,), where a piece may be NaN for some of them."""
    if np.isfinite(values).all():
        means: NDArray[np.float64] = values.mean(0)
        return means
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = np.nansum(values, axis=0) / np.isfinite(values).sum(0)
    return result


def crossed_p(rows: Sequence[PieceValues]) -> list[float]:
    """Compute two-sided p-values over seeds and pieces, the smaller of those with own and with pooled training noise.

    Each row needs :data:`bench.scoring.crossed.FEWEST` pieces.
    The own noise has few degrees of freedom, and the pooled one is never below it, so either may give the smaller limit.
    """
    sides = [row.complete for row in rows]
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.group, []).append(i)
    own = [variance_of_difference(*pair) for pair in sides]
    pooled = list(own)
    for members in groups.values():
        means = {i: [side.mean(1) for side in sides[i]] for i in members}
        squares = {i: sum(_squares(side) for side in means[i]) for i in members}
        free = {i: sum(len(side) - 1 for side in means[i]) for i in members}
        if not (degrees := sum(free.values())):
            continue
        shared = sum(squares.values()) / degrees
        for i in members:
            noise = max(shared, squares[i] / free[i] if free[i] else 0.0)
            pooled[i] = replace(own[i], seeds=noise * sum(1 / len(side) for side in means[i]), seeds_df=degrees)
    changes = [row.change for row in rows]
    known = [min(len(side) for side in pair) > 1 for pair in sides]
    pairs = zip(p_values(changes, own), p_values(changes, pooled), known, strict=True)
    return [min(p, q) if both else q for p, q, both in pairs]


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


def judge_all(on_pieces: Sequence[PieceValues], on_seeds: Sequence[SeedValues]) -> tuple[list[Chance], list[Chance], int]:
    """Run every test of a check.

    Returns
    -------
    list of Chance, list of Chance, int
        For the comparisons on pieces, for those on seeds, and the number of tests that p is adjusted for.
    """
    seed_p, freedom = pooled_t(on_seeds)
    many = [i for i, row in enumerate(on_pieces) if row.before.shape[1] >= FEWEST]
    raw = dict(zip(many, crossed_p([on_pieces[i] for i in many]), strict=True))
    p_values = [*(raw.get(i, 1.0) for i in range(len(on_pieces))), *seed_p]
    testable = [*(row.testable for row in on_pieces), *(degrees >= 2 for degrees in freedom)]
    family = [i for i, possible in enumerate(testable) if possible]
    answers = [Chance(1.0, False)] * len(testable)
    for i, p in zip(family, holm([p_values[i] for i in family]), strict=True):
        answers[i] = Chance(p, True)
    return answers[: len(on_pieces)], answers[len(on_pieces) :], len(family)
