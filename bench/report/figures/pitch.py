"""Validation loss in pitch alone: the paper's Figure 9, which compares networks with different inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.contents import Report
from bench.report.figures.styles import Mark, marks, short
from bench.report.figures.svg import Drawing, Gallery, drawing, legend_above, panels
from bench.report.histories import histories

#: Cross-entropy of the pitch in nats per note, which networks with different inputs may log to be comparable.
PITCH = "validation_pitch_loss"

Lines = Mapping[str, Sequence[Sequence[tuple[float, float]]]]


def note(report: Report) -> str:
    """Explanation of the figure with its numbers; empty where there is none."""
    lines = _pitch_losses(report)
    if not lines:
        return ""
    return (
        "Cross-entropy of the next note's pitch on validation music, comparable between networks with different inputs (the "
        f"paper's Figure 9). Lowest bits per note, mean over trainings: {_least(lines)}."
    )


def gallery(report: Report) -> Gallery | None:
    """Line chart of the validation loss in pitch; None unless two rows logged it."""
    lines = _pitch_losses(report)
    return Gallery([_drawing(lines, marks(report), _least(lines))], note(report)) if lines else None


def _pitch_losses(report: Report) -> Lines:
    """Compute evaluations and bits of each training, for each row that logged the loss in pitch; empty unless two rows did."""
    lines = {
        row.system: [_bits(h.entries) for t in row.done for h in histories(t)] for row in report.table.rows if row.kind == "model"
    }
    lines = {system: [line for line in some if line] for system, some in lines.items()}
    lines = {system: some for system, some in lines.items() if some}
    return lines if len(lines) > 1 else {}


def _least(lines: Lines) -> str:
    """``pitch-only 3.57; all-features 3.97``."""
    least = {system: [min(bits for _, bits in line) for line in some] for system, some in lines.items()}
    return "; ".join(f"{system} {math.fsum(values) / len(values):.2f}" for system, values in least.items())


def _bits(entries: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    found = [(e["epoch"], e[PITCH] / math.log(2)) for e in entries if e.get(PITCH) is not None]
    return [(number, bits) for number, bits in found if math.isfinite(bits)]


def _drawing(lines: Lines, looks: Mapping[str, Mark], least: str) -> Drawing:
    def paint(figure: Any) -> None:
        (axes,) = panels(figure, margins=(0.55, 0.14, 0.08 + 0.17 * ((len(lines) + 1) // 2), 0.42))
        for system, some in lines.items():
            for number, line in enumerate(some):
                mark = looks[system]
                axes.plot(
                    [number for number, _ in line],
                    [bits for _, bits in line],
                    color=mark.colour,
                    linestyle=mark.dash,
                    marker=mark.marker if len(line) <= 30 else None,
                    markersize=3.5,
                    linewidth=1.2,
                    label="_" if number else short(system),
                )
        axes.set_xlabel("Evaluation")
        axes.set_ylabel("Validation bits: pitch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        legend_above(axes)

    label = f"Line chart. Validation loss in pitch over evaluations. Lowest bits per note: {least}."
    return drawing("fig-pitch-loss", 2.7, paint, label, "Validation loss in pitch during training, one line per training.")
