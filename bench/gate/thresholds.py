"""How much worse a metric may get before the gate asks its test: a number in the metric's unit, a percentage, or ``off``.

A spec sets thresholds by metric name or by pattern (``fnmatch``: ``*``, ``?``, ``[...]``)::

    gate: {"*_distance": 5%, bits_per_note: 0.1, "training_*": 25%, peak_memory: off}

Which one counts: a metric's full name before any pattern; among patterns that fit, the one that stands last. What the spec says
comes before all defaults.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.errors import UsageError

OFF = "off"

#: Chosen on the chorales' Table 2 (50 pieces, 3 seeds), see ``tests/gate/simulation.py``: runs that differ only in their seeds
#: stay below them, those of training too, which the tests over pieces know nothing of; and twice as much is found.
DEFAULTS: Mapping[str, float | str] = MappingProxyType(
    {
        "*": "15%",
        "*_distance": "5%",
        "*_w1": "35%",
        "*_ratio": 0.15,
        "unique_pitches": "10%",
        "top_pitch_share": "20%",
        "bits_*": 0.1,
        "excess_bits": 0.1,
        "mgeval_kl": "50%",
        "descriptor_frechet": "100%",
        # Notes, and percentage points: next to none as a rule, so that a percentage of them would be nothing.
        "copied_*": 4,
        "*_patterns": 5,
        # What the real continuations share with the training music is no model's doing.
        "*_real": OFF,
        # MuSpy's odd rules stand for comparison only; the sound ones have names of their own.
        "muspy_*": OFF,
        # Seconds are told in yardsticks; what is left of the machine's noise is still large.
        "*_seconds": "25%",
        "*_per_second": "25%",
        "seconds_to_target": "50%",
        "peak_*": "25%",
        # Neither is better: what they are is the spec's choice.
        "epochs": OFF,
        "parameters": OFF,
    }
)

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")

#: A percentage of nothing is nothing: below this a change is rounding.
SMALLEST = 1e-6


@dataclass(frozen=True)
class Threshold:
    """How much worse is still the same.

    Parameters
    ----------
    amount : float
        In the metric's unit, or percent.
    percent : bool
    """

    amount: float
    percent: bool = False

    def limit(self, baseline: float) -> float:
        """The largest change that is no regression, in the metric's unit, for this value of the baseline."""
        return max(self.amount / 100 * abs(baseline) if self.percent else self.amount, SMALLEST)


def parse(text: object) -> Threshold | None:
    """A threshold as a spec writes it; None for ``off``.

    Parameters
    ----------
    text : float, int or str
        ``0.1``, ``"5%"`` or ``"off"``.

    Raises
    ------
    ValueError
        If it is anything else, negative, or not finite.
    """
    if isinstance(text, int | float) and not isinstance(text, bool) and math.isfinite(text) and text >= 0:
        return Threshold(float(text))
    if isinstance(text, str):
        if text == OFF:
            return None
        if found := _PERCENT.fullmatch(text):
            return Threshold(float(found[1]), percent=True)
    raise ValueError(f"not a threshold: {text!r}")


def choose(metric: str, given: Mapping[str, float | str]) -> Threshold | None:
    """The threshold of a metric, by the module's rule; None where the gate is off.

    Parameters
    ----------
    metric : str
        Its name, without the version.
    given : mapping
        The spec's ``gate``.
    """
    for rules in (given, DEFAULTS):
        if metric in rules:
            return parse(rules[metric])
        fitting = [pattern for pattern in rules if fnmatch.fnmatchcase(metric, pattern)]
        if fitting:
            return parse(rules[fitting[-1]])
    raise AssertionError("the default * fits every metric")


def choose_all(metrics: Iterable[str], given: object) -> dict[str, Threshold | None]:
    """The threshold of every metric.

    Parameters
    ----------
    metrics : iterable of str
        Names, without versions.
    given : object
        The spec's ``gate``; None for none. A stored run's may have been changed by hand.

    Raises
    ------
    UsageError
        If it is no mapping of metrics or patterns to thresholds.
    """
    hint = "A threshold is a number in the metric's unit, a percentage such as 5%, or off."
    if not isinstance(given, Mapping | None):
        raise UsageError(f"The run's gate is {given!r}, and should map metrics to thresholds.", hint)
    try:
        for text in (given or {}).values():
            parse(text)
    except ValueError as error:
        raise UsageError(f"The run's gate holds what is {error}.", hint) from error
    return {name: choose(name, given or {}) for name in metrics}


def unknown(patterns: Iterable[str], metrics: Iterable[str]) -> str | None:
    """The first pattern that fits no metric."""
    names = list(metrics)
    return next((p for p in patterns if not fnmatch.filter(names, p)), None)
