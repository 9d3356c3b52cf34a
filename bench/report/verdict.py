"""Under Table 2, in plain sentences: which differences are real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.formatting import listed
from bench.metrics import METRICS
from bench.report.contents import Report
from bench.scoring.ranking import Standing


def verdicts(report: Report) -> list[tuple[str, str]]:
    """A column's title and what the tests say of it, for each tested column that at least two models have."""
    return [
        (METRICS[metric].title, _sentence(standing)) for metric, standing in report.standings.items() if standing.between_models
    ]


def alone(report: Report) -> str:
    """Why there is no verdict; empty where there is one."""
    if verdicts(report):
        return ""
    models = [row.system for row in report.table.rows if row.kind == "model" and row.done]
    if not models:
        return "No trained model has finished, so there is no difference to test."
    if len(models) == 1:
        return f"{models[0]} is the only model that has finished: there is no other to compare it with."
    return "No column has values of two models on the same pieces, so there is no difference to test."


def _sentence(standing: Standing) -> str:
    if standing.hopeless:
        return "there are too few pieces to call any difference real."
    beaten = _beaten(standing)
    same = [(c.one, c.other) for c in standing.between_models if standing.winner(c) is None]
    if not beaten:
        return "no test tells the models apart." if len(same) > 1 else f"no test tells {same[0][0]} and {same[0][1]} apart."
    parts = [*beaten, *([f"no test tells {', '.join(f'{one} from {other}' for one, other in same)}"] if same else [])]
    return "; ".join(parts) + "."


def _beaten(standing: Standing) -> Iterable[str]:
    """Of each winner whom it beats, and against whom another training could turn that."""
    held: dict[str, list[str]] = {}
    open_: dict[str, list[str]] = {}
    for c in standing.between_models:
        if (winner := standing.winner(c)) is not None:
            loser = c.other if winner == c.one else c.one
            (held if standing.outlasts_seeds(c) else open_).setdefault(winner, []).append(loser)
    return [_said(winner, held, open_) for winner in dict.fromkeys([*held, *open_])]


def _said(winner: str, held: Mapping[str, list[str]], open_: Mapping[str, list[str]]) -> str:
    said = []
    if winner in held:
        said.append(f"{winner} is better than {listed(held[winner])}")
    if winner in open_:
        said.append(f"{winner} is better than {listed(open_[winner])} here, but training again could turn that")
    return "; ".join(said)
