"""Results against the budget: validation bits over compute and notes, distances at shares of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.formatting import duration, listed
from bench.metrics import HEADLINE, METRICS
from bench.report import budget
from bench.report.budget import Line
from bench.report.contents import Report
from bench.report.figures.styles import MOST, left_out, marks, short
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, legend_above, panels, short_title
from bench.scoring.table import TO_TARGET


def gallery(report: Report) -> Gallery:
    """Line charts, a line a model."""
    drawings = [*(_bits(report, axis) for axis in budget.AXES), *(_distance(report, metric) for metric in HEADLINE)]
    shown = [drawing for drawing in drawings if drawing]
    if not shown:
        return Gallery((), "No model has logged validation bits or results at parts of its budget.")
    note = "A line is the mean of a model's trainings, its band from the lowest to the highest of them."
    return Gallery(shown, note + left_out(report))


def _bits(report: Report, axis: budget.Axis) -> Drawing | None:
    lines = _first(budget.training_lines(report, axis))
    if not lines:
        return None
    unit = budget.axis_unit(report, axis)
    name = "notes trained on" if axis == "notes" else f"{unit} of training"
    target = report.spec.get("target") if axis == "compute" else None
    ranges = [f"{system} from {line.mean[0]:.2f} to {line.mean[-1]:.2f} bits" for system, line in lines.items()]
    label = f"Line chart. Validation bits per note over {name}: {'; '.join(ranges)}."
    if target is not None:
        cells = {row.system: row.cells[TO_TARGET].value for row in report.table.rows if not row.incomparable(TO_TARGET)}
        reached = [f"{system} {duration(value)}" for system in lines if (value := cells.get(system)) is not None]
        label += f" Target {target:g} bits, reached after: {', '.join(reached) or 'never'}."

    def paint(figure: Any) -> None:
        axes = _lines(report, figure, lines, len(lines) + (target is not None))
        if target is not None:
            axes.axhline(target, color=Ink.TEXT, linewidth=0.9, linestyle=(0, (1, 2)), label=f"target, {target:g} bits")
        axes.set_xlim(left=0)
        if axis == "notes":
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(name.capitalize())
        axes.set_ylabel("Validation bits per note")
        legend_above(axes)

    caption = f"Validation bits per note against {name}."
    if apart := [row.system for row in report.table.rows if row.other_classes and row.system in lines]:
        caption += f" Bits of {listed(apart)} are over other classes: these lines don't compare with the others."
    return drawing(f"fig-budget-{axis}", 2.7, paint, label, caption)


def _distance(report: Report, metric: str) -> Drawing | None:
    lines = _first(budget.stage_lines(report, metric))
    if not lines:
        return None
    title = short_title(METRICS[metric].title)
    values = [
        f"{system} {', '.join(f'{mean:.2f} at {budget.share_text(x)}' for x, mean in zip(line.x, line.mean, strict=True))}"
        for system, line in lines.items()
    ]

    def paint(figure: Any) -> None:
        axes = _lines(report, figure, lines, len(lines))
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks := budget.shares(report), [budget.share_text(share) for share in ticks])
        axes.minorticks_off()
        axes.set_xlabel("Share of the budget")
        axes.set_ylabel(f"{title} ({METRICS[metric].unit})")
        legend_above(axes)

    name = f"fig-budget-{metric.replace('_', '-')}"
    label = f"Line chart. {title} at shares of the budget: {'; '.join(values)}."
    return drawing(name, 2.7, paint, label, f"Held-out {title.lower()} at shares of the budget.")


def _lines(report: Report, figure: Any, lines: Mapping[str, Line], entries: int) -> Any:
    (axes,) = panels(figure, margins=(0.55, 0.14, 0.08 + 0.17 * ((entries + 1) // 2), 0.42))
    for system, line in lines.items():
        mark = marks(report)[system]
        marker = mark.marker if len(line.x) <= 30 else None
        if line.trainings > 1:
            axes.fill_between(line.x, line.low, line.high, color=mark.colour, alpha=0.15, linewidth=0)
        style = {"color": mark.colour, "linestyle": mark.dash, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
        axes.plot(line.x, line.mean, label=short(system), **style)
    return axes


def _first(lines: Mapping[str, Line]) -> dict[str, Line]:
    """As many lines as stay legible."""
    return dict(list(lines.items())[:MOST])
