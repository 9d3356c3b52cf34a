"""What earlier runs tell the gate of the noise of trainings.

A few seeds show their noise badly; earlier runs of the same row have shown it too. Taken are trainings of rows whose definition,
plug-in's source and kind of machine are those of the run that is checked, on the same music, by the same protocol and scale.

Each training counts once: of a seed that one of the two sides has, or an earlier entry had, nothing is taken, as the same seed
gives the same training. So a history helps where its runs had other seeds. What is taken are deviations from the mean of their
own run, so that a change between earlier runs adds no noise. The seeds of a pretrained row are draws: on pieces the gate
uses none of these, whose noise is in the pieces already.

Only metrics with a better direction that no clock measures: of the others the gate tests distances from a goal, piece by piece,
or yardsticks, which an entry doesn't hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.gate.baseline import Baseline
from bench.gate.compare import Earlier
from bench.history.entry import Entry, condition_of
from bench.metrics import METRICS


def earlier_trainings(entries: Sequence[Entry], before: Baseline, now: Baseline, entry: Entry) -> Earlier:
    """Collect the trainings of earlier runs that show the noise of a run's rows.

    Parameters
    ----------
    entries : sequence of Entry
        The history.
    before, now : Baseline
        Both sides of the check.
    entry : Entry
        The entry of the run that is checked.

    Returns
    -------
    Earlier
        By system and metric: for each earlier run, the values of its trainings; at least two.
    """
    found: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for system, row in entry.rows.items():
        if not row.code or not row.machine:
            continue
        sides = [side.systems[system].seeds for side in (before, now) if system in side.systems]
        used = {str(seed) for seeds in sides for seed in seeds}
        for old in entries:
            other = old.rows.get(system)
            if (
                old.terms != entry.terms
                or other is None
                or (*other.key, other.code, other.machine, other.files) != (*row.key, row.code, row.machine, row.files)
            ):
                continue
            taken: set[str] = set()
            for metric in METRICS.values():
                if metric.better is None or metric.clocked or metric.machine_bound or metric.id not in other.metrics:
                    continue
                if condition_of(metric, other) != condition_of(metric, row):
                    continue
                seeds = {seed: value for seed, value in other.metrics[metric.id].seeds.items() if seed not in used}
                taken |= seeds.keys()
                if len(seeds) > 1:
                    found.setdefault((system, metric.name), []).append(np.array(list(seeds.values())))
            used |= taken
    return {place: tuple(groups) for place, groups in found.items()}
