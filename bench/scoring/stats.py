"""Comparisons of systems, adjusted for their number, and permutation tests. Pure NumPy and SciPy.

Two questions, never mixed up:

- *Which method is better?* is about means over all trainings and pieces like these: the difference, its interval and its p
  (:mod:`bench.scoring.crossed`), by which systems are ranked.
- *How often did a training of one beat a training of the other?* is :attr:`Comparison.wins`. With enough seeds and pieces the
  first can be certain where the second is near a half.

A value may be an upper bound of the true one, as the bits of a variational model. A bound below another row's value is as good as
the value itself; one above it decides nothing, whatever its size: see :attr:`Comparison.undecided`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from bench.scoring.crossed import Interval, Values, Variance, add, squared_limit, variance_of_difference

#: Sign patterns of a permutation test, the data's own counted as one of these.
DRAWS = 10_000

#: Up to this number of pieces all sign patterns are enumerated: the test is then exact.
EXACT = 13

#: Level of intervals and, family-wise, of tests.
ALPHA = 0.05

#: Differences of means up to this part of them, or this, are rounding errors, as of a sum over five trainings and one value.
ROUNDING = 1e-9


def paired_permutation(differences: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """Compute two-sided p-values of paired permutation tests: swapping a piece's two values changes its difference's sign.

    With at most :data:`EXACT` pieces all sign patterns are enumerated. Otherwise p is (1 + as extreme) / (1 + drawn), which is
    never 0 and makes the test exact too (Phipson & Smyth 2010).

    Parameters
    ----------
    differences : array_like, shape (pieces,) or (pieces, tests)
    draws : int
        Sign patterns, the data's own included.
    seed : int

    Returns
    -------
    ndarray, shape () or (tests,)

    References
    ----------
    Fisher 1935, The Design of Experiments; Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses.

    Examples
    --------
    Of the 8 sign patterns of (1, 2, 3) two have a sum as extreme as 6:

    >>> float(paired_permutation([1.0, 2.0, 3.0]))
    0.25
    """
    values = np.asarray(differences, np.float64)
    n = len(values)
    if n == 0:
        return np.ones(values.shape[1:])
    columns = values.reshape(n, -1)  # (pieces, tests)
    if n <= EXACT:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = 1.0 - 2.0 * np.random.default_rng(seed).integers(0, 2, (draws, n))
        signs[0] = 1.0
    observed = np.abs(columns.sum(0))
    # Sums of the same numbers in another order may differ in the last digit; equal is as extreme.
    extreme = np.abs(signs @ columns) >= observed * (1 - 1e-9)
    return np.asarray(extreme.mean(0).reshape(values.shape[1:]))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number by Holm's step-down method, so that the family-wise error rate is that of one test.

    References
    ----------
    Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    Examples
    --------
    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors))
    return [float(p) for p in adjusted]


def limit(parts: Sequence[Variance], alpha: ArrayLike) -> NDArray[np.float64]:
    """Compute by how much a mean difference must exceed 0 to be significant at two-sided level `alpha`.

    By :func:`bench.scoring.crossed.squared_limit`: Student's limit where one part dominates, never below that over pieces alone.
    It keeps its level for independent estimates. Here the part of the pieces is a difference of estimates and the seeds' degrees
    of freedom are Welch's, so that simulations must show it too.

    Parameters
    ----------
    parts : sequence of Variance, length (tests,)
    alpha : array_like, shape () or (tests,)

    Returns
    -------
    ndarray, shape (tests,)

    References
    ----------
    Banerjee 1960 for the limit; Welch 1938 for the seeds.
    """
    return squared_limit(np.asarray(alpha, np.float64), *_columns(parts))


def _columns(parts: Sequence[Variance]) -> NDArray[np.float64]:
    """Arrange what limits are computed from, (5, tests)."""
    columns: NDArray[np.float64] = np.array([(v.seeds, v.seeds_df, v.own_pieces, v.pieces, v.pieces_df) for v in parts]).T
    return columns


def p_values(differences: Sequence[float], parts: Sequence[Variance]) -> list[float]:
    """Compute the smallest two-sided level at which each difference exceeds its :func:`limit`, to 1e-30.

    Examples
    --------
    With one seed a side, Student's paired test over the pieces:

    >>> one, other = [[1.0, 2.0, 4.0, 5.0, 9.0]], [[1.0, 1.0, 2.0, 3.0, 5.0]]
    >>> (p,) = p_values([1.8], [variance_of_difference(one, other)])
    >>> from scipy import stats
    >>> round(p, 4) == round(float(stats.ttest_rel(one[0], other[0]).pvalue), 4)
    True
    """
    if not len(parts):
        return []
    size = np.abs(np.asarray(differences, np.float64))
    columns = _columns(parts)
    low, high = np.full(len(size), math.log(1e-30)), np.zeros(len(size))
    for _ in range(36):
        middle = (low + high) / 2
        significant = squared_limit(np.exp(middle), *columns) < size
        low, high = np.where(significant, low, middle), np.where(significant, middle, high)
    return [float(p) for p in np.exp(high)]


def detectable(parts: Variance, alpha: float, power: float = 0.8) -> float:
    """Compute the smallest true difference that exceeds its :func:`limit` with probability `power`.

    By the noncentral t distribution, the squared limit being about a chi-square with Satterthwaite's degrees of freedom.

    References
    ----------
    Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, ch. 2; Satterthwaite 1946.
    """
    if parts.total == 0:
        return 0.0
    error = math.sqrt(parts.total)
    critical = float(limit([parts], alpha)[0]) / error
    squares = [
        (float(special.stdtrit(df, alpha / 2)) ** 2 * part, df)
        for part, df in ((parts.seeds, parts.seeds_df), (parts.own_pieces, parts.pieces_df))
    ]
    df = add(*squares)[1]

    # Where seeds are two, limits may be thousands of standard errors, for which SciPy has no values. The difference itself then
    # varies by next to nothing beside the limit, whose square is about a chi-square.
    if critical > 1e3:
        return error * critical * math.sqrt(float(special.chdtri(df, 1 - power)) / df)

    def lacking(effect: float) -> float:
        # A significant difference of the wrong sign adds next to nothing, and SciPy can't compute so small a tail.
        return 1 - float(special.nctdtr(df, effect, critical)) - power

    return error * float(optimize.brentq(lacking, 0.0, 4 * critical + 10))


@dataclass(frozen=True)
class Comparison:
    """Comparison of two systems on the pieces that both have.

    Parameters
    ----------
    one, other : str
    difference : float
        Mean of `one` minus mean of `other`.
    interval : Interval or None
        Of the mean difference, over training seeds and pieces; None without enough pieces
        (:meth:`bench.scoring.crossed.Values.enough`). A system with one seed shows no variance between trainings: interval and p
        then hold for that training of it, and for the method of the other system.
    p : float
        That there is no difference, adjusted by Holm over all pairs compared together; 1 without an interval, and where the pair
        is undecided.
    pieces : int
        Number of pieces on which both have a value.
    variance : Variance or None
        Of the mean difference; None without an interval.
    wins : float or None
        Of all pairs of a training of `one` and a training of `other`, the number in which that of `one` has the better mean over
        these pieces, ties half. None where no direction is better, one of the two has one seed, or values are bounds.
    pairings : int
        Number of these pairs; 0 where there are no wins.
    undecided : bool
        Whether the larger mean is an upper bound: the true one may be the smaller of the two.
    """

    one: str
    other: str
    difference: float
    interval: Interval | None
    p: float
    pieces: int
    variance: Variance | None = None
    wins: float | None = None
    pairings: int = 0
    undecided: bool = False

    def real(self, alpha: float = ALPHA) -> bool:
        """Whether the difference is significant. Its interval then excludes 0, as both are by one rule."""
        return self.p < alpha


def compare_all(
    values: Mapping[str, Values],
    pairs: Sequence[tuple[str, str]],
    better: Literal["lower", "higher"] | None = None,
    bounds: Collection[str] = (),
) -> list[Comparison]:
    """Compare pairs of systems, with Holm's adjustment over all of these pairs.

    Parameters
    ----------
    values : mapping of str to Values
        By system.
    pairs : sequence of (str, str)
    better : {"lower", "higher"}, optional
        Direction of the metric.
    bounds : collection of str
        Systems whose values are upper bounds of the true ones.

    Returns
    -------
    list of Comparison
        In the order of `pairs`; a pair without a common piece is left out.

    Examples
    --------
    >>> lstm, gan = Values({0: {0: 9.0, 1: 8.0, 2: 7.0}}), Values({0: {1: 9.0, 2: 9.0, 3: 4.0}})
    >>> (c,) = compare_all({"lstm": lstm, "gan": gan}, [("lstm", "gan")])
    >>> c.difference, c.pieces, c.p
    (-1.5, 2, 1.0)
    """
    compared = [c for one, other in pairs if (c := _compare(one, other, values[one], values[other], better)) is not None]
    tested = [(i, c.difference, c.variance) for i, c in enumerate(compared) if c.variance is not None]
    raw = np.ones(len(compared))
    raw[[i for i, _, _ in tested]] = p_values([d for _, d, _ in tested], [v for _, _, v in tested])
    adjusted = [replace(c, p=p) for c, p in zip(compared, holm(raw.tolist()), strict=True)]
    return [_with_bounds(c, bounds) if {c.one, c.other} & set(bounds) else c for c in adjusted]


def _with_bounds(c: Comparison, bounds: Collection[str]) -> Comparison:
    """Comparison in which one value or both are upper bounds: nothing is known of single trainings, or if the larger is one."""
    undecided = (c.difference >= 0 and c.one in bounds) or (c.difference <= 0 and c.other in bounds)
    return replace(c, p=1.0 if undecided else c.p, wins=None, pairings=0, undecided=undecided)


def _compare(one: str, other: str, a: Values, b: Values, better: Literal["lower", "higher"] | None) -> Comparison | None:
    """Compare two systems; p is not known yet."""
    common = sorted(a.by_piece.keys() & b.by_piece.keys())
    if not common:
        return None
    complete = b.complete(a.complete(common))
    used = complete if a.enough(complete) else common
    first, second = a.matrix(used), b.matrix(used)
    means = [np.average([x.by_piece[piece] for piece in common], weights=x.share(common)) for x in (a, b)]
    difference = float(_apart(*means))
    seeds = min(len(first), len(second)) > 1
    wins = _wins(first.mean(1), second.mean(1), better) if seeds and better else None
    pairings = 0 if wins is None else len(first) * len(second)
    if not a.enough(used):
        return Comparison(one, other, difference, None, 1.0, len(common), None, wins, pairings)
    parts = variance_of_difference(first, second, a.effective(used))
    reach = float(limit([parts], ALPHA)[0])
    interval = Interval(difference - reach, difference + reach, 1 - ALPHA)
    return Comparison(one, other, difference, interval, 1.0, len(common), parts, wins, pairings)


def _wins(one: NDArray[np.float64], other: NDArray[np.float64], better: str) -> float:
    """Count the pairs of a training of each in which `one` is better, ties half.

    References
    ----------
    Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks, section 5; Mann & Whitney 1947.
    """
    ahead = np.sign(_apart(other[None, :], one[:, None])) * (1 if better == "lower" else -1)
    return float((ahead + 1).sum() / 2)


def _apart(one: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Subtract means; 0 for mere rounding, whose variance is as small, so that it would be significant."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return np.where(np.isclose(a, b, rtol=ROUNDING, atol=ROUNDING), 0.0, a - b)


def ranks(values: Mapping[str, float], comparisons: Sequence[Comparison], *, alpha: float = ALPHA) -> dict[str, tuple[int, int]]:
    """Compute the first and last rank of each system, lower values first: systems without a significant difference share ranks.

    Parameters
    ----------
    values : mapping of str to float
        System to mean.
    comparisons : sequence of Comparison
        Of every pair of these.
    alpha : float

    Returns
    -------
    dict of str to (int, int)
        1 + the number of significantly better systems, and the number of systems less the significantly worse ones. An undecided
        comparison counts for neither, so that a bound above all other values may still be the first.
    """
    better, worse = dict.fromkeys(values, 0), dict.fromkeys(values, 0)
    for c in comparisons:
        if c.one in values and c.other in values and c.real(alpha):
            lower, higher = (c.one, c.other) if c.difference < 0 else (c.other, c.one)
            better[higher] += 1
            worse[lower] += 1
    return {name: (1 + better[name], len(values) - worse[name]) for name in values}
