"""Order of the rows by each rule of alignment, and how far it agrees with the order by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.formatting import listed
from bench.metrics import in_group
from bench.report.contents import Report
from bench.scoring.table import CODEC, REAL, Row

#: The index-aligned distance, which the others are compared with.
INDEX = "pitch_distance"

#: Rows that are first and last by index, far from all others, so that they would make the orders look alike.
EXTREMES = (CODEC, "uniform")

#: Each rule in a few words, for axes and sentences, in the order of the figure.
RULES = {
    INDEX: "index",
    "pitch_by_onset": "onset",
    "roll_distance": "piano roll",
    "pitch_by_soprano": "soprano",
    "pitch_by_warping": "warping",
}


@dataclass(frozen=True)
class Order:
    """Order of the rows by one rule.

    Parameters
    ----------
    metric : str
    ranks : sequence of float
        Of each row: 1 is the closest, rows with equal values share the mean of their ranks.
    agreement : float or None
        Spearman's correlation with the order by index; None where all rows have one value.
    """

    metric: str
    ranks: Sequence[float]
    agreement: float | None


def compared(report: Report) -> list[Row]:
    """Rows with a value by every rule, the closest by index first, without those that are far from all others.

    These are :data:`EXTREMES` and the networks before training.
    """
    rules = (INDEX, *in_group("alignment"))
    rows = [r for r in report.table.rows if r.kind != "untrained" and r.system not in EXTREMES]
    rows = [r for r in rows if all(r.cells[m].value is not None for m in rules)]
    return sorted(rows, key=lambda row: _value(row, INDEX))


def orders(rows: Sequence[Row]) -> list[Order]:
    """Orders of at least two rows by every rule."""
    ranks = {metric: mean_ranks([_value(row, metric) for row in rows]) for metric in RULES}
    constant = {metric for metric, each in ranks.items() if len(set(each)) == 1}
    return [
        Order(
            metric,
            each,
            None if {metric, INDEX} & constant else float(np.corrcoef(ranks[INDEX], each)[0, 1]),
        )
        for metric, each in ranks.items()
    ]


def mean_ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs.

    By hand: it is :func:`scipy.stats.rankdata`, whose module takes a tenth of the default run's report to load.
    """
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: list[float] = (np.cumsum(counts) - (counts - 1) / 2)[at].tolist()
    return ranks


def _left_out(report: Report) -> str:
    rows = [row.system for row in report.table.rows if row.system in EXTREMES]
    rows += ["untrained networks"] if any(row.kind == "untrained" for row in report.table.rows) else []
    return f" Left out, as they are far from all others by index: {listed(rows)}." if rows else ""


def sentences(report: Report) -> list[str]:
    """Agreement of each rule's order with that by index, and the place of the row `real`; none for fewer than three rows."""
    rows = compared(report)
    if len(rows) < 3:
        return []
    found = orders(rows)
    others = [(RULES[o.metric], o.agreement) for o in found if o.metric != INDEX and o.agreement is not None]
    agreements = [f"{rule} {agreement:.2f}".replace("-", "−") for rule, agreement in others]
    result = []
    if agreements:
        result.append(
            f"Spearman's correlation of the order of {len(rows)} rows with their order by index: {', '.join(agreements)}. "
            f"1 is the same order, 0 an unrelated one.{_left_out(report)}"
        )
    models = [row for row in rows if row.kind == "model"]
    if len(models) > 2:
        alone = [(RULES[o.metric], o.agreement) for o in orders(models) if o.metric != INDEX and o.agreement is not None]
        texts = [f"{rule} {agreement:.2f}".replace("-", "−") for rule, agreement in alone]
        result.append(f"Of the order of the {len(models)} models alone: {', '.join(texts)}.")
    systems = [row.system for row in rows]
    if REAL in systems:
        places = [f"{o.ranks[systems.index(REAL)]:g} by {RULES[o.metric]}" for o in found]
        result.append(
            f"Place of the mean of other real music (the row {REAL}) among these {len(rows)}, 1 the closest, whether significant "
            f"or not: {listed(places)}."
        )
    return result


def _value(row: Row, metric: str) -> float:
    """Of a row that has one."""
    return row.cells[metric].value or 0.0
