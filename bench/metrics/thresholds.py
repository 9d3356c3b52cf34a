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
from dataclasses import dataclass, replace
from types import MappingProxyType

from bench.errors import UsageError

OFF = "off"

#: Chosen on the chorales' Table 2 (50 pieces, 3 seeds), see ``tests/gate/simulation.py``. The tests over pieces know nothing of
#: what differs between trainings: against that these thresholds protect, so each is at least three standard errors of the
#: difference of two rows with three seeds, of the noisiest model. And of what is twice as much nine in ten must be found, among
#: about 300 tests of a run: what is measured by seed needs more room for that than what is measured by piece.
DEFAULTS: Mapping[str, float | str] = MappingProxyType(
    {
        "*": "15%",
        "*_distance": "8%",
        "*_w1": "40%",
        "*_ratio": 0.25,
        "unique_pitches": "10%",
        "unique_pitch_classes": 1,
        "top_pitch_share": "25%",
        # Three octaves: one stray note decides it. It finds who plays all over the keyboard.
        "pitch_range": 36,
        # Shares, and what is between two bounds: a percentage is nothing where they are near 0, and all there is near 1.
        "pitch_class_js": 0.06,
        "*_entropy": 0.3,
        "*_consistency": 0.05,
        "*_rate": 0.05,
        "mgeval_oa": 0.15,
        "bits_*": 0.15,
        "bits_per_note": 0.2,
        "excess_bits": 0.2,
        # By seed, and positive without a bound: they differ by half of themselves between seeds.
        "pitch_spread_ratio": 0.4,
        "mgeval_kl": "200%",
        "descriptor_frechet": "150%",
        # Notes, and percentage points: next to none as a rule, so that a percentage of them would be nothing.
        "copied_*": 4,
        "*_patterns": 5,
        # What the real continuations share with the training music is no model's doing.
        "*_real": OFF,
        # MuSpy's odd rules stand for comparison only; the sound ones have names of their own.
        "muspy_*": OFF,
        # Seconds are told in yardsticks; what is left of the machine's noise is still large.
        "*_seconds": "35%",
        "*_per_second": "25%",
        "seconds_to_target": "75%",
        "peak_*": "25%",
        # Neither is better: what they are is the spec's choice, as is the plan that chord and scale tones are counted by.
        "*_tones": OFF,
        "epochs": OFF,
        "parameters": OFF,
    }
)

#: A percentage, a spec's too, never allows less than this, in the metric's unit: a percentage of nothing is nothing. Below it
#: nobody hears a difference, or it is one note of a hundred.
LEAST: Mapping[str, float] = MappingProxyType(
    {
        "*": 0.0,
        "*_distance": 0.2,
        "*_w1": 0.5,
        "ioi_w1": 0.02,
        "duration_w1": 0.02,
        "*_ratio": 0.05,
        "unique_*": 0.5,
        "top_pitch_share": 1.0,
        "pitch_range": 2.0,
        "pitch_class_js": 0.02,
        "*_entropy": 0.1,
        "*_consistency": 0.02,
        "*_rate": 0.02,
        "polyphony": 0.2,
        "*_tones": 1.0,
        "copied_*": 1.0,
        "*_patterns*": 1.0,
        "*_skill": 0.02,
        "mgeval_oa": 0.03,
        "mgeval_kl": 0.1,
        "descriptor_frechet": 2.0,
        "bits_*": 0.02,
        "excess_bits": 0.02,
    }
)

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")

#: Below this a change is rounding.
SMALLEST = 1e-6


@dataclass(frozen=True)
class Threshold:
    """How much worse is still the same.

    Parameters
    ----------
    amount : float
        In the metric's unit, or percent.
    percent : bool
    least : float
        Of a percentage: what is allowed at least, in the metric's unit.
    """

    amount: float
    percent: bool = False
    least: float = 0.0

    def limit(self, baseline: float) -> float:
        """The largest change that is no regression, in the metric's unit, for this value of the baseline."""
        amount = max(self.amount / 100 * abs(baseline), self.least) if self.percent else self.amount
        return max(amount, SMALLEST)


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
    threshold = parse(_first(metric, given, DEFAULTS))
    if threshold is None or not threshold.percent:
        return threshold
    return replace(threshold, least=float(_first(metric, LEAST)))


def _first(metric: str, *tables: Mapping[str, float | str]) -> float | str:
    """What the first table that has a metric says of it; its name counts before a pattern, and of patterns the last."""
    for rules in tables:
        if metric in rules:
            return rules[metric]
        fitting = [pattern for pattern in rules if fnmatch.fnmatchcase(metric, pattern)]
        if fitting:
            return rules[fitting[-1]]
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
