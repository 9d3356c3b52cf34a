"""Metrics, one subject a module: conventions first, then the columns, then how they are measured. Pure NumPy and SciPy.

Each module lists its columns in ``METRICS`` and measures on one of these levels:

- ``evaluate(generated, real)``: one sample and its target. Averaged over samples, seeds, then pieces.
- ``evaluate_set(generated, real)``: all samples of a trial and all targets. Averaged over seeds.
- :mod:`copying`, :mod:`likelihood` and :mod:`cost`: what was measured while the trial ran, from its outcome.
- :mod:`harmony`: one sample against the plan of chords that constrained rows of its run followed.
- :mod:`skill`: a row's distance against that of the row median.

A new column needs its :class:`~bench.metrics.metric.Metric` in ``METRICS`` of its module and its value from the same module's
function. Reports, the gate, the audit and the command line take all else from there. A new module is imported here and listed in
``MODULES`` and in ``ON_SAMPLES`` or ``ON_SETS``. What only a trial can measure, such as a cost, also needs a field in
:mod:`bench.storage.outcome`.

The modules write ``scipy.stats.…``: SciPy loads such a part when it is first used, so that a worker, which only looks for
copies, does not spend a second on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from bench.metrics import (
    copying,
    cost,
    distributions,
    diversity,
    frechet,
    harmony,
    likelihood,
    mgeval,
    muspy,
    skill,
    spread,
    table2,
)
from bench.metrics.metric import Group, Metric, Undefined, Value
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
    "evaluate_set",
    "harmony",
    "in_group",
    "likelihood",
    "skill",
    "spread",
    "table2",
]

#: Modules that measure one sample against its target; :mod:`table2`, which takes the protocol's seconds, comes first.
ON_SAMPLES = (spread, distributions, muspy)
#: Modules that measure all samples of a trial against all targets.
ON_SETS = (diversity, mgeval, frechet)

MODULES = (table2, skill, spread, harmony, likelihood, distributions, mgeval, frechet, copying, diversity, muspy, cost)

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


def evaluate_sample(generated: Notes, real: Notes, seconds: float | None = None) -> dict[str, Value]:
    """Compute everything that is measured on one sample and its target.

    Parameters
    ----------
    generated, real : Notes
    seconds : float, optional
        Limits what the two distances compare, see :func:`bench.metrics.table2.aligned`.

    Examples
    --------
    >>> real = Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 64, 67], [80, 80, 80])
    >>> generated = Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 60, 70], [80, 80, 80])
    >>> evaluate_sample(generated, real)["unique_pitches"]
    2.0
    """
    values = table2.evaluate(generated, real, seconds)
    for module in ON_SAMPLES:
        values |= module.evaluate(generated, real)
    return values


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
