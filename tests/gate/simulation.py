"""How often the gate is right: pairs of runs drawn from a stored one, judged by the gate's own function.

``spread.json`` holds every column that the gate is on for, by seed and piece, of a real run: the chorales' Table 2, 3 seeds, 50
pieces. (What people hear and the alignments are of a later run of the same spec.) ``python tests/gate/simulation.py FOLDER``
makes it again from that run's folder. ``generation 1000 1`` prints what the gate says of 1000 pairs, drawn with seed 1, that
differ in their generations; with ``training`` of pairs that were trained anew; with ``worse`` of pairs trained anew in which one
metric of one model is truly worse by twice its threshold.

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

from bench.gate.baseline import Baseline, Over, Series, System
from bench.gate.compare import JUDGED, Goal, goal
from bench.gate.verdicts import judge
from bench.metrics import METRICS, cost, skill
from bench.metrics.thresholds import choose

FILE = Path(__file__).with_name("spread.json")
DIGITS = 4
SEEDS = 3

#: SD of the logarithm of a time between seeds on a calm machine, and of the speed of two machines.
CLOCK_NOISE, MACHINE_NOISE = 0.05, 0.3

#: No run on the chorales' Table 2 on a processor has them: a known entropy rate, a GPU. A median's skill says nothing new.
ELSEWHERE = {"excess_bits", "peak_gpu_memory", *skill.OF}


def gated() -> set[str]:
    """Names of all metrics that the gate is on for."""
    return {name for name in METRICS if choose(METRICS[name], {}) is not None}


class Stored:
    """A row's stored values by metric: ``pieces`` and ``held_out``, (seeds, pieces); ``sets`` and ``costs``, (seeds,)."""

    def __init__(self, given: dict) -> None:
        self.kind = given["kind"]
        self.pieces = {name: np.array(values) for name, values in given["pieces"].items()}
        self.held_out = {name: np.array(values) for name, values in given["held_out"].items()}
        self.sets = {name: np.array(values) for name, values in given["sets"].items()}
        self.costs = {name: np.array(values) for name, values in given["costs"].items()}

    @property
    def names(self) -> list[str]:
        return [*self.pieces, *self.held_out, *self.sets, *self.costs]

    @functools.cached_property
    def together(self):
        """Of all metrics on pieces: their levels, deviations and seeds' means."""
        values = np.stack(list(self.pieces.values()))  # (metrics, seeds, pieces)
        level = values.mean(1)
        apart = (values - level[:, None]) * math.sqrt(SEEDS / (SEEDS - 1))
        means = values.mean(2)
        return level, apart, means - means.mean(1, keepdims=True)

    @functools.cached_property
    def likelihoods(self):
        """Of bits, in all and by field: their levels and the seeds' deviations."""
        return {name: (values.mean(0), values - values.mean(0)) for name, values in self.held_out.items()}

    def run(self, rng, chosen, shares, *, trainings: bool, speed: float) -> System:
        """One drawn run of this row: on the `chosen` pieces and held-out `shares` of theirs."""
        training = rng.normal(size=(SEEDS, SEEDS)) / math.sqrt(SEEDS - 1)  # (drawn seeds, stored seeds)
        level, apart, means = self.together
        taken = rng.integers(0, SEEDS, (1, SEEDS, len(chosen)))
        drawn = level[:, None, chosen] + np.take_along_axis(apart[:, :, chosen], taken, axis=1)  # (metrics, seeds, pieces)
        if trainings:
            drawn = drawn + (means @ training.T)[:, :, None]
        metrics = {METRICS[name].id: series("pieces", row) for name, row in zip(self.pieces, drawn, strict=True)}
        for name, (level, apart) in self.likelihoods.items():
            moved = training @ apart if trainings else apart
            metrics[METRICS[name].id] = series("held-out pieces", (level + moved)[:, shares])
        for name, values in self.sets.items():
            metrics[METRICS[name].id] = series("seeds", spread(values, training))
        for name, values in self.costs.items():
            metric = METRICS[name]
            unit = (speed if metric.better == "lower" else 1 / speed) if metric.clocked else 1.0
            clock = np.exp(rng.normal(0, CLOCK_NOISE, SEEDS))
            each = values.mean()
            if name == "seconds_to_target":  # After what part of its time it is reached differs between trainings, too.
                parts = values / self.costs["training_seconds"]
                each = each * spread(parts, training) / parts.mean()
            metrics[METRICS[name].id] = series("seeds", each * unit * clock)
        yardstick = {str(s): float(0.3 * speed * math.exp(rng.normal(0, CLOCK_NOISE))) for s in range(SEEDS)}
        return System(self.kind, {}, "cpu", tuple(range(SEEDS)), {}, yardstick, metrics, {})


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


def draw_pair(rng, *, trainings: bool) -> tuple[Baseline, Baseline]:
    """Two runs that only differ by chance."""
    rows = stored()
    n = next(iter(rows["lstm"].pieces.values())).shape[1]
    held_out = next(iter(rows["lstm"].held_out.values())).shape[1]
    chosen, shares = rng.integers(0, n, n), rng.integers(0, held_out, held_out)
    made = []
    for _ in range(2):
        speed = math.exp(rng.normal(0, MACHINE_NOISE))
        systems = {name: row.run(rng, chosen, shares, trainings=trainings, speed=speed) for name, row in rows.items()}
        made.append(Baseline("drawn", "", {}, {}, tuple(map(str, range(n))), systems))
    return made[0], made[1]


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
    changed = replace(now.systems[system], metrics={**now.systems[system].metrics, metric.id: series(old.over, values)})
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


def equal(pairs: int, *, trainings: bool, seed: int) -> dict:
    """Of so many pairs of equal runs: how often anything at all is called worse, and what."""
    rng, alarms, called = np.random.default_rng(seed), 0, {}
    for _ in range(pairs):
        judged = judge(*draw_pair(rng, trainings=trainings))
        worse = judged.of("worse")
        alarms += bool(worse)
        for v in worse:
            key = f"{v.system} {v.metric.name}"
            called[key] = called.get(key, 0) + 1
    return {"pairs": pairs, "alarms": alarms, "tests": judged.tests, "compared": len(judged.verdicts), "called": called}


def worse(pairs: int, *, seed: int) -> dict:
    """By metric: in how many pairs it was made worse by twice its threshold, and in how many of these it was called worse."""
    rng, cases = np.random.default_rng(seed), targets()
    order = rng.permutation(len(cases))
    found: dict[str, list[int]] = {}
    for i in range(pairs):
        system, name = cases[order[i % len(cases)]]
        before, now = draw_pair(rng, trainings=True)
        judged = judge(before, worsen(rng, before, now, system, name))
        count = found.setdefault(name, [0, 0])
        count[0] += 1
        count[1] += any(v.system == system and v.metric.name == name for v in judged.of("worse"))
    return {"pairs": pairs, "found": found}


def make(folder: Path) -> None:
    """Write ``spread.json`` from a finished run."""
    from bench.metrics import ON_SETS
    from bench.scoring.score import score_run
    from bench.storage.samples import read_samples

    def plain(values):
        return [plain(v) for v in values] if np.ndim(values) else float(f"{values:.{DIGITS}g}")

    wanted = gated() | {name for name in METRICS if name.endswith("_real")}
    on_sets = [m.name for module in ON_SETS for m in module.METRICS if m.name in wanted]
    on_costs = [m.name for m in cost.METRICS if m.name in wanted]
    result = {}
    for row in score_run(folder).rows:
        if row.kind not in JUDGED:
            continue
        known = {m for m in wanted if row.cells[m].value is not None}
        on_pieces = [m for m in row.done[0].by_piece if m in known and not m.startswith("bits_")]
        pieces = {m: plain([[t.by_piece[m][p] for p in sorted(t.by_piece[m])] for t in row.done]) for m in on_pieces}
        costs = [m for m in on_costs if m in known and (row.kind == "model" or not METRICS[m].clocked)]
        by_seed = {m: plain([t.values[m] for t in row.done]) for m in (*on_sets, *costs) if m in known}
        samples = [read_samples(folder / "trials" / t.key / "samples.h5") for t in row.done]
        held_out = {}
        if samples[0].likelihood_sum is not None:
            bits = np.stack([-s.likelihood_sum / math.log(2) / s.likelihood_notes.mean() for s in samples])
            held_out = {"bits_per_note": plain(bits.sum(-1))}
            held_out |= {f"bits_{f}": plain(bits[..., i]) for i, f in enumerate(("pitch", "velocity", "time", "duration"))}
        result[row.system] = {
            "kind": row.kind,
            "pieces": pieces,
            "held_out": held_out,
            "sets": {m: by_seed[m] for m in on_sets if m in by_seed},
            "costs": {m: by_seed[m] for m in costs},
        }
    FILE.write_text(json.dumps(result, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        make(Path(sys.argv[1]))
    elif sys.argv[1] == "worse":
        print(json.dumps(worse(int(sys.argv[2]), seed=int(sys.argv[3]))))
    else:
        print(json.dumps(equal(int(sys.argv[2]), trainings=sys.argv[1] == "training", seed=int(sys.argv[3]))))
