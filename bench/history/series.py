"""A history as series: one metric of one row, as long as nothing but code, versions and machines changed.

Runs on other music, by another protocol or at another scale, and rows with other hyperparameters or another budget, trained
beyond it, or of another number of files a piece, have series of their own. What a machine decides (times, speeds, memory, energy)
also has one for each kind of machine, bits one for each kind of likelihood and set of classes, nats a frame or event one for each
number of these, and what is measured by a chord plan one for each plan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bench.gate.baseline import group_of
from bench.gate.compare import JUDGED
from bench.history.entry import Entry, EntryRow, Measured, condition_of
from bench.metrics import METRICS, Metric, skill
from bench.metrics.thresholds import SMALLEST

#: What the values of a series have in common: terms, system, the row's key, metric, machine, and files with likelihood or plan.
_Key = tuple[str, str, tuple[str, str, bool, bool], str, str, str]


@dataclass(frozen=True)
class Point:
    """One run in a series.

    Parameters
    ----------
    entry : Entry
    measured : Measured
    unit : int
        Number of the group of neighbouring runs whose trainings are the same: the same seeds gave the same values, so that they
        count once.
    """

    entry: Entry
    measured: Measured
    unit: int


@dataclass(frozen=True)
class Series:
    """One metric of one row over time.

    Parameters
    ----------
    terms, system, kind : str
    metric : Metric
    machine : str
        Kind of machine, where that matters; otherwise empty.
    pretrained : bool
        Whether seeds are draws of one training. What is said of trainings below holds for draws then.
    points : tuple of Point
    """

    terms: str
    system: str
    kind: str
    metric: Metric
    machine: str
    pretrained: bool
    points: tuple[Point, ...]

    @property
    def study(self) -> str:
        """Spec and scale of its runs."""
        last = self.points[-1].entry
        return f"{last.spec}, scale {last.scale}"

    @cached_property
    def units(self) -> list[list[float]]:
        """Values of the different trainings of each unit."""
        return [list(seeds.values()) for seeds in self._by_seed]

    @cached_property
    def first_shown(self) -> list[list[float]]:
        """Of each unit, the values of trainings that no earlier unit has."""
        shown: set[tuple[str, str]] = set()
        found = []
        for seeds in self._by_seed:
            found.append([value for seed, value in seeds.items() if _training(seed, value) not in shown])
            shown |= {_training(*one) for one in seeds.items()}
        return found

    @cached_property
    def counts(self) -> list[float]:
        """Number of trainings of each unit; one that several units have counts once in all."""
        times = Counter(_training(*one) for seeds in self._by_seed for one in seeds.items())
        return [math.fsum(1 / times[_training(*one)] for one in seeds.items()) for seeds in self._by_seed]

    @cached_property
    def _by_seed(self) -> list[dict[str, float]]:
        found: dict[int, dict[str, float]] = {}
        for point in self.points:
            found.setdefault(point.unit, {}).update(point.measured.seeds)
        return [seeds for _, seeds in sorted(found.items())]

    @property
    def group(self) -> str:
        """Name the series whose noise tells of this one's, see :func:`bench.gate.baseline.group_of`."""
        return group_of(self.metric.name, self.kind, self.pretrained)

    def first_of(self, unit: int) -> int:
        """Index of the first point of a unit."""
        return next(i for i, point in enumerate(self.points) if point.unit == unit)

    @property
    def of_machine(self) -> bool:
        """Whether the machine decides the values."""
        return self.metric.of_machine


def _training(seed: str, value: float) -> tuple[str, str]:
    """Key of a training: the same seed with the same value, up to rounding, is the same."""
    return seed, f"{value:.5e}"


def all_series(entries: Sequence[Entry]) -> list[Series]:
    """Sort a history into series, in the order of the last runs' rows and of the metrics."""
    places: dict[_Key, list[tuple[Entry, EntryRow, Measured]]] = {}
    told: dict[tuple[Any, ...], EntryRow] = {}
    by_id = {metric.id: metric for metric in METRICS.values() if metric.name not in skill.OF}
    for entry in reversed(entries):
        for system, row in entry.rows.items():
            row = told[entry.terms, system, row.key] = _completed(row, told.get((entry.terms, system, row.key), row))
            if row.kind in JUDGED:
                for metric in by_id.values():
                    if (measured := row.metrics.get(metric.id)) is not None and _belongs(metric, row):
                        machine = row.machine if metric.of_machine else ""
                        condition = f"{row.files} {condition_of(metric, row)}"
                        key = (entry.terms, system, row.key, metric.name, machine, condition)
                        places.setdefault(key, []).append((entry, row, measured))
    return [_series(key, found[::-1]) for key, found in places.items()]


def _completed(row: EntryRow, later: EntryRow) -> EntryRow:
    """Give a row of an older line, which doesn't tell them, the chord plan and number of files a piece of the next that does."""
    files = later.files.partition(" ")[0]  # of all pieces: that some lack is said of the later line alone
    return replace(row, chord_plan=row.chord_plan or later.chord_plan, files=row.files or files)


def _belongs(metric: Metric, row: EntryRow) -> bool:
    """Whether a value can be part of a series: of times, only those of models on a known kind of machine."""
    return not metric.of_machine or (row.kind == "model" and bool(row.machine))


def _series(key: _Key, found: Sequence[tuple[Entry, EntryRow, Measured]]) -> Series:
    terms, system, (kind, _, pretrained, _), name, machine, _ = key
    points: list[Point] = []
    for entry, _, measured in found:
        before = points[-1] if points else None
        same = before is not None and not METRICS[name].of_machine and _same(before.measured.seeds, measured.seeds)
        points.append(Point(entry, measured, 0 if before is None else before.unit + (not same)))
    return Series(terms, system, kind, METRICS[name], machine, pretrained, tuple(points))


def _same(before: dict[str, float], now: dict[str, float]) -> bool:
    """Whether the seeds that both have gave the same values up to rounding, and there are some."""
    both = before.keys() & now.keys()
    return bool(both) and all(math.isclose(before[seed], now[seed], rel_tol=SMALLEST, abs_tol=SMALLEST) for seed in both)
