"""Training curves: loss, validation, learning rate, and the epoch whose weights were kept (the paper's Figures 6, 10 and 11)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.formatting import listed
from bench.report.contents import Report
from bench.report.figures.histories import histories
from bench.report.figures.styles import short
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, legend_above, panels
from bench.scoring.score import Row

#: History entries that have a place of their own.
RATE, LOSS, BITS = "learning_rate", "loss", "validation_bits"

#: Epochs that are drawn of a line; of longer ones every second, third, ...
POINTS = 400


@dataclass(frozen=True)
class Course:
    """One training: a seed's, or a seed's of one fold.

    Parameters
    ----------
    name : str
        ``seed 0``.
    history : sequence of mapping
        An entry an epoch.
    best : int or None
        The epoch with the best validation.
    stopped : str
        ``epochs``, ``early`` or ``clock``.
    """

    name: str
    history: Sequence[Mapping[str, float]]
    best: float | None
    stopped: str

    def line(self, name: str) -> tuple[list[float], list[float]]:
        """Epochs and values of one entry, where it was logged."""
        known = [(e["epoch"], e[name]) for e in self.history if e.get(name) is not None and math.isfinite(e[name])]
        thinned = known[:: math.ceil(len(known) / POINTS) or 1]
        if known and thinned[-1] != known[-1]:
            thinned.append(known[-1])
        return [epoch for epoch, _ in thinned], [value for _, value in thinned]


def gallery(report: Report) -> Gallery:
    """A figure a model."""
    drawings = [found for row in report.table.rows if row.kind == "model" and (found := _one(row))]
    if not drawings:
        return Gallery((), "No model has logged an epoch, so there is no training to show.")
    return Gallery(
        drawings,
        "One line a training (a seed, or a seed and a fold): training solid, validation dashed with dots. The ring is the epoch "
        "with the best validation; a cross ends a training that stopped early.",
    )


def courses(row: Row) -> list[Course]:
    """The trainings of a row that logged anything."""
    return [
        Course(name, epochs, summary.best_epoch or _best(epochs), str(summary.stopped))
        for trial in row.done
        for name, summary, epochs in histories(trial)
    ]


def validations(found: Sequence[Course]) -> list[str]:
    """What was logged on validation music, bits per note first."""
    names = {name for course in found for entry in course.history for name in entry if name.startswith("validation_")}
    return sorted(names, key=lambda name: (name != BITS, name))


def _best(history: Sequence[Mapping[str, float]]) -> int | None:
    """The epoch with the lowest of the first validation value, for a family that has no bits."""
    names = sorted({name for entry in history for name in entry if name.startswith("validation_")})
    known = [(e[names[0]], int(e["epoch"])) for e in history if e.get(names[0]) is not None] if names else []
    return min(known)[1] if known else None


def _one(row: Row) -> Drawing | None:
    found = courses(row)
    if not found:
        return None
    checked = validations(found)
    rates = any(course.line(RATE)[0] for course in found)
    # A likelihood's loss is in nats per note: in bits it can stand on the axis of the validation.
    shared = BITS in checked or "validation_loss" in checked
    heights = [1.35, *([] if shared else [1.0] * bool(checked)), *([0.6] if rates else [])]

    def paint(figure: Any) -> None:
        axes = panels(figure, heights, margins=(0.76, 0.12, 0.42, 0.42), gap=0.14)
        _losses(axes[0], found, checked, shared)
        if checked and not shared:
            _validation(axes[1], found, checked[0])
            axes[1].set_ylabel(_named(checked[0]).replace(" ", "\n", 1))
        if rates:
            _rate(axes[-1], found)
        axes[-1].set_xlabel("Epoch")
        for one in axes:
            one.yaxis.set_label_coords(-0.17, 0.5)
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        axes[0].set_title(short(row.system), pad=16)
        _legend(axes, shared)

    tall = sum(heights) + 0.14 * (len(heights) - 1) + 0.84
    return drawing(f"fig-training-{_slug(row)}", tall, paint, _label(row, found, checked), _caption(row, found))


def _losses(axes: Any, found: Sequence[Course], checked: Sequence[str], shared: bool) -> None:
    unit = 1 / math.log(2) if BITS in checked else 1.0
    for number, course in enumerate(found):
        epochs, losses = course.line(LOSS)
        marker = "." if len(epochs) == 1 else None
        label = "_" if number else "training"
        axes.plot(epochs, [unit * x for x in losses], color=Ink.SERIES[0], linewidth=1.2, marker=marker, label=label)
    if shared:
        _validation(axes, found, BITS if BITS in checked else "validation_loss")
    axes.set_ylabel("Bits per note" if BITS in checked else "Loss")


def _validation(axes: Any, found: Sequence[Course], name: str) -> None:
    for number, course in enumerate(found):
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


def _rate(axes: Any, found: Sequence[Course]) -> None:
    for course in found:
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


def _label(row: Row, found: Sequence[Course], checked: Sequence[str]) -> str:
    said = []
    unit, loss = (1 / math.log(2), "bits per note") if BITS in checked else (1.0, "loss")  # as `_losses` draws them
    for course in found:
        losses = [unit * x for x in course.line(LOSS)[1]]
        text = f"{course.name}: {len(course.history)} epochs"
        if losses:
            text += f", training {loss} from {losses[0]:.3g} to {losses[-1]:.3g}"
        if checked and (values := course.line(checked[0])[1]):
            text += f", {_named(checked[0]).lower()} from {values[0]:.3g} to {values[-1]:.3g}"
        said.append(text + (f", best at epoch {course.best}" if course.best else ""))
    return f"Line chart. Training of {row.system}. {'; '.join(said)}."


def _caption(row: Row, found: Sequence[Course]) -> str:
    early = [course.name for course in found if course.stopped == "early"]
    stopped = listed(early) if len(early) <= 3 else f"{len(early)} of {len(found)} trainings"
    best = sorted({course.best for course in found if course.best})
    kept = f" Best epoch: {listed([str(epoch) for epoch in best])}." if best else ""
    return f"{row.system}.{kept}" + (f" Stopped early: {stopped}." if early else "")


def _named(name: str) -> str:
    return {BITS: "Validation bits per note"}.get(name, name.replace("_", " ").capitalize())


def _slug(row: Row) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in row.trials[0].key)
