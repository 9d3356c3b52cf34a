"""Baselines and verdicts made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.gate.baseline import Baseline, Over, Series, System
from bench.gate.compare import Verdict
from bench.gate.verdicts import Judgement, RowChange
from bench.metrics import METRICS

PIECES = 20


def series(values: list[float], over: Over = "pieces") -> Series:
    """Values of two seeds that agree on each piece; over seeds, a value a seed."""
    mean = sum(values) / len(values)
    if over == "seeds":
        return Series(mean, over, tuple(range(len(values))), (), tuple((v,) for v in values))
    return by_seed([values, values])


def by_seed(rows: list[list[float]]) -> Series:
    """Values on pieces of each seed."""
    mean = sum(map(sum, rows)) / sum(map(len, rows))
    return Series(mean, "pieces", tuple(range(len(rows))), tuple(range(len(rows[0]))), tuple(map(tuple, rows)))


def system(kind: str = "model", **metrics: Series) -> System:
    """Two seeds; a yardstick of 0.5 s beside each."""
    known = {METRICS[name].id: s for name, s in metrics.items()}
    definition = {"model": "lstm", "params": {"units": 64}, "budget": {"epochs": 3}}
    return System(kind, definition, "cpu", (0, 1), {}, {"0": 0.5, "1": 0.5}, known, {})


def run(**systems: System) -> Baseline:
    terms = {"dataset": {"name": "chorales"}, "music": {"held_out": "feed"}, "protocol": {"notes": 128}, "scale": "cpu"}
    pieces = tuple(f"piece {i}" for i in range(PIECES))
    return Baseline("a-run", "0123", terms, {"cpu": "Test CPU", "numpy": {"numpy": "2.0"}}, pieces, dict(systems))


def flat(value: float, pieces: int = PIECES) -> Series:
    """The same on each piece but for a little that differs: 0.01 per piece number."""
    return series([value + 0.01 * i for i in range(pieces)])


def shifted(one: Baseline, name: str, metric: str, by: float) -> Baseline:
    """The same run with one metric of one row moved on every piece or seed."""
    old, key = one.systems[name], METRICS[metric].id
    moved = replace(old.metrics[key], values=tuple(tuple(v + by for v in row) for row in old.metrics[key].values))
    return replace(one, systems={**one.systems, name: replace(old, metrics={**old.metrics, key: moved})})


def changed(one: Baseline, name: str, **values: Any) -> Baseline:
    """The same run with other facts of one row."""
    return replace(one, systems={**one.systems, name: replace(one.systems[name], **values)})


BITS = METRICS["bits_per_note"]
WORSE = Verdict("lstm", BITS, "worse", 7.96, 8.41, 0.45, 0.1, 0.0012, "held-out pieces", 74, True)
SLOWER = Verdict(
    "lstm", METRICS["training_seconds"], "unclear", 74.25, 99.5, 25.25, 18.5625, 0.21, "seeds", 3, True, clocked=True
)
LOST = Verdict("gan", METRICS["pitch_w1"], "lost", 1.9, reason="no notes to compare")
NEW = Verdict("gan", BITS, "new", now=9.0, reason="this family has no likelihood")
NOT = Verdict("gan", METRICS["training_seconds"], "not compared", reason="the baseline has no yardstick beside its times")
FEW = Verdict("gan", METRICS["pitch_w1"], "untested", 1.9, 3.0, 1.1, 0.5, 1.0, "pieces", 4)
BETTER = Verdict("gan", METRICS["pitch_distance"], "better", 9.6, 2.0, -7.6, 0.48, 0.0001, "pieces", 50, True)
SAME = replace(WORSE, status="same", now=7.96, worsening=0.0, p=1.0)

JUDGED = Judgement(
    "smoke-cpu",
    "now",
    warnings=("another environment: cpu is Z80, was Test CPU",),
    rows=(RowChange("uniform", "vanished", "the run has no such row"), RowChange("markov", "new")),
    verdicts=(SAME, WORSE, SLOWER, LOST, NEW, NOT, FEW, BETTER),
    tests=12,
)
