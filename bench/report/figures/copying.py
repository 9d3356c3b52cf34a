"""How much is copied from the training music, beside what real continuations share with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.formatting import listed
from bench.metrics import METRICS, in_group
from bench.report.contents import Report
from bench.report.figures.styles import short
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, panels
from bench.report.numbers import number_text
from bench.scoring.table import REAL, Row


def gallery(report: Report) -> Gallery:
    """Bar charts, one for each metric that is also measured on real continuations."""
    pairs = [
        (metric.name, metric.counterpart) for metric in map(METRICS.__getitem__, in_group("originality")) if metric.counterpart
    ]
    drawings = [figure for pair in pairs if (figure := _one(report, *pair))]
    if not drawings:
        return Gallery((), "No row has a value for what it copied.")
    return Gallery(
        drawings,
        "A bar is a system, filled if it was trained; the dotted line is what the real continuations share with the same music, "
        f"as composers borrow too. A bar far beyond the line is copying. The row {REAL} is omitted where copying from the "
        "training music is measured, because it is taken from it.",
    )


def _one(report: Report, metric: str, yardstick: str) -> Drawing | None:
    asked = [row for row in report.table.rows if row.done and (row.system != REAL or metric == "copied_from_prompt")]
    rows = [row for row in asked if row.cells[metric].value is not None]
    if not rows:
        return None
    none = listed([row.system for row in asked if row not in rows])
    real = next((value for row in rows if (value := row.cells[yardstick].value) is not None), None)
    column = METRICS[metric]
    values = "; ".join(f"{row.system} {number_text(metric, row.cells[metric].value or 0.0)}" for row in rows)
    label = f"Bar chart. {column.title}: {values}."
    if real is not None:
        label += f" Real continuations: {number_text(yardstick, real)}."
    return drawing(
        f"fig-{metric.replace('_', '-')}",
        0.19 * len(rows) + 0.62,
        lambda figure: _paint(figure, rows, metric, real),
        label,
        f"{column.definition} No value: {none}." if none else column.definition,
    )


def _paint(figure: Any, rows: Sequence[Row], metric: str, real: float | None) -> None:
    (axes,) = panels(figure, margins=(1.55, 0.14, 0.2, 0.42))
    values = [row.cells[metric].value or 0.0 for row in rows]
    widest = max([*values, real or 0.0])
    colours = [Ink.SERIES[{"model": 0, "untrained": 1, "reference": 2}[row.kind]] for row in rows]
    for line, (row, value, colour) in enumerate(zip(rows, values, colours, strict=True)):
        axes.barh(line, value, height=0.62, facecolor=colour if row.kind == "model" else "none", edgecolor=colour, linewidth=0.9)
        # On the page's own colour, so that the dotted line doesn't cross it.
        ground = {"facecolor": Ink.PAPER, "edgecolor": "none", "pad": 0.8}
        axes.annotate(
            number_text(metric, value), (value, line), (3, 0), textcoords="offset points", va="center", fontsize=7, bbox=ground
        )
    if real is not None:
        axes.axvline(real, color=Ink.TEXT, linewidth=1.2, linestyle=(0, (1, 1.5)))
        side = "right" if real > 0.5 * widest else "left"
        axes.text(real, -0.75, f"real continuations {number_text(metric, real)}", ha=side, va="bottom", fontsize=7)
    axes.set_yticks(range(len(rows)), [short(row.system) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, widest * 1.15 or 1.0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{METRICS[metric].title} ({METRICS[metric].unit})")
