"""How often a comparison is right, by simulation from stored runs: see :mod:`tests.gate.simulation`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bench.comparison.changes import SIGNIFICANT, Change, Paired, estimate, pair, significance
from bench.gate.baseline import Baseline
from bench.gate.compare import JUDGED
from bench.metrics import METRICS
from tests.gate.simulation import draw_pair

#: Pairs of runs that were trained anew and are equal in truth, and training seeds of each run.
PAIRS, SEEDS = 40, 5


def pairs(before: Baseline, now: Baseline) -> Iterator[Paired]:
    """Every value of both runs but those of the machine, which have no test."""
    for name, old in before.systems.items():
        for metric in METRICS.values():
            if old.kind in JUDGED and metric.id in old.metrics and not metric.of_machine:
                sides = old.metrics[metric.id], now.systems[name].metrics[metric.id]
                yield pair(Change(name, metric, "B"), old.group(metric), *sides, old.pretrained)


def as_pretrained(run: Baseline) -> Baseline:
    """The same run, all of its rows trained elsewhere."""
    return replace(run, systems={name: replace(system, pretrained=True) for name, system in run.systems.items()})


@pytest.mark.parametrize("pretrained", [False, True])
def test_intervals_of_equal_runs_contain_0_and_few_changes_are_called_significant(pretrained: bool) -> None:
    """All columns of 13 rows. An interval is of one change; p is adjusted, so that 5 % of comparisons may have any false call."""
    rng = np.random.default_rng(3)
    inside = total = alarms = 0
    for _ in range(PAIRS):
        before, now = draw_pair(rng, SEEDS, trainings=not pretrained)
        if pretrained:
            before, now = as_pretrained(before), as_pretrained(now)
        changes = estimate([*pairs(before, now)])
        intervals = [(c.interval, 1.0 if c.relative else 0.0) for c in changes if c.status != "equal" and c.interval]
        inside += sum(not interval.excludes(none) for interval, none in intervals)
        total += len(intervals)
        alarms += any(c.status in SIGNIFICANT for c in significance(changes)[0])
    assert total > 300 * PAIRS
    assert 0.95 <= inside / total < 0.995, inside / total
    assert alarms <= 0.05 * PAIRS + 3 * np.sqrt(0.05 * 0.95 * PAIRS), alarms
