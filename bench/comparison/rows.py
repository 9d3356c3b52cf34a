"""Rows of a comparison: which runs have each, how many of its trainings ended well, and whether it is the same system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.comparison.differences import differing
from bench.comparison.runs import Run
from bench.formatting import DASH, plural
from bench.scoring.table import KIND_ORDER


@dataclass(frozen=True)
class RowMatch:
    """A row, matched by the name of its system.

    Parameters
    ----------
    system : str
    kind : str
        In the first run that has it.
    seeds : tuple of str
        Of each run: ``5 seeds``, ``3 of 5 seeds``, or a dash where it has no such row.
    differs : tuple of str
        What is not the same in all runs that have it: ``params.hidden: 64, 128``.
    """

    system: str
    kind: str
    seeds: tuple[str, ...]
    differs: tuple[str, ...]


def match_rows(runs: Sequence[Run]) -> tuple[RowMatch, ...]:
    """Match the rows of all runs by name: models, then untrained models, then references, in the order of the runs."""
    names = dict.fromkeys(system for run in runs for system in run.rows)
    matches = [_match(system, runs) for system in names]
    return tuple(sorted(matches, key=lambda match: KIND_ORDER.index(match.kind)))


def _match(system: str, runs: Sequence[Run]) -> RowMatch:
    sides = [run.baseline.systems[system] for run in runs if system in run.rows]
    definitions = [
        {"kind": s.kind, **s.definition, "device": s.device}
        | ({"trained beyond the budget": f"{s.exceeded:.3g} times it"} if s.beyond_budget else {})
        for s in sides
    ]
    differs = tuple(f"{key}: {', '.join(values)}" for key, values in differing(definitions))
    return RowMatch(system, sides[0].kind, tuple(_seeds(system, run) for run in runs), differs)


def _seeds(system: str, run: Run) -> str:
    row = run.rows.get(system)
    if row is None:
        return DASH
    done, planned = len(row.done), len(row.trials)
    return plural(done, "seed") if done == planned else f"{done} of {plural(planned, 'seed')}"
