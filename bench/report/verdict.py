"""Verdict under Table 2: which models differ significantly, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator

from bench.formatting import listed
from bench.metrics import METRICS
from bench.report.contents import Report
from bench.scoring.ranking import Standing


def verdicts(report: Report) -> list[tuple[str, str]]:
    """Title and verdict of each tested column that at least two models have."""
    standings = [(METRICS[metric].title, s) for metric, s in report.standings.items() if s.between_models]
    return [(title, "too few pieces to test." if s.hopeless else f"{'; '.join(_clauses(s))}.") for title, s in standings]


def alone(report: Report) -> str:
    """Reason why there is no verdict; empty if there is one."""
    if verdicts(report):
        return ""
    models = [row.system for row in report.table.rows if row.kind == "model" and row.done]
    if not models:
        return "No trained model has finished, so there is no difference to test."
    if len(models) == 1:
        return f"{models[0]} is the only model that has finished: there is no other to compare it with."
    return "No column has values of two models on the same pieces, so there is no difference to test."


def _clauses(standing: Standing) -> Iterator[str]:
    """For each winner the models that it beats; then the pairs without a significant difference."""
    losers: dict[str, list[str]] = {}
    same = []
    for c in standing.between_models:
        winner = standing.winner(c)
        if winner is None:
            same.append(f"{c.one} and {c.other}")
        else:
            losers.setdefault(winner, []).append(c.other if winner == c.one else c.one)
    for winner, beaten in losers.items():
        yield f"{winner} is better than {listed(beaten)}"
    if same:
        every = len(same) == len(standing.between_models) > 1
        yield "no significant difference between " + ("any two models" if every else ", ".join(same))
