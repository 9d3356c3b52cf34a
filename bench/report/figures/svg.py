"""SVG figures for the page: small, reproducible to the byte, and in the page's own colours.

Matplotlib has no dark mode, so it draws in :class:`Ink`, placeholder colours that are replaced by CSS variables afterwards. Text
stays text: it takes the page's font and colour, and a title from outside is never read as a formula.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bench.system.drawing import load_matplotlib

#: Width of a figure, inches: it is legible on a telephone as it is; a wide page sets several side by side.
WIDTH = 3.75

#: Inches around the axes: left, right, top, bottom.
MARGINS = (0.55, 0.12, 0.1, 0.45)

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"


class Ink:
    """Placeholder colours for the page's CSS variables."""

    TEXT = "#010101"
    MUTED = "#010102"
    GRID = "#010103"
    PAPER = "#010104"
    #: As many as there are ``--series-N`` in ``page.css``.
    SERIES = tuple(f"#0101{16 + i}" for i in range(8))


_VARIABLES = {
    Ink.TEXT: "currentColor",
    Ink.MUTED: "var(--muted)",
    Ink.GRID: "var(--line)",
    Ink.PAPER: "var(--paper)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(Ink.SERIES)},
}

_SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "midibench",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.parse_math": False,
    "path.simplify_threshold": 0.3,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": Ink.TEXT,
    "axes.edgecolor": Ink.MUTED,
    "axes.labelcolor": Ink.TEXT,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    # Where titles stand anyway: otherwise every label is laid out once more to see whether one is in their way.
    "axes.titley": 1.0,
    "grid.color": Ink.GRID,
    "grid.linewidth": 0.6,
    "xtick.color": Ink.MUTED,
    "ytick.color": Ink.MUTED,
    "xtick.labelcolor": Ink.TEXT,
    "ytick.labelcolor": Ink.TEXT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 2.2,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.4,
    "lines.dash_capstyle": "butt",
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Parameters
    ----------
    svg : Markup
        An ``svg`` element with its role and label.
    label : str
        Its content in words and numbers, for screen readers.
    caption : str
        Text below it.
    """

    svg: Markup
    label: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """The figures of one question.

    Parameters
    ----------
    drawings : sequence of Drawing
        Empty where there is nothing to draw.
    note : str
        How to read them, or why there are none.
    """

    drawings: Sequence[Drawing]
    note: str


def drawing(name: str, height: float, paint: Callable[[Any], None], label: str, caption: str) -> Drawing:
    """Draw a figure.

    Parameters
    ----------
    name : str
        Unique on the page: prefix of every id in it.
    height : float
        Inches.
    paint : callable
        Given a matplotlib ``Figure`` of :data:`WIDTH` by `height`; draws in :class:`Ink`.
    label, caption : str
    """
    with _quiet():
        load_matplotlib()
        from matplotlib import style
        from matplotlib.figure import Figure

    out = io.BytesIO()
    # After "default", as a notebook may have loaded its own.
    with _quiet(), style.context(["default", _SETTINGS]):
        figure = Figure(figsize=(WIDTH, height))
        paint(figure)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Drawing(_inlined(out.getvalue(), name, label), label, caption)


def panels(figure: Any, heights: Sequence[float] = (1.0,), margins: Sequence[float] = MARGINS, gap: float = 0.12) -> list[Any]:
    """Axes one above the other with a common horizontal axis.

    Parameters
    ----------
    figure : Figure
    heights : sequence of float
        Relative height of each.
    margins : sequence of float
        Inches: left, right, top, bottom.
    gap : float
        Inches between neighbours.
    """
    width, height = figure.get_size_inches()
    left, right, top, bottom = margins
    room = height - top - bottom - gap * (len(heights) - 1)
    axes: list[Any] = []
    above = height - top
    for part in heights:
        tall = room * part / sum(heights)
        above -= tall
        box = (left / width, above / height, (width - left - right) / width, tall / height)
        axes.append(figure.add_axes(box, sharex=axes[0] if axes else None))
        above -= gap
    for upper in axes[:-1]:
        upper.tick_params(labelbottom=False)
    return axes


def short_title(title: str) -> str:
    """Column title, shortened for an axis."""
    return title.replace("Average ", "").capitalize()


def legend_above(axes: Any, columns: int = 2) -> None:
    """Place the legend between the axes and the upper margin."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, columnspacing=1.2, labelspacing=0.3)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress matplotlib's messages about its own caches, which do not concern the report."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _inlined(svg: bytes, name: str, label: str) -> Markup:
    """Matplotlib's file as an element of the page."""
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}style" or child.tag.endswith("}metadata") or child.tag == "metadata":
                parent.remove(child)
    used = {target for node in root.iter() for value in node.attrib.values() for target in re.findall(r"#([\w-]+)", value)}
    for node in root.iter():
        _tidy(node, name, used)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib.update({"role": "img", "aria-label": label})
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    return Markup(ET.tostring(root, encoding="unicode"))  # ElementTree has escaped it


def _tidy(node: ET.Element, name: str, used: set[str]) -> None:
    node.text = node.text if node.tag == f"{_SVG}text" else None
    node.tail = None
    if (own := node.attrib.pop("id", None)) in used:
        node.set("id", f"{name}-{own}")
    if target := node.attrib.pop(_HREF, None):
        node.set("href", f"#{name}-{target[1:]}")
    for attribute in ("clip-path", "style"):
        if text := node.get(attribute):
            text = text.replace("url(#", f"url(#{name}-")
            text = re.sub("|".join(_VARIABLES), lambda m: _VARIABLES[m[0]], text)
            node.set(attribute, re.sub(r" ?font-family:[^;]*;?|(?<=[:;]) ", "", text))
    for attribute in ("d", "x", "y", "transform"):
        if text := node.get(attribute):
            # A hundredth of a point is finer than a screen.
            node.set(attribute, re.sub(r"(\.\d{2})\d+", r"\1", " ".join(text.split())))
