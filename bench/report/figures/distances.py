"""The rows of Table 2 on one axis: dots with intervals, the closest on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.metrics import HEADLINE, METRICS
from bench.report.contents import Report
from bench.report.figures.styles import short
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, panels, short_title
from bench.report.numbers import cell_text
from bench.scoring.table import REAL, Row

#: Inches of a row, and of what stands around them.
LINE, AROUND = 0.19, 0.92

#: Marker and whether it is filled, by the kind of row.
KINDS = {"model": ("o", True), "untrained": ("s", False), "reference": ("D", True)}
_COLOURS = {"model": Ink.SERIES[0], "untrained": Ink.SERIES[1], "reference": Ink.SERIES[2]}
_NAMES = {"model": "model", "untrained": "the same, untrained", "reference": "reference row"}


def gallery(report: Report) -> Gallery:
    """Dot plots of pitch and velocity."""
    drawings = [figure for metric in HEADLINE if (figure := _one(report, metric))]
    if not drawings:
        return Gallery((), "No trial has finished yet, so there is no distance to show.")
    note = "The closest is on top."
    if any(row.cells[metric].interval for row in report.table.rows for metric in HEADLINE):
        note += " The line through each dot is its 95 % interval."
    if report.table.find(REAL):
        note += (
            " The dotted line is real music of another piece. A row to its left is closer to the held-out music note by note, "
            "which need not sound more like music."
        )
    return Gallery(drawings, note)


def _one(report: Report, metric: str) -> Drawing | None:
    rows = sorted((r for r in report.table.rows if r.cells[metric].value is not None), key=lambda r: _value(r, metric))
    if not rows:
        return None
    column = METRICS[metric]
    values = "; ".join(f"{row.system} {cell_text(metric, row.cells[metric], interval=True)}" for row in rows)
    published = _published(report, rows, metric)
    intervals = ", with 95 % intervals" if "[" in values else ""
    label = f"Dot plot. {column.title} in {column.unit}, closest first{intervals}: {values}."
    return drawing(
        f"fig-{metric.replace('_', '-')}",
        LINE * len(rows) + AROUND,
        lambda figure: _paint(figure, report, rows, metric, published),
        label,
        f"{column.title}, all rows.",
    )


def _published(report: Report, rows: Sequence[Row], metric: str) -> list[tuple[int, float]]:
    """Line and published value of each row that has one."""
    return [(i, value) for i, row in enumerate(rows) if (value := report.published_value(row, metric)) is not None]


def _paint(figure: Any, report: Report, rows: Sequence[Row], metric: str, published: Sequence[tuple[int, float]]) -> None:
    (axes,) = panels(figure, margins=(1.55, 0.12, 0.42, 0.42))
    real = report.table.find(REAL)
    if real is not None and (value := real.cells[metric].value) is not None:
        axes.axvline(value, color=Ink.MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    seen: set[str] = set()
    for line, row in enumerate(rows):
        marker, filled = KINDS[row.kind]
        colour = _COLOURS[row.kind]
        interval = row.cells[metric].interval
        if interval is not None:
            axes.plot([interval.low, interval.high], [line, line], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(
            [_value(row, metric)],
            [line],
            linestyle="none",
            marker=marker,
            markersize=5,
            color=colour,
            markerfacecolor=colour if filled else Ink.PAPER,
            label="_" if row.kind in seen else _NAMES[row.kind],
        )
        seen.add(row.kind)
    if published and report.published:
        xs, lines = [value for _, value in published], [line for line, _ in published]
        label = f"{report.published.short}, other music" if _elsewhere(report) else report.published.short
        axes.plot(xs, lines, linestyle="none", marker="x", markersize=5, color=Ink.SERIES[3], label=label)
    axes.set_yticks(range(len(rows)), [short(row.system) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=-0.02 * axes.get_xlim()[1])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{short_title(METRICS[metric].title)} ({METRICS[metric].unit})")
    figure.legend(loc="upper left", ncols=2, columnspacing=1.0, labelspacing=0.2, handletextpad=0.2, borderaxespad=0.1)


def _elsewhere(report: Report) -> bool:
    return bool(report.published) and report.spec["dataset"]["name"] != (report.published and report.published.dataset)


def _value(row: Row, metric: str) -> float:
    """Of a row that has one."""
    return row.cells[metric].value or 0.0
