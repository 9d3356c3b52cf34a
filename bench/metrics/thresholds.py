"""How much worse a metric may get before the gate asks its test: a number in the metric's unit, a percentage, or ``off``.

A spec sets thresholds by metric name or by pattern (``fnmatch``: ``*``, ``?``, ``[...]``)::

    gate: {"*_distance": 5%, bits_per_note: 0.1, "training_*": 25%, peak_memory: off}

Which one counts: a metric's full name before any pattern; among patterns that fit, the one that stands last. What the spec says
comes before the metric's own tolerance.

The tolerances were chosen on the chorales' Table 2 (50 pieces, 3 seeds), see ``tests/gate/simulation.py``. The tests over pieces
can't see the differences between trainings: tolerances protect against those, so each is at least three standard errors of the
difference of two rows with three seeds, of the noisiest model. Of changes twice as large nine in ten must be detected with five
seeds, among about 460 tests of a run: what is measured by seed needs more room for that than what is measured by piece.

Shares, and what lies between two bounds, have a tolerance in their own unit: a percentage is nothing near 0, and everything
near 1. So have counts of notes and percentage points that are next to none as a rule. A percentage, a spec's too, never allows
less than the metric's floor, below which nobody hears a difference, or which is one note of a hundred.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bench.errors import UsageError
from bench.metrics.metric import Metric

OFF = "off"

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")

#: Below this a change is rounding.
SMALLEST = 1e-6


@dataclass(frozen=True)
class Threshold:
    """The largest change that counts as none.

    Parameters
    ----------
    amount : float
        In the metric's unit, or percent.
    percent : bool
    floor : float
        The least that a percentage allows, in the metric's unit.
    """

    amount: float
    percent: bool = False
    floor: float = 0.0

    def limit(self, baseline: float) -> float:
        """Largest change that is no regression, in the metric's unit, from this value of the baseline.

        >>> Threshold(5, percent=True).limit(10)
        0.5
        """
        amount = max(self.amount / 100 * abs(baseline), self.floor) if self.percent else self.amount
        return max(amount, SMALLEST)


def parse(text: object) -> Threshold | None:
    """Read a threshold as a spec writes it; None for ``off``.

    Parameters
    ----------
    text : float, int or str
        ``0.1``, ``"5%"`` or ``"off"``.

    Raises
    ------
    ValueError
        If it is anything else, negative, or not finite.

    Examples
    --------
    >>> parse("5%")
    Threshold(amount=5.0, percent=True, floor=0.0)
    """
    if isinstance(text, int | float) and not isinstance(text, bool) and math.isfinite(text) and text >= 0:
        return Threshold(float(text))
    if isinstance(text, str):
        if text == OFF:
            return None
        if match := _PERCENT.fullmatch(text):
            return Threshold(float(match[1]), percent=True)
    raise ValueError(f"not a threshold: {text!r}")


def choose(metric: Metric, rules: Mapping[str, float | str]) -> Threshold | None:
    """Choose the threshold of a metric by the module's rule; None where the gate is off.

    Parameters
    ----------
    metric : Metric
    rules : mapping
        The spec's ``gate``.
    """
    fitting = [pattern for pattern in rules if fnmatch.fnmatchcase(metric.name, pattern)]
    rule = metric.name if metric.name in rules else fitting[-1] if fitting else None
    threshold = parse(metric.tolerance if rule is None else rules[rule])
    return replace(threshold, floor=metric.floor) if threshold and threshold.percent else threshold


def choose_all(metrics: Iterable[Metric], rules: object) -> dict[str, Threshold | None]:
    """Choose the threshold of every metric, by name.

    Parameters
    ----------
    metrics : iterable of Metric
    rules : object
        The spec's ``gate``; None for none. A stored run's may have been changed by hand.

    Raises
    ------
    UsageError
        If it is no mapping of metrics or patterns to thresholds.
    """
    hint = "A threshold is a number in the metric's unit, a percentage such as 5%, or off."
    if not isinstance(rules, Mapping | None):
        raise UsageError(f"The run's gate is {rules!r}, and should map metrics to thresholds.", hint)
    try:
        for text in (rules or {}).values():
            parse(text)
    except ValueError as error:
        raise UsageError(f"The run's gate holds what is {error}.", hint) from error
    return {metric.name: choose(metric, rules or {}) for metric in metrics}


def unknown(patterns: Iterable[str], metrics: Iterable[str]) -> str | None:
    """First pattern that fits no metric's name.

    >>> unknown(["bits_*", "pich_distance"], ["bits_pitch", "pitch_distance"])
    'pich_distance'
    """
    names = list(metrics)
    return next((p for p in patterns if not fnmatch.filter(names, p)), None)
