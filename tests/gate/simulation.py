"""How often the gate is right: pairs of runs drawn from stored ones, judged by the gate's own function.

``spread.json`` holds every column that the gate is on for, by seed and piece: the chorales' Table 2 at scale cpu, trained twice,
with seeds 0-4 and 10-14. Its references are those of the first run. ``python tests/gate/simulation.py FOLDER FOLDER`` makes it
again from the runs' folders. ``generation 1000 1 5`` prints what the gate says of 1000 pairs of 5 seeds a side, drawn with seed
1, that differ in their generations; with ``training`` of pairs that were trained anew; with ``worse`` of pairs trained anew in
which one metric of one model is truly worse by twice its threshold.

A drawn run keeps each piece's own level, as both runs of a pair have the same pieces (drawn anew for each pair), and draws what
differs between generations: each (seed, piece) takes one of the stored seeds' deviations from that piece's mean, all metrics of a
sample together. Deviations are widened by sqrt(n / (n - 1)), as a mean of n takes away that much. What differs between trainings
has the covariance of the stored seeds, with normal effects of each drawn seed. Metrics on sets are stored by seed: all that
differs between seeds is taken for both kinds of pairs. Times get the noise of a calm machine, 5 %, and a speed that differs
between runs.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.gate.baseline import Baseline, Over, Series, System, take
from bench.gate.compare import JUDGED, Goal, goal
from bench.gate.verdicts import judge
from bench.metrics import METRICS, cost, prediction, skill
from bench.metrics.thresholds import choose

FILE = Path(__file__).with_name("spread.json")
DIGITS = 4

#: SD of the logarithm of a time between seeds on a calm machine, and of the speed of two machines.
CLOCK_NOISE, MACHINE_NOISE = 0.05, 0.3

#: No run on the chorales' Table 2 on a processor has them: a known entropy rate, a GPU, predictions of frames and events. A
#: median's skill says nothing new.
ELSEWHERE = {"excess_bits", "peak_gpu_memory", "mfu", "gpu_energy", *skill.OF, *(metric.name for metric in prediction.METRICS)}


def gated() -> set[str]:
    """Names of all metrics that the gate is on for."""
    return {name for name in METRICS if choose(METRICS[name], {}) is not None}


class Stored:
    """A row's stored values by metric: ``pieces`` and ``held_out``, (seeds, pieces); ``sets`` and ``costs``, (seeds,).

    `weights` are those of the held-out pieces, whose values are contributions to the mean.
    """

    def __init__(self, given: dict) -> None:
        self.kind = given["kind"]
        self.pieces = {name: np.array(values) for name, values in given["pieces"].items()}
        self.held_out = {name: np.array(values) for name, values in given["held_out"].items()}
        self.weights = np.array(given["weights"])
        self.sets = {name: np.array(values) for name, values in given["sets"].items()}
        self.costs = {name: np.array(values) for name, values in given["costs"].items()}

    @property
    def names(self) -> list[str]:
        return [*self.pieces, *self.held_out, *self.sets, *self.costs]

    @property
    def seeds(self) -> int:
        return len(next(iter(self.pieces.values())))

    @functools.cached_property
    def together(self):
        """Of all metrics on pieces: their levels, deviations and seeds' means."""
        values = np.stack(list(self.pieces.values()))  # (metrics, seeds, pieces)
        level = values.mean(1)
        apart = (values - level[:, None]) * math.sqrt(self.seeds / (self.seeds - 1))
        means = values.mean(2)
        return level, apart, means - means.mean(1, keepdims=True)

    @functools.cached_property
    def likelihoods(self):
        """Of bits, in all and by field: their levels and the seeds' deviations."""
        return {name: (values.mean(0), values - values.mean(0)) for name, values in self.held_out.items()}

    def run(self, rng, seeds: int, chosen, shares, *, trainings: bool, speed: float) -> System:
        """One drawn run of this row: on the `chosen` pieces and held-out `shares` of theirs."""
        training = rng.normal(size=(seeds, self.seeds)) / math.sqrt(self.seeds - 1)  # (drawn seeds, stored seeds)
        level, apart, means = self.together
        taken = rng.integers(0, self.seeds, (1, seeds, len(chosen)))
        drawn = level[:, None, chosen] + np.take_along_axis(apart[:, :, chosen], taken, axis=1)  # (metrics, seeds, pieces)
        if trainings:
            drawn = drawn + (means @ training.T)[:, :, None]
        metrics = {METRICS[name].id: series("pieces", row) for name, row in zip(self.pieces, drawn, strict=True)}
        for name, (level, apart) in self.likelihoods.items():
            moved = training @ apart if trainings else apart[:seeds]
            drawn_bits = series("held-out pieces", (level + moved)[:, shares])
            metrics[METRICS[name].id] = replace(drawn_bits, weights=self.weights[shares])
        for name, values in self.sets.items():
            metrics[METRICS[name].id] = series("seeds", spread(values, training))
        for name, values in self.costs.items():
            metric = METRICS[name]
            unit = (speed if metric.better == "lower" else 1 / speed) if metric.clocked else 1.0
            clock = np.exp(rng.normal(0, CLOCK_NOISE, seeds))
            each = values.mean()
            if name == "seconds_to_target":  # After what part of its time it is reached differs between trainings, too.
                parts = values / self.costs["training_seconds"]
                each = each * spread(parts, training) / parts.mean()
            metrics[METRICS[name].id] = series("seeds", each * unit * clock)
        yardstick = {str(s): float(0.3 * speed * math.exp(rng.normal(0, CLOCK_NOISE))) for s in range(seeds)}
        return System(self.kind, {}, "cpu", tuple(range(seeds)), {}, yardstick, metrics, {})


def spread(values, training):
    """Drawn seeds' values; in percent where all are positive."""
    if (values > 0).all():
        logs = np.log(values)
        return np.exp(logs.mean() + training @ (logs - logs.mean()))
    return values.mean() + training @ (values - values.mean())


@functools.cache
def places(count: int) -> tuple[int, ...]:
    return tuple(range(count))


def series(over: Over, values) -> Series:
    """Values as an array, which the gate makes of them: (seeds, pieces), or over seeds (seeds,)."""
    if over == "seeds":
        return Series(float(values.mean()), over, places(len(values)), (), values[:, None])
    return Series(float(values.mean()), over, places(len(values)), places(values.shape[1]), values)


@functools.cache
def stored() -> dict[str, Stored]:
    return {name: Stored(given) for name, given in json.loads(FILE.read_text()).items()}


def draw_pair(rng, seeds: int, *, trainings: bool) -> tuple[Baseline, Baseline]:
    """Two runs that only differ by chance."""
    before, now = draw_runs(rng, seeds, 2, trainings=trainings)
    return before, now


def draw_runs(rng, seeds: int, runs: int, *, trainings: bool) -> list[Baseline]:
    """So many runs on the same pieces that only differ by chance."""
    rows = stored()
    n = next(iter(rows["lstm"].pieces.values())).shape[1]
    held_out = next(iter(rows["lstm"].held_out.values())).shape[1]
    chosen, shares = rng.integers(0, n, n), rng.integers(0, held_out, held_out)
    made = []
    for _ in range(runs):
        speed = math.exp(rng.normal(0, MACHINE_NOISE))
        systems = {name: row.run(rng, seeds, chosen, shares, trainings=trainings, speed=speed) for name, row in rows.items()}
        made.append(Baseline("drawn", "", {}, {}, tuple(map(str, range(n))), systems))
    return made


def worsen(rng, before: Baseline, now: Baseline, system: str, name: str, thresholds: float = 2.0) -> Baseline:
    """`now`, truly worse than `before` at one metric by so many thresholds; pieces suffer unequally."""
    metric, rule = METRICS[name], choose(METRICS[name], {})
    was, old = before.systems[system].metrics[metric.id], now.systems[system].metrics[metric.id]
    values = old.matrix[:, 0] if old.over == "seeds" else old.matrix
    if metric.clocked:
        factor = 1 + thresholds * rule.amount / 100
        values = values * (factor if metric.better == "lower" else 2 - factor)
    else:
        suffered = rng.lognormal(0, 0.5, values.shape[1]) if old.over != "seeds" else np.ones(len(values))
        aim = goal(metric, before, before.systems[system], now.systems[system], was.value)
        values = further(aim, old.at, values, thresholds * rule.limit(was.value) * suffered / suffered.mean())
    worsened = replace(series(old.over, values), weights=old.weights)
    changed = replace(now.systems[system], metrics={**now.systems[system].metrics, metric.id: worsened})
    return replace(now, systems={**now.systems, system: changed})


def further(aim: Goal, at, values, by):
    """Values that are further away by so much: on the side where they are, or above what they may be."""
    if aim.kind in ("lower", "higher"):
        return values + by if aim.kind == "lower" else values - by
    own = [aim.by_piece.get(place, aim.at) for place in at] or aim.at  # values by seed have no pieces
    if aim.kind == "near":
        return values + np.where(values >= own, by, -by)
    return np.maximum(values, own) + by


def targets() -> list[tuple[str, str]]:
    """Every (model, metric) that can be made worse."""
    return [(name, m) for name, row in stored().items() if row.kind == "model" for m in row.names if m in gated()]


def equal(pairs: int, seeds: int, *, trainings: bool, seed: int) -> dict:
    """Of so many pairs of equal runs: how often anything at all is called worse, and what."""
    rng, alarms, called = np.random.default_rng(seed), 0, {}
    for _ in range(pairs):
        judged = judge(*draw_pair(rng, seeds, trainings=trainings))
        worse = judged.of("worse")
        alarms += bool(worse)
        for v in worse:
            key = f"{v.system} {v.metric.name}"
            called[key] = called.get(key, 0) + 1
    return {"pairs": pairs, "alarms": alarms, "tests": judged.tests, "compared": len(judged.verdicts), "called": called}


def worse(pairs: int, seeds: int, *, seed: int) -> dict:
    """By metric: in how many pairs it was made worse by twice its threshold, and in how many of these it was called worse."""
    rng, cases = np.random.default_rng(seed), targets()
    order = rng.permutation(len(cases))
    found: dict[str, list[int]] = {}
    for i in range(pairs):
        system, name = cases[order[i % len(cases)]]
        before, now = draw_pair(rng, seeds, trainings=True)
        judged = judge(before, worsen(rng, before, now, system, name))
        count = found.setdefault(name, [0, 0])
        count[0] += 1
        count[1] += any(v.system == system and v.metric.name == name for v in judged.of("worse"))
    return {"pairs": pairs, "found": found}


def make(runs: list[Baseline]) -> None:
    """Write ``spread.json`` from runs of one spec with different seeds."""
    wanted = gated() | {name for name in METRICS if name.endswith("_real")}
    on_costs = {m.name for m in cost.METRICS}
    result = {}
    for name, system in runs[0].systems.items():
        if system.kind not in JUDGED:
            continue
        given = {"kind": system.kind, "pieces": {}, "held_out": {}, "weights": [], "sets": {}, "costs": {}}
        for key, kept in system.metrics.items():
            metric = METRICS[key.split("@")[0]]
            if metric.name not in wanted or (metric.clocked and system.kind != "model"):
                continue
            sides = [run.systems[name].metrics[key].matrix for run in (runs if system.kind == "model" else runs[:1])]
            values = np.concatenate(sides)
            if kept.over == "seeds":
                given["costs" if metric.name in on_costs else "sets"][metric.name] = plain(values[:, 0])
            else:
                given["pieces" if kept.over == "pieces" else "held_out"][metric.name] = plain(values)
                given["weights"] = kept.weights or given["weights"]
        result[name] = given
    FILE.write_text(json.dumps(result, separators=(",", ":"), allow_nan=False).replace('},"', '},\n"') + "\n")


def plain(values):
    return [plain(v) for v in values] if np.ndim(values) else float(f"{values:.{DIGITS}g}")


if __name__ == "__main__":
    if sys.argv[1] not in ("generation", "training", "worse"):
        make([take(Path(folder)) for folder in sys.argv[1:]])
    else:
        count, drawn_with, a_side = map(int, sys.argv[2:])
        if sys.argv[1] == "worse":
            print(json.dumps(worse(count, a_side, seed=drawn_with)))
        else:
            print(json.dumps(equal(count, a_side, trainings=sys.argv[1] == "training", seed=drawn_with)))
