"""Colour, marker and dash of a system, the same in every figure: colour alone would not be accessible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.formatting import brief
from bench.report.contents import Report
from bench.report.figures.svg import Ink
from bench.scoring.table import Row

#: Most lines that stay legible in a figure.
MOST = 7

#: Points from an upper bound's marker to the tip of its arrow, and what it means.
ARROW, BOUND = 14, "An open marker with an arrow is an upper bound: the true value lies in the direction of the arrow."

_MARKERS = "os^Dvp*h"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 3)))


@dataclass(frozen=True)
class Mark:
    """Colour, marker and dash of a system."""

    colour: str
    marker: str
    dash: object


def marks(report: Report) -> dict[str, Mark]:
    """Mark of every row by its name; the models have the first colours."""
    return {
        row.system: Mark(Ink.SERIES[i % len(Ink.SERIES)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)])
        for i, row in enumerate(report.table.rows)
    }


def to_better(axes: Any, at: tuple[float, float], colour: str, by: tuple[float, float]) -> None:
    """Draw an arrow from a marker over `by` points, to where the true value of a bound lies."""
    style = {"arrowstyle": "<-", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 2.5}
    axes.annotate("", xy=at, xytext=by, textcoords="offset points", arrowprops=style)


def shown(report: Report) -> Sequence[Row]:
    """Rows in figures that can't hold all: trained models with a finished trial, else reference rows."""
    models = [row for row in report.table.rows if row.kind == "model" and row.done]
    return models or [row for row in report.table.rows if row.kind == "reference" and row.done]


def left_out(report: Report) -> str:
    """Sentence on the rows that :data:`MOST` cut off; empty where none was."""
    rows = shown(report)
    return f" The first {MOST} of {len(rows)} systems." if len(rows) > MOST else ""


def short(name: str) -> str:
    """Row name, shortened for a figure."""
    return brief(name, 24)
