"""How a system looks in every figure: a colour and, for who can't tell colours apart, a marker and a dash of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.formatting import brief
from bench.report.contents import Report
from bench.report.figures.svg import Ink
from bench.scoring.score import Row

#: Beyond so many lines no figure can be read.
MOST = 7

_MARKERS = "os^Dvp*h"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 3)))


@dataclass(frozen=True)
class Mark:
    """Colour, marker and dash of a system."""

    colour: str
    marker: str
    dash: object


def marks(report: Report) -> dict[str, Mark]:
    """Of every row by its name: the models have the first colours."""
    return {
        row.system: Mark(Ink.SERIES[i % len(Ink.SERIES)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)])
        for i, row in enumerate(report.table.rows)
    }


def shown(report: Report) -> Sequence[Row]:
    """The rows of figures that can't hold all: trained models with a finished trial, or reference rows where there is none."""
    models = [row for row in report.table.rows if row.kind == "model" and row.done]
    return models or [row for row in report.table.rows if row.kind == "reference" and row.done]


def left_out(report: Report) -> str:
    """A sentence that says what :data:`MOST` cut off; empty where nothing was."""
    rows = shown(report)
    return f" The first {MOST} of {len(rows)} systems." if len(rows) > MOST else ""


def short(name: str) -> str:
    """A row's name, short enough for a figure."""
    return brief(name, 24)
