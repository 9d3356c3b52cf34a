"""Results against the budget: validation bits while a model trains, held-out results at shares of its budget, and crossings.

The line of a model is the mean of its trainings at each evaluation, as far as all of them went; its band is from the lowest to
the highest. A training is a seed's, or a seed's of one fold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, combinations, pairwise
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.formatting import DASH, Cell, Grid, duration, listed
from bench.metrics import HEADLINE, METRICS, Undefined
from bench.metrics.cost import yardsticks_per_second
from bench.report.contents import Report
from bench.report.findings import bounds
from bench.report.histories import histories
from bench.report.numbers import number_text, value_mark
from bench.scoring.crossed import seeds_interval
from bench.scoring.score import standard_deviation
from bench.scoring.table import Row, TrialScore
from bench.storage.outcome import Epoch

#: What validation bits are drawn against. Not updates: those of one model hold more notes than those of another.
Axis = Literal["compute", "notes"]

AXES: tuple[Axis, ...] = ("compute", "notes")

BITS = "validation_bits"

#: Columns of the table at the budgets.
COLUMNS = (*HEADLINE, "bits_per_note", "bits_pitch")

#: Attributes of a stage in the table, and their format.
_SPENT: Mapping[str, Callable[[float], str]] = {"updates": "{:,.0f}".format, "notes": "{:,.0f}".format, "seconds": duration}


@dataclass(frozen=True)
class Line:
    """A model's values over its budget: mean, lowest and highest of its trainings at each point."""

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    trainings: int

    def at(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Mean, lowest and highest at each `x`, between its first and last point; all at once, as there may be many."""
        return np.interp(x, self.x, self.mean), np.interp(x, self.x, self.low), np.interp(x, self.x, self.high)


@dataclass(frozen=True)
class Crossing:
    """The last crossing of two models' mean lines.

    Parameters
    ----------
    below, above : str
        Models with the lower and the higher mean after it.
    before, after : float
        It lies between these two points of the axis; the same for a point between two evaluations.
    clear : bool
        Whether both have two trainings or more and their bands are apart somewhere before it and, the other way round, after it.
    """

    below: str
    above: str
    before: float
    after: float
    clear: bool


def training_lines(report: Report, axis: Axis) -> dict[str, Line]:
    """Compute the line of validation bits of each model that logged any."""
    lines, unit = {}, axis_unit(report, axis)
    for row in _models(report):
        trainings = [line for trial in row.done for line in _logged(trial, unit)]
        if trainings:
            lines[row.system] = line_of(trainings)
    return lines


def axis_unit(report: Report, axis: Axis) -> str:
    """Name the unit of an axis; compute is in plain seconds where a training has no yardstick, as on a GPU."""
    if axis == "notes":
        return "notes"
    trials = [trial for row in _models(report) for trial in row.done if any(histories(trial))]
    return "yardstick-seconds" if all(trial.result.training.core_seconds and _scale(trial) for trial in trials) else "seconds"


def line_of(trainings: Sequence[Sequence[tuple[float, float]]]) -> Line:
    """Mean and range of trainings, evaluation by evaluation, as far as all of them went.

    Examples
    --------
    >>> line_of([[(1.0, 10.0), (2.0, 8.0), (3.0, 7.0)], [(3.0, 12.0), (6.0, 9.0)]])
    Line(x=(2.0, 4.0), mean=(11.0, 8.5), low=(10.0, 8.0), high=(12.0, 9.0), trainings=2)
    """
    steps = list(zip(*trainings, strict=False))
    return _line([fmean(x for x, _ in step) for step in steps], [[y for _, y in step] for step in steps])


def _line(x: Sequence[float], values: Sequence[Sequence[float]]) -> Line:
    return Line(
        tuple(x),
        tuple(fmean(some) for some in values),
        tuple(min(some) for some in values),
        tuple(max(some) for some in values),
        min(len(some) for some in values),
    )


def shares(report: Report) -> list[float]:
    """Shares of the budget that any model has held-out results at, ascending; empty if they are of the whole alone."""
    parts = sorted({stage.share for row in _models(report) for trial in row.done for stage in trial.stages})
    return parts if len(parts) > 1 else []


def stage_lines(report: Report, metric: str) -> dict[str, Line]:
    """Compute the line of held-out values of each model over the shares of its budget."""
    lines = {}
    for row in _models(report):
        points = [(share, values) for share in shares(report) if (values := _at(row, share, metric))]
        if len(points) > 1:
            lines[row.system] = _line([share for share, _ in points], [values for _, values in points])
    return lines


def crossings(lines: Mapping[str, Line], *, pointwise: bool = False) -> Iterator[Crossing]:
    """Last crossing of each pair of mean lines that cross where both have data.

    Parameters
    ----------
    lines : mapping of str to Line
    pointwise : bool
        Whether nothing is known between two points, so that a crossing lies somewhere between them.
    """
    for (one, a), (other, b) in combinations(lines.items(), 2):
        start, end = max(a.x[0], b.x[0]), min(a.x[-1], b.x[-1])
        at = sorted({x for x in (*a.x, *b.x, start, end) if start <= x <= end})
        places = np.array(at)
        gaps: list[float] = (a.at(places)[0] - b.at(places)[0]).tolist()
        signed = [(x, gap) for x, gap in zip(at, gaps, strict=True) if gap]
        turns = [(left, right) for left, right in pairwise(signed) if (left[1] < 0) != (right[1] < 0)]
        if not turns:
            continue
        (x0, gap0), (x1, gap1) = turns[-1]
        below, above = (one, other) if gap1 < 0 else (other, one)
        apart = list(zip(at, _apart(lines[below], lines[above], places).tolist(), strict=True))
        clear = (
            min(a.trainings, b.trainings) > 1
            and any(sign > 0 for x, sign in apart if x <= x0)
            and any(sign < 0 for x, sign in apart if x >= x1)
        )
        middle = x0 + (x1 - x0) * gap0 / (gap0 - gap1)
        yield Crossing(below, above, *((x0, x1) if pointwise else (middle, middle)), clear)


def crossing_texts(report: Report) -> Iterator[str]:
    """One sentence for each column in which lines cross beyond the spread of the trainings."""
    found: dict[tuple[str, str], list[str]] = {}
    for axis in AXES:
        for c in _bits_crossings(report, axis):
            if _told_apart(report, c):
                where = f"after about {_about(c.after)} {axis_unit(report, axis)}"
                found.setdefault((c.below, c.above), []).append(where)
    if found:
        pairs = [
            f"the line of {below} falls below that of {above} {' and '.join(where)}" for (below, above), where in found.items()
        ]
        yield f"Validation bits: {'; '.join(pairs)}."
    for metric in HEADLINE:
        clear = [c for c in crossings(stage_lines(report, metric), pointwise=True) if c.clear]
        pairs = [
            f"between {share_text(c.before)} and {share_text(c.after)} of the budget the line of {c.below} falls below that of "
            f"{c.above}"
            for c in clear
        ]
        if pairs:
            yield f"{METRICS[metric].title}: {'; '.join(pairs)}."


def unclear_crossings(report: Report) -> bool:
    """Whether lines of a figure cross in a way that shows no order: within the spread, or one of them is an upper bound."""
    bits = any(not _told_apart(report, c) for axis in AXES for c in _bits_crossings(report, axis))
    return bits or any(not c.clear for m in HEADLINE for c in crossings(stage_lines(report, m), pointwise=True))


def _bits_crossings(report: Report, axis: Axis) -> Iterator[Crossing]:
    incomparable = {row.system for row in _models(report) if row.other_classes}
    return crossings({name: line for name, line in training_lines(report, axis).items() if name not in incomparable})


def _told_apart(report: Report, crossing: Crossing) -> bool:
    """Whether a crossing of bits shows an order on both sides of it: on one side of a bound it is the higher line."""
    return crossing.clear and not {crossing.below, crossing.above} & set(bounds(report, models=True))


def _about(value: float) -> str:
    """Two significant digits.

    >>> _about(52345.0), _about(7.22), _about(132.0)
    ('52,000', '7.2', '130')
    """
    return f"{float(f'{value:.2g}'):,g}"


def changes(report: Report) -> Iterator[str]:
    """One sentence a distance: the models whose distance fell, rose or neither from the last stage to the whole budget.

    Seeds are paired. A change counts if its 95 % interval over the seeds, on these pieces, excludes 0.
    """
    parts = shares(report)
    for metric in HEADLINE if len(parts) > 1 and parts[-1] == 1 else ():
        ways: dict[str, list[str]] = {"fell": [], "rose": [], "no clear change": []}
        for row in _models(report):
            pairs = [
                (float(before), float(after))
                for trial in row.done
                if isinstance(before := _value(trial, parts[-2], metric), float | int)
                and isinstance(after := _value(trial, 1.0, metric), float | int)
            ]
            interval = seeds_interval([after - before for before, after in pairs])
            if interval is None:
                continue
            if not interval.excludes(0.0):
                ways["no clear change"].append(row.system)
                continue
            first, last = (number_text(metric, fmean(values)) for values in zip(*pairs, strict=True))
            ways["fell" if interval.high < 0 else "rose"].append(f"{row.system} ({first} to {last})")
        if said := [f"{way} in {listed(rows)}" for way, rows in ways.items() if rows]:
            yield f"{METRICS[metric].title} from {share_text(parts[-2])} to all of the budget: {'; '.join(said)}."


def spent(row: Row, share: float, what: str) -> list[float]:
    """List the ``updates``, ``notes`` or ``seconds`` of each seed until a share of its budget."""
    return [float(getattr(stage, what)) for trial in row.done for stage in trial.stages if stage.share == share]


def table(report: Report) -> Grid:
    """Held-out results of each model at each share of its budget, all by the first sample of each piece."""
    rows: list[list[str | Cell]] = []
    for share in shares(report):
        for row in _models(report):
            if any(_at(row, share, metric) for metric in COLUMNS):
                until = [_spent_cell(row, share, what, text) for what, text in _SPENT.items()]
                cells = [_cell(row, share, metric, value_mark(row, metric)) for metric in COLUMNS]
                rows.append([row.system, Cell(share_text(share), share), *until, *cells])
    titles = [METRICS[m].title + (f" ({METRICS[m].unit})" if m in HEADLINE else "") for m in COLUMNS]
    return Grid(["Model", "Budget", "Updates", "Notes", "Training time", *titles], rows, frozenset({0}))


def share_text(share: float) -> str:
    """Share of a budget as a fraction.

    >>> share_text(0.0625), share_text(1.0)
    ('1/16', 'all')
    """
    return "all" if share == 1 else str(Fraction(share).limit_denominator(100))


def records(report: Report) -> list[dict[str, object]]:
    """One record for each trial and share of its budget, as in ``budget.csv``."""
    return [
        {
            "key": trial.key,
            "system": row.system,
            "seed": trial.trial.seed,
            "share": stage.share,
            "updates": stage.updates,
            "seconds": stage.seconds,
            "notes": stage.notes,
            **{name: None if isinstance(value, Undefined) else value for name, value in stage.values.items()},
        }
        for row in report.all_rows
        for trial in row.done
        for stage in trial.stages
    ]


def _models(report: Report) -> list[Row]:
    return [row for row in report.table.rows if row.kind == "model" and row.done]


def _logged(trial: TrialScore, unit: str) -> Iterator[list[tuple[float, float]]]:
    """Points of each training of a trial where the axis and the bits are known."""
    for history in histories(trial):
        pairs = zip(_spent_by(trial, history.entries, unit), [e.get(BITS) for e in history.entries], strict=True)
        if line := [(float(x), float(y)) for x, y in pairs if x is not None and y is not None and math.isfinite(y)]:
            yield line


def _spent_by(trial: TrialScore, history: Sequence[Epoch], unit: str) -> list[float | None]:
    """Training until each evaluation, in the unit of an axis."""
    if unit == "notes":
        return list(accumulate(e.get("notes") or 0 for e in history))
    if unit == "seconds":
        return [e.get("seconds") for e in history]
    scale = _scale(trial)
    return [None if scale is None or e.get("core_seconds") is None else scale * e["core_seconds"] for e in history]


def _scale(trial: TrialScore) -> float | None:
    scale = yardsticks_per_second(trial.result)
    return None if isinstance(scale, Undefined) else scale


def _at(row: Row, share: float, metric: str) -> list[float]:
    """Value of each seed at a share of the budget; none where one has none, of a metric that every seed must have."""
    every = [_value(trial, share, metric) for trial in row.done]
    if METRICS[metric].every_seed and any(isinstance(value, Undefined) for value in every):
        return []
    return [value for value in every if isinstance(value, float | int)]


def _value(trial: TrialScore, share: float, metric: str) -> object:
    return next((stage.values.get(metric) for stage in trial.stages if stage.share == share), None)


def _cell(row: Row, share: float, metric: str, mark: str) -> Cell:
    values = _at(row, share, metric)
    if not values:
        return Cell(DASH)
    mean, sd = fmean(values), standard_deviation(values)
    lacking = "" if len(values) == len(row.done) else f" ({len(values)} of {len(row.done)} seeds)"
    return Cell(mark + number_text(metric, mean) + ("" if sd is None else f" ± {number_text(metric, sd)}") + lacking, mean)


def _spent_cell(row: Row, share: float, what: str, text: Callable[[float], str]) -> Cell:
    values = spent(row, share, what)
    return Cell(text(mean := fmean(values)), mean) if values else Cell(DASH)


def _apart(below: Line, above: Line, x: NDArray[np.float64]) -> NDArray[np.int64]:
    """-1 where the band of `below` lies under that of `above`, 1 where it lies over it, 0 where they overlap."""
    (_, low, high), (_, lowest, highest) = below.at(x), above.at(x)
    return np.where(high < lowest, -1, np.where(low > highest, 1, 0))
