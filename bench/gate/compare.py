"""Compare two runs: whether they can be compared at all, and each metric of each row side by side.

What counts is by how much the values moved away from their goal, piece by piece: half of them far too low and half far too high
is worse than all of them right, though the mean is the same. The goal of a metric:

- With a better direction: as low or as high as possible.
- With a counterpart that measures the real continuation (``copied_run`` and ``copied_run_real``): not above it, piece by piece.
  Below it nothing is worse: people borrow too, and a system that borrows less has lost nothing. Where the metric says so
  (``prompt_scale``): near it, piece by piece.
- Otherwise: near the metric's `ideal`; without one, near the baseline's row ``real``; without that row, near the row's own mean.

The row ``real`` is a stretch of a training piece, so it says nothing about how much copying is right.

Untrained rows are not judged, as a model that has learned nothing can't get worse. Times and speeds count in yardsticks
(:mod:`bench.system.speed`), of trained models only and within one kind of processor: how fast another kind is differs from one
program to the next, so a yardstick doesn't convert. A metric that had a value and has none now is lost, be it on some pieces
or seeds only; of what a sample may lack by chance, such as chords, if fewer samples have it than chance explains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.errors import DataError
from bench.formatting import listed, plural, shortened
from bench.gate.baseline import Baseline, Series, System
from bench.gate.significance import PieceValues, SeedValues, over_seeds
from bench.metrics import METRICS, Metric
from bench.metrics.thresholds import Threshold
from bench.scoring.table import REAL, by_classes

Status = Literal["worse", "lost", "better", "unclear", "untested", "new", "not compared", "same"]

#: Kinds of rows that are judged.
JUDGED = ("model", "reference")

#: By system and metric: the values of other trainings of the row, by earlier run, as :mod:`bench.history.noise` collects them.
Earlier = Mapping[tuple[str, str], tuple[NDArray[np.float64], ...]]

#: Probability below which it is no chance that so few samples have a value: a check has dozens of rows and such metrics.
CHANCE = 0.001

#: Characters of a reason that each cost of each row may give.
LONGEST_REASON = 300

#: Shown for a key that one side lacks.
NOTHING = "nothing"


def obstacles(before: Baseline, now: Baseline) -> list[str]:
    """List why the runs can't be compared, one sentence each; empty if they can.

    Both must have measured on the same music by the same protocol, at the same scale; a row that both have must be the same
    plug-in with the same hyperparameters and budget. The plug-in's source may differ: that change is what the gate judges.
    """
    reasons = list(differences(before.terms, now.terms))
    if before.pieces != now.pieces and not reasons:
        reasons.append(f"the {len(now.pieces)} held-out pieces are not the baseline's {len(before.pieces)}")
    for name, new in now.systems.items():
        if name in before.systems:
            old = before.systems[name]
            both = old.definition.keys() & new.definition.keys()
            # A side of an older version doesn't say how many samples a piece has.
            was, is_now = (
                {key: value for key, value in side.definition.items() if key != "samples" or key in both} for side in (old, new)
            )
            reasons += [f"{name}: {text}" for text in differences(was, is_now)]
            reasons += [f"{name}: {text}" for text in differences({"kind": old.kind}, {"kind": new.kind})]
            reasons += [f"{name}: {text}" for text in differences({"device": old.device}, {"device": new.device})]
    return reasons


def other_budget(old: System, new: System) -> str:
    """Say that trainings of one side alone went on beyond the budget; empty if those of both or of none did."""
    if old.beyond_budget == new.beyond_budget or not old.seeds or not new.seeds:
        return ""
    side, most = ("run", new.exceeded) if new.beyond_budget else ("baseline", old.exceeded)
    return f"the {side}'s trainings took up to {most:.3g} times the budget"


def warnings(before: Baseline, now: Baseline) -> list[str]:
    """List differences that may explain a change (spec, environment, seeds, budget), and metrics that are no longer measured."""
    lines = []
    if before.spec_hash != now.spec_hash:
        lines.append(f"another spec: its hash is {now.spec_hash}, was {before.spec_hash}")
    was, is_now = ({k: v for k, v in side.environment.items() if k != "music"} for side in (before, now))
    lines += [f"another environment: {text}" for text in differences(was, is_now)]
    heard = [side.environment.get("music") for side in (before, now)]
    if all(heard) and heard[0] != heard[1]:  # a baseline of an earlier version has none
        lines.append("other music: the held-out pieces are the same, those of the training or validation are not")
    for name, system in now.systems.items():
        if (old := before.systems.get(name)) is None:
            continue
        if old.seeds != system.seeds:
            lines.append(f"{name}: seeds are {_listed(system.seeds)}, were {_listed(old.seeds)}")
        if sides := [side for side, one in (("run", system), ("baseline", old)) if one.is_target]:
            lines.append(
                f"{name}: its notes in the {' and the '.join(sides)} are the true continuations: no change means anything"
            )
        if old.beyond_budget and system.beyond_budget:
            most = f"{system.exceeded:.3g} times the budget, in the baseline {old.exceeded:.3g} times"
            lines.append(f"{name}: trainings took up to {most}")
    measured = dict.fromkeys(key.split("@")[0] for system in before.systems.values() for key in system.metrics)
    return [*lines, *(f"the baseline's {name} is not measured any more" for name in measured if name not in METRICS)]


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Describe each value that differs, with its key.

    >>> list(differences({"notes": 64, "budget": {"epochs": 3}}, {"notes": 64, "budget": {"epochs": 5}}))
    ['budget.epochs is 5, was 3']
    >>> list(differences({"torch": {"torch": "2.13.0", "python": "3.11"}}, {"keras": {"keras": "3.1"}}))
    ['torch is missing', 'keras is new']
    """
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key, NOTHING), now.get(key, NOTHING)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{prefix}{key}.")
        elif isinstance(old, Mapping) or isinstance(new, Mapping):  # as of a framework that no row of one side uses
            yield f"{prefix}{key} is {'missing' if new is NOTHING else 'new'}"
        elif old != new:
            yield f"{prefix}{key} is {new}, was {old}"


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds)) or "none"


@dataclass(frozen=True)
class Goal:
    """Where the values of one metric of one row should be.

    Parameters
    ----------
    kind : {"lower", "higher", "near", "not above"}
    at : float
        For ``near``, and for pieces that are not in `by_piece`.
    by_piece : mapping of int to float
        The real continuations' own values, for ``near`` and ``not above``.

    Examples
    --------
    >>> Goal("near", at=1.0).distance((0, 1), np.array([0.5, 1.25])).tolist()
    [0.5, 0.25]
    """

    kind: Literal["lower", "higher", "near", "not above"]
    at: float = 0.0
    by_piece: Mapping[int, float] = field(default_factory=dict)

    def distance(self, pieces: Sequence[int], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute how far each value is from the goal, shape (..., pieces); a larger number is worse."""
        if self.kind in ("near", "not above"):
            # Values by seed have no pieces, and no goal by piece.
            above = values - (np.array([self.by_piece.get(p, self.at) for p in pieces]) if self.by_piece else self.at)
            away: NDArray[np.float64] = np.abs(above) if self.kind == "near" else np.maximum(0.0, above)
            return away
        return values if self.kind == "lower" else -values

    def words(self, worsening: float, digits: int) -> str:
        """Describe a change, such as ``further from 1.00``; empty if its sign says it all."""
        if self.kind == "near":
            goal = "real music's own" if self.by_piece else f"{self.at:.{digits}f}"
            return f"{'nearer to' if worsening < 0 else 'further from'} {goal}"
        return f"{'less' if worsening < 0 else 'more'} above real music's own" if self.kind == "not above" else ""


def goal(metric: Metric, before: Baseline, old: System, new: System, mean: float) -> Goal:
    """Choose the goal of a metric of a row.

    Parameters
    ----------
    metric : Metric
    before : Baseline
    old, new : System
        The row in the baseline and now.
    mean : float
        Its mean in the baseline.
    """
    if metric.better is not None:
        return Goal(metric.better)
    if metric.counterpart:
        counterpart = METRICS[metric.counterpart].id
        series = old.metrics.get(counterpart) or new.metrics.get(counterpart)
        kind: Literal["near", "not above"] = "near" if metric.near_counterpart else "not above"
        own = zip(series.at, over_seeds(series.matrix), strict=True) if series and series.at else ()
        return Goal(kind, by_piece=dict(own))
    if metric.ideal is not None:
        return Goal("near", metric.ideal)
    real = before.systems.get(REAL)
    return Goal("near", real.metrics[metric.id].value if real is not None and metric.id in real.metrics else mean)


@dataclass(frozen=True)
class Verdict:
    """Judgement of one metric of one row.

    Parameters
    ----------
    system : str
    metric : Metric
    status : str
        ``worse``; ``lost``: a value before, none now, in all or on some pieces or seeds; ``better``: by more than threshold and
        chance, which a mistake or a leak may cause; ``unclear``: beyond the threshold, but chance can't be ruled out;
        ``untested``: beyond the threshold, with too few pieces or seeds for a test; ``new``; ``not compared``; ``same``.
    before, now : float, optional
        Means over the pieces or seeds that both runs have; in yardsticks if `clocked`.
    worsening : float
        By how much it moved away from its goal, in the metric's unit; negative is better.
    limit : float
        Largest worsening that is no regression.
    p : float
        Adjusted over all tests of the check.
    over : str
        ``pieces``, ``held-out pieces`` or ``seeds``.
    count : int
        Number of these; of seeds, the smaller of both sides.
    seeds : int
        Of values on pieces: number of training seeds, the smaller of both sides; 1 for a pretrained row, whose seeds are draws.
    tested : bool
        Whether a test could have given a small enough p: enough pieces differ, or some row has two seeds.
    clocked : bool
        Whether the values are in yardsticks.
    reason : str
        Why there is nothing to compare, or what has no value now.
    goal : Goal, optional
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
    seeds: int = 0
    clocked: bool = False
    reason: str = ""
    goal: Goal | None = None


@dataclass(frozen=True)
class Pair:
    """One metric's values on both sides, before they are tested."""

    verdict: Verdict
    pieces: PieceValues | None = None
    seeds: SeedValues | None = None


def pairs_of(
    before: Baseline, now: Baseline, name: str, thresholds: Mapping[str, Threshold | None], earlier: Earlier | None = None
) -> list[Pair]:
    """Pair every metric of a row that the gate is on for; `earlier` trainings tell more of the noise of those that they can.

    Raises
    ------
    DataError
        If values are so large that their difference is not finite.
    """
    old, new = before.systems[name], now.systems[name]
    if not new.seeds or not old.seeds or new.kind not in JUDGED or other_budget(old, new):  # the row is reported as such
        return []
    pairs = []
    for metric in METRICS.values():
        threshold = thresholds[metric.name]
        if threshold is None or (metric.clocked and new.kind != "model"):
            continue
        measured = metric.id in old.metrics, metric.id in new.metrics
        if all(measured) and metric.group == "harmony" and before.plan_of(name) != now.plan_of(name):
            pairs.append(Pair(Verdict(name, metric, "not compared", reason="another chord plan")))
        elif all(measured):
            own = (earlier or {}).get((name, metric.name), ())
            pairs.append(_pair(Verdict(name, metric, "same"), before, old, new, threshold, own))
        elif any(measured):
            pairs.append(Pair(_one_sided(name, metric, len(before.pieces), old, new)))
    return pairs


def _one_sided(name: str, metric: Metric, pieces: int, old: System, new: System) -> Verdict:
    """Judge a metric that only one side has."""
    if metric.id in old.metrics:
        series, reason = old.metrics[metric.id], new.undefined.get(metric.id, "")
        status: Status = "not compared" if _may_be_chance(metric, pieces, series, None, old, new) else "lost"
        return Verdict(name, metric, status, before=series.value, reason=reason)
    value = new.metrics[metric.id].value
    versions = [key for key in old.metrics if key.split("@")[0] == metric.name]
    if versions:
        reason = f"it is measured as {metric.id}, the baseline's as {versions[0]}"
        return Verdict(name, metric, "not compared", now=value, reason=reason)
    return Verdict(name, metric, "new", now=value, reason=old.undefined.get(metric.id, ""))


def _pair(
    verdict: Verdict,
    baseline: Baseline,
    old: System,
    new: System,
    threshold: Threshold,
    earlier: tuple[NDArray[np.float64], ...],
) -> Pair:
    """Pair both sides' values on the pieces that both have; of seeds, on all."""
    metric = verdict.metric
    before, now = old.metrics[metric.id], new.metrics[metric.id]
    if before.over != now.over:
        return Pair(replace(verdict, status="not compared", reason=f"it is over {now.over}, the baseline's over {before.over}"))
    if now.over == "seeds" and metric.name != "parameters" and old.continued != new.continued:
        return Pair(replace(verdict, status="not compared", reason="its samples are of other pieces than the baseline's"))
    pieces, sides = shared(before, now)
    if reason := _other_counts(pieces, before, now):
        return Pair(replace(verdict, status="not compared", reason=reason))
    if (by_classes(metric.name) or metric.group == "prediction") and (reason := _other_likelihood(old, new)):
        return Pair(replace(verdict, status="not compared", reason=reason))
    if (metric.clocked or metric.machine_bound) and (reason := _other_machines(old, new, old.processors or _of_run(baseline))):
        return Pair(replace(verdict, status="not compared", reason=reason))
    if metric.clocked:
        if unclocked := _unclocked(verdict, old, new):
            return Pair(unclocked)
        rows = zip(sides, (before, now), (old, new), strict=True)
        sides = [_in_yardsticks(side, series, row, metric) for side, series, row in rows]
    missing = _missing(before, now, old, new)
    lost = bool(missing) and not _may_be_chance(metric, len(baseline.pieces), before, now, old, new)
    if not all(side.size for side in sides):
        status: Status = "lost" if lost else "not compared"
        return Pair(replace(verdict, status=status, before=before.value, reason="no piece has a value in both"))
    means = [float(over_seeds(side).mean()) for side in sides]
    aim = goal(metric, baseline, old, new, means[0])
    distances = [aim.distance(pieces, side) for side in sides]
    worsening = float(over_seeds(distances[1]).mean() - over_seeds(distances[0]).mean())
    if not math.isfinite(worsening):
        raise DataError(f"{verdict.system}: {metric.name} changed by {worsening}, which is no measured value.")
    on_seeds = before.over == "seeds"
    drawn = old.pretrained and new.pretrained
    seeds = 1 if drawn and not on_seeds else min(len(side) for side in sides)
    verdict = replace(
        verdict,
        before=means[0],
        now=means[1],
        worsening=worsening,
        limit=threshold.limit(means[0]),
        over=before.over,
        count=seeds if on_seeds else len(pieces),
        seeds=0 if on_seeds else seeds,
        clocked=metric.clocked,
        status="lost" if lost else "same",
        reason=missing,
        goal=aim,
    )
    group = new.group(metric)
    if on_seeds:
        one, other = (side[:, 0] for side in distances)
        # Of a speed, which is better higher, the distance is its negative.
        others = tuple(aim.distance((), values) for values in earlier)
        return Pair(verdict, seeds=SeedValues(group, one, other, ratios=aim.kind != "near", earlier=others))
    whole = len(pieces) == len(before.at) == len(now.at)
    weights = weights_of(pieces, before, now)
    return Pair(verdict, pieces=PieceValues(group, distances[0], distances[1], weights, earlier if whole else (), drawn))


def shared(before: Series, now: Series) -> tuple[tuple[int, ...], list[NDArray[np.float64]]]:
    """Select the pieces that have a value on both sides, and these values, (seeds, pieces)."""
    sides = [before.matrix, now.matrix]
    if before.at == now.at:
        return now.at, sides
    places = [{piece: i for i, piece in enumerate(side.at)} for side in (before, now)]
    both = tuple(piece for piece in now.at if piece in places[0])
    return both, [side[:, [of[piece] for piece in both]] for side, of in zip(sides, places, strict=True)]


def weights_of(pieces: Sequence[int], *sides: Series) -> NDArray[np.float64] | None:
    """Take the weights of these pieces from the first side that has some: a baseline of an older version has none."""
    for side in sides:
        if side.weights is not None:
            weights = dict(zip(side.at, side.weights, strict=True))
            return np.array([weights[piece] for piece in pieces])
    return None


def _other_counts(pieces: Sequence[int], before: Series, now: Series) -> str:
    """Say why means are over other notes, frames or events of the same pieces; empty if they aren't, as far as known."""
    was, is_now = weights_of(pieces, before), weights_of(pieces, now)
    if was is None or is_now is None or np.array_equal(was, is_now):
        return ""
    if was.sum() == is_now.sum():
        return "it is a mean over other numbers of predictions of each piece than the baseline's"
    return f"it is a mean over {is_now.sum():,.0f} predictions of these pieces, the baseline's over {was.sum():,.0f}"


def _may_be_chance(metric: Metric, pieces: int, before: Series, now: Series | None, old: System, new: System) -> bool:
    """Whether so few samples with a value may be chance, by Fisher's exact test of the samples with and without one.

    Never of a metric that any music has, nor where every sample had a value and none has one now.
    """
    if not metric.occasional or before.over != "pieces":
        return False
    had, has = (int(np.isfinite(series.matrix).sum()) if series else 0 for series in (before, now))
    of, among = len(old.seeds) * pieces, len(new.seeds) * pieces
    return not (had == of and not has) and fewer_by_chance(had, of, has, among) >= CHANCE


def fewer_by_chance(had: int, of: int, has: int, among: int) -> float:
    """Compute how likely `has` or fewer `among` these are, as common as `had` of those: Fisher's exact test, one-sided.

    Examples
    --------
    >>> round(fewer_by_chance(3, 4, 1, 4), 12)  # (C(4, 0) C(4, 4) + C(4, 1) C(4, 3)) / C(8, 4)
    0.242857142857
    """

    def ways(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """Logarithm of the binomial coefficients."""
        logarithms: NDArray[np.float64] = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
        return logarithms

    few = np.arange(max(0, had + has - of), has + 1)
    return float(np.exp(ways(among, few) + ways(of, had + has - few) - ways(of + among, np.array(had + has))).sum())


def _missing(before: Series, now: Series, old: System, new: System) -> str:
    """``11 of 16 pieces have no value now``; empty if none is lost. Seeds that were not run at all are the row's matter."""
    pieces = len(set(before.at) - set(now.at))
    seeds = len(before.seeds) - len(now.seeds) - max(0, len(old.seeds) - len(new.seeds))
    gone, whole, of = (pieces, len(before.at), before.over) if pieces else (seeds, len(before.seeds), "seeds")
    return f"{gone} of {whole} {of} {'has' if gone == 1 else 'have'} no value now" if gone > 0 else ""


def _unclocked(verdict: Verdict, old: System, new: System) -> Verdict | None:
    """Judge a time or speed that can't be compared in yardsticks; None if it can."""
    if new.device != "cpu":
        return replace(verdict, status="not compared", reason="the yardstick measures a processor, not a GPU")
    if any(str(seed) not in old.yardstick for seed in old.seeds):
        return replace(verdict, status="not compared", reason="the baseline has no yardstick beside its times")
    if any(str(seed) not in new.yardstick for seed in new.seeds):
        return replace(verdict, status="lost", reason="the run has no yardstick beside its times")
    return None


def _other_likelihood(old: System, new: System) -> str:
    """Say why a row's bits aren't of one kind; empty if they are, as far as known."""
    if old.classes and new.classes and old.classes != new.classes:
        now, before = (" and ".join(map(str, classes)) for classes in (new.classes, old.classes))
        return f"it is over {now} classes of time and duration, the baseline's over {before}: fewer cost fewer bits"
    if old.likelihood and new.likelihood and old.likelihood != new.likelihood:
        bound, exact = ("run", "baseline") if new.likelihood == "bound" else ("baseline", "run")
        return f"the {bound}'s is an upper bound, the {exact}'s exact"
    return ""


def _of_run(baseline: Baseline) -> tuple[str, ...]:
    """Processor of a baseline of an older version, which has none of each row."""
    cpu = baseline.environment.get("cpu")
    return (str(cpu),) if cpu else ()


def _other_machines(old: System, new: System, processors: Sequence[str]) -> str:
    """Say why a row's times aren't of one kind of machine and number of threads; empty if they are, as far as known."""
    return shortened(_machines_in_full(old, new, processors), LONGEST_REASON)  # each cost of each row says it


def _machines_in_full(old: System, new: System, processors: Sequence[str]) -> str:
    for side, kinds in (("baseline", processors), ("run", new.processors)):
        if len(kinds) > 1:
            return f"the {side}'s trials ran on several kinds of processor: {listed(kinds)}"
    for side, numbers in (("baseline", old.threads), ("run", new.threads)):
        if len(numbers) > 1:
            return f"the {side}'s trials had different numbers of threads: {listed(list(map(str, numbers)))}"
    for side, kinds in (("baseline", old.gpus), ("run", new.gpus)):
        if len(kinds) > 1:
            return f"the {side}'s trials ran on several kinds of GPU: {listed(kinds)}"
    for now, before in ((new.processors, tuple(processors)), (new.gpus, old.gpus)):
        if now and before and now != before:
            return f"it ran on {now[0]}, the baseline on {before[0]}"
    if old.threads and new.threads and old.threads != new.threads:
        return f"it ran with {plural(new.threads[0], 'thread')}, the baseline with {old.threads[0]}"
    return ""


def _in_yardsticks(values: NDArray[np.float64], series: Series, system: System, metric: Metric) -> NDArray[np.float64]:
    yardsticks: NDArray[np.float64] = np.array([system.yardstick[str(seed)] for seed in series.seeds])[:, None]
    return values / yardsticks if metric.better == "lower" else values * yardsticks  # a slower machine makes both larger
