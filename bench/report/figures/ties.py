"""The verdict as a picture: for each tested column the models on an axis, those without a significant difference joined.

A critical-difference diagram (Demšar 2006) on the metric's own axis instead of mean ranks, so that it shows the size of a
difference too. A bar joins models of which no two differ significantly; as the tests are of pairs, bars may skip a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from bench.metrics import METRICS
from bench.report.contents import NGRAM, Report
from bench.report.figures.distances import KINDS
from bench.report.figures.styles import ARROW, BOUND, short, to_better
from bench.report.figures.svg import Drawing, Gallery, Ink, drawing, panels, short_title
from bench.report.numbers import cell_text, number_text
from bench.report.pairs import ordered
from bench.scoring.ranking import Standing
from bench.scoring.table import MEDIAN, REAL, Row

#: Inches of a row, of what stands above and below, and between two bars.
LINE, AROUND, STEP = 0.21, 0.52, 0.11

#: Most groups that are drawn: the bars of more would leave the axis no room, and some sets of pairs form millions.
MOST_GROUPS = 12

#: Points of a letter, which are more than in other figures as three of these stand side by side, and about as many inches.
LETTER, WIDE = 9.5, 0.078

_CROWDED = f"Models without a significant difference form more than {MOST_GROUPS} groups: too many for bars."

#: How far a reference row may be from the models, in widths of theirs, to be drawn at its place; beyond it an arrow stands.
NEAR = 0.8

#: How far an interval is drawn from the models' means at most, in median widths of their intervals.
WIDEST = 1.5


def gallery(report: Report) -> Gallery:
    """One diagram for each tested column that at least two models have."""
    drawings = [_one(report, metric, standing) for metric, standing in report.standings.items() if standing.between_models]
    note = "The best is on top."
    if any(row.cells[metric].interval for metric in report.standings for row in report.table.rows):
        note += " The lines are 95 % intervals of single rows; they do not tell whether two rows differ."
    if any(groups(standing) for standing in report.standings.values()):
        note += " A bar on the right joins models of which no two differ significantly."
    if any(standing.bounds for standing in report.standings.values() if standing.between_models):
        note += f" {BOUND}"
    return Gallery(drawings, note)


def groups(standing: Standing) -> list[list[str]]:
    """Largest groups of two models or more of which no two differ significantly, each in the order of the column.

    A pair that a bound leaves undecided is not joined: it may differ; nor is one of which one has no rank, as it was trained
    otherwise. At most :data:`MOST_GROUPS` and one are found.
    """
    models = ordered(standing)
    if standing.hopeless:
        return []
    place = {name: i for i, name in enumerate(models)}
    alike = [0] * len(models)  # sets of models are numbers with a bit for each
    for c in standing.between_models:
        if standing.alike(c) and standing.winner(c) is None and not c.undecided and c.interval is not None:
            one, other = place[c.one], place[c.other]
            alike[one] |= 1 << other
            alike[other] |= 1 << one
    found: list[list[int]] = []
    # Groups, and the models that may and may not extend each (Bron & Kerbosch 1973), each once by a pivot (Tomita et al. 2006).
    waiting: list[tuple[list[int], int, int]] = [([], (1 << len(models)) - 1, 0)]
    while waiting and len(found) <= MOST_GROUPS:
        group, wider, seen = waiting.pop()
        if not wider | seen:
            if len(group) > 1:
                found.append(sorted(group))
            continue
        # A largest group holds the pivot or a model that differs from it: those alike it need no branch of their own.
        pivot = max(_members(wider | seen), key=lambda one: (wider & alike[one]).bit_count())
        branches = []
        for one in _members(wider & ~alike[pivot]):
            branches.append(([*group, one], wider & alike[one], seen & alike[one]))
            wider &= ~(1 << one)
            seen |= 1 << one
        waiting += reversed(branches)
    return [[models[i] for i in group] for group in sorted(found)]


def _members(models: int) -> Iterator[int]:
    while models:
        yield (lowest := models & -models).bit_length() - 1
        models ^= lowest


def references(report: Report, metric: str) -> list[Row]:
    """List the reference rows that give the models a scale: real music, a constant, and counts."""
    counts = NGRAM if report.table.find(NGRAM) else "markov"
    rows = [report.table.find(name) for name in (REAL, MEDIAN, counts)]
    known = [row for row in rows if row is not None and row.kind == "reference" and row.cells[metric].value is not None]
    return [row for row in known if not row.incomparable(metric)]


def _one(report: Report, metric: str, standing: Standing) -> Drawing:
    rows = [standing.known[name] for name in ordered(standing)] + references(report, metric)
    sign = -1.0 if METRICS[metric].better == "higher" else 1.0
    rows.sort(key=lambda row: sign * _value(row, metric))
    joined = groups(standing)
    crowded = len(joined) > MOST_GROUPS
    title, unit = METRICS[metric].title, METRICS[metric].unit
    values = "; ".join(
        f"{row.system} {'at most ' if row.bounded(metric) else ''}{cell_text(metric, row.cells[metric], interval=True)}"
        for row in rows
    )
    ties = "; ".join(", ".join(group) for group in joined) or ("none" if standing.tested else "not tested")
    if crowded:
        joined, ties = [], f"more than {MOST_GROUPS} groups"
    return drawing(
        f"fig-ties-{metric.replace('_', '-')}",
        LINE * len(rows) + AROUND,
        lambda figure: _paint(figure, rows, metric, joined),
        f"Dot plot. {title} in {unit}, best first: {values}. Models without a significant difference: {ties}.",
        "Too few pieces to test." if standing.hopeless else _CROWDED if crowded else "",
    )


def _paint(figure: Any, rows: Sequence[Row], metric: str, joined: Sequence[Sequence[str]]) -> None:
    place = {row.system: line for line, row in enumerate(rows)}
    bars = _columns([[place[name] for name in group] for group in joined])
    names = [short(row.system) for row in rows]
    gutter = 0.16 + STEP * (max((column for column, _ in bars), default=-1) + 1.5)
    (axes,) = panels(figure, margins=(0.2 + WIDE * max(map(len, names)), gutter, 0.08, AROUND - 0.08))
    low, high = _limits(rows, metric)
    axes.set_xlim(low, high)
    for line, row in enumerate(rows):
        _row(axes, line, row, metric, low, high)
    axes.set_yticks(range(len(rows)), names)
    axes.tick_params(labelsize=LETTER)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(Ink.TEXT if row.kind == "model" else Ink.MUTED)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    unit = METRICS[metric].unit
    axes.set_xlabel(short_title(METRICS[metric].title) + (f" ({unit})" if unit != "bits" else ""), fontsize=LETTER)
    width = axes.get_position().width * figure.get_size_inches()[0]
    style = {"color": Ink.TEXT, "transform": axes.get_yaxis_transform(), "clip_on": False}
    for column, lines in bars:
        axes.plot([1 + STEP * (column + 1) / width] * len(lines), lines, linewidth=1.6, marker="o", markersize=3.5, **style)


def _columns(groups: Sequence[Sequence[int]]) -> list[tuple[int, Sequence[int]]]:
    """Put each group of lines, in order, in the first column in which it overlaps no other.

    >>> _columns([[0, 1], [1, 2], [3, 4]])
    [(0, [0, 1]), (1, [1, 2]), (0, [3, 4])]
    """
    ends: list[int] = []
    placed = []
    for lines in groups:
        column = next((i for i, end in enumerate(ends) if end < lines[0]), len(ends))
        ends[column:] = [lines[-1], *ends[column + 1 :]]
        placed.append((column, lines))
    return placed


def _row(axes: Any, line: int, row: Row, metric: str, low: float, high: float) -> None:
    value, interval, bounded = _value(row, metric), row.cells[metric].interval, row.bounded(metric)
    marker, _ = KINDS[row.kind]
    colour = Ink.SERIES[0] if row.kind == "model" else Ink.MUTED
    if not low <= value <= high:
        left = value < low
        text = f"◂ {number_text(metric, value)}" if left else f"{number_text(metric, value)} ▸"
        at = {"transform": axes.get_yaxis_transform(), "va": "center_baseline", "ha": "left" if left else "right"}
        axes.text(0.01 if left else 0.99, line, text, color=Ink.MUTED, fontsize=LETTER - 0.5, **at)
        return
    if interval is not None:
        lower = value if bounded else interval.low  # the arrow of a bound says more than the lower half of its interval
        ends = (max(lower, low), min(interval.high, high))
        axes.plot(ends, [line, line], color=colour, linewidth=1.8, solid_capstyle="butt")
        for end, whole, arrow in ((ends[0], lower, "<"), (ends[1], interval.high, ">")):
            if end != whole:
                axes.plot([end], [line], linestyle="none", marker=arrow, markersize=5, color=colour, clip_on=False)
    fill = Ink.PAPER if bounded else colour
    axes.plot([value], [line], linestyle="none", marker=marker, markersize=5, color=colour, markerfacecolor=fill, zorder=3)
    if bounded:
        to_better(axes, (value, line), colour, (-ARROW, 0))


def _limits(rows: Sequence[Row], metric: str) -> tuple[float, float]:
    """Limits of the axis: the models with their intervals, and what reference rows are near."""
    models = [row for row in rows if row.kind == "model"]
    ends = [end for row in models for end in _ends(row, metric)]
    means = [_value(row, metric) for row in models]
    # One interval far wider than the others, as of two seeds that differ, would squeeze them all; it is cut, with an arrow.
    reach = max(max(means) - min(means), WIDEST * median(high - low for low, high in (_ends(row, metric) for row in models)))
    low, high = max(min(ends), min(means) - reach), min(max(ends), max(means) + reach)
    width = (high - low) or abs(high) / 10 or 1.0
    near = [_value(row, metric) for row in rows if low - NEAR * width <= _value(row, metric) <= high + NEAR * width]
    low, high = min(low, *near), max(high, *near)
    return low - 0.06 * width, high + 0.06 * width


def _ends(row: Row, metric: str) -> tuple[float, float]:
    interval = row.cells[metric].interval
    return (_value(row, metric), _value(row, metric)) if interval is None else (interval.low, interval.high)


def _value(row: Row, metric: str) -> float:
    """Of a row that has one."""
    return row.cells[metric].value or 0.0
