"""Order of the rows by each rule of alignment: a bump chart, a line a row, a column a rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.alignment import RULES, Order, compared, orders, sentences
from bench.report.contents import Report
from bench.report.figures.styles import Mark, marks, short
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, panels
from bench.scoring.table import REAL, Row

#: Inches of a row, and of what stands around them.
LINE, AROUND = 0.2, 0.5


def gallery(report: Report) -> Gallery:
    """Bump chart of the places; none for fewer than three rows."""
    rows = compared(report)
    if len(rows) < 3:
        return Gallery((), "Fewer than three rows have a distance by every rule of alignment, so there is no order to compare.")
    note = (
        "The same samples, compared with the same real music by other rules: by index as in Table 2, by nearest onset, by what "
        "sounds (piano roll), by the highest voice over time, and by dynamic time warping. A line that crosses others is a row "
        "whose place is decided by the rule."
    )
    return Gallery([_drawing(rows, marks(report))], " ".join([note, *sentences(report)]))


def _drawing(rows: Sequence[Row], looks: Mapping[str, Mark]) -> Drawing:
    found = orders(rows)
    ranked = "; ".join(f"{row.system} {', '.join(f'{o.ranks[i]:g}' for o in found)}" for i, row in enumerate(rows))
    return drawing(
        "fig-alignment",
        LINE * len(rows) + AROUND,
        lambda figure: _paint(figure, rows, found, looks),
        f"Bump chart. Places by {', '.join(RULES.values())}, 1 is the closest: {ranked}.",
        "Place of each row's mean by five rules of alignment, the closest on top. Models are coloured and reference rows grey, "
        f"but for other real music (the row {REAL}), which is a thick line.",
    )


def _paint(figure: Any, rows: Sequence[Row], found: Sequence[Order], looks: Mapping[str, Mark]) -> None:
    (axes,) = panels(figure, margins=(1.2, 1.2, 0.4, 0.1))
    for i, row in enumerate(rows):
        mark, strong = looks[row.system], row.kind == "model" or row.system == REAL
        axes.plot(
            range(len(found)),
            [order.ranks[i] for order in found],
            color=mark.colour if row.kind == "model" else Ink.TEXT if strong else Ink.MUTED,
            linestyle=mark.dash if row.kind == "model" else "-",
            linewidth=1.8 if strong else 0.9,
            marker=mark.marker,
            markersize=4.5 if strong else 3,
            zorder=3 if strong else 2,
            clip_on=False,
        )
    for at, side, gap in ((0, "right", -7), (len(found) - 1, "left", 7)):
        # A place of its own for each name, also where rows share a rank.
        order = sorted(range(len(rows)), key=lambda i: found[at].ranks[i])
        for place, i in enumerate(order, start=1):
            name, offset = short(rows[i].system), {"xytext": (gap, 0), "textcoords": "offset points"}
            axes.annotate(name, (at, place), **offset, ha=side, va="center", fontsize=8, annotation_clip=False)
    # Neighbours take turns in height, as their names are wider than the columns.
    titles = [f"{'' if i % 2 else chr(10)}{RULES[order.metric]}{chr(10) if i % 2 else ''}" for i, order in enumerate(found)]
    axes.set_xticks(range(len(found)), titles)
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.set_ylim(len(rows) + 0.5, 0.5)
    axes.set_xlim(0, len(found) - 1)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
