"""Flags: what a number alone would hide. Each has a rule over the row's own figures and one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.score import Row, Table

#: Verbatim notes beyond which a run is no accident whatever real music shares.
LONG_COPY = 16


@dataclass(frozen=True)
class Flag:
    """A warning on a row.

    Parameters
    ----------
    name : str
        As it stands in the table.
    meaning : str
        One sentence for the reader.
    raised : callable
        Given the row's known values by metric, and the real row's.
    """

    name: str
    meaning: str
    raised: Callable[[Mapping[str, float], Mapping[str, float]], bool]


def _below(metric: str, limit: float) -> Callable[[Mapping[str, float], Mapping[str, float]], bool]:
    return lambda row, real: metric in row and row[metric] < limit


FLAGS = (
    Flag(
        "regresses to the median",
        "The pitches of its samples spread less than half as far as those of real music (pitch SD ratio below 0.5): a low pitch "
        "distance then comes from playing the middle.",
        _below("pitch_sd_ratio", 0.5),
    ),
    Flag(
        "velocity not modelled",
        "All notes of its samples have one velocity (velocity SD ratio 0).",
        lambda row, real: row.get("velocity_sd_ratio") == 0,
    ),
    Flag(
        "copies the training music",
        "Its longest verbatim runs from the training music are on average twice as long as those of real held-out music, "
        f"and {LONG_COPY} notes or more.",
        lambda row, real: row.get("copied_run", 0) >= max(LONG_COPY, 2 * real.get("copied_run", 0)),
    ),
    Flag(
        "repeats itself",
        "More than half of a sample's notes have one pitch.",
        lambda row, real: row.get("top_pitch_share", 0) > 50,
    ),
)


def flags(row: Row, table: Table) -> list[Flag]:
    """The flags of a row; none for one that has no value."""
    real = table.find("real")
    known = _values(row)
    return [flag for flag in FLAGS if known and flag.raised(known, _values(real) if real is not None else {})]


def _values(row: Row) -> dict[str, float]:
    return {name: cell.value for name, cell in row.cells.items() if cell.value is not None}
