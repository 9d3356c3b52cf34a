"""Baselines made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.gate.baseline import Baseline, Over, Series, System
from bench.metrics import METRICS

PIECES = 20


def series(values: list[float], over: Over = "pieces") -> Series:
    return Series(sum(values) / len(values), over, tuple(range(len(values))), tuple(values))


def system(kind: str = "model", **metrics: Series) -> System:
    """Two seeds; a yardstick of 0.5 s beside each."""
    known = {METRICS[name].id: s for name, s in metrics.items()}
    definition = {"model": "lstm", "params": {"units": 64}, "budget": {"epochs": 3}}
    return System(kind, definition, "cpu", (0, 1), {}, {"0": 0.5, "1": 0.5}, known, {})


def run(**systems: System) -> Baseline:
    terms = {"dataset": {"name": "chorales"}, "music": {"held_out": "feed"}, "protocol": {"notes": 128}, "scale": "cpu"}
    return Baseline("a-run", "0123", terms, {"cpu": "Test CPU", "numpy": {"numpy": "2.0"}}, ("a", "b"), dict(systems))


def flat(value: float, pieces: int = PIECES) -> Series:
    """The same on each piece but for a little that differs: 0.01 per piece number."""
    return series([value + 0.01 * i for i in range(pieces)])


def shifted(one: Baseline, name: str, metric: str, by: float) -> Baseline:
    """The same run with one metric of one row moved on every piece or seed."""
    old, key = one.systems[name], METRICS[metric].id
    moved = series([v + by for v in old.metrics[key].values], old.metrics[key].over)
    return replace(one, systems={**one.systems, name: replace(old, metrics={**old.metrics, key: moved})})


def changed(one: Baseline, name: str, **values: Any) -> Baseline:
    """The same run with other facts of one row."""
    return replace(one, systems={**one.systems, name: replace(one.systems[name], **values)})
