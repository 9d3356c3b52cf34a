"""Tables of a history, as plain texts."""

from __future__ import annotations

from collections.abc import Sequence

from bench.formatting import Cell, Grid, brief, p_text
from bench.history import words
from bench.history.changes import Change, Trends
from bench.report.numbers import number_text, size_text


def runs_grid(trends: Trends) -> Grid:
    """List the runs, the newest first."""
    rows = [
        [
            str(number),
            entry.run,
            words.commit(entry),
            entry.when or "–",
            f"{entry.spec}, {entry.scale}",
            entry.bench,
            entry.machine,
        ]
        for number, entry in reversed(list(enumerate(trends.entries, 1)))
    ]
    headers = ["Run", "Folder", "Commit", "Ended", "Spec, scale", "midibench", "Machine"]
    return Grid(headers, [[brief(text, 80) for text in row] for row in rows], frozenset(range(len(headers))))


def changes_grid(trends: Trends, changes: Sequence[Change]) -> Grid:
    """List change points with the runs that they lie between, the latest first."""
    number = {id(entry): i for i, entry in enumerate(trends.entries, 1)}
    rows: list[list[str | Cell]] = []
    for change in sorted(changes, key=lambda c: (-number[id(c.first_after.entry)], c.p)):
        old, new = change.last_before.entry, change.first_after.entry
        between = f"{number[id(old)]} → {number[id(new)]}"
        commits = f"{words.commit(old)} → {words.commit(new)}"
        rows.append([change.series.system, _metric(change), *_values(change), between, commits, p_text(change.p)])
    return Grid(["Row", "Metric", "Before", "After", "Change", "Runs", "Commits of bench", "p"], rows, frozenset({0, 1, 5, 6}))


def last_grid(changes: Sequence[Change], most: int | None = None) -> Grid:
    """List what the last run changed, what got worse first, then the surest; `most` of it if given."""
    ordered = sorted(changes, key=lambda change: (change.direction != "worse", change.p))[:most]
    rows: list[list[str | Cell]] = []
    for change in ordered:
        rows.append([change.series.system, _metric(change), *_values(change), change.direction, p_text(change.p)])
    strong = frozenset((i, 5) for i, change in enumerate(ordered) if change.direction == "worse")
    return Grid(["Row", "Metric", "Before", "Last run", "Change", "Direction", "p"], rows, frozenset({0, 1, 5}), strong)


def _metric(change: Change) -> str:
    series = change.series
    return f"{series.metric.title} on {series.machine}" if series.machine else series.metric.title


def _values(change: Change) -> list[str | Cell]:
    """Both means and their difference."""
    name, difference = change.series.metric.name, change.now - change.before
    sign = "+" if difference >= 0 else "−"
    sides = [Cell(number_text(name, value), value) for value in (change.before, change.now)]
    return [*sides, Cell(f"{sign}{size_text(name, abs(difference))}", difference)]
