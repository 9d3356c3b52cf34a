"""Confidence intervals, significance tests and power. Pure NumPy and SciPy, seeded.

Pieces are the clusters: samples and seeds of a piece are averaged beforehand (shape (pieces,), a value per piece), as generations
for one piece are not independent of each other. A test generalises to other pieces like these; the SD between seeds shows what
other trainings would give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

#: Draws of a bootstrap, and of a permutation test, the data itself counted as one of these.
DRAWS = 10_000

#: Fewest pieces for an interval.
FEWEST = 5

#: Fewest pieces for which the power of Student's test is close to the permutation test's far in the tail: with 12 pieces at the
#: level 0.05 / 66 the test found 55 % where 80 % were computed, with 16 pieces 75 %.
FEWEST_IN_TAIL, TAIL = 16, 0.01

#: Up to this number of pieces all sign patterns are enumerated: the test is then exact.
EXACT = 13


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Parameters
    ----------
    low, high : float
    level : float
        Share of such intervals that contain the true mean.

    Examples
    --------
    >>> Interval(-0.5, 1.5).excludes(0.0)
    False
    """

    low: float
    high: float
    level: float = 0.95

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside."""
        return not self.low <= value <= self.high


def bootstrap_mean(
    values: ArrayLike, weights: ArrayLike | None = None, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Compute a percentile bootstrap interval of the mean over pieces, with Hesterberg's correction for few pieces.

    The plain percentile interval is too narrow by a factor of sqrt((n - 1) / n) z / t: of 95 % intervals over 10 pieces about
    90 % contain the true mean. The correction takes wider percentiles: for normal values the interval is Student's.

    Parameters
    ----------
    values : array_like, shape (pieces,)
    weights : array_like, shape (pieces,), optional
        Positive. The mean is then sum(weights * values) / sum(weights), as bits per note are over all notes of all pieces.
    level : float
    draws : int
    seed : int

    Returns
    -------
    Interval or None
        None for fewer than :data:`FEWEST` pieces: of intervals over three pieces 77 % contained the true mean, not 95 %.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13; Hesterberg 2015, What Teachers Should Know About the
    Bootstrap, section 3.3 (expanded percentile interval).

    Examples
    --------
    >>> interval = bootstrap_mean([8.0, 9.5, 10.0, 10.5, 12.0])
    >>> interval.low < 10.0 < interval.high
    True
    >>> bootstrap_mean([9.5, 10.0, 10.5]) is None
    True
    """
    sample = np.asarray(values, np.float64)
    weight = np.ones(len(sample)) if weights is None else np.asarray(weights, np.float64)
    n = len(sample)
    if n < FEWEST:
        return None
    if np.ptp(sample) == 0:
        return Interval(float(sample[0]), float(sample[0]), level)
    resamples = _resamples(n, draws, seed)
    means = resamples @ (weight * sample) / (resamples @ weight)
    tail = stats.norm.sf(math.sqrt(n / (n - 1)) * stats.t.isf((1 - level) / 2, n - 1))
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(low), float(high), level)


@lru_cache(maxsize=4)
def _resamples(n: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Count how often each of `n` values is in each resample, (draws, n). Cached: a report has many intervals of one size."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws).astype(np.float64)


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


def smallest_p(pieces: int, draws: int | None = DRAWS) -> float:
    """Compute the smallest p-value that :func:`paired_permutation` can give: that of two sign patterns, all plus and all minus.

    Parameters
    ----------
    pieces : int
        Only those with a difference other than 0, as the sign of 0 does not matter.
    draws : int or None
        Sign patterns drawn for more than :data:`EXACT` pieces; None for as many as there are.

    Examples
    --------
    >>> smallest_p(5), smallest_p(20), smallest_p(0)
    (0.0625, 0.0001, 1.0)
    >>> smallest_p(20, draws=None) == 2 / 2**20
    True
    """
    return 2.0 ** (1 - max(1, pieces)) if pieces <= EXACT or draws is None else 1 / draws


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


def detectable_difference(sd: float, pieces: int, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Compute the smallest true mean difference that a two-sided paired test finds with probability `power`.

    By the power of Student's paired t-test, which the permutation test of a mean comes close to.

    Parameters
    ----------
    sd : float
        Standard deviation (divisor n - 1) of the differences between pieces.
    pieces : int
    alpha, power : float

    Returns
    -------
    float or None
        In the unit of `sd`; None for fewer than three pieces, or fewer than :data:`FEWEST_IN_TAIL` at a level below :data:`TAIL`.

    References
    ----------
    Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, ch. 2.

    Examples
    --------
    >>> round(detectable_difference(sd=1.0, pieces=50), 2)
    0.4
    """
    if pieces < 3 or (alpha < TAIL and pieces < FEWEST_IN_TAIL):
        return None
    critical = stats.t.isf(alpha / 2, pieces - 1)

    def lacking(effect: float) -> float:
        # A significant difference of the wrong sign adds next to nothing, and SciPy can't compute so small a tail.
        return float(stats.nct.sf(critical, pieces - 1, effect * math.sqrt(pieces))) - power

    highest = (critical + 5.0) / math.sqrt(pieces)
    return sd * float(optimize.brentq(lacking, 0.0, highest))


def welch(groups: Sequence[tuple[float, float, int]]) -> float:
    """Compute the two-sided p-value of Welch's t-test of two groups, each (mean, SD with divisor n - 1, n).

    It is 1 where a group has fewer than two values, whose spread is unknown.

    References
    ----------
    Welch 1947, The Generalization of Student's Problem when Several Different Population Variances are Involved.

    Examples
    --------
    >>> round(welch([(9.6, 0.1, 3), (9.3, 0.2, 3)]), 2)
    0.1
    >>> welch([(9.6, 0.0, 1), (9.3, 0.2, 3)])
    1.0
    """
    (m1, s1, n1), (m2, s2, n2) = groups
    if min(n1, n2) < 2:
        return 1.0
    if s1 == s2 == 0:
        return 1.0 if m1 == m2 else 0.0
    return float(stats.ttest_ind_from_stats(m1, s1, n1, m2, s2, n2, equal_var=False).pvalue)


@dataclass(frozen=True)
class Comparison:
    """Comparison of two systems on the same pieces.

    Parameters
    ----------
    one, other : str
    difference : float
        Mean of `one` minus mean of `other`.
    interval : Interval or None
        Of the mean difference.
    p : float
        Of the paired permutation test, adjusted by Holm over all pairs compared together.
    pieces : int
        Number of pieces on which both have a value.
    sd : float
        Standard deviation (divisor n - 1) between pieces of their contributions to the difference; 0 with one piece.
    """

    one: str
    other: str
    difference: float
    interval: Interval | None
    p: float
    pieces: int
    sd: float

    def real(self, alpha: float = 0.05) -> bool:
        """Whether the difference is significant, and the interval excludes 0."""
        return self.p < alpha and self.interval is not None and self.interval.excludes(0.0)


def compare_all(
    values: Mapping[str, Mapping[int, float]],
    weights: Mapping[int, float] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every pair of systems on the pieces that both have, with Holm's adjustment over all pairs.

    Parameters
    ----------
    values : mapping of str to mapping of int to float
        System to piece to value.
    weights : mapping of int to float, optional
        Weight of each piece in the mean, see :func:`bootstrap_mean`; by default all are equal.
    draws, seed : int

    Returns
    -------
    list of Comparison
        Pairs in the order of `values`; a pair without a common piece is left out.

    Examples
    --------
    >>> (c,) = compare_all({"lstm": {0: 9.0, 1: 8.0, 2: 7.0}, "gan": {1: 9.0, 2: 9.0, 3: 4.0}})
    >>> c.one, c.other, c.difference, c.pieces
    ('lstm', 'gan', -1.5, 2)
    """
    names = list(values)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if values[a].keys() & values[b].keys()]
    common = [sorted(values[a].keys() & values[b].keys()) for a, b in pairs]
    differences = [np.array([values[a][p] - values[b][p] for p in pieces]) for (a, b), pieces in zip(pairs, common, strict=True)]
    shares = [np.array([1.0 if weights is None else weights[p] for p in pieces]) for pieces in common]
    # Contribution of each piece to the mean difference, whose sign the test changes.
    parts = [d * w / w.mean() for d, w in zip(differences, shares, strict=True)]
    # All pairs over the same number of pieces share the sign patterns: one product.
    p_values = np.ones(len(pairs))
    for n in {len(d) for d in parts}:
        same = [i for i, d in enumerate(parts) if len(d) == n]
        p_values[same] = paired_permutation(np.stack([parts[i] for i in same], axis=1), draws=draws, seed=seed)
    adjusted = holm(p_values.tolist())
    return [
        Comparison(
            a,
            b,
            float(part.mean()),
            bootstrap_mean(d, w, draws=draws, seed=seed),
            p,
            len(d),
            float(part.std(ddof=1)) if len(d) > 1 else 0.0,
        )
        for (a, b), d, w, part, p in zip(pairs, differences, shares, parts, adjusted, strict=True)
    ]


def ranks(values: Mapping[str, float], comparisons: Sequence[Comparison], *, alpha: float = 0.05) -> dict[str, tuple[int, int]]:
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
        1 + the number of significantly better systems, and the number of systems less the significantly worse ones.
    """
    better, worse = dict.fromkeys(values, 0), dict.fromkeys(values, 0)
    for c in comparisons:
        if c.one in values and c.other in values and c.real(alpha):
            lower, higher = (c.one, c.other) if c.difference < 0 else (c.other, c.one)
            better[higher] += 1
            worse[lower] += 1
    return {name: (1 + better[name], len(values) - worse[name]) for name in values}
