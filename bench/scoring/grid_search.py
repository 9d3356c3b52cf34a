"""What a grid search found: its cells, and the one that validation chose. No number of Table 2 has a part in the choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scoring.score import Row, Table, standard_deviation
from bench.storage.records import Done

#: What a model may log of an epoch to be chosen by, the less the better. The first that the cells have counts, if all have the
#: same ones: a cell that lacks one predicts something else, and its loss is over other fields.
SCORES = {
    "validation_bits": "validation bits per note",
    "validation_loss": "validation loss",
    "validation_distance": "validation distance",
}


@dataclass(frozen=True)
class Search:
    """The cells of one row, and which of them validation chose.

    Parameters
    ----------
    row : str
        The spec's row.
    score : str
        What chose: one of :data:`SCORES`; empty if the cells have none, or not the same ones.
    cells : tuple of Row
        In the grid's order.
    scores : tuple of tuple of float
        For each cell the best epoch of every seed; fewer than its trials where some did not end well.
    mixed : bool
        Whether the cells have different scores.
    """

    row: str
    score: str
    cells: tuple[Row, ...]
    scores: tuple[tuple[float, ...], ...]
    mixed: bool = False

    @property
    def chosen(self) -> Row | None:
        """The cell with the least mean over seeds, the earlier one of two equal; None while any trial of the search lacks.

        A choice among the cells that happened to end would be another one than the spec asks for.
        """
        if any(len(seeds) < len(cell.trials) for cell, seeds in zip(self.cells, self.scores, strict=True)):
            return None
        return min(zip(self.cells, self.scores, strict=True), key=lambda pair: math.fsum(pair[1]) / len(pair[1]))[0]

    def mean(self, cell: int) -> tuple[float, float | None] | None:
        """Mean and standard deviation over the seeds of one cell; None if no seed has a score."""
        seeds = self.scores[cell]
        return (math.fsum(seeds) / len(seeds), standard_deviation(seeds)) if seeds else None


def searches(table: Table) -> list[Search]:
    """The grid searches of a run, in the order of its rows."""
    found: dict[str, list[Row]] = {}
    for row in table.rows:
        if name := row.trials[0].trial.cell_of:
            found.setdefault(name, []).append(row)
    return [_search(name, rows) for name, rows in found.items()]


def without_losers(table: Table) -> Table:
    """The table without the cells that validation did not choose; of a search without a choice all cells stay."""
    losers = {cell.system for s in searches(table) if s.chosen for cell in s.cells if cell is not s.chosen}
    return Table(tuple(row for row in table.rows if row.system not in losers))


def _search(name: str, rows: Sequence[Row]) -> Search:
    done = [t for row in rows for t in row.done]
    logged = {tuple(s for s in SCORES if _best(t.result, s) is not None) for t in done}
    mixed = len(logged) > 1
    score = "" if mixed or not logged else next(iter(logged.pop()), "")
    best = [[_best(t.result, score) for t in row.done] for row in rows]
    return Search(name, score, tuple(rows), tuple(tuple(v for v in seeds if v is not None) for seeds in best), mixed)


def _best(outcome: Done, score: str) -> float | None:
    """The least finite value of `score` over a trial's epochs; None if no epoch has one."""
    values = [e.get(score) for e in outcome.training.history]
    return min((float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)), default=None)
