"""Order of the rows by each rule of alignment, and how far it agrees with the order by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from bench.formatting import listed
from bench.metrics import in_group
from bench.report.contents import Report
from bench.scoring.table import REAL, Row

#: The index-aligned distance, which the others are compared with.
INDEX = "pitch_distance"

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
    """Rows with a value by every rule, the closest by index first; networks before training are far off by any, and left out."""
    rules = (INDEX, *in_group("alignment"))
    rows = [r for r in report.table.rows if r.kind != "untrained" and all(r.cells[m].value is not None for m in rules)]
    return sorted(rows, key=lambda row: _value(row, INDEX))


def orders(rows: Sequence[Row]) -> list[Order]:
    """Orders of at least two rows by every rule."""
    ranks = {metric: stats.rankdata([_value(row, metric) for row in rows]).tolist() for metric in RULES}
    constant = {metric for metric, each in ranks.items() if len(set(each)) == 1}
    return [
        Order(
            metric,
            each,
            None if {metric, INDEX} & constant else float(stats.spearmanr(ranks[INDEX], each)[0]),
        )
        for metric, each in ranks.items()
    ]


def sentences(report: Report) -> list[str]:
    """Agreement of each rule's order with that by index, and the rank of the row `real`; none for fewer than three rows."""
    rows = compared(report)
    if len(rows) < 3:
        return []
    found = orders(rows)
    agreements = [f"{RULES[o.metric]} {o.agreement:.2f}" for o in found if o.metric != INDEX and o.agreement is not None]
    result = []
    if agreements:
        result.append(
            f"Spearman's correlation of the order of {len(rows)} rows with their order by index: {', '.join(agreements)}. "
            "1 is the same order, 0 an unrelated one."
        )
    systems = [row.system for row in rows]
    if REAL in systems:
        ranks = [f"{o.ranks[systems.index(REAL)]:g} by {RULES[o.metric]}" for o in found]
        result.append(f"Rank of other real music (the row {REAL}) among these rows: {listed(ranks)}.")
    return result


def _value(row: Row, metric: str) -> float:
    """Of a row that has one."""
    return row.cells[metric].value or 0.0
