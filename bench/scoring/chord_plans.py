"""Chord plans that a run's constrained trials stored; the harmony metrics of all rows are computed against them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bench.music.harmony.form import Layout, layout
from bench.music.harmony.plan import Plan
from bench.music.harmony.settings import Harmony
from bench.specs.trials import Trial
from bench.storage.outcome import ChordPlans, Done, Failed


@dataclass(frozen=True)
class Pieces:
    """Chord plans of all held-out pieces under one constraint.

    Parameters
    ----------
    harmony : Harmony
    plans : tuple of Plan
        One per piece.
    key_from : str
        Source of the keys.
    """

    harmony: Harmony
    plans: tuple[Plan, ...]
    key_from: str

    def layout(self, notes: int) -> Layout:
        """Lay out the first `notes` notes, those that are compared."""
        return layout(self.harmony.form, notes)


class StoredPlans:
    """Selection of the plans for each trial: its own; else those of the same model with a constraint; else the run's only ones.

    Parameters
    ----------
    done : sequence of (trial, outcome)
        Finished trials; those without a constraint are ignored.
    """

    def __init__(self, done: Sequence[tuple[Trial, Done | Failed | None]]) -> None:
        self.by_choice: dict[str, Pieces] = {}
        self.by_model: dict[str, set[str]] = {}
        for trial, outcome in done:
            if trial.harmony and isinstance(outcome, Done) and outcome.harmony:
                choice = trial.harmony.model_dump_json()
                self.by_choice[choice] = _pieces(trial.harmony, outcome.harmony)
                self.by_model.setdefault(_model(trial), set()).add(choice)

    def of(self, trial: Trial) -> Pieces | str:
        """Select the plans for a trial, or give the reason why there are none."""
        if not self.by_choice:
            return "the run has no plan of chords: no row with `harmony` has ended"
        if trial.harmony:
            return self.by_choice.get(trial.harmony.model_dump_json(), "no trial with this plan of chords has ended")
        twins = self.by_model.get(_model(trial), self.by_choice.keys())
        if len(twins) > 1:
            return "the constrained rows have several plans of chords, and none is this row's"
        return self.by_choice[next(iter(twins))]


def _pieces(harmony: Harmony, stored: ChordPlans) -> Pieces:
    plans = [Plan.read(plan) for plan in stored.plans]
    return Pieces(harmony, tuple(plans[i] for i in stored.plan_of_piece), stored.key_from)


def _model(trial: Trial) -> str:
    return json.dumps([trial.model, trial.params], sort_keys=True)
