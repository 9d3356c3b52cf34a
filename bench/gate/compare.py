"""Both runs' values of one metric of one row, side by side, on what both have; or why they can't be.

What counts is by how much the values went away from where they should be (:mod:`away`), each piece for itself: half of them far
too low and half far too high are worse than all of them right, though the mean is the same.

Untrained rows are not judged: what learned nothing can't get worse. Times and speeds count in yardsticks
(:mod:`bench.system.speed`), of trained models only. What had a value and has none now is lost, be it some pieces or seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.gate.away import Goal, goal
from bench.gate.baseline import Baseline, Series, System
from bench.gate.significance import SeedValues
from bench.metrics import METRICS, Metric
from bench.metrics.thresholds import Threshold

Status = Literal["worse", "lost", "better", "unclear", "untested", "new", "not compared", "same"]

#: Kinds of rows that are judged.
JUDGED = ("model", "reference")


@dataclass(frozen=True)
class Verdict:
    """One metric of one row.

    Parameters
    ----------
    system : str
    metric : Metric
    status : str
        ``worse``; ``lost``: a value before, none now, in all or on some pieces or seeds; ``better``: by more than threshold and
        chance, which a mistake or a leak may cause; ``unclear``: beyond the threshold, but chance can't be ruled out;
        ``untested``: beyond the threshold, with too few pieces or seeds for a test; ``new``; ``not compared``; ``same``.
    before, now : float, optional
        Means over what both runs have. Of what is clocked: in yardsticks.
    worsening : float
        By how much it went away from where it should be, in the metric's unit; negative is better.
    goal : Goal, optional
        Where it should be.
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
        Why there is nothing to compare, or what is lost.
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
    goal: Goal | None = None


@dataclass(frozen=True)
class Pair:
    """One metric's values on both sides, before they are tested."""

    verdict: Verdict
    differences: NDArray[np.float64] | None = None
    seeds: SeedValues | None = None


def pairs_of(before: Baseline, now: Baseline, name: str, thresholds: Mapping[str, Threshold | None]) -> list[Pair]:
    """Every metric of a row that the gate is on for.

    Raises
    ------
    DataError
        If values are so large that their difference is no number.
    """
    old, new = before.systems[name], now.systems[name]
    if not new.seeds or not old.seeds or new.kind not in JUDGED:  # the failed or new row says it
        return []
    pairs = []
    for metric in METRICS.values():
        threshold = thresholds[metric.name]
        if threshold is None or (metric.clocked and new.kind != "model"):
            continue
        verdict = _presence(name, metric, old, new)
        if verdict is not None:
            pairs.append(_paired(verdict, before, old, new, threshold))
    return pairs


def _presence(name: str, metric: Metric, old: System, new: System) -> Verdict | None:
    """Which side has the metric; None if neither has. ``same`` until it is tested."""
    had, has = metric.id in old.metrics, metric.id in new.metrics
    if not had and not has:
        return None
    if not had:
        versions = [key for key in old.metrics if key.split("@")[0] == metric.name]
        if versions:
            reason = f"it is measured as {metric.id}, the baseline's as {versions[0]}"
            return Verdict(name, metric, "not compared", now=new.metrics[metric.id].value, reason=reason)
        return Verdict(name, metric, "new", now=new.metrics[metric.id].value, reason=old.undefined.get(metric.id, ""))
    if not has:
        return Verdict(name, metric, "lost", before=old.metrics[metric.id].value, reason=new.undefined.get(metric.id, ""))
    return Verdict(name, metric, "same")


def _paired(verdict: Verdict, baseline: Baseline, old: System, new: System, threshold: Threshold) -> Pair:
    """Both sides' values on what both have."""
    if verdict.status != "same":
        return Pair(verdict)
    metric = verdict.metric
    before, now = old.metrics[metric.id], new.metrics[metric.id]
    if before.over != now.over:
        return Pair(replace(verdict, status="not compared", reason=f"it is over {now.over}, the baseline's over {before.over}"))
    places, sides = _on_pieces(before, now) if before.over != "seeds" else ((), (np.array(before.values), np.array(now.values)))
    if metric.clocked:
        if unclocked := _no_yardstick(verdict, old, new):
            return Pair(unclocked)
        sides = (_in_yardsticks(before, old, metric), _in_yardsticks(now, new, metric))
    if not len(sides[0]):
        return Pair(replace(verdict, status="lost", before=before.value, reason="no piece has a value in both"))
    means = [float(side.sum()) / len(side) for side in sides]
    aim = goal(metric, baseline, old, new, means[0])
    away = [aim.away(places, side) for side in sides]
    worsening = float(away[1].sum()) / len(away[1]) - float(away[0].sum()) / len(away[0])
    if not math.isfinite(worsening):
        raise DataError(f"{verdict.system}: {metric.name} changed by {worsening}, which is no measured value.")
    verdict = replace(
        verdict,
        before=means[0],
        now=means[1],
        worsening=worsening,
        limit=threshold.limit(means[0]),
        over=before.over,
        count=min(len(side) for side in sides),
        clocked=metric.clocked,
        reason=_missing(before, now, old, new),
        goal=aim,
    )
    if before.over == "seeds":
        return Pair(verdict, seeds=SeedValues(f"{metric.name} {new.kind}", away[0], away[1], ratios=aim.kind != "near"))
    return Pair(verdict, differences=away[1] - away[0])


def _on_pieces(before: Series, now: Series) -> tuple[tuple[int, ...], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The pieces that have a value on both sides, and these values."""
    if before.at == now.at:
        return now.at, (np.array(before.values), np.array(now.values))
    was, is_now = dict(zip(before.at, before.values, strict=True)), dict(zip(now.at, now.values, strict=True))
    shared = tuple(piece for piece in now.at if piece in was)
    return shared, (np.array([was[piece] for piece in shared]), np.array([is_now[piece] for piece in shared]))


def _missing(before: Series, now: Series, old: System, new: System) -> str:
    """``11 of 16 pieces have no value now``; empty if none is lost. Of seeds that are not there at all the row tells."""
    if before.over == "seeds":
        gone = len(before.at) - len(now.at) - max(0, len(old.seeds) - len(new.seeds))
    else:
        gone = len(set(before.at) - set(now.at))
    return f"{gone} of {len(before.at)} {before.over} {'has' if gone == 1 else 'have'} no value now" if gone > 0 else ""


def _no_yardstick(verdict: Verdict, old: System, new: System) -> Verdict | None:
    """What is said where times can't be told in yardsticks; None if they can."""
    if new.device != "cpu":
        return replace(verdict, status="not compared", reason="the yardstick measures a processor, not a GPU")
    if any(str(seed) not in old.yardstick for seed in old.seeds):
        return replace(verdict, status="not compared", reason="the baseline has no yardstick beside its times")
    if any(str(seed) not in new.yardstick for seed in new.seeds):
        return replace(verdict, status="lost", reason="the run has no yardstick beside its times")
    return None


def _in_yardsticks(series: Series, system: System, metric: Metric) -> NDArray[np.float64]:
    yardsticks: NDArray[np.float64] = np.array([system.yardstick[str(seed)] for seed in series.at])
    if metric.better == "lower":  # a time: a slower machine makes it larger, and the yardstick too
        yardsticks = 1 / yardsticks
    return np.array(series.values) * yardsticks
