"""Trainings of a trial, one or one per fold, with the evaluations that they logged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.scoring.grid_search import SCORES
from bench.scoring.table import Row, TrialScore
from bench.storage.outcome import Epoch, Training


class History(NamedTuple):
    """One training: its name, its summary in the outcome, and an entry for each evaluation."""

    name: str
    summary: Training
    entries: Sequence[Epoch]


def histories(trial: TrialScore) -> Iterator[History]:
    """Trainings of a finished trial that logged an evaluation."""
    training = trial.result.training
    seed = f"seed {trial.trial.seed}"
    of_fold: dict[object, list[Epoch]] = {}
    for entry in training.history:
        of_fold.setdefault(entry.get("fold"), []).append(entry)
    parts = [(f"{seed}, fold {fold.fold}", fold) for fold in training.folds] or [(seed, training)]
    for name, summary in parts:
        entries = training.history if summary.fold is None else of_fold.get(summary.fold, [])
        if entries:
            yield History(name, summary, entries)


def score_name(entries: Sequence[Epoch]) -> str:
    """Name of the score that a training validated by, the first of :data:`SCORES` that it logged; empty without any."""
    return next((name for name in SCORES if any(name in entry for entry in entries)), "")


def best_entry(entries: Sequence[Epoch]) -> int | None:
    """Return the number of the evaluation with the best validation score, by the first score that was logged; None without any.

    >>> best_entry([{"epoch": 1, "validation_distance": 0.5}, {"epoch": 2, "validation_distance": 0.4}, {"epoch": 3}])
    2
    """
    name = score_name(entries)
    scored = [(value, entry["epoch"]) for entry in entries if (value := entry.get(name)) is not None]
    best = min((pair for pair in scored if math.isfinite(pair[0])), default=None)
    return best and best[1]


def entry_name(row: Row) -> str:
    """Name of what a row's trainings logged: an ``epoch`` each, or with a budget in compute an ``evaluation``."""
    return "epoch" if row.trials[0].trial.budget.compute is None else "evaluation"
