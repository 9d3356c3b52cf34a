"""Change points of a history, and the last run against those before it.

**Change points** by binary segmentation: of all places at which a series can be split, the one with the largest change; where
that is significant, both parts are searched in the same way. A split is tested by a t-test of the trainings before it and after;
those that are not significant between their neighbours, as of a slow drift, are taken away again.

- Of what training and generating decide, the noise is the variance of the seeds within runs, moderated by the other rows of the
  metric as in the gate (:mod:`bench.gate.noise`); of pretrained rows, whose seeds are draws, by each other. A training or a draw
  counts once, however many runs repeat it.
- Times, speeds and energy also differ between runs of the same code: their noise is that of neighbouring runs, by their
  successive differences, of logarithms where all values have one sign. The difference across the place that is tested, and those
  across places that were found, are left out: a change is no noise. So it is where each run has one seed.

p is multiplied by the number of places in its part, and by the number of series of the history (Bonferroni): so at one look at
most 5 % of histories without a change show one. ``docs/history.md`` has simulations.

References
----------
Scott & Knott 1974, A cluster analysis method for grouping means in the analysis of variance, Biometrics 30(3) (binary
segmentation); von Neumann, Kent, Bellinson & Hart 1941, The mean square successive difference, Annals of Mathematical
Statistics 12(2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bench.gate.noise import moderate
from bench.gate.significance import ALPHA, ROUNDING
from bench.history.entry import Entry
from bench.history.series import Point, Series, all_series
from bench.metrics.thresholds import SMALLEST

Direction = Literal["better", "worse", "different"]

#: Fewest runs from whose successive differences noise is estimated.
FEWEST_RUNS = 5

#: Fewest degrees of freedom of noise that anything is tested against.
FEWEST_FREEDOM = 2

#: Runs before the last one that it is compared with.
WINDOW = 10

#: Newest runs of a history that are looked at: of a drift, time grows with the square of them, for each series.
MOST_RUNS = 1000


@dataclass(frozen=True)
class Noise:
    """Variance of one value of a series, with its degrees of freedom; 0 of these where nothing is known."""

    variance: float
    df: float


@dataclass(frozen=True)
class Change:
    """A change of a series.

    Parameters
    ----------
    series : Series
    at : int
        Index of the first point after it.
    before, now : float
        Means over the trainings of the part before it and of that after it.
    p : float
        Adjusted.
    runs : int
        Number of runs in the part before it.
    """

    series: Series
    at: int
    before: float
    now: float
    p: float
    runs: int

    @property
    def last_before(self) -> Point:
        """Last run before it."""
        return self.series.points[self.at - 1]

    @property
    def first_after(self) -> Point:
        """First run after it: what changed lies between both."""
        return self.series.points[self.at]

    @property
    def direction(self) -> Direction:
        """What the change is, by the metric's better direction."""
        if self.series.metric.better is None:
            return "different"
        return "better" if (self.now < self.before) == (self.series.metric.better == "lower") else "worse"


@dataclass(frozen=True)
class Trends:
    """Result for a history.

    Parameters
    ----------
    entries : tuple of Entry
    series : tuple of Series
    tests : int
        Number of series that could be tested.
    changes : tuple of Change
        Change points, by series, then in time.
    last : tuple of Change
        Significant changes of the last run against up to :data:`WINDOW` runs before it, since the last change point.
    compared : int
        Number of values of the last run that could be compared.
    same : int
        Number of these whose trainings are those of the run before.
    untested : tuple of Series
        Those whose last value comes from other trainings than that of the run before, while too little is known of their noise.
        What a machine decides is never the same, and isn't among them.
    """

    entries: tuple[Entry, ...]
    series: tuple[Series, ...]
    tests: int
    changes: tuple[Change, ...]
    last: tuple[Change, ...]
    compared: int
    same: int
    untested: tuple[Series, ...]

    def of(self, series: Series) -> list[Change]:
        """Change points of one series."""
        return [change for change in self.changes if change.series is series]


def trends(entries: Sequence[Entry]) -> Trends:
    """Find the change points of a history, and what the last run changed."""
    series = all_series(entries)
    noise = noises(series)
    testable = [_is_testable(one, own) for one, own in zip(series, noise, strict=True)]
    tests = sum(testable)
    changes = [change for i, one in enumerate(series) if testable[i] for change in _changes(one, noise[i], tests)]
    newest = [i for i, one in enumerate(series) if entries and one.points[-1].entry is entries[-1] and len(one.points) > 1]
    last, same, compared, untested = [], 0, 0, []
    for i in newest:
        if len(series[i].units) > 1 and series[i].points[-1].unit == series[i].points[-2].unit:
            same += 1
            compared += 1
        elif testable[i]:
            compared += 1
            change = _newest(series[i], noise[i], [c for c in changes if c.series is series[i]])
            if change.p * len(newest) < ALPHA:
                last.append(_adjusted(change, len(newest)))
        elif len(series[i].units) == 1:
            same += 1
            compared += 1
        elif not series[i].of_machine:
            untested.append(series[i])
    return Trends(tuple(entries), tuple(series), tests, tuple(changes), tuple(last), compared, same, tuple(untested))


def noises(series: Sequence[Series]) -> list[Noise | None]:
    """Estimate the noise of one training of each series; None where that of runs is what counts."""
    trained = [i for i, one in enumerate(series) if not one.of_machine]
    freedom = [sum(len(values) - 1 for values in series[i].first_shown if values) for i in trained]
    squares = [math.fsum(_squares(values) for values in series[i].first_shown if values) for i in trained]
    own = [square / df if df else 0.0 for square, df in zip(squares, freedom, strict=True)]
    numbers: dict[str, int] = {}  # names as long as they may be would all be as wide as the widest
    groups = [str(numbers.setdefault(f"{series[i].terms} {series[i].group}", len(numbers))) for i in trained]
    variances, moderated = moderate(own, freedom, groups)
    found = {i: Noise(float(v), float(df)) for i, v, df in zip(trained, variances, moderated, strict=True) if df}
    return [found.get(i) for i in range(len(series))]


def _is_testable(series: Series, noise: Noise | None) -> bool:
    """Whether enough is known of a series' noise."""
    return len(series.units) >= FEWEST_RUNS if noise is None else len(series.units) > 1 and noise.df >= FEWEST_FREEDOM


def _squares(values: Sequence[float]) -> float:
    """Sum of squared deviations from the mean; those that are mere rounding count as none."""
    deviations = np.asarray(values) - math.fsum(values) / len(values)
    return float(deviations @ deviations) if np.ptp(values) > ROUNDING * np.abs(values).max() else 0.0


def _of_neighbours(values: NDArray[np.float64], splits: Sequence[int]) -> Noise:
    """Noise by the successive differences of runs, without those across `splits`, where a change would count as noise."""
    parts = np.split(values, splits)
    squares = math.fsum(float(np.square(np.diff(part)).sum()) for part in parts)
    if not squares:  # a few values that are equal by chance, as counts may be, don't show that there is no noise
        return Noise(0.0, 0.0)
    freedom = len(values) - len(parts)
    # The trace of a quadratic form of n values is n - 1, that of its square (6 n - 8) / 4, or 0 for one value.
    return Noise(squares / (2 * freedom), 4 * freedom**2 / int(_traces(np.array([len(part) for part in parts])).sum()))


def _at_each_place(
    values: NDArray[np.float64], splits: Sequence[int], begin: int, end: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Do the same with a split more, at each place between `begin` and `end`, a part: variances and their degrees of freedom."""
    places = [0, *sorted(splits), len(values)]
    lengths = np.diff(places)
    squares = np.square(np.diff(values))
    squares[np.array(places[1:-1], int) - 1] = 0.0
    # Of those before a place and behind it: the sum of all, less its own, would be what rounding left of it.
    before, behind = (np.concatenate([[0.0], np.cumsum(one)[:-1]]) for one in (squares, squares[::-1]))
    rest = (before + behind[::-1])[begin : end - 1]
    left = np.arange(1, end - begin)
    freedom = len(values) - len(lengths) - 1
    traces = _traces(lengths).sum() - _traces(np.array([end - begin])) + _traces(left) + _traces(end - begin - left)
    known = (rest > 0) & (freedom > 0)
    return (
        np.divide(rest, 2 * freedom, out=np.zeros(len(rest)), where=known),
        np.divide(4.0 * freedom**2, traces, out=np.zeros(len(rest)), where=known),
    )


def _traces(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Four times the trace of the square of the quadratic form of each part, see :func:`_of_neighbours`."""
    return np.where(lengths > 1, 6 * lengths - 8, 0)


def _samples(series: Series, noise: Noise | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each unit and its number of values; of runs, one each, as logarithms where all values have one sign."""
    means = np.array([math.fsum(unit) / len(unit) for unit in series.units])
    if noise is not None:
        return means, np.array(series.counts)
    if series.of_machine and ((means > 0).all() or (means < 0).all()):
        means = np.log(np.abs(means))
    return means, np.ones(len(means))


def _changes(series: Series, noise: Noise | None, tests: int) -> list[Change]:
    """Find the change points of one series, in time."""
    means, counts = _samples(series, noise)
    splits: list[int] = []
    waiting = [(0, len(means))]
    while waiting:
        begin, end = waiting.pop()
        sizes = _sizes(means[begin:end], counts[begin:end])
        ps = _ps(sizes, *(_at_each_place(means, splits, begin, end) if noise is None else (noise.variance, noise.df)))
        ps = np.minimum(1.0, ps * len(sizes) * tests)
        best = int(np.lexsort((-sizes, ps))[0]) if len(sizes) else 0
        if len(sizes) and ps[best] < ALPHA:
            split = begin + 1 + best
            splits.append(split)
            waiting += [(split, end), (begin, split)]
    return _without_drift(series, means, counts, noise, splits, tests)


def _without_drift(
    series: Series,
    means: NDArray[np.float64],
    counts: NDArray[np.float64],
    noise: Noise | None,
    splits: list[int],
    tests: int,
) -> list[Change]:
    """Take splits away until each is significant: of a slow drift, one that parted the whole may part neither of its parts."""
    while True:
        places = [0, *sorted(splits), len(means)]
        known = noise or _of_neighbours(means, places[1:-1])
        found = []
        for begin, split, end in zip(places, places[1:], places[2:], strict=False):
            size = float(_sizes(means[begin:end], counts[begin:end])[split - begin - 1])
            p = min(1.0, _p(size, known) * (end - begin - 1) * tests)
            found.append(_change(series, begin, split, end, p))
        worst = max(found, key=lambda change: change.p, default=None)
        if worst is None or worst.p < ALPHA:
            return found
        splits.remove(worst.series.points[worst.at].unit)


def _sizes(means: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the size of the change at each place, shape (units - 1,): t times the standard deviation; 0 for mere rounding."""
    weight, total = np.cumsum(counts)[:-1], np.cumsum(means * counts)[:-1]
    rest = counts.sum() - weight
    difference = np.abs((float(means @ counts) - total) / rest - total / weight)
    sizes: NDArray[np.float64] = difference / np.sqrt(1 / weight + 1 / rest)
    sizes[difference <= SMALLEST * max(1.0, float(np.abs(means).max()))] = 0.0
    return sizes


def _p(size: float, noise: Noise) -> float:
    """Compute p of the t-test of one place."""
    return float(_ps(np.array([size]), noise.variance, noise.df)[0])


def _ps(sizes: NDArray[np.float64], variances: ArrayLike, freedom: ArrayLike) -> NDArray[np.float64]:
    """Compute p of the t-test of each place; 1 where too little is known of the noise."""
    deviations = np.sqrt(np.broadcast_to(variances, sizes.shape))
    t = np.where(sizes > 0, np.inf, 0.0)
    np.divide(sizes, deviations, out=t, where=deviations > 0)
    enough = np.broadcast_to(freedom, sizes.shape) >= FEWEST_FREEDOM
    ps: NDArray[np.float64] = np.where(enough, 2 * special.stdtr(np.maximum(freedom, 1.0), -t), 1.0)
    return ps


def _newest(series: Series, noise: Noise | None, changes: Sequence[Change]) -> Change:
    """Test the last unit against those before it, since the last change point and in the last runs."""
    last = len(series.units) - 1
    splits = [unit for change in changes if (unit := series.points[change.at].unit) < last]
    begin = max([0, *splits, last - WINDOW])
    means, counts = _samples(series, noise)
    ours = np.array([float(np.average(means[begin:last], weights=counts[begin:last])), means[last]])
    (size,) = _sizes(ours, np.array([counts[begin:last].sum(), counts[last]]))
    return _change(series, begin, last, last + 1, _p(float(size), noise or _of_neighbours(means, [*splits, last])))


def _adjusted(change: Change, tests: int) -> Change:
    return Change(change.series, change.at, change.before, change.now, min(1.0, change.p * tests), change.runs)


def _change(series: Series, begin: int, split: int, end: int, p: float) -> Change:
    """Describe the change between the units from `begin` to `split` and those to `end`."""
    before, now = ([x for unit in series.units[a:b] for x in unit] for a, b in ((begin, split), (split, end)))
    at = series.first_of(split)
    runs = at - series.first_of(begin)
    return Change(series, at, math.fsum(before) / len(before), math.fsum(now) / len(now), p, runs)
