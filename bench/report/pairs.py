"""Differences between the models: one matrix of pairs for each tested column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.formatting import DASH, Cell, Grid
from bench.metrics import METRICS
from bench.report.contents import Report
from bench.report.numbers import interval_text, number_text
from bench.scoring.crossed import Interval
from bench.scoring.ranking import Standing
from bench.scoring.stats import Comparison

#: What marks a significant difference, beside bold type.
SIGNIFICANT = "*"


@dataclass(frozen=True)
class Matrix:
    """The pairs of one column.

    Parameters
    ----------
    title : str
        Title of the column, with its unit.
    grid : Grid
        A triangle: the model of each row minus that of each column, the best first.
    """

    title: str
    grid: Grid


def matrices(report: Report) -> list[Matrix]:
    """One matrix for each tested column that at least two models have."""
    return [_matrix(metric, standing) for metric, standing in report.standings.items() if standing.between_models]


def ordered(standing: Standing) -> list[str]:
    """Models of a column, the best mean first."""
    sign = -1.0 if METRICS[standing.metric].better == "higher" else 1.0
    models = [name for name, row in standing.known.items() if row.kind == "model"]
    return sorted(models, key=lambda name: sign * (standing.known[name].cells[standing.metric].value or 0.0))


def oriented(comparison: Comparison, one: str) -> Comparison:
    """Turn a comparison into that of `one` with the other.

    Examples
    --------
    >>> pair = Comparison("lstm", "gan", -1.5, Interval(-2.0, -1.0), 0.01, 50, wins=3.0, pairings=4)
    >>> turned = oriented(pair, "gan")
    >>> turned.one, turned.difference, turned.interval.low, turned.wins
    ('gan', 1.5, 1.0, 1.0)
    """
    if comparison.one == one:
        return comparison
    interval, wins = comparison.interval, comparison.wins
    return replace(
        comparison,
        one=comparison.other,
        other=comparison.one,
        difference=-comparison.difference,
        interval=None if interval is None else Interval(-interval.high, -interval.low, interval.level),
        wins=None if wins is None else comparison.pairings - wins,
    )


def _matrix(metric: str, standing: Standing) -> Matrix:
    names = ordered(standing)
    pairs = {frozenset((c.one, c.other)): c for c in standing.between_models}
    strong = set()
    rows: list[list[str | Cell]] = []
    for i, one in enumerate(names[:-1]):
        line: list[str | Cell] = [one]
        for j, other in enumerate(names[1:], start=1):
            pair = pairs.get(frozenset((one, other)))
            line.append(Cell("") if j <= i else _cell(metric, standing, pair, one))
            if j > i and pair is not None and standing.alike(pair) and standing.winner(pair):
                strong.add((i, j))
        rows.append(line)
    unit = METRICS[metric].unit
    title = METRICS[metric].title
    headers = ["Row − column", *names[1:]]
    return Matrix(title if unit == "bits" else f"{title} ({unit})", Grid(headers, rows, frozenset({0}), frozenset(strong)))


def _cell(metric: str, standing: Standing, pair: Comparison | None, one: str) -> Cell:
    if pair is None:
        return Cell(DASH)
    c = oriented(pair, one)
    bounded = [name in standing.bounds for name in (c.one, c.other)]
    if all(bounded):
        return Cell(DASH)  # the true difference may be anything
    # The true value of a bound is lower: so is its difference from the other, and the other's from it is higher.
    mark = "≤ " if bounded[0] else "≥ " if bounded[1] else ""
    interval = "" if c.interval is None or mark else interval_text(metric, c.interval)
    wins = "" if c.wins is None else f"{c.wins:g} of {c.pairings}"
    star = SIGNIFICANT if standing.alike(pair) and standing.winner(pair) else ""
    return Cell(f"{mark}{number_text(metric, c.difference)}{star}", c.difference, interval, wins)


def records(standings: Mapping[str, Standing]) -> Sequence[dict[str, object]]:
    """One record for each pair of rows in each tested column, as in ``differences.csv``."""
    return [
        {
            "column": metric,
            "one": c.one,
            "other": c.other,
            "pieces": c.pieces,
            "difference": c.difference,
            "low": None if c.undecided else c.interval and c.interval.low,
            "high": None if c.undecided else c.interval and c.interval.high,
            "p_holm": None if c.undecided or c.interval is None else c.p,
            "wins_of_one": c.wins,
            "training_pairs": c.pairings or None,
            "bounds": "; ".join(name for name in (c.one, c.other) if name in standing.bounds),
            "better": standing.winner(c) or "",
        }
        for metric, standing in standings.items()
        for c in standing.comparisons
    ]
