"""``audit.svg``: both tables as one heat map. The same audit gives the same bytes.

The colours are Brewer's purple and orange, safe for all common kinds of colour blindness; every cell also has its number.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.audit.corruptions import CORRUPTIONS
from bench.audit.report import rewarded, seen
from bench.audit.responses import Audit, Cell
from bench.system.drawing import load_matplotlib

#: Size in inches of one cell (a corruption's five strengths, a metric's two lines), and of the margins.
CELL = (0.62, 0.36)
LEFT, RIGHT, TOP, BOTTOM = 2.2, 1.15, 1.75, 1.3

#: Ticks of the colour bar, in units of the distance between two real pieces.
TICKS = (-4, -1, -0.25, -0.05, 0, 0.05, 0.25, 1, 4, 25)

STRENGTHS = 5

NOTE = (
    "better  ←  in units of the distance between two real pieces  →  worse\n"
    "Colours: five strengths, weakest first. Numbers: full strength.  ~ doesn't rise with strength   ! rewards it   – undefined"
)

SETTINGS: dict[Any, Any] = {"svg.hashsalt": "midibench", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 8.5}


def audit_svg(audit: Audit) -> bytes:
    """Draw the heat map as SVG."""
    return draw(audit, "svg")


def draw(audit: Audit, kind: str) -> bytes:
    """Draw the heat map in a format that matplotlib writes, such as ``svg`` or ``png``.

    Each metric has two lines: its five strengths as colours, weakest first, and under them the number at full strength.
    """
    load_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    across, down = len(CORRUPTIONS) * CELL[0], len(audit.metrics) * CELL[1]
    # The panels are stacked, so that the numbers stay legible at a page's width.
    width, height = LEFT + across + RIGHT, 2 * (TOP + down) + BOTTOM
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), facecolor="white")
        upper, lower = (
            figure.add_axes((LEFT / width, y / height, across / width, down / height)) for y in (BOTTOM + down + TOP, BOTTOM)
        )
        _panel(upper, audit, lambda cell: cell.responses, seen, "What it sees: a corrupted copy of the target")
        image = _panel(lower, audit, lambda cell: cell.changes, rewarded, "What it rewards: another real piece, corrupted")
        bar = figure.add_axes((LEFT / width, 0.95 / height, across / width, 0.13 / height))
        scale = figure.colorbar(image, cax=bar, orientation="horizontal")
        scale.set_ticks([squeezed(t) for t in TICKS], labels=[f"{t:g}".replace("-", "−") for t in TICKS])
        figure.text(LEFT / width, 0.12 / height, NOTE, ha="left", va="bottom", linespacing=1.6)
        out = io.BytesIO()
        figure.savefig(out, format=kind, metadata={"Date": None, "Creator": "midibench"} if kind == "svg" else None, dpi=110)
    return out.getvalue()


def squeezed(value: float) -> float:
    """Map a response to the colour scale, -1 to 1: the distance between two real pieces is half-way, nothing is cut off.

    The square root distinguishes small responses from the white of none.

    >>> [squeezed(response) for response in (-1.0, 0.0, 1.0)]
    [-0.5, 0.0, 0.5]
    """
    root = math.sqrt(abs(value))
    return math.copysign(root / (1 + root), value)


def _panel(
    axes: Any, audit: Audit, numbers: Callable[[Cell], Sequence[float | None]], text: Callable[[Cell], str], title: str
) -> Any:
    cells = [[audit.cells[m.name, c] for c in CORRUPTIONS] for m in audit.metrics]
    # Every second line holds numbers and no colour.
    colours = np.full((2 * len(cells), STRENGTHS * len(CORRUPTIONS)), np.nan)
    for i, row in enumerate(cells):
        values = [value for cell in row for value in numbers(cell)]
        colours[2 * i] = [np.nan if value is None else squeezed(value) for value in values]
        for j, cell in enumerate(row):
            weight = "bold" if "!" in text(cell) else "normal"
            axes.text(STRENGTHS * (j + 0.5) - 0.5, 2 * i + 0.98, text(cell), ha="center", va="center", fontweight=weight)
    image = axes.imshow(np.ma.masked_invalid(colours), cmap="PuOr", vmin=-1, vmax=1, aspect="auto", interpolation="none")
    middles = [STRENGTHS * (j + 0.5) - 0.5 for j in range(len(CORRUPTIONS))]
    axes.set_xticks(middles, [c.title for c in CORRUPTIONS.values()], rotation=40, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks([2 * i + 0.5 for i in range(len(cells))], [m.title for m in audit.metrics])
    axes.tick_params(length=0)
    for j in range(1, len(CORRUPTIONS)):
        axes.axvline(STRENGTHS * j - 0.5, color="white", linewidth=4)
    for i in range(len(cells) + 1):
        axes.axhline(2 * i - 0.5, color="#999999", linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=11, fontweight="bold", loc="left", pad=10)
    return image
