"""Flags: what a number alone would hide. Each has a rule over the row's own figures and one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.scoring.score import REAL, Row

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
        Given the row and its known values by metric.
    """

    name: str
    meaning: str
    raised: Callable[[Row, Mapping[str, float]], bool]


def _below(metric: str, limit: float) -> Callable[[Row, Mapping[str, float]], bool]:
    return lambda row, known: metric in known and known[metric] < limit


def _begins_oddly(row: Row, known: Mapping[str, float]) -> bool:
    """Whether a file of another system begins with what may be its prompt."""
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
        lambda row, known: known.get("velocity_sd_ratio") == 0,
    ),
    Flag(
        "copies the training music",
        "Its longest verbatim runs from the training music are on average twice as long as those of the real continuations, "
        f"and {LONG_COPY} notes or more.",
        lambda row, known: known.get("copied_run", 0) >= max(LONG_COPY, 2 * known.get("copied_run_real", 0)),
    ),
    Flag(
        "repeats itself",
        "More than half of a sample's notes have one pitch.",
        lambda row, known: known.get("top_pitch_share", 0) > 50,
    ),
    Flag(
        "prompt in doubt",
        "Of the files of this system some begin with nearly the prompt, or with it in another key: what of them is prompt and "
        "what continuation is in doubt, and so are the row's numbers.",
        _begins_oddly,
    ),
)


def _lacking(row: Row) -> Flag:
    """Its name says how many: "12 of 16 pieces"."""
    return Flag(
        row.coverage,
        "The row's means are over the pieces it has, those of the other rows over all: do not compare them. It has no rank, and "
        "each test of it is over the pieces that both rows have.",
        lambda row, known: bool(row.absent),
    )


def flags(row: Row) -> list[Flag]:
    """The flags of a row; none for one that has no value, nor for the row of real music, which is a copy by definition."""
    if row.kind == "reference" and row.system == REAL:
        return []
    known = {name: cell.value for name, cell in row.cells.items() if cell.value is not None}
    lacking = [_lacking(row)] if row.absent else []
    return lacking + [flag for flag in FLAGS if known and flag.raised(row, known)]
