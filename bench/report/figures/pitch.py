"""What a network learns of the pitch alone: the paper's Figure 9, which shows one network that is told less than another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.contents import Report
from bench.report.figures.histories import histories
from bench.report.figures.styles import Mark, marks, short
from bench.report.figures.svg import Drawing, Gallery, drawing, legend_above, panels

#: What a model may log that hears other columns than another, so that the two can be compared: cross-entropy, nats a note.
PITCH = "validation_pitch_loss"

Lines = Mapping[str, Sequence[Sequence[tuple[float, float]]]]


def note(report: Report) -> str:
    """What the figure shows, in words and numbers; empty where there is none."""
    known = _known(report)
    if not known:
        return ""
    return (
        "What the pitch of the next note still holds of surprise on validation music, whatever else a network is told (the "
        f"paper's Figure 9). Least bits a note, mean over trainings: {_said(known)}."
    )


def gallery(report: Report) -> Gallery | None:
    """Validation loss in pitch of all rows that logged it, on one axis; None unless two did."""
    known = _known(report)
    return Gallery([_drawing(known, marks(report), _said(known))], note(report)) if known else None


def _known(report: Report) -> Lines:
    """Of each row that logged the loss in pitch, a line a training: (epoch, bits). Empty unless two rows did."""
    lines = {
        row.system: [_bits(h.epochs) for t in row.done for h in histories(t)] for row in report.table.rows if row.kind == "model"
    }
    known = {system: [line for line in some if line] for system, some in lines.items()}
    known = {system: some for system, some in known.items() if some}
    return known if len(known) > 1 else {}


def _said(known: Lines) -> str:
    """``pitch-only 3.57; all-features 3.97``."""
    least = {system: [min(bits for _, bits in line) for line in some] for system, some in known.items()}
    return "; ".join(f"{system} {math.fsum(values) / len(values):.2f}" for system, values in least.items())


def _bits(epochs: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    found = [(e["epoch"], e[PITCH] / math.log(2)) for e in epochs if e.get(PITCH) is not None]
    return [(epoch, bits) for epoch, bits in found if math.isfinite(bits)]


def _drawing(known: Lines, looks: Mapping[str, Mark], said: str) -> Drawing:
    def paint(figure: Any) -> None:
        (axes,) = panels(figure, margins=(0.55, 0.14, 0.08 + 0.17 * ((len(known) + 1) // 2), 0.42))
        for system, some in known.items():
            for number, line in enumerate(some):
                mark = looks[system]
                axes.plot(
                    [epoch for epoch, _ in line],
                    [bits for _, bits in line],
                    color=mark.colour,
                    linestyle=mark.dash,
                    marker=mark.marker if len(line) <= 30 else None,
                    markersize=3.5,
                    linewidth=1.2,
                    label="_" if number else short(system),
                )
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Validation bits: pitch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        legend_above(axes)

    label = f"Line chart. Validation loss in pitch over epochs. Least bits a note: {said}."
    return drawing("fig-pitch-loss", 2.7, paint, label, "Validation loss in pitch as training goes on, a line a training.")
