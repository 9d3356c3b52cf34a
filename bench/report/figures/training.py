"""Training curves: loss, validation, learning rate, and whose evaluation's weights were kept (the paper's Figures 6, 10, 11)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.formatting import listed, plural
from bench.report.contents import Report
from bench.report.figures.styles import short
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, legend_above, panels
from bench.report.histories import best_entry, entry_name, histories
from bench.scoring.table import Row

#: Logged values that have their own line or panel.
RATE, LOSS, BITS = "learning_rate", "loss", "validation_bits"

#: Most points of a line; of longer ones every second, third, ... evaluation is drawn.
POINTS = 400


@dataclass(frozen=True)
class Course:
    """One training: a seed's, or a seed's of one fold.

    Parameters
    ----------
    name : str
        ``seed 0``.
    history : sequence of mapping
        An entry an evaluation.
    best : int or None
        Number of the evaluation with the best validation.
    stopped : str
        ``budget``, ``early`` or ``clock``.
    """

    name: str
    history: Sequence[Mapping[str, float]]
    best: float | None
    stopped: str

    def line(self, name: str) -> tuple[list[float], list[float]]:
        """Numbers of the evaluations, and one of their values, where it was logged."""
        points = [(e["epoch"], e[name]) for e in self.history if e.get(name) is not None and math.isfinite(e[name])]
        thinned = points[:: math.ceil(len(points) / POINTS) or 1]
        if points and thinned[-1] != points[-1]:
            thinned.append(points[-1])
        return [epoch for epoch, _ in thinned], [value for _, value in thinned]


def gallery(report: Report) -> Gallery:
    """Line charts, one for each model."""
    drawings = [figure for row in report.table.rows if row.kind == "model" and (figure := _one(row))]
    if not drawings:
        return Gallery((), "No model has logged an evaluation, so there is no training to show.")
    return Gallery(
        drawings,
        "One line per training (a seed, or a seed and a fold): training solid, validation dashed with dots. A ring marks the "
        "evaluation with the best validation, whose weights were kept, a cross the end of a training that stopped early.",
    )


def courses(row: Row) -> list[Course]:
    """Trainings of a row that logged anything."""
    return [
        Course(name, entries, summary.best_epoch or best_entry(entries), str(summary.stopped))
        for trial in row.done
        for name, summary, entries in histories(trial)
    ]


def validations(trainings: Sequence[Course]) -> list[str]:
    """Names of the validation values that were logged, bits per note first."""
    names = {name for course in trainings for entry in course.history for name in entry if name.startswith("validation_")}
    return sorted(names, key=lambda name: (name != BITS, name))


def _one(row: Row) -> Drawing | None:
    trainings = courses(row)
    if not trainings:
        return None
    checked = validations(trainings)
    rates = any(course.line(RATE)[0] for course in trainings)
    # A likelihood's loss is in nats per note: in bits it can stand on the axis of the validation.
    shared = BITS in checked or "validation_loss" in checked
    heights = [1.35, *([] if shared else [1.0] * bool(checked)), *([0.6] if rates else [])]

    def paint(figure: Any) -> None:
        axes = panels(figure, heights, margins=(0.82, 0.12, 0.42, 0.42), gap=0.14)
        _losses(axes[0], trainings, checked, shared)
        if checked and not shared:
            _validation(axes[1], trainings, checked[0])
            axes[1].set_ylabel(_named(checked[0]).replace(" ", "\n", 1))
        if rates:
            _rate(axes[-1], trainings)
        axes[-1].set_xlabel(entry_name(row).capitalize())
        for one in axes:
            one.yaxis.set_label_coords(-0.178, 0.5)
        axes[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes[0].set_title(short(row.system), pad=16)
        _legend(axes, shared)

    tall = sum(heights) + 0.14 * (len(heights) - 1) + 0.84
    return drawing(f"fig-training-{_slug(row)}", tall, paint, _label(row, trainings, checked), _caption(row, trainings))


def _losses(axes: Any, trainings: Sequence[Course], checked: Sequence[str], shared: bool) -> None:
    unit = 1 / math.log(2) if BITS in checked else 1.0
    for number, course in enumerate(trainings):
        epochs, losses = course.line(LOSS)
        marker = "." if len(epochs) == 1 else None
        label = "_" if number else "training"
        axes.plot(epochs, [unit * x for x in losses], color=Ink.SERIES[0], linewidth=1.2, marker=marker, label=label)
    if shared:
        _validation(axes, trainings, BITS if BITS in checked else "validation_loss")
    axes.set_ylabel("Bits per note" if BITS in checked else "Loss")


def _validation(axes: Any, trainings: Sequence[Course], name: str) -> None:
    for number, course in enumerate(trainings):
        epochs, values = course.line(name)
        marker = "." if len(epochs) <= 60 else None
        style = {"color": Ink.SERIES[1], "linewidth": 1.2, "linestyle": (0, (4, 1.5)), "marker": marker, "markersize": 4}
        axes.plot(epochs, values, label="_" if number else "validation", **style)
        at = dict(zip(epochs, values, strict=True))
        if course.best in at:
            ring = {
                "marker": "o",
                "markersize": 8,
                "markerfacecolor": "none",
                "color": Ink.TEXT,
                "clip_on": False,
            }
            axes.plot([course.best], [at[course.best]], linestyle="none", label="_" if number else "best", **ring)
        if course.stopped == "early" and epochs:
            axes.plot([epochs[-1]], [values[-1]], marker="x", markersize=6, color=Ink.TEXT, linestyle="none", clip_on=False)


def _rate(axes: Any, trainings: Sequence[Course]) -> None:
    for course in trainings:
        epochs, rates = course.line(RATE)
        axes.plot(epochs, rates, color=Ink.SERIES[2], linewidth=1.2, marker="." if len(epochs) == 1 else None)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set_ylabel("Learning\nrate")


def _legend(axes: Sequence[Any], shared: bool) -> None:
    if shared or len(axes) == 1:
        legend_above(axes[0], columns=3)
        return
    handles, labels = axes[0].get_legend_handles_labels()
    more, names = axes[1].get_legend_handles_labels()
    axes[0].legend(handles + more, labels + names, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.2)


def _label(row: Row, trainings: Sequence[Course], checked: Sequence[str]) -> str:
    parts = []
    unit, loss = (1 / math.log(2), "bits per note") if BITS in checked else (1.0, "loss")  # as `_losses` draws them
    for course in trainings:
        losses = [unit * x for x in course.line(LOSS)[1]]
        text = f"{course.name}: {plural(len(course.history), entry_name(row))}"
        if losses:
            text += f", training {loss} from {losses[0]:.3g} to {losses[-1]:.3g}"
        if checked and (values := course.line(checked[0])[1]):
            text += f", {_named(checked[0]).lower()} from {values[0]:.3g} to {values[-1]:.3g}"
        parts.append(text + (f", best at {entry_name(row)} {course.best}" if course.best else ""))
    return f"Line chart. Training of {row.system}. {'; '.join(parts)}."


def _caption(row: Row, trainings: Sequence[Course]) -> str:
    early = [course.name for course in trainings if course.stopped == "early"]
    stopped = listed(early) if len(early) <= 3 else f"{len(early)} of {len(trainings)} trainings"
    best = sorted({course.best for course in trainings if course.best})
    kept = f" Best {entry_name(row)}: {listed([str(epoch) for epoch in best])}." if best else ""
    return f"{row.system}.{kept}" + (f" Stopped early: {stopped}." if early else "")


def _named(name: str) -> str:
    return {BITS: "Validation bits per note"}.get(name, name.replace("_", " ").capitalize())


def _slug(row: Row) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in row.trials[0].key)
