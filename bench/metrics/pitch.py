"""What an index-aligned distance can't show: whether the notes spread over the keyboard as real music's do.

All compare a sample with its own target, order ignored. SD is the population's (divisor n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes
from bench.metrics.metric import Metric, Undefined, Value

METRICS = (
    Metric(
        "pitch_sd_ratio",
        "Pitch SD ratio",
        "",
        None,
        "Standard deviation of the generated pitches over that of the real ones; 1 is real, 0 is one note repeated.",
        "this suite",
        ideal=1.0,
    ),
    Metric(
        "unique_pitches",
        "Unique pitches",
        "pitches",
        None,
        "Number of different pitches in a sample.",
        "this suite; MuSpy's n_pitches_used (Dong et al. 2020)",
        1,
    ),
    Metric(
        "top_pitch_share",
        "Top pitch share",
        "%",
        None,
        "Share of a sample's notes that have its most frequent pitch.",
        "this suite",
        1,
    ),
    Metric(
        "pitch_w1",
        "Pitch W1",
        "semitones",
        "lower",
        "Wasserstein-1 distance between the generated and the real pitches of a piece, order ignored.",
        "Vallender 1974",
    ),
    Metric(
        "velocity_w1",
        "Velocity W1",
        "MIDI velocity",
        "lower",
        "Wasserstein-1 distance between the generated and the real velocities of a piece, order ignored.",
        "Vallender 1974",
    ),
)


def sd_ratio(generated: Notes, real: Notes) -> Value:
    """SD of generated over SD of real pitches; undefined where the real pitch never changes."""
    spread = float(real.pitch.std())
    return float(generated.pitch.std()) / spread if spread > 0 else Undefined("the real notes all have one pitch")


def top_pitch_share(notes: Notes) -> float:
    """Share of the most frequent pitch among at least one note, percent."""
    return 100 * float(np.bincount(notes.pitch).max()) / len(notes)


def wasserstein1(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Wasserstein-1 distance of two sets of MIDI values, neither empty: the area between their distribution functions."""
    shares = [np.bincount(values, minlength=128) / len(values) for values in (one, other)]
    return float(np.abs(np.cumsum(shares[0] - shares[1])).sum())


def evaluate(generated: Notes, real: Notes) -> dict[str, Value]:
    """Every metric of this module; of empty music they are undefined."""
    if not len(generated) or not len(real):
        return dict.fromkeys((m.name for m in METRICS), Undefined("no notes to compare"))
    return {
        "pitch_sd_ratio": sd_ratio(generated, real),
        "unique_pitches": float(len(np.unique(generated.pitch))),
        "top_pitch_share": top_pitch_share(generated),
        "pitch_w1": wasserstein1(generated.pitch, real.pitch),
        "velocity_w1": wasserstein1(generated.velocity, real.velocity),
    }
