"""Changes between runs: each value of each row against the first run's, tested by :mod:`bench.gate.significance`.

What is compared are the values themselves. The gate asks whether a value moved away from its goal; here a value without a better
direction only differs, or does not. Values are paired over the pieces that both runs have, which are found by their notes.

The noise of trainings is moderated by the other rows of the same pair of runs. All p-values of a comparison, of all runs with the
first, are adjusted together (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from bench.comparison.differences import Difference, differences
from bench.comparison.obstacles import obstacle
from bench.comparison.rows import RowMatch, match_rows
from bench.comparison.runs import Run
from bench.gate.baseline import Series
from bench.gate.compare import shared, weights_of
from bench.gate.significance import (
    ALPHA,
    Estimate,
    PieceValues,
    SeedValues,
    adjust,
    estimate_on_pieces,
    estimate_on_seeds,
    over_seeds,
)
from bench.metrics import METRICS, Metric, skill
from bench.metrics.thresholds import SMALLEST
from bench.scoring.crossed import Interval

Status = Literal["better", "worse", "different", "not significant", "equal", "untested", "not compared"]

#: Statuses of significant changes.
SIGNIFICANT: tuple[Status, ...] = ("better", "worse", "different")

#: Largest logarithm of a ratio that is a number.
MOST_LOGARITHM = 700.0


@dataclass(frozen=True)
class Change:
    """One value of a row, in a run and in the first run.

    Parameters
    ----------
    system : str
    metric : Metric
    run : str
        Letter of the run that is compared with the first.
    status : str
        ``better``, ``worse`` or, without a better direction, ``different``: significantly so. ``equal``: the mean of each piece,
        or of the seeds, up to rounding, so that there is nothing to test; ``untested``: with too few pieces or seeds, or what a
        machine decides, which differs between runs of the same code more than within one.
    reason : str
        Why it is ``not compared``.
    before, now : float, optional
        Means over the pieces or seeds that are compared.
    estimate : Estimate, optional
    p : float
        Adjusted over all tests of the comparison.
    over : str
        ``pieces``, ``held-out pieces`` or ``seeds``.
    count : int
        Number of pieces compared; of seeds, the smaller of both sides.
    of : int
        Number of pieces that either run has a value for.
    """

    system: str
    metric: Metric
    run: str
    status: Status = "not compared"
    reason: str = ""
    before: float | None = None
    now: float | None = None
    estimate: Estimate | None = None
    p: float = 1.0
    over: str = ""
    count: int = 0
    of: int = 0

    @property
    def relative(self) -> bool:
        """Whether the change is a ratio of geometric means, as noise is in percent."""
        return self.estimate is not None and self.estimate.relative

    @property
    def size(self) -> float | None:
        """The change: now minus before, or the ratio; exactly none where both are equal up to rounding."""
        if self.estimate is None:
            return None
        return self._scaled(0.0 if self.status == "equal" else self.estimate.change)

    @property
    def interval(self) -> Interval | None:
        """95 % interval of :attr:`size`, of this change alone; None where both are equal, or runs differ more than seeds."""
        e = self.estimate
        if e is None or e.reach is None or self.status == "equal" or self.metric.of_machine:
            return None
        return Interval(self._scaled(e.change - e.reach), self._scaled(e.change + e.reach), 1 - ALPHA)

    def _scaled(self, change: float) -> float:
        return math.exp(max(-MOST_LOGARITHM, min(MOST_LOGARITHM, change))) if self.relative else change


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Parameters
    ----------
    runs : tuple of Run
        The others are compared with the first.
    differences : tuple of Difference
    rows : tuple of RowMatch
    changes : tuple of Change
        By run, row and metric; of the rows that a run and the first have.
    tests : int
        Number of p-values that were adjusted together.
    """

    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]
    rows: tuple[RowMatch, ...]
    changes: tuple[Change, ...]
    tests: int

    @cached_property
    def by_place(self) -> dict[tuple[str, str, str], Change]:
        """Changes by system, name of the metric, and letter of the run."""
        return {(c.system, c.metric.name, c.run): c for c in self.changes}

    @property
    def comparable(self) -> bool:
        """Whether a value of the music or a model's cost can be compared: sizes and reference rows' memory alone say nothing."""
        kinds = {name: row.kind for name, row in self.runs[0].rows.items()}
        costs = [c for c in self.changes if kinds[c.system] == "model" and c.metric.name != "parameters"]
        told = [*costs, *(c for c in self.changes if c.metric.group != "cost")]
        return any(change.status != "not compared" for change in told)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics that any run has a value for, without those that are functions of another."""
        cells = [row.cells for run in self.runs for row in run.table.rows]
        return tuple(m for m in METRICS.values() if m.name not in skill.OF and any(c[m.name].value is not None for c in cells))


@dataclass(frozen=True)
class Paired:
    """A change with the values that its test takes; without values it can't be compared."""

    change: Change
    values: PieceValues | SeedValues | None = None


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs with the first of them."""
    first, *others = runs
    estimated = [change for run in others for change in estimate(_paired(first, run))]
    tested, tests = significance(estimated)
    return Comparison(tuple(runs), differences(runs), match_rows(runs), tuple(tested), tests)


def estimate(pairs: Sequence[Paired]) -> list[Change]:
    """Estimate every change between two runs, with noise moderated by the rows of these two."""
    on_pieces = [(i, values) for i, paired in enumerate(pairs) if isinstance(values := paired.values, PieceValues)]
    on_seeds = [(i, values) for i, paired in enumerate(pairs) if isinstance(values := paired.values, SeedValues)]
    estimates = [*estimate_on_pieces([v for _, v in on_pieces]), *estimate_on_seeds([v for _, v in on_seeds])]
    changes = [paired.change for paired in pairs]
    for (i, _), own in zip([*on_pieces, *on_seeds], estimates, strict=True):
        changes[i] = replace(changes[i], estimate=own)
    return changes


def significance(changes: Sequence[Change]) -> tuple[list[Change], int]:
    """Adjust the p-values of all changes together, and name their status; return them and the number of tests."""
    open_to_test = [
        (i, change.estimate)
        for i, change in enumerate(changes)
        if change.estimate and change.status != "equal" and not change.metric.of_machine
    ]
    chances, tests = adjust([estimate for _, estimate in open_to_test])
    result = list(changes)
    for (i, _), chance in zip(open_to_test, chances, strict=True):
        result[i] = replace(result[i], p=chance.p, status=_status(result[i], chance.p))
    return result, tests


def _paired(before: Run, now: Run) -> list[Paired]:
    """Pair every value of the rows that both runs have."""
    pairs = []
    for system in before.rows:
        if system not in now.rows:
            continue
        old, new = before.baseline.systems[system], now.baseline.systems[system]
        for metric in METRICS.values():
            one, other = old.metrics.get(metric.id), new.metrics.get(metric.id)
            if one is None and other is None:
                continue
            change = Change(system, metric, now.letter)
            if (reason := obstacle(metric, system, before, now)) or one is None or other is None:
                pairs.append(Paired(replace(change, reason=reason)))
            else:
                drawn = old.pretrained and new.pretrained
                pairs.append(pair(change, new.group(metric), one, _renumbered(other, before, now), drawn))
    return pairs


def _renumbered(series: Series, before: Run, now: Run) -> Series:
    """Give the pieces of a later run the first run's numbers; one that the first lacks gets a number below 0."""
    if series.over != "pieces" or before.pieces == now.pieces:
        return series
    places = {identity: i for i, identity in enumerate(before.pieces)}
    return replace(series, at=tuple(places.get(now.pieces[piece], -1 - piece) for piece in series.at))


def pair(change: Change, group: str, one: Series, other: Series, drawn: bool = False) -> Paired:
    """Pair two series on the pieces that both have; of seeds, all.

    Parameters
    ----------
    change : Change
    group : str
        Rows of one group moderate each other's noise.
    one, other : Series
        With the same numbers for the same pieces.
    drawn : bool
        Whether the seeds are draws of one training.
    """
    at, (was, is_now) = shared(one, other)
    if not was.size or not is_now.size:
        return Paired(replace(change, reason="no piece has a value in both"))
    by_piece = over_seeds(was), over_seeds(is_now)
    # Means over seeds, as a row without chance may have another number of these.
    status: Status = "equal" if np.allclose(*by_piece, rtol=SMALLEST, atol=SMALLEST) else "untested"
    change = replace(change, status=status, before=float(by_piece[0].mean()), now=float(by_piece[1].mean()), over=one.over)
    if one.over == "seeds":
        change = replace(change, count=min(len(was), len(is_now)))
        return Paired(change, SeedValues(group, was[:, 0], is_now[:, 0]))
    change = replace(change, count=len(at), of=len(set(one.at) | set(other.at)))
    return Paired(change, PieceValues(group, was, is_now, weights_of(at, one, other), drawn=drawn))


def _status(change: Change, p: float) -> Status:
    e, before = change.estimate, change.before
    if e is None or before is None or not e.testable:
        return change.status
    if p >= ALPHA:
        return "not significant"
    if change.metric.better is None:
        return "different"
    lower = (e.change < 0) != (e.relative and before < 0)  # logarithms are of sizes
    return "better" if lower == (change.metric.better == "lower") else "worse"
