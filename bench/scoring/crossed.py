"""Inference over training seeds crossed with pieces: every training continues every piece. Closed forms, no resampling.

A value is modelled as mean + seed + piece + rest, all but the mean random (two-way random effects, one value a cell). A mean that
is stated of a *method*, not of the weights that one training happened to give, is uncertain by both effects: a fresh training
differs by its seed effect on all pieces at once, which no number of pieces averages out.

Two formulas, each for what it does best (``docs/statistics.md`` has the simulations):

- The **interval of a mean** is a t interval with Satterthwaite's degrees of freedom: right on average at one level. Two seeds,
  which often agree by chance, are too few for it.
- A **comparison** (:func:`bench.scoring.stats.limit`) must also hold far in the tail, at level 0.05 / pairs. There these
  estimated degrees of freedom are too many even with more seeds. It adds the squared limits of its parts instead
  (:func:`squared_limit`), as does the interval of two seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

#: Fewest pieces for an interval or a test over pieces: fewer do not show how much pieces vary.
FEWEST = 5

#: Fewest pieces of equal weight that weighted ones must be worth: with less, two or three pieces are nearly all of the mean.
FEWEST_WORTH = 3

#: What the uncertainty of a mean or of a difference includes.
Over = Literal["seeds and pieces", "pieces", "seeds"]

#: One number, or one for each of several tests.
Scalars = float | NDArray[np.float64]

#: Share by which two variances may differ and be one, rounded: they are where one value alone differs from all others.
TIE = 1e-9

#: Stands for infinitely many degrees of freedom.
KNOWN = 1e9


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


@dataclass(frozen=True)
class Variance:
    """Variance of a mean or of a difference of two, by source: mean squares over the number of values, with degrees of freedom.

    Parameters
    ----------
    seeds, seeds_df : float
        Variance that the spread of the seeds' means shows, rest included. 0 with one seed, which shows nothing.
    pieces, pieces_df : float
        The same of the pieces' means.
    rest, rest_df : float
        What is in both and must count once.
    """

    seeds: float
    seeds_df: float
    pieces: float
    pieces_df: float
    rest: float
    rest_df: float

    @property
    def total(self) -> float:
        """Variance of the mean; never below that of the pieces' means, as an estimate of the seeds' own part may be negative."""
        return max(self.seeds + self.pieces - self.rest, self.pieces)

    @property
    def own_pieces(self) -> float:
        """Part of the pieces that is not in :attr:`seeds`."""
        return max(self.pieces - self.rest, 0.0)

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of :attr:`total`."""
        if self.seeds <= self.rest * (1 + TIE):
            return self.pieces_df
        parts = ((self.seeds, self.seeds_df), (self.pieces, self.pieces_df), (self.rest, self.rest_df))
        return max(1.0, self.total**2 / math.fsum(part**2 / df for part, df in parts if part))


def variance(values: ArrayLike, effective: float | None = None) -> Variance:
    """Split the variance of the mean of `values` over seeds and pieces, both at random.

    The mean squares of a two-way analysis of variance without replication, over the number of values: their expectations are
    those of the random model, so that seeds + pieces - rest estimates the variance of the mean.

    Parameters
    ----------
    values : array_like, shape (seeds, pieces)
    effective : float, optional
        Number of equally weighted pieces that the pieces are worth, see :func:`effective_number`; by default all.

    References
    ----------
    Searle, Casella & McCulloch 1992, Variance Components, section 4.3; Brennan 2001, Generalizability Theory, section 6.3.

    Examples
    --------
    Seeds' means 1 and 3, pieces' means 1, 2 and 3, nothing else:

    >>> parts = variance([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]])
    >>> parts.seeds, round(parts.pieces, 3), parts.rest
    (1.0, 0.333, 0.0)
    """
    y = np.asarray(values, np.float64)
    seeds, pieces = y.shape
    worth = pieces if effective is None else effective
    factor = worth / (worth - 1) / pieces
    pieces_df = max(1.0, worth - 1)
    by_seed, by_piece = y.mean(1), y.mean(0)
    between = float(by_piece.var()) * factor
    if seeds < 2:
        return Variance(0.0, KNOWN, between, pieces_df, 0.0, KNOWN)
    rest = y - by_seed[:, None] - by_piece + y.mean()
    free = seeds - 1
    within = float((rest**2).mean()) / free * factor
    return Variance(float(by_seed.var(ddof=1)) / seeds, free, between, pieces_df, within, free * pieces_df)


def variance_of_difference(one: ArrayLike, other: ArrayLike, effective: float | None = None) -> Variance:
    """Split the variance of the difference of the means of two systems, each (seeds, pieces), on the same pieces.

    Seeds of the two are independent, so their parts add, with Welch's degrees of freedom. Pieces are paired: what both find hard
    cancels, and the variance between the pieces' differences remains.

    References
    ----------
    Welch 1938, The Significance of the Difference Between Two Means when the Population Variances are Unequal, for the seeds.
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    first, second = variance(a, effective), variance(b, effective)
    paired = variance([a.mean(0) - b.mean(0)], effective)
    seeds, seeds_df = add((first.seeds, first.seeds_df), (second.seeds, second.seeds_df))
    rest, rest_df = add((first.rest, first.rest_df), (second.rest, second.rest_df))
    return Variance(seeds, seeds_df, paired.pieces, paired.pieces_df, rest, rest_df)


def effective_number(weights: ArrayLike) -> float:
    """Compute the number of equal weights with which a mean varies as much: (sum w)^2 / sum w^2.

    References
    ----------
    Kish 1965, Survey Sampling, section 11.7.

    Examples
    --------
    >>> effective_number([1.0, 1.0, 1.0]), effective_number([1.0, 3.0])
    (3.0, 1.6)
    """
    w = np.asarray(weights, np.float64)
    return float(w.sum() ** 2 / (w**2).sum())


def add(*parts: tuple[float, float]) -> tuple[float, float]:
    """Sum independent variances, each with its degrees of freedom; the sum's are Satterthwaite's."""
    total = math.fsum(part for part, _ in parts)
    return total, total**2 / math.fsum(part**2 / df for part, df in parts) if total else KNOWN


def contributions(values: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Values, shape (seeds, pieces), whose plain means are the weighted means of `values`, and vary as these do.

    Each value's distance from the weighted mean counts by its weight over the mean weight, which is the linearisation of a ratio:
    bits per note are all bits over all notes, and a longer piece with average bits per note is no evidence of spread.

    References
    ----------
    Cochran 1977, Sampling Techniques, section 6.3 (ratio estimate).

    Examples
    --------
    >>> contributions([[4.0, 8.0]], [1.0, 3.0]).tolist()
    [[5.5, 8.5]]
    """
    y = np.asarray(values, np.float64)
    if weights is None:
        return y
    shares = np.asarray(weights, np.float64)
    shares = shares / shares.mean()
    mean = (y * shares).mean()
    result: NDArray[np.float64] = mean + (y - mean) * shares
    return result


def t_interval(mean: float, variance: float, df: float, level: float = 0.95) -> Interval:
    """Compute ``mean`` -+ t sqrt(``variance``).

    Examples
    --------
    >>> t_interval(5.0, 0.0, 3)
    Interval(low=5.0, high=5.0, level=0.95)
    """
    reach = -float(special.stdtrit(df, (1 - level) / 2)) * math.sqrt(variance)
    return Interval(mean - reach, mean + reach, level)


def squared_limit(
    alpha: Scalars, seeds: Scalars, seeds_df: Scalars, own: Scalars, pieces: Scalars, pieces_df: Scalars
) -> NDArray[np.float64]:
    """Compute sqrt(t_seeds^2 seeds + t_pieces^2 own), and at least t_pieces sqrt(pieces).

    With t the quantiles of two-sided level `alpha`, each of its own degrees of freedom. For independent estimates, whatever the
    true variances, such a limit is exceeded by chance in at most alpha of cases.

    Parameters
    ----------
    alpha : float or ndarray, shape (tests,)
    seeds, seeds_df, own, pieces, pieces_df : float or ndarray, shape (tests,)
        Of :class:`Variance`, `own` its :attr:`Variance.own_pieces`.

    Returns
    -------
    ndarray, shape () or (tests,)

    References
    ----------
    Banerjee 1960, Approximate Confidence Interval for Linear Functions of Means of k Populations when the Population Variances
    are not Equal, Sankhya 22.

    Examples
    --------
    Where one part is all, Student's limit; t(4) is 2.776 at 0.05:

    >>> round(float(squared_limit(0.05, 1.0, 4, 0.0, 0.0, 49)), 3)
    2.776
    """
    tail = alpha / 2
    of_pieces = special.stdtrit(pieces_df, tail) ** 2
    squares = special.stdtrit(seeds_df, tail) ** 2 * seeds + of_pieces * own
    result: NDArray[np.float64] = np.sqrt(np.maximum(squares, of_pieces * pieces))
    return result


def crossed_interval(mean: float, parts: Variance, level: float = 0.95) -> Interval:
    """Compute the interval of a mean over seeds and pieces: Satterthwaite's t interval; of two seeds, squared limits.

    Two seeds that agree by chance have a variance near 0, on which Satterthwaite's degrees of freedom are then those of the
    pieces. Student's t with one degree of freedom, 12.7, allows for that; with more seeds it would widen intervals in vain.

    Examples
    --------
    >>> crossed_interval(0.0, Variance(1.0, 1, 0.0, 49, 0.0, 49)) == t_interval(0.0, 1.0, 1)
    True
    """
    if parts.seeds_df > 1:
        return t_interval(mean, parts.total, parts.df, level)
    limit = squared_limit(1 - level, parts.seeds, parts.seeds_df, parts.own_pieces, parts.pieces, parts.pieces_df)
    return Interval(mean - float(limit), mean + float(limit), level)


def rerun_interval(seed_means: Sequence[float], level: float = 0.95, trainings: int | None = None) -> Interval | None:
    """Compute the range in which the mean of other trainings on the same pieces falls; None with one seed.

    A prediction interval: the means of both sets of seeds vary, hence SD sqrt(1 / S + 1 / trainings).

    Parameters
    ----------
    seed_means : sequence of float
        Mean of each training seed.
    level : float
    trainings : int, optional
        Number of the other trainings; by default as many.

    References
    ----------
    Hahn & Meeker 1991, Statistical Intervals, section 4.8 (mean of future observations).

    Examples
    --------
    >>> rerun_interval([9.0]) is None
    True
    >>> rerun_interval([1.0, 2.0, 3.0]).excludes(5.4)
    False
    """
    count = len(seed_means)
    if count < 2:
        return None
    variance = float(np.var(seed_means, ddof=1)) * (1 / count + 1 / (trainings or count))
    return t_interval(math.fsum(seed_means) / count, variance, count - 1, level)


def seeds_interval(seed_means: Sequence[float], level: float = 0.95) -> Interval | None:
    """Compute Student's interval of the mean over training seeds, for values of complete trainings; None with one seed."""
    count = len(seed_means)
    if count < 2:
        return None
    return t_interval(math.fsum(seed_means) / count, float(np.var(seed_means, ddof=1)) / count, count - 1, level)


@dataclass(frozen=True)
class Values:
    """Values of one system: training seed to piece to value.

    Parameters
    ----------
    by_seed : mapping of int to mapping of int to float
        A seed may lack pieces.
    weights : mapping of int to float or None
        Weight of each piece in the mean; None for equal weights.
    drawn : bool
        Whether the seeds are of one model that was trained elsewhere: they draw more samples of each piece, and train nothing.

    Examples
    --------
    >>> values = Values({0: {0: 4.0, 1: 8.0}, 1: {0: 6.0}})
    >>> values.by_piece
    {0: 5.0, 1: 8.0}
    """

    by_seed: Mapping[int, Mapping[int, float]]
    weights: Mapping[int, float] | None = field(default=None, repr=False)
    drawn: bool = False

    @cached_property
    def by_piece(self) -> dict[int, float]:
        """Mean of each piece over the seeds that have it, in the order of pieces."""
        pieces = sorted({piece for values in self.by_seed.values() for piece in values})
        columns = {piece: [values[piece] for values in self.by_seed.values() if piece in values] for piece in pieces}
        return {piece: math.fsum(column) / len(column) for piece, column in columns.items()}

    def share(self, pieces: Sequence[int]) -> list[float] | None:
        """Weights of these pieces."""
        return None if self.weights is None else [self.weights[piece] for piece in pieces]

    def effective(self, pieces: Sequence[int]) -> float | None:
        """Compute how many equally weighted pieces these are worth; None for equal weights."""
        return None if self.weights is None else effective_number([self.weights[piece] for piece in pieces])

    def enough(self, pieces: Sequence[int]) -> bool:
        """Whether these are enough for an interval or a test: :data:`FEWEST`, and worth :data:`FEWEST_WORTH` of equal weight."""
        return len(pieces) >= FEWEST and (self.effective(pieces) or len(pieces)) >= FEWEST_WORTH

    def complete(self, pieces: Sequence[int]) -> list[int]:
        """Those of `pieces` that every seed has."""
        return [piece for piece in pieces if piece in self._everywhere]

    @cached_property
    def _everywhere(self) -> frozenset[int]:
        """Pieces that every seed has."""
        return frozenset(self.by_piece).intersection(*self.by_seed.values())

    def matrix(self, pieces: Sequence[int]) -> NDArray[np.float64]:
        """Contributions to the mean, (seeds, pieces); one row of means where seeds are drawn or a seed lacks a piece."""
        crossed = not self.drawn and len(self.complete(pieces)) == len(pieces)
        rows = list(self.by_seed.values()) if crossed else [self.by_piece]
        return contributions([[row[piece] for piece in pieces] for row in rows], self.share(pieces))

    def interval(self, level: float = 0.95) -> tuple[Interval | None, Over]:
        """Compute the confidence interval of the mean, and what it is over. None without :meth:`enough` pieces.

        With one seed it is over pieces alone: it holds for this training, as nothing shows what another would give. So it is with
        seeds that are drawn: there is no other training, and the draws are part of what varies from piece to piece. Pieces that
        a seed lacks are in the mean and not in the variance; where too few are left, it is over pieces alone too.

        References
        ----------
        Satterthwaite 1946, An Approximate Distribution of Estimates of Variance Components; Burdick & Graybill 1992, Confidence
        Intervals on Variance Components, ch. 6. The floor and the degrees of freedom where it acts are those of the pieces alone.
        """
        pieces = list(self.by_piece)
        known = self.complete(pieces)
        used = known if self.enough(known) else pieces
        if not self.enough(used):
            return None, "pieces"
        values = self.matrix(used)
        parts = variance(values, self.effective(used))
        mean = float(np.average(list(self.by_piece.values()), weights=self.share(pieces)))
        return crossed_interval(mean, parts, level), "seeds and pieces" if len(values) > 1 else "pieces"
