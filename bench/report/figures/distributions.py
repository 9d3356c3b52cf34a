"""Distributions of what was generated against the real notes: pitch class, interval, velocity, inter-onset interval, duration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.music.notes import ROUNDED, Notes
from bench.report.contents import Report
from bench.report.figures.styles import MOST, left_out, marks, short, shown
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, legend_above, panels
from bench.storage.run_folder import RunFolder

CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")

#: Seconds within which notes count as one chord: their intervals would hide all others.
CHORD = 0.05

#: Bins of a quantity that has no natural ones, and the share of real notes that they reach.
BINS, REACH = 24, 0.99

Shares = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Quantity:
    """One of the distributions.

    Parameters
    ----------
    name : str
        Id of its figure.
    title : str
        Of its axis, with the unit.
    edges : callable
        Bin edges, given the real pieces; what lies outside falls into the first or last bin.
    values : callable
        Of one piece.
    """

    name: str
    title: str
    edges: Callable[[Sequence[Notes]], Shares]
    values: Callable[[Notes], NDArray[Any]]


def _reach(values: Callable[[Notes], NDArray[Any]]) -> Callable[[Sequence[Notes]], Shares]:
    """From 0 to where :data:`REACH` of the real values end."""

    def edges(real: Sequence[Notes]) -> Shares:
        pooled = np.concatenate([np.empty(0), *(values(notes) for notes in real)])
        top = float(np.quantile(pooled, REACH)) if len(pooled) else 1.0
        return np.linspace(0.0, top if top > 0 else 1.0, BINS + 1, dtype=np.float64)

    return edges


def _steps(notes: Notes) -> NDArray[Any]:
    return np.diff(notes.pitch.astype(np.int64))


def _gaps(notes: Notes) -> NDArray[Any]:
    gaps = np.diff(notes.onset)
    return gaps[gaps >= CHORD - ROUNDED]


def _durations(notes: Notes) -> NDArray[Any]:
    return notes.duration


QUANTITIES = (
    Quantity("pitch-class", "Pitch class", lambda real: np.arange(13) - 0.5, lambda notes: notes.pitch % 12),
    Quantity("interval", "Step to the next note (semitones)", lambda real: np.arange(-24, 26) - 0.5, _steps),
    Quantity("velocity", "Velocity", lambda real: np.arange(0, 129, 4.0), lambda notes: notes.velocity),
    Quantity("ioi", "Inter-onset interval (s)", _reach(_gaps), _gaps),
    Quantity("duration", "Duration (s)", _reach(_durations), _durations),
)


def gallery(report: Report) -> Gallery:
    """Histograms, one for each quantity: real notes as an area, each system as a line."""
    rows = shown(report)[:MOST]
    real = [target.target for target in report.targets]
    if not rows or not any(len(notes) for notes in real):
        return Gallery((), "No system has finished, so there are no notes to compare with the real ones.")
    run = RunFolder(report.folder)
    samples = {row.system: [n for t in row.done for n in run.samples(*t.keys).notes.values()] for row in rows}
    return Gallery(
        [_one(report, quantity, real, samples) for quantity in QUANTITIES],
        "All notes of all pieces and seeds together, in percent; what lies beyond an axis is counted in its last bin. Steps and "
        "inter-onset intervals are between neighbours in the order of onset, then pitch; intervals inside a chord (below "
        f"{1000 * CHORD:.0f} ms) are left out. Under each figure: the share of values that would have to move to another bin to"
        " match the real ones." + left_out(report),
    )


def shares(quantity: Quantity, edges: Shares, pieces: Sequence[Notes]) -> Shares:
    """Percent of the values in each bin; zeros where there is none."""
    values = np.concatenate([np.empty(0), *(quantity.values(notes) for notes in pieces)])
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return np.asarray(100 * counts / max(counts.sum(), 1))


def _one(report: Report, quantity: Quantity, real: Sequence[Notes], samples: dict[str, list[Notes]]) -> Drawing:
    edges = quantity.edges(real)
    ours = {system: shares(quantity, edges, pieces) for system, pieces in samples.items()}
    theirs = shares(quantity, edges, real)

    def paint(figure: Any) -> None:
        top = 0.08 + 0.17 * ((len(ours) + 2) // 2)
        (axes,) = panels(figure, margins=(0.55, 0.12, top, 0.42))
        axes.stairs(theirs, edges, fill=True, color=Ink.MUTED, alpha=0.35, linewidth=0, label="real")
        for system, share in ours.items():
            mark = marks(report)[system]
            axes.stairs(share, edges, color=mark.colour, linestyle=mark.dash, linewidth=1.3, label=short(system), baseline=None)
        if quantity.name == "pitch-class":
            axes.set_xticks(range(12), CLASSES)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(quantity.title)
        axes.set_ylabel("Share (%)")
        legend_above(axes)

    # Half the sum of differences: total variation.
    apart = "; ".join(f"{system} {abs(share - theirs).sum() / 2:.0f} %" for system, share in ours.items())
    label = (
        f"Histogram. {quantity.title}, generated against real. The real notes peak in {_peak(quantity, edges, theirs)}. "
        f"Share of values that would have to move to another bin: {apart}."
    )
    return drawing(f"fig-spread-{quantity.name}", 2.4, paint, label, f"To be moved: {apart}.")


def _peak(quantity: Quantity, edges: Shares, share: Shares) -> str:
    at = int(share.argmax())
    return CLASSES[at] if quantity.name == "pitch-class" else f"the bin from {edges[at]:.3g} to {edges[at + 1]:.3g}"
