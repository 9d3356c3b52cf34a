"""What a metric is, and what it is when there is nothing to measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Undefined:
    """A value that does not exist for this music or this system, and why. Reports show it as a dash, never as NaN or 0."""

    reason: str


#: A finite number, or the reason why there is none.
Value = float | Undefined


@dataclass(frozen=True)
class Metric:
    """One column, explained.

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

    @property
    def id(self) -> str:
        """``name@version``: two numbers with the same id were measured in the same way."""
        return f"{self.name}@{self.version}"
