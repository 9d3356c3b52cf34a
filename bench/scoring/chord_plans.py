"""The plans of a run, from what its constrained trials stored: what every row is measured against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.music.harmony.form import Layout, layout
from bench.music.harmony.plan import Plan
from bench.music.harmony.settings import Harmony


@dataclass(frozen=True)
class Pieces:
    """What one constraint asks of each held-out piece.

    Parameters
    ----------
    harmony : Harmony
    plans : tuple of Plan
        One a piece.
    key_from : str
        Where the keys came from.
    """

    harmony: Harmony
    plans: tuple[Plan, ...]
    key_from: str

    def layout(self, notes: int) -> Layout:
        """Of the first `notes` notes, which are those compared."""
        return layout(self.harmony.form, notes)


class StoredPlans:
    """Which plan a trial is measured against: its own; else that of the same model with a constraint; else the run's only one.

    Parameters
    ----------
    done : sequence of (trial, outcome)
        The trials that are done; those without a constraint are passed over.
    """

    def __init__(self, done: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        self.by_choice: dict[str, Pieces] = {}
        self.by_model: dict[str, set[str]] = {}
        for trial, outcome in done:
            if trial.get("harmony") and outcome.get("harmony"):
                choice = _text(trial["harmony"])
                self.by_choice[choice] = _pieces(trial["harmony"], outcome["harmony"])
                self.by_model.setdefault(_text([trial["model"], trial["params"]]), set()).add(choice)

    def of(self, trial: Mapping[str, Any]) -> Pieces | str:
        """The plans for a trial, or why there are none."""
        if not self.by_choice:
            return "the run has no plan of chords: no row with `harmony` has ended"
        own = trial.get("harmony")
        if own:
            return self.by_choice.get(_text(own), "no trial with this plan of chords has ended")
        twins = self.by_model.get(_text([trial["model"], trial["params"]]), self.by_choice.keys())
        if len(twins) > 1:
            return "the constrained rows have several plans of chords, and none is this row's"
        return self.by_choice[next(iter(twins))]


def _pieces(harmony: Mapping[str, Any], told: Mapping[str, Any]) -> Pieces:
    plans = [Plan.read(plan) for plan in told["plans"]]
    return Pieces(Harmony.model_validate(harmony), tuple(plans[i] for i in told["plan_of_piece"]), told["key_from"])


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
