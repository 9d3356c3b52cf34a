"""Chord plans that a run's constrained trials stored; the harmony metrics of all rows are computed against them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError

from bench.metrics.metric import Undefined
from bench.music.harmony.plan import CLASSES, Plan
from bench.music.harmony.settings import Harmony
from bench.specs.trials import Trial
from bench.storage.outcome import ChordPlans, Done, Failed
from bench.storage.stored import Stored, first_problem

_Classes = Annotated[tuple[Annotated[int, Field(ge=0, lt=CLASSES)], ...], Field(min_length=1)]


class _StoredPlan(Stored):
    """A plan as an outcome holds it: each of its pitch classes exists."""

    key: str
    scale: _Classes
    chords: Annotated[tuple[_Classes, ...], Field(min_length=1)]
    notes_per_chord: int = Field(ge=1, le=10**9)


@dataclass(frozen=True)
class Pieces:
    """Chord plans of all held-out pieces under one constraint.

    Parameters
    ----------
    plans : tuple of Plan
        One per piece.
    key_from : str
        Source of the keys.
    """

    plans: tuple[Plan, ...]
    key_from: str

    def plan(self, piece: int) -> Plan | Undefined:
        """Plan of a piece."""
        return self.plans[piece] if piece < len(self.plans) else Undefined("no plan of chords was stored for this piece")


class StoredPlans:
    """Selection of the plans for each trial: its own; else those of the same model with a constraint; else the run's only ones.

    Parameters
    ----------
    done : sequence of (trial, outcome)
        Finished trials; those without a constraint are ignored.
    """

    def __init__(self, done: Sequence[tuple[Trial, Done | Failed | None]]) -> None:
        self.by_choice: dict[Harmony, Pieces | str] = {}
        self.by_model: dict[str, dict[Harmony, None]] = {}
        for trial, outcome in done:
            if trial.harmony and isinstance(outcome, Done) and outcome.harmony:
                self.by_choice[trial.harmony] = _pieces(outcome.harmony)
                self.by_model.setdefault(_model(trial), {})[trial.harmony] = None

    def of(self, trial: Trial) -> Pieces | str:
        """Select the plans for a trial, or give the reason why there are none."""
        if not self.by_choice:
            return "the run has no plan of chords: no row with `harmony` has ended"
        if trial.harmony:
            return self.by_choice.get(trial.harmony, "no trial with this plan of chords has ended")
        twins = list(self.by_model.get(_model(trial), self.by_choice))
        if len({harmony.planned for harmony in twins}) > 1:
            return "the constrained rows have several plans of chords, and none is this row's"
        found = [self.by_choice[harmony] for harmony in twins]  # one plan, or a damaged record of it
        return next((pieces for pieces in found if isinstance(pieces, Pieces)), found[0])


def _pieces(stored: ChordPlans) -> Pieces | str:
    try:
        plans = [Plan.read(_StoredPlan.model_validate(plan).model_dump()) for plan in stored.plans]
    except ValidationError as error:
        return f"a stored plan of chords is damaged: {first_problem(error)}"
    return Pieces(tuple(plans[i] for i in stored.plan_of_piece), stored.key_from)


def _model(trial: Trial) -> str:
    return json.dumps([trial.model, trial.params], sort_keys=True)
