"""Grid search: the cells of a row, and the one with the best validation score. No number of Table 2 influences the choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scoring.score import standard_deviation
from bench.scoring.table import Row, Table, TrialScore
from bench.storage.outcome import Done

#: Validation scores that a model may log in each evaluation, lower is better. The choice is by the first one that the cells have,
#: provided that all have the same ones: a cell without it predicts something else, and its loss is over other fields.
SCORES = {
    "validation_bits": "validation bits per note",
    "validation_loss": "validation loss",
    "validation_distance": "validation distance",
}


@dataclass(frozen=True)
class Search:
    """Grid search of one row of the spec.

    Parameters
    ----------
    row : str
        Name of the row in the spec.
    score : str
        Score of the choice, one of :data:`SCORES`; empty if the cells have none, or different ones.
    cells : tuple of Row
        Rows of the table, in the grid's order.
    scores : tuple of tuple of float
        For each cell, the best evaluation's score of every seed, infinite without a finite one and where the training went on
        beyond its budget; fewer than its trials if some failed.
    mixed : bool
        Whether the cells have different scores, or scores over different classes of time and duration, or other events.
    """

    row: str
    score: str
    cells: tuple[Row, ...]
    scores: tuple[tuple[float, ...], ...]
    mixed: bool = False

    @property
    def incomplete(self) -> bool:
        """Whether a trial of the search failed or did not run."""
        return any(len(cell.done) < len(cell.trials) for cell in self.cells)

    @property
    def chosen(self) -> Row | None:
        """Cell with the lowest mean over seeds, the first one of equals; None while any trial of the search is missing.

        A choice among only the finished cells would not be the search that the spec asks for. A cell of which a training had no
        finite score has diverged, and is not chosen; nor is one of which a training went on beyond its budget.
        """
        if any(len(seeds) < len(cell.trials) for cell, seeds in zip(self.cells, self.scores, strict=True)):
            return None
        cell, seeds = min(zip(self.cells, self.scores, strict=True), key=lambda pair: math.fsum(pair[1]) / len(pair[1]))
        return cell if math.isfinite(math.fsum(seeds)) else None

    def mean(self, cell: int) -> tuple[float, float | None] | None:
        """Mean and standard deviation over the seeds of one cell; None if no seed has a score, or one is infinite."""
        seeds = self.scores[cell]
        if not math.isfinite(math.fsum(seeds)):
            return None
        return (math.fsum(seeds) / len(seeds), standard_deviation(seeds)) if seeds else None


def searches(table: Table) -> list[Search]:
    """Collect the grid searches of a run, in the order of its rows."""
    cells: dict[str, list[Row]] = {}
    for row in table.rows:
        if name := row.trials[0].trial.cell_of:
            cells.setdefault(name, []).append(row)
    return [_search(name, rows) for name, rows in cells.items()]


def without_losers(table: Table) -> Table:
    """Remove the cells that validation did not choose; all cells of a search without a choice stay."""
    losers = {cell.system for s in searches(table) if s.chosen for cell in s.cells if cell is not s.chosen}
    return Table(tuple(row for row in table.rows if row.system not in losers))


def _search(name: str, rows: Sequence[Row]) -> Search:
    done = [t for row in rows for t in row.done]
    logged = {tuple(s for s in SCORES if _logs(t.result, s)) for t in done}
    score = next(iter(next(iter(logged), ())), "")
    mixed = len(logged) > 1 or len({classes_of(t.result, score) for t in done}) > 1
    score = "" if mixed else score
    best = [[_best(t, score) for t in row.done if _logs(t.result, score)] for row in rows]
    return Search(name, score, tuple(rows), tuple(map(tuple, best)), mixed)


def _logs(outcome: Done, score: str) -> bool:
    return any(score in entry for entry in outcome.training.history)


def _best(trial: TrialScore, score: str) -> float:
    best = None if trial.exceeded else best_score(trial.result, score)
    return math.inf if best is None else best


def classes_of(outcome: Done, score: str) -> tuple[int, ...]:
    """Return what a score is over: classes of time and duration, or the number of frames or events; empty for none.

    Of fewer classes each note costs fewer bits, and distances of these classes are shorter; of more events each costs fewer bits.
    """
    if not score:
        return ()
    if outcome.training.history and (number := outcome.training.history[-1].get("validation_predictions")) is not None:
        return (*(outcome.classes or ()), int(number))
    return outcome.classes or () if outcome.prediction is None else (outcome.prediction.predictions,)


def best_score(outcome: Done, score: str) -> float | None:
    """Find the lowest finite value of `score` over a trial's evaluations; None if none has one."""
    values = [e.get(score) for e in outcome.training.history]
    return min((float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)), default=None)
