"""Both runs' values of one metric of one row, side by side, on what both have; or why they can't be.

A metric without a better direction is best near real music: at its `ideal` if it has one, else at the value of the baseline's
row ``real``; without such a row, where the row itself was. What counts is then by how much the mean went away from there.

Times and speeds count in yardsticks (:mod:`bench.yardstick`), of trained models only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.gate.baseline import Baseline, Series, System
from bench.gate.chance import SeedValues
from bench.gate.thresholds import Threshold
from bench.metrics import METRICS, Metric

Status = Literal["worse", "lost", "better", "unclear", "untested", "new", "not compared", "same"]

#: The row whose values are real music's.
REAL = "real"

#: Units of what is measured with a clock, and whether a slower machine makes the value larger.
CLOCKED = {"s": True, "notes/s": False}


@dataclass(frozen=True)
class Verdict:
    """One metric of one row.

    Parameters
    ----------
    system : str
    metric : Metric
    status : str
        ``worse``; ``lost``: a value before, none now; ``better``: by more than threshold and chance, which a mistake or a leak
        may cause; ``unclear``: beyond the threshold, but chance can't be ruled out; ``untested``: beyond the threshold, with too
        few pieces or seeds for a test; ``new``; ``not compared``; ``same``.
    before, now : float, optional
        Means over what both runs have. Of what is clocked: in yardsticks.
    worsening : float
        Change for the worse, in the metric's unit; negative is better.
    limit : float
        The largest that is no regression.
    p : float
        Adjusted over all tests of the check.
    over : str
        ``pieces``, ``held-out pieces`` or ``seeds``.
    count : int
        How many; of seeds, the fewer of both sides.
    tested : bool
        Whether a test could have given a small enough p: enough pieces differ, or some row has two seeds.
    clocked : bool
        Whether the values are in yardsticks.
    reason : str
        Why there is nothing to compare.
    """

    system: str
    metric: Metric
    status: Status
    before: float | None = None
    now: float | None = None
    worsening: float = 0.0
    limit: float = 0.0
    p: float = 1.0
    over: str = ""
    count: int = 0
    tested: bool = False
    clocked: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Pair:
    """One metric's values on both sides, before they are tested."""

    verdict: Verdict
    differences: NDArray[np.float64] | None = None
    seeds: SeedValues | None = None


def pairs_of(before: Baseline, now: Baseline, name: str, thresholds: Mapping[str, Threshold | None]) -> list[Pair]:
    """Every metric of a row that the gate is on for."""
    old, new = before.systems[name], now.systems[name]
    if not new.seeds:  # the failed row says it
        return []
    pairs = []
    for metric in METRICS.values():
        threshold = thresholds[metric.name]
        if threshold is None or (metric.unit in CLOCKED and new.kind != "model"):
            continue
        verdict = _presence(name, metric, old, new)
        if verdict is None:
            continue
        pair = _paired(verdict, old, new)
        if pair.verdict.status == "same" and pair.verdict.before is not None and pair.verdict.now is not None:
            best = _best(metric, before, pair.verdict.before)
            worsening = _worsening(metric, pair.verdict.before, pair.verdict.now, best)
            limit = threshold.limit(pair.verdict.before)
            pair = replace(pair, verdict=replace(pair.verdict, worsening=worsening, limit=limit))
        pairs.append(pair)
    return pairs


def _presence(name: str, metric: Metric, old: System, new: System) -> Verdict | None:
    """Which side has the metric; None if neither has. ``same`` until it is tested."""
    had, has = metric.id in old.metrics, metric.id in new.metrics
    if not had and not has:
        return None
    versions = [key for key in old.metrics if key.split("@")[0] == metric.name]
    if has and not had and versions:
        reason = f"it is measured as {metric.id}, the baseline's as {versions[0]}"
        return Verdict(name, metric, "not compared", now=new.metrics[metric.id].value, reason=reason)
    if not had:
        return Verdict(name, metric, "new", now=new.metrics[metric.id].value, reason=old.undefined.get(metric.id, ""))
    if not has:
        return Verdict(name, metric, "lost", before=old.metrics[metric.id].value, reason=new.undefined.get(metric.id, ""))
    return Verdict(name, metric, "same")


def _paired(verdict: Verdict, old: System, new: System) -> Pair:
    """Both sides' values on what both have."""
    if verdict.status != "same":
        return Pair(verdict)
    metric = verdict.metric
    before, now = old.metrics[metric.id], new.metrics[metric.id]
    if before.over != now.over:
        return Pair(replace(verdict, status="not compared", reason=f"it is over {now.over}, the baseline's over {before.over}"))
    if before.over != "seeds":
        return _on_pieces(verdict, before, now)
    if metric.unit in CLOCKED:
        if reason := _no_yardstick(old, new):
            return Pair(replace(verdict, status="not compared", reason=reason))
        sides = [_in_yardsticks(series, system, metric) for series, system in ((before, old), (now, new))]
    else:
        sides = [np.array(series.values) for series in (before, now)]
    values = SeedValues(f"{metric.name} {new.kind}", *sides)
    means = [float(side.mean()) for side in sides]
    count = min(len(side) for side in sides)
    clocked = metric.unit in CLOCKED
    return Pair(
        replace(verdict, before=means[0], now=means[1], over="seeds", count=count, clocked=clocked),
        seeds=values,
    )


def _on_pieces(verdict: Verdict, before: Series, now: Series) -> Pair:
    was, is_now = dict(zip(before.at, before.values, strict=True)), dict(zip(now.at, now.values, strict=True))
    shared = [piece for piece in now.at if piece in was]
    if not shared:
        return Pair(replace(verdict, status="not compared", reason="no piece has a value in both"))
    sides = [np.array([side[piece] for piece in shared]) for side in (was, is_now)]
    means = [float(side.mean()) for side in sides]
    return Pair(
        replace(verdict, before=means[0], now=means[1], over=now.over, count=len(shared)), differences=sides[1] - sides[0]
    )


def _no_yardstick(old: System, new: System) -> str:
    """Why times can't be told in yardsticks; empty if they can."""
    if new.device != "cpu":
        return "the yardstick measures a processor, not a GPU"
    for side, system in (("the baseline", old), ("the run", new)):
        if any(str(seed) not in system.yardstick for seed in system.seeds):
            return f"{side} has no yardstick beside its times"
    return ""


def _in_yardsticks(series: Series, system: System, metric: Metric) -> NDArray[np.float64]:
    yardsticks: NDArray[np.float64] = np.array([system.yardstick[str(seed)] for seed in series.at])
    if CLOCKED[metric.unit]:
        yardsticks = 1 / yardsticks
    return np.array(series.values) * yardsticks


def _best(metric: Metric, before: Baseline, own: float) -> float:
    """Where real music is, for a metric without a better direction."""
    if metric.ideal is not None:
        return metric.ideal
    real = before.systems.get(REAL)
    return real.metrics[metric.id].value if real is not None and metric.id in real.metrics else own


def _worsening(metric: Metric, before: float, now: float, best: float) -> float:
    if metric.better is None:
        return abs(now - best) - abs(before - best)
    return now - before if metric.better == "lower" else before - now
