"""What a metric is, and what its value is where there is nothing to measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

#: Largest value of a metric, either sign: squares and sums of such values are finite.
MOST = 1e15

Better = Literal["lower", "higher"]

#: Tables of a report, by the question that their columns answer.
Group = Literal[
    "headline",
    "hearing",
    "alignment",
    "spread",
    "harmony",
    "likelihood",
    "prediction",
    "distributions",
    "originality",
    "descriptors",
    "cost",
]

#: How people read a value: fixed decimals; ``3 min 05 s``; ``12,300``, three significant digits; ``123,456``, a whole number; at
#: most one decimal; MiB or GiB.
Format = Literal["decimals", "duration", "count", "integer", "short", "memory"]


@dataclass(frozen=True)
class Undefined:
    """A value that does not exist for this music or this system, and why. Reports show it as a dash, never as NaN or 0.

    >>> Undefined("one note has no interval").reason
    'one note has no interval'
    """

    reason: str


#: A finite number, or the reason why there is none.
Value = float | Undefined


def mean(values: Iterable[Value]) -> Value:
    """Mean of the defined values; if there are none, the first one's reason.

    Examples
    --------
    >>> mean([1.0, Undefined("no notes"), 2.0])
    1.5
    """
    values = list(values)
    defined = [v for v in values if not isinstance(v, Undefined)]
    if defined:
        return math.fsum(defined) / len(defined)
    return next((v for v in values if isinstance(v, Undefined)), Undefined("nothing was measured"))


@dataclass(frozen=True)
class Metric:
    """One column, with all that reports, the gate and the audit need to know of it.

    A new metric is one of these in the ``METRICS`` of its module, and its value in what that module's function returns.

    Parameters
    ----------
    name : str
        Column name in ``report.csv``; it stays the same between versions.
    title : str
        Column heading for people.
    unit : str
        Empty for a plain ratio.
    better : {"lower", "higher"} or None
        None where neither is better: see `ideal`.
    definition : str
        One sentence.
    source : str
        Where it comes from.
    digits : int
        Decimals in tables.
    ideal : float or None
        Of a metric without a better direction: the value of music like the real one, such as 1 for a ratio to it; None where only
        real music itself tells.
    version : int
        Goes up when the same notes would give another number; a baseline of another version can't be compared.
    group : str or None
        Table of the report that shows it, in the order of ``METRICS``; None for a column of ``report.csv`` alone.
    format : str
        How tables write it; `digits` counts for ``decimals`` alone.
    seed_sd : bool
        Whether tables show the SD between seeds: not of what the machine or the spec decides.
    every_seed : bool
        Whether a system has a value only if each of its seeds has one.
    tolerance : float or str
        How much worse it may get before the gate asks its test, see :mod:`bench.metrics.thresholds`.
    floor : float
        The least that a tolerance in percent allows, in the metric's unit.
    clocked : bool
        Whether it is measured with a clock: a slower machine makes it worse.
    machine_bound : bool
        Whether it says nothing across kinds of machine and yet is no time or speed to convert, such as energy.
    counterpart : str or None
        Name of the metric that is the same figure of the real continuation, where people do it too (copying), or where the row
        `real` can't show it.
    near_counterpart : bool
        Whether the value should be near its counterpart's, piece by piece; otherwise it should only not be above it.
    order_free : str or None
        Name of the metric that compares the same values with their order ignored.
    of_velocity : bool
        Whether it is undefined for a model whose notes have no velocity of their own.
    occasional : bool
        Whether a sample may have nothing that it measures, as a melody has no chord: that is undefined, and chance.

    Examples
    --------
    >>> Metric("step_ratio", "Step ratio", "", None, "Mean step over that of the real notes.", "this suite", version=2).id
    'step_ratio@2'
    """

    name: str
    title: str
    unit: str
    better: Better | None
    definition: str
    source: str
    digits: int = 2
    ideal: float | None = None
    version: int = 1
    group: Group | None = None
    format: Format = "decimals"
    seed_sd: bool = True
    every_seed: bool = False
    tolerance: float | str = "15%"
    floor: float = 0.0
    clocked: bool = False
    machine_bound: bool = False
    counterpart: str | None = None
    near_counterpart: bool = False
    order_free: str | None = None
    of_velocity: bool = False
    occasional: bool = False

    @property
    def id(self) -> str:
        """``name@version``: two numbers with the same id were measured in the same way."""
        return f"{self.name}@{self.version}"

    @property
    def of_machine(self) -> bool:
        """Whether it says nothing across kinds of machine, or differs from process to process more than from seed to seed."""
        return self.clocked or self.machine_bound or self.format == "memory"


def is_senseless(value: Value) -> bool:
    """Whether a value is no number that a table can show: not finite, or beyond what is stored."""
    return not isinstance(value, Undefined) and not abs(value) <= MOST


def finite(values: Mapping[str, Value]) -> dict[str, Value]:
    """Replace what is no finite number: computed of valid notes, it costs that metric alone."""
    return {name: Undefined("its value is no finite number") if is_senseless(value) else value for name, value in values.items()}
