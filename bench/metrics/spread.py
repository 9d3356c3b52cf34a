"""Spread: whether pitches and velocities vary as real music's do, which an index-aligned distance can't show.

Each sample is compared with its own target, order ignored except in the step ratio. Notes are in the order (onset, pitch), so the
steps inside a chord go up. SD is the population's (divisor n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes
from bench.metrics.distributions import wasserstein
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
        group="spread",
        tolerance=0.25,
        floor=0.05,
    ),
    Metric(
        "velocity_sd_ratio",
        "Velocity SD ratio",
        "",
        None,
        "Standard deviation of the generated velocities over that of the real ones; 0 is a velocity that is not modelled.",
        "this suite",
        ideal=1.0,
        group="spread",
        tolerance=0.25,
        floor=0.05,
        of_velocity=True,
    ),
    Metric(
        "step_ratio",
        "Step ratio",
        "",
        None,
        "Mean absolute pitch interval between successive generated notes over that of the real ones; 1 is real, 0 never moves.",
        "this suite",
        ideal=1.0,
        group="spread",
        tolerance=0.25,
        floor=0.05,
    ),
    Metric(
        "unique_pitches",
        "Unique pitches",
        "pitches",
        None,
        "Number of different pitches in a sample.",
        "this suite; MuSpy's n_pitches_used (Dong et al. 2020)",
        1,
        group="spread",
        tolerance="10%",
        floor=0.5,
    ),
    Metric(
        "top_pitch_share",
        "Top pitch share",
        "%",
        None,
        "Share of a sample's notes that have its most frequent pitch.",
        "this suite",
        1,
        group="spread",
        tolerance="25%",
        floor=1.0,
    ),
    Metric(
        "pitch_w1",
        "Pitch W1",
        "semitones",
        "lower",
        "Wasserstein-1 distance between the generated and the real pitches of a piece, order ignored.",
        "Vallender 1974",
        group="spread",
        tolerance="40%",
        floor=0.5,
    ),
    Metric(
        "velocity_w1",
        "Velocity W1",
        "MIDI velocity",
        "lower",
        "Wasserstein-1 distance between the generated and the real velocities of a piece, order ignored.",
        "Vallender 1974",
        group="spread",
        tolerance="40%",
        floor=0.5,
        of_velocity=True,
    ),
)


def sd_ratio(generated: Notes, real: Notes) -> Value:
    """SD of generated over SD of real pitches; undefined where the real pitch never changes.

    >>> real = Notes.from_columns([0, 1], [1, 1], [60, 64], [80, 80])
    >>> generated = Notes.from_columns([0, 1], [1, 1], [60, 61], [80, 80])
    >>> sd_ratio(generated, real)
    0.25
    >>> sd_ratio(real, real[:1])
    Undefined(reason='the real notes all have one pitch')
    """
    spread = float(real.pitch.std())
    return float(generated.pitch.std()) / spread if spread > 0 else Undefined("the real notes all have one pitch")


def velocity_sd_ratio(generated: Notes, real: Notes) -> Value:
    """SD of generated over SD of real velocities; undefined where the real velocity never changes."""
    spread = float(real.velocity.std())
    return float(generated.velocity.std()) / spread if spread > 0 else Undefined("the real notes all have one velocity")


def mean_step(pitch: NDArray[np.uint8]) -> float:
    """Mean absolute interval between successive pitches, of which there are at least two, in semitones.

    >>> mean_step(np.array([60, 62, 61], np.uint8))
    1.5
    """
    # uint8 would wrap round: 60 - 61 is 255.
    return float(np.abs(np.diff(pitch.astype(np.int64))).mean())


def step_ratio(generated: Notes, real: Notes) -> Value:
    """Mean absolute interval of generated over that of real notes; undefined where the real pitch never changes."""
    if min(len(generated), len(real)) < 2:
        return Undefined("one note has no interval")
    step = mean_step(real.pitch)
    return mean_step(generated.pitch) / step if step else Undefined("the real notes all have one pitch")


def top_pitch_share(notes: Notes) -> float:
    """Share of the most frequent pitch among at least one note, percent."""
    return 100 * float(np.bincount(notes.pitch).max()) / len(notes)


_EMPTY = Undefined("no notes to compare")


def order_free(generated: Notes, real: Notes) -> dict[str, Value]:
    """Wasserstein-1 distances of pitches and of velocities, the complement of Table 2; of empty music they are undefined."""
    if not len(generated) or not len(real):
        return {"pitch_w1": _EMPTY, "velocity_w1": _EMPTY}
    return {
        "pitch_w1": wasserstein(generated.pitch, real.pitch),
        "velocity_w1": wasserstein(generated.velocity, real.velocity),
    }


def evaluate(generated: Notes, real: Notes) -> dict[str, Value]:
    """Compute every metric of this module; of empty music they are undefined."""
    if not len(generated) or not len(real):
        return dict.fromkeys((m.name for m in METRICS), _EMPTY)
    return {
        "pitch_sd_ratio": sd_ratio(generated, real),
        "velocity_sd_ratio": velocity_sd_ratio(generated, real),
        "step_ratio": step_ratio(generated, real),
        "unique_pitches": float(len(np.unique(generated.pitch))),
        "top_pitch_share": top_pitch_share(generated),
        **order_free(generated, real),
    }
