"""Figures of a history: one series each, run by run, with its change points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.formatting import brief, plural
from bench.history.changes import Change, Trends
from bench.history.series import Series
from bench.metrics import HEADLINE
from bench.report.figures.svg import Drawing, Ink, drawing, panels, short_title
from bench.report.numbers import number_text

#: Metrics that are drawn for every model, whether they changed or not.
MAIN = (*HEADLINE, "bits_per_note", "nats_per_frame", "nats_per_event", "training_seconds")

#: Most figures of a page, and most runs of a figure, the last ones.
MOST, RUNS = 60, 200


def shown(trends: Trends) -> list[Series]:
    """Series that are drawn: the main columns of models, then all others that changed; those that go on to the last run first."""
    changed = {id(change.series) for change in trends.changes}
    last = trends.entries[-1]
    long = [series for series in trends.series if len(series.points) > 1]
    main = [s for name in MAIN for s in long if s.metric.name == name and s.kind == "model" and s.points[-1].entry is last]
    others = [series for series in long if id(series) in changed and series not in main]
    return [*main, *others][:MOST]


def drawings(trends: Trends) -> list[Drawing]:
    """Draw each series of :func:`shown`."""
    numbers = {id(entry): number for number, entry in enumerate(trends.entries, 1)}
    return [_one(i, series, trends.of(series), numbers) for i, series in enumerate(shown(trends))]


def _one(index: int, series: Series, changes: Sequence[Change], numbers: dict[int, int]) -> Drawing:
    metric = series.metric
    points = series.points[-RUNS:]
    at = [numbers[id(point.entry)] for point in points]
    means = [point.measured.mean for point in points]
    places = [(numbers[id(c.last_before.entry)] + numbers[id(c.first_after.entry)]) / 2 for c in changes]

    def paint(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        (axes,) = panels(figure, margins=(0.62, 0.12, 0.32, 0.42))
        for x, point in zip(at, points, strict=True):
            if point.measured.low is not None and point.measured.high is not None:
                axes.plot([x, x], [point.measured.low, point.measured.high], color=Ink.SERIES[0], linewidth=1.0, alpha=0.55)
            values = list(point.measured.seeds.values())
            style = {"linestyle": "none", "marker": "o", "markersize": 1.8, "color": Ink.MUTED, "markeredgewidth": 0}
            axes.plot([x] * len(values), values, **style)
        axes.plot(at, means, color=Ink.SERIES[0], marker="o", markersize=3.5, linewidth=1.2)
        for place in places:
            if place >= at[0]:
                axes.axvline(place, color=Ink.SERIES[1], linewidth=1.2, linestyle=(0, (4, 2)))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.set_xlim(at[0] - 0.5, at[-1] + 0.5)
        axes.set_title(brief(f"{series.system}: {short_title(metric.title).lower()}", 44), pad=4)
        axes.set_xlabel("Run")
        axes.set_ylabel(brief(metric.unit, 20))

    said = "; ".join(
        f"between runs {numbers[id(c.last_before.entry)]} and {numbers[id(c.first_after.entry)]}, from "
        f"{number_text(metric.name, c.before)} to {number_text(metric.name, c.now)}"
        for c in changes
    )
    label = (
        f"Line chart. {metric.title} of {series.system} over {plural(len(points), 'run')}: first "
        f"{number_text(metric.name, means[0])}, last {number_text(metric.name, means[-1])}. Change points: {said or 'none'}."
    )
    where = "; ".join(filter(None, (series.study, series.machine)))
    return drawing(f"fig-history-{index}", 1.9, paint, label, f"{where}{f'. Changed {said}.' if said else '.'}")
