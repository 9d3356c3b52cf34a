"""Significance: how likely a change is by chance alone, for all comparisons of a run together.

Two kinds of evidence:

- on pieces: the change of the mean against the variance between training seeds and between the changes of the pieces, by the test
  of :mod:`bench.scoring.crossed`. A retraining with other seeds or other versions of a library moves all pieces at once; a test
  over pieces alone would call it a change;
- on seeds, for what belongs to a whole training (its cost, metrics on sets): a t-test, on the logarithm where all values are
  positive (noise in percent).

A few seeds show their noise badly, so both moderate it by the noise of the other rows of the same metric and kind
(:mod:`bench.gate.noise`). With one seed per side there is nothing to estimate noise from, unless other rows have more: the test
on pieces is then over pieces alone.

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

from bench.gate.noise import moderate
from bench.scoring.crossed import FEWEST, FEWEST_WORTH, Variance, effective_number, variance_of_difference
from bench.scoring.stats import holm, limit, p_values

#: Level of the adjusted p-values below which a change is significant.
ALPHA = 0.05

#: Relative deviations below it are rounding.
ROUNDING = 1e-9

#: Values by seed, before and now.
Sides = tuple[NDArray[np.float64], NDArray[np.float64]]


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
class Estimate:
    """A change with its uncertainty, by one test alone.

    Parameters
    ----------
    change : float
        Mean now minus mean before; if `relative`, of the logarithms.
    reach : float or None
        From the change to either end of its 95 % interval, which excludes 0 where p is below 0.05; None without a test.
    p : float
        Not adjusted for other tests; 1 without a test.
    testable : bool
        Whether p could have been small enough to call a change significant.
    relative : bool
        Whether the change is one of logarithms, as the noise is in percent.
    df : float
        Of a test over seeds: degrees of freedom of the noise; 0 where nothing is known of it.
    """

    change: float
    reach: float | None
    p: float
    testable: bool
    relative: bool = False
    df: float = 0.0


@dataclass(frozen=True)
class SeedValues:
    """Values of one row on seeds, before and now.

    Parameters
    ----------
    group : str
        Metric and kind of row; rows of one group moderate each other's noise.
    before, now : ndarray, shape (seeds,)
    ratios : bool
        Whether noise is in percent where all values have one sign; not so for distances from an ideal.
    earlier : tuple of ndarray
        Values of other trainings of the row, by earlier run: they tell more of its noise.
    """

    group: str
    before: NDArray[np.float64]
    now: NDArray[np.float64]
    ratios: bool = True
    earlier: tuple[NDArray[np.float64], ...] = ()

    @property
    def freedom(self) -> int:
        """Degrees of freedom of its own noise."""
        return _freedom((self.before, self.now, *self.earlier))


@dataclass(frozen=True)
class PieceValues:
    """Values of one row on pieces, before and now; NaN where a seed has none.

    Parameters
    ----------
    group : str
        Metric and kind of row; rows of one group moderate each other's training noise.
    before, now : ndarray, shape (seeds, pieces)
        On the same pieces; contributions to the mean, where pieces weigh unequally.
    weights : ndarray, shape (pieces,), optional
        Of each piece in the mean; by default equal. Unequal ones are worth fewer pieces.
    earlier : tuple of ndarray
        Means over all pieces of other trainings of the row, by earlier run: they tell more of its noise.
    drawn : bool
        Whether the seeds are draws of one training, which count as samples: see :class:`bench.scoring.crossed.Values`.
    """

    group: str
    before: NDArray[np.float64]
    now: NDArray[np.float64]
    weights: NDArray[np.float64] | None = None
    earlier: tuple[NDArray[np.float64], ...] = ()
    drawn: bool = False

    @property
    def freedom(self) -> int:
        """Degrees of freedom of its own trainings' noise."""
        return _freedom((self.before, self.now, *self.earlier))

    @property
    def change(self) -> float:
        """Mean now minus mean before."""
        return float(over_seeds(self.now).mean() - over_seeds(self.before).mean())

    @property
    def complete(self) -> PieceValues:
        """The same on the pieces that all seeds have; where these are too few, and of draws, means over seeds on all pieces.

        Earlier means are over all pieces: they say nothing of a part of these, nor of draws, whose noise is in the pieces.
        """
        whole = np.isfinite(self.before).all(0) & np.isfinite(self.now).all(0)
        weights = None if self.weights is None else self.weights[whole]
        earlier = self.earlier if whole.all() else ()
        kept = replace(self, before=self.before[:, whole], now=self.now[:, whole], weights=weights, earlier=earlier)
        if kept.enough and not self.drawn:
            return kept
        return replace(self, before=over_seeds(self.before)[None], now=over_seeds(self.now)[None], earlier=())

    @property
    def effective(self) -> float | None:
        """Number of equally weighted pieces that these are worth; None for equal weights."""
        return None if self.weights is None else effective_number(self.weights)

    @property
    def enough(self) -> bool:
        """Whether these are enough pieces for a test, by the rule of :meth:`bench.scoring.crossed.Values.enough`."""
        count = self.before.shape[1]
        return count >= FEWEST and (self.effective or count) >= FEWEST_WORTH

    @property
    def testable(self) -> bool:
        """Whether any difference could be significant: enough pieces, and values that are not all equal."""
        return self.enough and not np.array_equal(over_seeds(self.before), over_seeds(self.now))


def over_seeds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over seeds, (seeds, pieces) to (pieces,), where a piece may be NaN for some of them."""
    if np.isfinite(values).all():
        means: NDArray[np.float64] = values.mean(0)
        return means
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = np.nansum(values, axis=0) / np.isfinite(values).sum(0)
    return result


def estimate_on_pieces(rows: Sequence[PieceValues]) -> list[Estimate]:
    """Estimate each row's change over seeds and pieces, with moderated noise of trainings; of too few pieces the change alone."""
    many = [i for i, row in enumerate(rows) if row.enough]
    parts = _crossed_variances([rows[i] for i in many])
    changes = [row.change for row in rows]
    p = dict(zip(many, p_values([changes[i] for i in many], parts), strict=True))
    reach = dict(zip(many, limit(parts, ALPHA).tolist() if parts else (), strict=True))
    return [
        Estimate(change, reach.get(i), p.get(i, 1.0), testable=row.testable)
        for i, (row, change) in enumerate(zip(rows, changes, strict=True))
    ]


def _crossed_variances(rows: Sequence[PieceValues]) -> list[Variance]:
    """Variance of each row's change, by source."""
    used = [row.complete for row in rows]
    means = [(row.before.mean(1), row.now.mean(1)) for row in used]
    noise = _moderated(means, [row.group for row in rows], [row.earlier for row in used])
    parts = []
    for row, sides, (variance, df) in zip(used, means, noise, strict=True):
        own = variance_of_difference(row.before, row.now, row.effective)
        parts.append(replace(own, seeds=variance * _per_seed(sides), seeds_df=df) if df else own)
    return parts


def estimate_on_seeds(rows: Sequence[SeedValues]) -> list[Estimate]:
    """Estimate each row's change over seeds by a t-test with moderated noise; p is 1 where no row of the group has two seeds."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.group, []).append(i)
    sides: dict[int, Sides] = {}
    earlier: dict[int, Sequence[NDArray[np.float64]]] = {}
    relative: set[int] = set()
    for members in groups.values():
        own = [rows[i] for i in members]
        logarithms = _in_percent(own)
        sides |= zip(members, [_logarithms(row) if logarithms else (row.before, row.now) for row in own], strict=True)
        earlier |= zip(members, [[np.log(np.abs(x)) if logarithms else x for x in row.earlier] for row in own], strict=True)
        relative |= set(members) if logarithms else set()
    every = range(len(rows))
    noise = _moderated([sides[i] for i in every], [row.group for row in rows], [earlier[i] for i in every])
    return [_t_test(sides[i], *own, relative=i in relative) for i, own in enumerate(noise)]


def _moderated(
    rows: Sequence[Sides], groups: Sequence[str], earlier: Sequence[Sequence[NDArray[np.float64]]]
) -> list[tuple[float, float]]:
    """Variance of one seed and its degrees of freedom, by row; the same before, now and earlier, moderated by other rows."""
    every = [(*sides, *others) for sides, others in zip(rows, earlier, strict=True)]
    freedom = [_freedom(sides) for sides in every]
    squares = [math.fsum(_squares(side) for side in sides) for sides in every]
    own = [square / df if df else 0.0 for square, df in zip(squares, freedom, strict=True)]
    variances, moderated = moderate(own, freedom, groups)
    return list(zip(variances.tolist(), moderated.tolist(), strict=True))


def _freedom(sides: Sequence[NDArray[np.float64]]) -> int:
    """Degrees of freedom of the noise of one seed, the same on each side, shape (seeds, ...)."""
    return sum(len(side) - 1 for side in sides)


def _squares(values: NDArray[np.float64]) -> float:
    """Sum the squared deviations from the mean; those that are mere rounding count as none."""
    deviations = values - values.sum() / len(values)
    return float(deviations @ deviations) if np.ptp(values) > ROUNDING * np.abs(values).max() else 0.0


def _per_seed(sides: Sides) -> float:
    """Variance of the difference of means over the variance of one seed."""
    return math.fsum(1 / len(side) for side in sides)


def _in_percent(rows: Sequence[SeedValues]) -> bool:
    """Whether the noise of a group is in percent: all values have one sign. A speed's may be negative, as more is better."""
    every = np.concatenate([side for row in rows for side in (row.before, row.now, *row.earlier)])
    return all(row.ratios for row in rows) and bool((every > 0).all() or (every < 0).all())


def _logarithms(row: SeedValues) -> Sides:
    return np.log(np.abs(row.before)), np.log(np.abs(row.now))


def _t_test(sides: Sides, variance: float, df: float, *, relative: bool) -> Estimate:
    before, now = (float(side.sum()) / len(side) for side in sides)
    if not df:
        return Estimate(now - before, None, 1.0, testable=False, relative=relative)
    error = math.sqrt(variance * _per_seed(sides))
    t = 0.0 if before == now else abs(now - before) / error if error > 0 else math.inf
    reach = -float(special.stdtrit(df, ALPHA / 2)) * error
    return Estimate(now - before, reach, float(2 * special.stdtr(df, -t)), testable=df >= 2, relative=relative, df=df)


def adjust(estimates: Sequence[Estimate]) -> tuple[list[Chance], int]:
    """Adjust the p-values of all testable estimates together; return a chance for each, and the number of tests."""
    family = [i for i, estimate in enumerate(estimates) if estimate.testable]
    answers = [Chance(1.0, False)] * len(estimates)
    for i, p in zip(family, holm([estimates[i].p for i in family]), strict=True):
        answers[i] = Chance(p, True)
    return answers, len(family)


def judge_all(on_pieces: Sequence[PieceValues], on_seeds: Sequence[SeedValues]) -> tuple[list[Chance], list[Chance], int]:
    """Run every test of a check.

    Returns
    -------
    list of Chance, list of Chance, int
        For the comparisons on pieces, for those on seeds, and the number of tests that p is adjusted for.
    """
    answers, tests = adjust([*estimate_on_pieces(on_pieces), *estimate_on_seeds(on_seeds)])
    return answers[: len(on_pieces)], answers[len(on_pieces) :], tests
