"""Entries made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.history.entry import FORMAT, Entry, EntryRow, Measured
from bench.metrics import METRICS

MACHINE = "Test CPU, 2 threads"


def row(values: Mapping[str, Sequence[float]], *, first_seed: int = 0, **facts: Any) -> EntryRow:
    """A model's row, with a value for each seed of each metric."""
    metrics = {}
    for name, seeds in values.items():
        mean = sum(seeds) / len(seeds)
        by_seed = {str(first_seed + i): float(value) for i, value in enumerate(seeds)}
        metrics[METRICS[name].id] = Measured(mean, mean - 1, mean + 1, by_seed)
    return EntryRow(**({"kind": "model", "definition": "d", "code": "c", "machine": MACHINE} | facts), metrics=metrics)


def entry(number: int, rows: Mapping[str, EntryRow], **facts: Any) -> Entry:
    base = {
        "bench_history": FORMAT,
        "run": f"run-{number}",
        "identity": f"id-{number}",
        "commit": f"{number:02}" * 20,
        "when": f"2026-01-{number + 1:02}T00:00:00Z",
        "bench": "0.1.0",
        "versions": {"numpy": "2.4"},
        "spec": "table2",
        "scale": "cpu",
        "spec_hash": "s",
        "terms": "t",
        "machine": MACHINE,
        "rows": dict(rows),
    }
    return Entry(**(base | facts))


def runs(metric: str, values: Sequence[Sequence[float]], system: str = "lstm", **facts: Any) -> list[Entry]:
    """A history of one metric of one row: the values of each run's seeds, new seeds in each run."""
    made = []
    for number, seeds in enumerate(values):
        made.append(entry(number, {system: row({metric: seeds}, first_seed=number * 100, **facts)}))
    return made
