"""Flags: what a number alone would hide. Each has a rule over the row's own figures and one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.scoring.table import REAL, Row

#: Length of a verbatim run, in notes, that is no accident whatever real music shares.
LONG_COPY = 16


@dataclass(frozen=True)
class Flag:
    """A warning on a row.

    Parameters
    ----------
    name : str
        As the table shows it.
    meaning : str
        One sentence for the reader.
    raised : callable
        Takes the row and its defined values by metric.
    """

    name: str
    meaning: str
    raised: Callable[[Row, Mapping[str, float]], bool]


def _below(metric: str, limit: float) -> Callable[[Row, Mapping[str, float]], bool]:
    return lambda row, values: metric in values and values[metric] < limit


def _begins_oddly(row: Row, values: Mapping[str, float]) -> bool:
    """Whether a file of an external system begins with what may be its prompt."""
    return any(trial.result.prompt and trial.result.prompt.odd for trial in row.done)


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
        lambda row, values: values.get("velocity_sd_ratio") == 0,
    ),
    Flag(
        "copies the training music",
        "Its longest verbatim runs from the training music are on average twice as long as those of the real continuations, "
        f"and {LONG_COPY} notes or more.",
        lambda row, values: values.get("copied_run", 0) >= max(LONG_COPY, 2 * values.get("copied_run_real", 0)),
    ),
    Flag(
        "repeats itself",
        "More than half of a sample's notes have one pitch.",
        lambda row, values: values.get("top_pitch_share", 0) > 50,
    ),
    Flag(
        "prompt in doubt",
        "Some files of this system begin with nearly the prompt, or with it in another key, so it is doubtful where their "
        "continuation begins, and what the row's numbers are worth.",
        _begins_oddly,
    ),
)


def _lacking(row: Row) -> Flag:
    """Flag of a row that lacks pieces; its name says how many it has: "12 of 16 pieces"."""
    return Flag(
        row.coverage,
        "The row's means are over the pieces it has, those of the other rows over all: do not compare them. It has no rank, and "
        "is tested on the pieces that both rows have.",
        lambda row, values: bool(row.absent),
    )


def flags(row: Row) -> list[Flag]:
    """List the flags of a row; none if it has no value, nor for the row of real music, which is a copy by definition."""
    if row.kind == "reference" and row.system == REAL:
        return []
    values = {name: cell.value for name, cell in row.cells.items() if cell.value is not None}
    lacking = [_lacking(row)] if row.absent else []
    return lacking + [flag for flag in FLAGS if values and flag.raised(row, values)]
