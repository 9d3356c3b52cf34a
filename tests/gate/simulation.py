"""How often the gate is right: pairs of runs drawn from a stored one, judged by the gate's own function.

``spread.json`` holds the values by seed and piece of a real run: the chorales' Table 2, 3 seeds, 50 pieces.
``python tests/gate/simulation.py FOLDER`` makes it again from that run's folder. With ``generation 1000 1`` in the folder's place
it prints what the gate says of 1000 pairs, drawn with seed 1, that differ in their generations (with ``training``: in both).

A drawn run keeps each piece's own level, as both runs of a pair have the same pieces (drawn anew for each pair), and draws what
differs between generations: each (seed, piece) takes one of the stored seeds' deviations from that piece's mean, all metrics of a
sample together. Deviations are widened by sqrt(n / (n - 1)), as a mean of n takes away that much. What differs between trainings
has the covariance of the stored seeds. Times get the noise of a calm machine, 5 %, and a speed that differs between runs.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.gate.baseline import Baseline, Series, System
from bench.gate.thresholds import choose
from bench.gate.verdicts import judge
from bench.metrics import METRICS

FILE = Path(__file__).with_name("spread.json")
ROWS = ("lstm", "transformer", "gan", "real", "markov")
COSTS = ("training_seconds", "training_notes_per_second", "generation_notes_per_second", "peak_memory")
DIGITS = 4

#: SD of the logarithm of a time between seeds on a calm machine, and of the speed of two machines.
CLOCK_NOISE, MACHINE_NOISE = 0.05, 0.3

#: Few permutations, for many pairs: the smallest adjusted p among 60 tests is 60 / 2000.
DRAWS = 2000


class Stored:
    """A row's stored values.

    `pieces` by metric, (seeds, pieces); `held_out` likewise; `costs` by metric, the mean.
    """

    def __init__(self, given: dict) -> None:
        self.pieces = {name: np.array(values) for name, values in given["pieces"].items()}
        self.held_out = {name: np.array(values) for name, values in given["held_out"].items()}
        self.costs = given["costs"]

    def run(self, rng, chosen, shares, *, trainings: bool, speed: float) -> System:
        """One drawn run of this row: on the `chosen` pieces and held-out `shares` of theirs."""
        metrics, seeds, n = {}, 3, len(chosen)
        taken = rng.integers(0, seeds, (seeds, n))
        training = rng.normal(size=(seeds, seeds)) / math.sqrt(seeds - 1)  # (drawn seeds, stored seeds)
        for name, values in self.pieces.items():
            level = values.mean(0)
            apart = (values - level) * math.sqrt(seeds / (seeds - 1))
            drawn = level[chosen] + np.take_along_axis(apart[:, chosen], taken, axis=0)  # (seeds, pieces)
            if trainings:
                means = values.mean(1)
                drawn = drawn + (training @ (means - means.mean()))[:, None]
            metrics[METRICS[name].id] = series("pieces", drawn.mean(0))
        for name, values in self.held_out.items():
            level = values.mean(0)[shares]
            moved = (training @ (values - values.mean(0))).mean(0)[shares] if trainings else 0.0
            metrics[METRICS[name].id] = series("held-out pieces", level + moved)
        for name, mean in self.costs.items():
            unit = {"s": speed, "notes/s": 1 / speed}.get(METRICS[name].unit, 1.0)
            metrics[METRICS[name].id] = series("seeds", mean * unit * np.exp(rng.normal(0, CLOCK_NOISE, seeds)))
        yardstick = {str(s): float(0.3 * speed * math.exp(rng.normal(0, CLOCK_NOISE))) for s in range(seeds)}
        kind = "model" if self.costs else "reference"
        return System(kind, {}, "cpu", tuple(range(seeds)), {}, yardstick, metrics, {})


def series(over, values) -> Series:
    return Series(float(np.mean(values)), over, tuple(range(len(values))), tuple(np.asarray(values).tolist()))


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
    metric = METRICS[name]
    was, old = before.systems[system].metrics[metric.id], now.systems[system].metrics[metric.id]
    if old.over == "seeds":
        factor = 1 + thresholds * choose(name, {}).amount / 100
        values = np.array(old.values) * (factor if metric.better == "lower" else 2 - factor)
    else:
        sign = {"lower": 1.0, "higher": -1.0, None: 0.0}[metric.better]
        if not sign:
            best = 1.0 if name.endswith("_ratio") else before.systems["real"].metrics[metric.id].value
            sign = 1.0 if was.value >= best else -1.0
        suffered = rng.lognormal(0, 0.5, len(old.values))
        values = np.array(old.values) + sign * thresholds * choose(name, {}).limit(was.value) * suffered / suffered.mean()
    changed = replace(now.systems[system], metrics={**now.systems[system].metrics, metric.id: series(old.over, values)})
    return replace(now, systems={**now.systems, system: changed})


def targets() -> list[tuple[str, str]]:
    """Every (model, metric) that can be made worse."""
    return [
        (name, metric)
        for name, row in stored().items()
        if row.costs
        for metric in (*row.pieces, *row.held_out, *row.costs)
        if choose(metric, {}) is not None
    ]


def rates(pairs: int, *, trainings: bool, seed: int) -> dict:
    """What the gate says of so many pairs: of each as it is, and of each with one true worsening of twice the threshold.

    ``alarms``: pairs of equal runs in which anything at all is called worse. ``found``: by metric, in how many pairs it was made
    worse, and in how many of these it was called worse.
    """
    rng = np.random.default_rng(seed)
    cases, alarms = targets(), 0
    found: dict[str, list[int]] = {}
    for i in range(pairs):
        system, name = cases[i % len(cases)]
        before, now = draw_pair(rng, trainings=trainings)
        alarms += bool(judge(before, now, draws=DRAWS).of("worse"))
        judged = judge(before, worsen(rng, before, now, system, name), draws=DRAWS)
        count = found.setdefault(name, [0, 0])
        count[0] += 1
        count[1] += any(v.system == system and v.metric.name == name for v in judged.of("worse"))
    return {"pairs": pairs, "alarms": alarms, "found": found}


def make(folder: Path) -> None:
    """Write ``spread.json`` from a finished run."""
    from bench.score import score_run
    from bench.store import read_samples

    def plain(values):
        return [[float(f"{v:.{DIGITS}g}") for v in row] for row in np.asarray(values, float)]

    table, result = score_run(folder), {}
    for name in ROWS:
        row = table[name]
        pieces = {m: plain([[t.by_piece[m][p] for p in sorted(t.by_piece[m])] for t in row.done]) for m in row.done[0].by_piece}
        held_out, costs = {}, {}
        if row.kind == "model":
            costs = {m: float(f"{row.cells[m].value:.{DIGITS}g}") for m in COSTS}
            samples = [read_samples(folder / "trials" / t.key / "samples.h5") for t in row.done]
            if samples[0].likelihood_sum is not None:
                bits = np.stack([-s.likelihood_sum / math.log(2) / s.likelihood_notes.mean() for s in samples])
                held_out = {"bits_per_note": plain(bits.sum(-1))}
                held_out |= {f"bits_{f}": plain(bits[..., i]) for i, f in enumerate(("pitch", "velocity", "time", "duration"))}
        result[name] = {"pieces": pieces, "held_out": held_out, "costs": costs}
    FILE.write_text(json.dumps(result, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        make(Path(sys.argv[1]))
    else:
        what, pairs_, seed_ = sys.argv[1:]
        print(json.dumps(rates(int(pairs_), trainings=what == "training", seed=int(seed_))))
