"""How often the gate is right where a history tells more of the noise.

Pairs of runs as in :mod:`tests.gate.simulation`, trained anew, and as many earlier runs of other seeds on the same pieces as
asked for. ``python -m tests.history.gate_simulation equal 200 3 4 1``: of 200 pairs of 3 seeds a side, with 4 earlier runs,
drawn with seed 1, in how many anything is called worse. ``worse``: of as many in which one metric that a history helps was made
worse by twice its threshold, how many are found with the history, and without.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from bench.gate.baseline import Baseline
from bench.gate.verdicts import judge
from bench.history.entry import Entry
from bench.history.noise import earlier_trainings
from bench.metrics import METRICS
from tests.gate.simulation import draw_runs, targets, worsen

from .simulation import entry


def draw(rng, seeds: int, earlier: int) -> tuple[list[Entry], Baseline, Baseline, Entry]:
    """Earlier runs, the two that are compared, and the second of these as an entry."""
    *old, before, now = draw_runs(rng, seeds, earlier + 2, trainings=True)
    # The two sides have seeds below all others.
    entries = [entry(run.systems, number, (number + 1) * seeds) for number, run in enumerate(old)]
    return entries, before, now, entry(now.systems, earlier, 0)


def equal(pairs: int, seeds: int, earlier: int, seed: int) -> dict:
    rng, alarms, called = np.random.default_rng(seed), 0, {}
    for _ in range(pairs):
        entries, before, now, own = draw(rng, seeds, earlier)
        judged = judge(before, now, earlier=earlier_trainings(entries, before, now, own))
        alarms += bool(judged.of("worse"))
        for verdict in judged.of("worse"):
            called[f"{verdict.system} {verdict.metric.name}"] = called.get(f"{verdict.system} {verdict.metric.name}", 0) + 1
    return {"pairs": pairs, "alarms": alarms, "called": called}


def worse(pairs: int, seeds: int, earlier: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    cases = [(s, m) for s, m in targets() if METRICS[m].better is not None and not METRICS[m].clocked]
    order, found = rng.permutation(len(cases)), {"with": 0, "without": 0}
    for i in range(pairs):
        system, name = cases[order[i % len(cases)]]
        entries, before, now, own = draw(rng, seeds, earlier)
        later = worsen(rng, before, now, system, name)
        told = earlier_trainings(entries, before, later, own)
        for key, known in (("with", told), ("without", None)):
            worse = judge(before, later, earlier=known).of("worse")
            found[key] += any((v.system, v.metric.name) == (system, name) for v in worse)
    return {"pairs": pairs, **found}


if __name__ == "__main__":
    print(json.dumps({"equal": equal, "worse": worse}[sys.argv[1]](*map(int, sys.argv[2:]))))
