"""Verdict of a report in one sentence: which model is best in each tested column, as far as the tests say."""

from __future__ import annotations

from collections.abc import Sequence

from bench.formatting import listed
from bench.metrics import METRICS
from bench.report.contents import Report
from bench.report.flags import BITS_FALLING, DIVERGED, SCORE_FALLING
from bench.report.pairs import ordered
from bench.scoring.ranking import Standing
from bench.scoring.table import Row

_ENDS = {
    BITS_FALLING: "Validation bits still falling when training stopped, so that another budget may give another order",
    SCORE_FALLING: "Validation score (not bits) still falling when training stopped",
    DIVERGED: "Diverged, at least one training",
}


def verdict(report: Report) -> str:
    """One sentence over the tested columns that at least two models have; where there is none, the reason."""
    clauses: dict[str, list[str]] = {}
    for metric, standing in report.standings.items():
        if standing.between_models:
            clauses.setdefault(_clause(standing), []).append(METRICS[metric].title.lower())
    text = "; ".join(f"in {listed(titles)} {clause}" for clause, titles in clauses.items())
    return f"{text[:1].upper()}{text[1:]}." if text else alone(report)


def caveats(report: Report) -> list[str]:
    """Sentences on trainings that ended early or badly, without which the verdict says too much."""
    rows = {name: [r.system for r in report.table.rows if r.kind == "model" and has_flag(report, r, name)] for name in _ENDS}
    return [f"{text}: {listed(systems)}." for name, text in _ENDS.items() if (systems := rows[name])]


def has_flag(report: Report, row: Row, name: str) -> bool:
    """Whether a row has the flag of that name."""
    return any(flag.name == name for flag in report.flags[row.system])


def alone(report: Report) -> str:
    """Reason why no models are compared; empty if some are."""
    if any(standing.between_models for standing in report.standings.values()):
        return ""
    models = [row.system for row in report.table.rows if row.kind == "model" and row.done]
    if not models:
        return "No trained model has finished, so there is no difference to test."
    if len(models) == 1:
        return f"{models[0]} is the only model that has finished: there is no other to compare it with."
    return "No column has values of two models on the same pieces, so there is no difference to test."


def leading(standing: Standing) -> list[str]:
    """Models that no other model is significantly better than, the best mean first."""
    return [name for name in ordered(standing) if not any(standing.better(other, name) for other in ordered(standing))]


def _clause(standing: Standing) -> str:
    if standing.hopeless:
        return "there are too few pieces to test any difference"
    models, first = ordered(standing), leading(standing)
    if standing.best is not None:
        others = [name for name in models if name != standing.best]
        return f"{standing.best} is significantly better than {'every other model' if len(others) > 1 else others[0]}"
    if not any(standing.winner(c) for c in standing.between_models):
        return f"{'no two models' if len(models) > 2 else f'{listed(models)} do not'} differ significantly"
    return f"no model is significantly better than {_either(first)}"


def _either(names: Sequence[str]) -> str:
    """Join names by ``or``, the first few of many.

    >>> _either(["a", "b"]), _either(["a", "b", "c", "d", "e"])
    ('a or b', 'a, b, c or 2 others')
    """
    shown = [*names[:3], f"{len(names) - 3} others"] if len(names) > 4 else list(names)
    return " or ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
