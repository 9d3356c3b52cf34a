"""Pitch and velocity over time, generated against original (the paper's Figures 7, 8 and 12 to 15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics import Undefined, table2
from bench.music.notes import Notes
from bench.report.contents import Report, piece_name
from bench.report.figures.styles import MOST, left_out, short, shown
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, panels
from bench.scoring.table import Row
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Target

#: Pieces that are shown, and seconds of each, as in the paper.
PIECES, SECONDS = 3, 90.0

#: Seconds that the lines average over; each note's dot is drawn too, up to :data:`DOTS`.
WINDOW, DOTS = 4.0, 400

#: How far the axis goes beyond the original's own range, in semitones and in velocity; farther where a mean does.
BEYOND = {"pitch": 12, "velocity": 16}


@dataclass(frozen=True)
class PieceCourse:
    """The figures of one piece.

    Parameters
    ----------
    title : str
        The piece's, which may hold anything.
    drawings : sequence of Drawing
        One a system.
    """

    title: str
    drawings: Sequence[Drawing]


@dataclass(frozen=True)
class Courses:
    """Figures of all pieces, and how to read them or why there are none."""

    pieces: Sequence[PieceCourse]
    note: str


def courses(report: Report) -> Courses:
    """Figures of the first pieces, each continued by every system with its first seed."""
    rows = shown(report)[:MOST]
    samples = {row.system: RunFolder(report.folder).samples(*row.done[0].keys).notes for row in rows}
    pieces = []
    for i, target in enumerate(report.targets[:PIECES]):
        own = [(row, samples[row.system][i, 0]) for row in rows if (i, 0) in samples[row.system]]
        if not len(target.target):
            continue
        sides = [table2.first_seconds(notes, SECONDS) for notes in (target.target, *(notes for _, notes in own)) if len(notes)]
        frame = framed(sides)
        drawings = [_one(report, i, row, notes, target, frame) for row, notes in own if len(notes)]
        if drawings:
            pieces.append(PieceCourse(piece_name(target), drawings))
    if not pieces:
        return Courses((), "No system has finished, so there is no music to show.")
    return Courses(
        pieces,
        f"Generated solid, original dashed: the mean over {WINDOW:g} s, with a dot for each note; notes beyond the axis lie on "
        f"its edge. Both begin where the prompt ends; the first {SECONDS:g} s. The distance is this sample's own, first seed."
        + left_out(report),
    )


def gallery(report: Report) -> Gallery:
    """Figures of :func:`courses` in one row."""
    every = courses(report)
    return Gallery([one for piece in every.pieces for one in piece.drawings], every.note)


def smoothed(onset: NDArray[np.float64], values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the values whose onset is at most half of :data:`WINDOW` from each different onset.

    Parameters
    ----------
    onset : ndarray, shape (n,)
        Sorted, seconds.
    values : ndarray, shape (n,)

    Returns
    -------
    tuple of ndarray, each of shape (different onsets,)
        The onsets, at most :data:`DOTS`, and the means.
    """
    at = np.unique(onset)
    at = at[:: -(-len(at) // DOTS) or 1]
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    low, high = np.searchsorted(onset, at - WINDOW / 2), np.searchsorted(onset, at + WINDOW / 2, side="right")
    return at, (sums[high] - sums[low]) / (high - low)


@dataclass(frozen=True)
class Frame:
    """The axes that all figures of a piece share.

    Parameters
    ----------
    until : float
        Seconds.
    limits : dict
        Lowest and highest of each column.
    """

    until: float
    limits: dict[str, tuple[float, float]]


def framed(sides: Sequence[Notes]) -> Frame:
    """Axes as long as the longest side, as high as the first, the original, and every side's mean.

    Parameters
    ----------
    sides : sequence of Notes
        The original, then the samples; none is empty.
    """
    limits = {}
    for column, beyond in BEYOND.items():
        real = getattr(sides[0], column)
        means = np.concatenate([smoothed(side.onset, getattr(side, column))[1] for side in sides])
        limits[column] = (
            min(float(real.min()) - beyond, float(means.min()) - beyond / 4),
            max(float(real.max()) + beyond, float(means.max()) + beyond / 4),
        )
    return Frame(max([1.0, *(float(side.onset[-1] - side.onset[0]) for side in sides)]), limits)


def _one(report: Report, piece: int, row: Row, notes: Notes, target: Target, frame: Frame) -> Drawing:
    values = table2.evaluate(notes, target.target, report.spec["protocol"].get("seconds"))
    if row.without_velocity:
        values["velocity_distance"] = Undefined("the model has no velocity")
    distance = {name: "undefined" if isinstance(value, Undefined) else f"{value:.2f}" for name, value in values.items()}
    ours, real = (table2.first_seconds(side, SECONDS) for side in (notes, target.target))

    def paint(figure: Any) -> None:
        upper, lower = panels(figure, (1.0, 1.0), margins=(0.56, 0.1, 0.48, 0.4), gap=0.3)
        for axes, column in ((upper, "pitch"), (lower, "velocity")):
            axes.set_ylim(*frame.limits[column])
            _side(axes, real, getattr(real, column), "original", generated=False)
            _side(axes, ours, getattr(ours, column), f"generated, distance {distance[f'{column}_distance']}", generated=True)
            axes.set_ylabel(column.capitalize())
            axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.97), ncols=2, columnspacing=1.0, borderaxespad=0.0)
        lower.set_xlim(-0.02 * frame.until, 1.02 * frame.until)
        upper.set_title(short(row.system), pad=16)
        lower.set_xlabel("Time (s)")

    label = (
        f"Line charts. Pitch and velocity over time of {row.system} for {piece_name(target)}. Mean pitch: generated "
        f"{ours.pitch.mean():.1f}, original {real.pitch.mean():.1f}, mean distance {distance['pitch_distance']} semitones. "
        f"Mean velocity: generated {ours.velocity.mean():.1f}, original {real.velocity.mean():.1f}, "
        f"mean distance {distance['velocity_distance']}."
    )
    return drawing(f"fig-course-{piece}-{row.done[0].key}", 3.3, paint, label, "")


def _side(axes: Any, notes: Notes, values: NDArray[Any], name: str, *, generated: bool) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    onset = notes.onset - notes.onset[0]
    low, high = axes.get_ylim()
    lowest, highest = low + 0.02 * (high - low), high - 0.02 * (high - low)
    colour = Ink.SERIES[0] if generated else Ink.TEXT
    # One path of points with round ends: a tenth of the bytes of as many markers.
    step = -(-len(onset) // DOTS)
    inside = np.clip(values[::step].astype(np.float64), lowest, highest)
    corners = np.repeat(np.column_stack([onset[::step], inside]), 2, axis=0)
    corners[1::2, 0] += 1e-3  # a segment of no length would be left out
    codes = np.tile([Path.MOVETO, Path.LINETO], len(corners) // 2)
    path = Path(corners, codes)
    path.should_simplify = False
    dots = PathPatch(path, linewidth=1.8, edgecolor=colour, facecolor="none", alpha=0.45, capstyle="round")
    axes.add_patch(dots)
    dash = "-" if generated else (0, (3, 1.5))
    axes.plot(*smoothed(onset, values), color=colour, linestyle=dash, linewidth=1.4, label=name)
