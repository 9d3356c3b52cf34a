"""Metrics, one subject a module: conventions first, then the columns, then how they are measured. Pure NumPy and SciPy.

Each module lists its columns in ``METRICS`` and measures on one of these levels:

- ``evaluate(generated, real)``: one sample and its target. Averaged over samples, seeds, then pieces.
- :mod:`hearing` and :mod:`alignment`: the same, from the samples' :mod:`events`.
- ``evaluate_set(generated, real)``: all samples of a trial and all targets. Averaged over seeds.
- :mod:`copying`, :mod:`likelihood`, :mod:`prediction` and :mod:`cost`: what was measured while the trial ran, from its outcome.
- :mod:`harmony`: one sample against the plan of chords that constrained rows of its run followed.
- :mod:`skill`: a row's distance against that of the row median.

A new column needs its :class:`~bench.metrics.metric.Metric` in ``METRICS`` of its module and its value from the same module's
function. Reports, the gate, the audit and the command line take all else from there. A new module is imported here and listed in
``MODULES`` and in ``ON_SAMPLES`` or ``ON_SETS``. What only a trial can measure, such as a cost, also needs a field in
:mod:`bench.storage.outcome`.

The modules write ``scipy.spatial.…``: SciPy loads such a part when it is first used, which not every command does. None takes
:mod:`scipy.stats`, for which each trial's process would wait most of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from bench.metrics import (
    alignment,
    copying,
    cost,
    distributions,
    diversity,
    frechet,
    harmony,
    hearing,
    likelihood,
    mgeval,
    muspy,
    prediction,
    skill,
    spread,
    table2,
)
from bench.metrics.events import Events, events
from bench.metrics.metric import Group, Metric, Undefined, Value
from bench.metrics.table2 import first_seconds
from bench.music.notes import Notes

__all__ = [
    "HEADLINE",
    "METRICS",
    "MODULES",
    "Metric",
    "Undefined",
    "Value",
    "copying",
    "cost",
    "evaluate_sample",
    "evaluate_samples",
    "evaluate_set",
    "harmony",
    "in_group",
    "likelihood",
    "prediction",
    "skill",
    "spread",
    "table2",
]

#: Modules that measure one sample against its target; :mod:`table2`, which takes the protocol's seconds, comes first.
ON_SAMPLES = (spread, distributions, muspy)
#: Modules that measure all samples of a trial against all targets.
ON_SETS = (diversity, mgeval, frechet)

MODULES = (
    table2,
    hearing,
    alignment,
    skill,
    spread,
    harmony,
    likelihood,
    prediction,
    distributions,
    mgeval,
    frechet,
    copying,
    diversity,
    muspy,
    cost,
)

_BY_NAME = {metric.name: metric for module in MODULES for metric in module.METRICS}

#: Every column, by name, in the order of ``report.csv``.
METRICS = MappingProxyType(_BY_NAME)


def in_group(group: Group | None) -> tuple[str, ...]:
    """Names of the metrics that a report shows in one table, in its order.

    >>> in_group("headline")
    ('pitch_distance', 'velocity_distance')
    """
    return tuple(metric.name for metric in METRICS.values() if metric.group == group)


#: The two columns of the paper's Table 2.
HEADLINE = in_group("headline")


def evaluate_sample(generated: Notes, real: Notes, seconds: float | None = None, prompt: Notes | None = None) -> dict[str, Value]:
    """Compute everything that is measured on one sample and its target. Many samples are faster by :func:`evaluate_samples`.

    Examples
    --------
    >>> real = Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 64, 67], [80, 80, 80])
    >>> generated = Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 60, 70], [80, 80, 80])
    >>> evaluate_sample(generated, real)["unique_pitches"]
    2.0
    """
    return evaluate_samples([generated], [real], seconds, None if prompt is None else [prompt])[0]


def evaluate_samples(
    generated: Sequence[Notes], real: Sequence[Notes], seconds: float | None = None, prompts: Sequence[Notes] | None = None
) -> list[dict[str, Value]]:
    """Compute everything that is measured on each sample and its target.

    Parameters
    ----------
    generated, real : sequence of Notes
        Each sample, and its target. A target that comes several times in a row is the same object, and analysed once.
    seconds : float, optional
        Limits what all distances of index or alignment compare, see :func:`bench.metrics.table2.aligned`.
    prompts : sequence of Notes, optional
        Of each sample: the notes before it, whose key some metrics ask for.

    Examples
    --------
    >>> real = Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 64, 67], [80, 80, 80])
    >>> [values["pitch_distance"] for values in evaluate_samples([real, real], [real, real])]
    [0.0, 0.0]
    """
    values: list[dict[str, Value]] = []
    heard: list[tuple[Events, Events]] = []
    for i, (sample, target) in enumerate(zip(generated, real, strict=True)):
        each = table2.evaluate(sample, target, seconds)
        for module in ON_SAMPLES:
            each |= module.evaluate(sample, target)
        theirs = heard[-1][1] if heard and heard[-1][1].notes is target else events(target)
        heard.append((events(sample), theirs))
        values.append(each | hearing.evaluate(*heard[-1], prompts[i] if prompts else None))
    if seconds is not None:
        heard = [(events(first_seconds(one.notes, seconds)), events(first_seconds(other.notes, seconds))) for one, other in heard]
    aligned = alignment.evaluate_samples([one for one, _ in heard], [other for _, other in heard])
    return [each | distances for each, distances in zip(values, aligned, strict=True)]


def evaluate_set(generated: Sequence[Notes], real: Sequence[Notes]) -> dict[str, Value]:
    """Compute everything that is measured on all samples of a trial and all targets.

    Parameters
    ----------
    generated : sequence of Notes
        In the order of pieces, then samples.
    real : sequence of Notes
        One a piece.
    """
    values: dict[str, Value] = {}
    for module in ON_SETS:
        values |= module.evaluate_set(generated, real)
    return values
