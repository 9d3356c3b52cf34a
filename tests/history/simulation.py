"""Histories drawn from real trainings: how often trends change without a cause, and whether they are found where they have one.

``python -m tests.history.simulation equal 200 12 5 1`` prints of how many of 200 histories of 12 runs, each of 5 new seeds, drawn
with seed 1, anything is called changed; ``again`` the same where the trainings of two runs take turns, then those of two others;
``changed`` how often a change of one metric of one model is found, and where; ``slower`` how often one of a training's time is.

Runs are drawn as in :mod:`tests.gate.simulation`, from ten real trainings of every model of the chorales' Table 2; all of one
history are on the same pieces, and of one kind of machine with a noise of times of 5 % between runs.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from bench.gate.baseline import System
from bench.history.changes import trends
from bench.history.entry import FORMAT, Entry, EntryRow, Measured
from bench.metrics import METRICS
from bench.metrics.thresholds import choose
from tests.gate.simulation import CLOCK_NOISE, stored, targets

MACHINE = "Test CPU, 1 thread"


def pieces(rng) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of a history, and its held-out ones."""
    n, held_out = (next(iter(getattr(stored()["lstm"], name).values())).shape[1] for name in ("pieces", "held_out"))
    return rng.integers(0, n, n), rng.integers(0, held_out, held_out)


def draw(rng, on, seeds: int) -> dict[str, System]:
    """The rows of one run; its times differ from those of others as on a calm machine."""
    speed = math.exp(rng.normal(0, CLOCK_NOISE))
    return {name: row.run(rng, seeds, *on, trainings=True, speed=speed) for name, row in stored().items()}


def entry(systems: dict[str, System], number: int, first_seed: int) -> Entry:
    """A drawn run as an entry, with seeds of its own."""
    rows = {name: EntryRow(system.kind, "", "code", MACHINE, measured(system, first_seed)) for name, system in systems.items()}
    return Entry(FORMAT, f"run-{number}", str(number), f"{number:040x}", "", "", {}, "drawn", "cpu", "", "", MACHINE, rows)


def measured(system: System, first_seed: int) -> dict[str, Measured]:
    found = {}
    for name, series in system.metrics.items():
        seeds = np.asarray(series.values, np.float64).mean(1)
        found[name] = Measured(float(seeds.mean()), None, None, {str(first_seed + i): float(x) for i, x in enumerate(seeds)})
    return found


def history(rng, runs: int, seeds: int) -> list[Entry]:
    on = pieces(rng)
    return [entry(draw(rng, on, seeds), number, number * seeds) for number in range(runs)]


def moved(one: Entry, system: str, metric: str, by: float) -> Entry:
    """The same run with one metric of one row moved."""
    old, key = one.rows[system], METRICS[metric].id
    values = {seed: value + by for seed, value in old.metrics[key].seeds.items()}
    metrics = {**old.metrics, key: Measured(old.metrics[key].mean + by, None, None, values)}
    row = EntryRow(old.kind, old.definition, old.code, old.machine, metrics)
    return Entry(**{**vars(one), "rows": {**one.rows, system: row}})


def equal(histories: int, runs: int, seeds: int, seed: int) -> dict:
    """Of so many histories without a change: how many show one, and of how many the last run is called changed."""
    rng = np.random.default_rng(seed)
    return alarms(history(rng, runs, seeds) for _ in range(histories))


def again(histories: int, runs: int, seeds: int, seed: int) -> dict:
    """Count the same where two runs take turns, later two others: the same seeds give the same values, but for times."""
    rng = np.random.default_rng(seed)
    return alarms(turns(history(rng, 4, seeds), history(rng, runs, seeds)) for _ in range(histories))


def turns(four: list[Entry], timed: list[Entry]) -> list[Entry]:
    """Runs that repeat the trainings of four, with times of their own."""
    made = []
    for number, own in enumerate(timed):
        first = four[2 * (number >= len(timed) // 2) + number % 2]
        rows = {}
        for name, row in first.rows.items():
            times = {m.id: own.rows[name].metrics[m.id] for m in METRICS.values() if m.of_machine and m.id in row.metrics}
            rows[name] = replace(row, metrics={**row.metrics, **times})
        made.append(replace(own, rows=rows))
    return made


def alarms(histories: Iterable[list[Entry]]) -> dict:
    """Count histories without a change that show one."""
    count, alarms, last, called, tests = 0, 0, 0, {}, 0
    for count, entries in enumerate(histories, 1):  # noqa: B007
        found = trends(entries)
        alarms += bool(found.changes)
        last += bool(found.last)
        tests = found.tests
        for change in (*found.changes, *found.last):
            key = f"{change.series.system} {change.series.metric.name}"
            called[key] = called.get(key, 0) + 1
    return {"histories": count, "alarms": alarms, "last": last, "tests": tests, "called": called}


def changed(histories: int, runs: int, seeds: int, seed: int, thresholds: float = 2.0) -> dict:
    """Of so many changes of twice a threshold of the gate: how many are found at the right run, near it, and in all."""
    rng = np.random.default_rng(seed)
    cases = [(s, m) for s, m in targets() if not METRICS[m].clocked]
    order, exact, near, false = rng.permutation(len(cases)), 0, 0, 0
    for i in range(histories):
        system, name = cases[order[i % len(cases)]]
        entries, at = history(rng, runs, seeds), int(rng.integers(2, runs - 1))
        limit = choose(METRICS[name], {}).limit(entries[0].rows[system].metrics[METRICS[name].id].mean)
        entries[at:] = [moved(one, system, name, thresholds * limit) for one in entries[at:]]
        changes = trends(entries).changes
        ours = [c.at for c in changes if (c.series.system, c.series.metric.name) == (system, name)]
        exact += at in ours
        near += any(abs(place - at) <= 1 for place in ours)
        false += len(changes) > len(ours)
    return {"histories": histories, "exact": exact, "within_one": near, "others": false}


def slower(histories: int, runs: int, seeds: int, seed: int, percent: int = 50) -> dict:
    """Of so many trainings that take longer by so many percent: how many are found at their run, and as the last run alone."""
    rng, models = np.random.default_rng(seed), [name for name, row in stored().items() if row.kind == "model"]
    key, exact, last, false = METRICS["training_seconds"].id, 0, 0, 0
    for i in range(histories):
        system, entries, at = models[i % len(models)], history(rng, runs, seeds), int(rng.integers(2, runs - 1))
        late = [moved(one, system, "training_seconds", percent / 100 * one.rows[system].metrics[key].mean) for one in entries]
        changes = trends([*entries[:at], *late[at:]]).changes
        ours = [c.at for c in changes if (c.series.system, c.series.metric.name) == (system, "training_seconds")]
        exact += at in ours
        false += len(changes) > len(ours)
        newest = trends([*entries[:-1], late[-1]]).last
        last += any((c.series.system, c.series.metric.name) == (system, "training_seconds") for c in newest)
    return {"histories": histories, "exact": exact, "last": last, "others": false}


if __name__ == "__main__":
    print(
        json.dumps({"equal": equal, "again": again, "changed": changed, "slower": slower}[sys.argv[1]](*map(int, sys.argv[2:])))
    )
