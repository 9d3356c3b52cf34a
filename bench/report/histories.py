"""Trainings of a trial, one or one per fold, with the epochs that they logged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.scoring.table import TrialScore
from bench.storage.outcome import Epoch, Training


class History(NamedTuple):
    """One training: its name, its summary in the outcome, and an entry for each epoch."""

    name: str
    summary: Training
    epochs: Sequence[Epoch]


def histories(trial: TrialScore) -> Iterator[History]:
    """Trainings of a finished trial that logged an epoch."""
    training = trial.result.training
    seed = f"seed {trial.trial.seed}"
    parts = [(f"{seed}, fold {fold.fold}", fold) for fold in training.folds] or [(seed, training)]
    for name, summary in parts:
        epochs = [e for e in training.history if summary.fold is None or e.get("fold") == summary.fold]
        if epochs:
            yield History(name, summary, epochs)
