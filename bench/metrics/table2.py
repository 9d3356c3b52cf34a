"""The paper's own two columns: distances between generated and real notes of the same index.

The paper (Mon 2025) says "average distance to original" and gives neither the number of notes nor how they are aligned. Here
note i of the sample is compared with note i of the target, both sorted by (onset, pitch). That is a weak measure: it knows
no rhythm, a constant median beats real music at it, and a perfect copy shifted by one note looks bad.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.api import DataError, Notes
from bench.metrics.metric import Metric, Undefined, Value

SOURCE = "Mon 2025, Table 2, doi 10.3390/computers14060229"

METRICS = (
    Metric(
        "pitch_distance",
        "Average Pitch Distance",
        "semitones",
        "lower",
        "Mean over the compared notes of |generated pitch - real pitch| at the same index.",
        SOURCE,
        group="headline",
        tolerance="8%",
        floor=0.2,
        order_free="pitch_w1",
    ),
    Metric(
        "velocity_distance",
        "Velocity Average Distance",
        "MIDI velocity",
        "lower",
        "Mean over the compared notes of |generated velocity - real velocity| at the same index.",
        SOURCE,
        group="headline",
        tolerance="8%",
        floor=0.2,
        order_free="velocity_w1",
        of_velocity=True,
    ),
)


def mean_absolute_difference(generated: NDArray[np.uint8], real: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two columns of equal length n >= 1, in their own unit.

    >>> mean_absolute_difference(np.array([60, 64], np.uint8), np.array([61, 60], np.uint8))
    2.5
    """
    # uint8 would wrap round: 60 - 61 is 255.
    return float(np.abs(generated.astype(np.int64) - real.astype(np.int64)).mean())


def first_seconds(notes: Notes, seconds: float) -> Notes:
    """Cut off the notes that begin `seconds` or more after the first one."""
    return notes[: int(np.searchsorted(notes.onset, notes.onset[0] + seconds))] if len(notes) else notes


def aligned(generated: Notes, real: Notes, seconds: float | None = None) -> tuple[Notes, Notes]:
    """Cut a sample and its target to the notes that are compared.

    Parameters
    ----------
    generated, real : Notes
    seconds : float, optional
        None compares all notes, and both sides must have the same number. Otherwise each side is cut to the notes that begin
        less than this after its first note, and the longer to the length of the shorter (the paper's figures show the first
        90 s).

    Raises
    ------
    DataError
        If the numbers of notes differ and `seconds` is None.
    """
    if seconds is None:
        if len(generated) != len(real):
            raise DataError(
                f"A sample of {len(generated)} notes can't be compared with a target of {len(real)} notes.",
                "The protocol compares equal numbers of notes; a sample with fewer has failed.",
            )
        return generated, real
    generated, real = first_seconds(generated, seconds), first_seconds(real, seconds)
    n = min(len(generated), len(real))
    return generated[:n], real[:n]


def evaluate(generated: Notes, real: Notes, seconds: float | None = None) -> dict[str, Value]:
    """Compute both distances; of empty music they are undefined. See :func:`aligned` for what is compared.

    >>> real = Notes.from_columns([0, 1], [1, 1], [60, 64], [80, 90])
    >>> generated = Notes.from_columns([0, 1], [1, 1], [62, 64], [80, 80])
    >>> evaluate(generated, real)
    {'pitch_distance': 1.0, 'velocity_distance': 5.0}
    """
    generated, real = aligned(generated, real, seconds)
    if len(real) == 0:
        nothing = Undefined("no notes to compare")
        return {"pitch_distance": nothing, "velocity_distance": nothing}
    return {
        "pitch_distance": mean_absolute_difference(generated.pitch, real.pitch),
        "velocity_distance": mean_absolute_difference(generated.velocity, real.velocity),
    }
