"""Quality against training time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.formatting import duration, listed
from bench.metrics import HEADLINE, METRICS
from bench.report.contents import Report
from bench.report.figures.styles import ARROW, BOUND, MOST, left_out, marks, short, to_better
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, legend_above, panels, short_title
from bench.report.numbers import number_text
from bench.report.spent import common_budget, frozen
from bench.scoring.table import Row

#: What training time is plotted against.
QUALITY = ("bits_per_note", *HEADLINE)


def gallery(report: Report) -> Gallery:
    """Charts of held-out results against training time."""
    models = [row for row in report.table.rows if row.kind == "model" and row.cells["training_seconds"].value][:MOST]
    if not models:
        return Gallery((), "No trained model has finished, so there is no cost to set against quality.")
    drawings = [_ends(report, models, metric) for metric in QUALITY]
    return Gallery(
        [drawing for drawing in drawings if drawing],
        "Across: wall-clock seconds of training on this machine, validation included. Up: the held-out result. Less is better on "
        f"both, so the best is at the lower left.{_budget(report)}{left_out(report)}",
    )


def _budget(report: Report) -> str:
    """Sentence on models that had one budget: only one that the clock ended gave them nearly the same time."""
    for amount, models, _ in common_budget(report):
        clock = amount.endswith("seconds") and not frozen(report)
        narrow = ": so the points lie in a narrow range across" if clock else ""
        return f" {models[:1].upper()}{models[1:]} had one budget, {amount}{narrow}."
    return ""


def _ends(report: Report, models: Sequence[Row], metric: str) -> Drawing | None:
    rows = [row for row in models if row.cells[metric].value is not None and not row.incomparable(metric)]
    if not rows:
        return None
    values = "; ".join(
        f"{row.system} {duration(_of(row, 'training_seconds'))}, {number_text(metric, _of(row, metric))}" for row in rows
    )
    title = METRICS[metric].title

    def paint(figure: Any) -> None:
        (axes,) = panels(figure, margins=_margins(len(rows)))
        for row in rows:
            mark, (x, y) = marks(report)[row.system], (_of(row, "training_seconds"), _of(row, metric))
            interval, spread = row.cells[metric].interval, row.cells["training_seconds"].seed_sd
            bounded = row.bounded(metric)
            if interval is not None:
                axes.plot([x, x], [y if bounded else interval.low, interval.high], color=mark.colour, linewidth=1.3)
            if spread:
                axes.plot([max(x - spread, 0), x + spread], [y, y], color=mark.colour, linewidth=1.3)
            style = {"color": mark.colour, "markerfacecolor": Ink.PAPER if bounded else mark.colour, "linestyle": "none"}
            axes.plot([x], [y], marker=mark.marker, markersize=6, label=short(row.system), zorder=3, **style)
            if bounded:
                to_better(axes, (x, y), mark.colour, (0, -ARROW))
        axes.margins(0.15)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
        axes.set_xlabel("Training time (s)")
        axes.set_ylabel(f"{short_title(title)} ({METRICS[metric].unit})" if metric in HEADLINE else title)
        legend_above(axes)

    return drawing(
        f"fig-cost-{metric.replace('_', '-')}",
        2.7,
        paint,
        f"Scatter chart. Training time and {title.lower()}: {values}.",
        f"Held-out {title.lower()} against the time that training took{_arms(rows, metric)}."
        + (f" {BOUND}" if any(row.bounded(metric) for row in rows) else ""),
    )


def _arms(rows: Sequence[Row], metric: str) -> str:
    """Caption of the lines through the points."""
    arms = ["the 95 % interval"] if any(row.cells[metric].interval for row in rows) else []
    arms += ["the SD between seeds"] if any(row.cells["training_seconds"].seed_sd for row in rows) else []
    return f"; the arms are {listed(arms)}" if arms else ""


def _margins(entries: int) -> tuple[float, float, float, float]:
    return (0.55, 0.14, 0.08 + 0.17 * ((entries + 1) // 2), 0.42)


def _of(row: Row, metric: str) -> float:
    return row.cells[metric].value or 0.0
