"""How far a sample's pitch classes and timing are from its target's, order ignored.

Notes are in the order (onset, pitch), so the inter-onset intervals inside a chord are 0. Every distance is between two single
pieces of music: even real music is not at 0 from other real music, and the row `real` shows how far. Times above 10 s count as
10 s: one note that hangs for hours would be more of a mean over pieces than all music.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.api import Notes
from bench.metrics.metric import Metric, Undefined, Value

METRICS = (
    Metric(
        "pitch_class_js",
        "Pitch class JSD",
        "bits",
        "lower",
        "Jensen-Shannon divergence, base 2, between the shares of the 12 pitch classes in generated and in real notes; 0-1.",
        "Lin 1991, doi 10.1109/18.61115",
        3,
        group="distributions",
        tolerance=0.06,
        floor=0.02,
    ),
    Metric(
        "ioi_w1",
        "IOI W1",
        "s",
        "lower",
        "Wasserstein-1 distance between the generated and the real inter-onset intervals of a piece; a chord's own are 0. Those "
        "above 10 s count as 10 s.",
        "Vallender 1974",
        3,
        version=2,
        group="distributions",
        tolerance="40%",
        floor=0.02,
    ),
    Metric(
        "duration_w1",
        "Duration W1",
        "s",
        "lower",
        "Wasserstein-1 distance between the generated and the real note durations of a piece, order ignored. Those above 10 s "
        "count as 10 s.",
        "Vallender 1974",
        3,
        version=2,
        group="distributions",
        tolerance="40%",
        floor=0.02,
    ),
)

#: Longest time that is compared, seconds: a piano's strings sound no longer.
LONGEST = 10.0


def pitch_classes(notes: Notes) -> NDArray[np.int64]:
    """Count the notes of each pitch class, C first: shape (12,)."""
    return np.bincount(notes.pitch % 12, minlength=12)


def entropy(weights: NDArray[np.float64] | NDArray[np.int64]) -> float:
    """Shannon entropy of weights, none below 0 and not all 0, once they are scaled to add to 1, bits.

    By hand: :func:`scipy.stats.entropy` takes fifty times as long, two calls of it longer than all other metrics of a sample.

    >>> entropy(np.array([2, 1, 1]))
    1.5
    """
    share = weights[weights > 0] / weights.sum()
    # Of a single share it is -0.0.
    return abs(float(share @ np.log2(share)))


def jensen_shannon(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Jensen-Shannon divergence of two histograms of the same bins, neither empty: 0 (equal) to 1 bit (nothing in common).

    By hand: :func:`scipy.spatial.distance.jensenshannon` is its root, and NaN where rounding makes it negative.

    >>> jensen_shannon(np.array([3, 0]), np.array([0, 5]))
    1.0
    """
    middle = (one / one.sum() + other / other.sum()) / 2
    # A difference of entropies: the last digit may fall on the wrong side of a bound.
    return min(1.0, max(0.0, entropy(middle) - (entropy(one) + entropy(other)) / 2))


def wasserstein(one: ArrayLike, other: ArrayLike) -> float:
    """Wasserstein-1 distance of two sets of values, neither empty: the area between their cumulative distributions.

    By hand: it is :func:`scipy.stats.wasserstein_distance` to the last digit, without a module that takes longer to load than all
    metrics of a trial's samples take.

    >>> wasserstein([0, 1, 3], [5, 6, 8])
    5.0
    """
    u, v = np.sort(np.asarray(one, np.float64)), np.sort(np.asarray(other, np.float64))
    values = np.sort(np.concatenate([u, v]))
    below = [side.searchsorted(values[:-1], "right") / len(side) for side in (u, v)]
    return float(np.vecdot(np.abs(below[0] - below[1]), np.diff(values)))


def ioi_w1(generated: Notes, real: Notes) -> Value:
    """Wasserstein-1 distance of the inter-onset intervals, s; undefined where a side has fewer than two notes.

    >>> real = Notes.from_columns([0, 1, 3], [1, 1, 1], [60, 62, 64], [80, 80, 80])
    >>> generated = Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 62, 64], [80, 80, 80])
    >>> ioi_w1(generated, real)
    0.5
    """
    if min(len(generated), len(real)) < 2:
        return Undefined("one note has no inter-onset interval")
    return _of_times(np.diff(generated.onset), np.diff(real.onset))


def _of_times(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return wasserstein(np.minimum(one, LONGEST), np.minimum(other, LONGEST))


def evaluate(generated: Notes, real: Notes) -> dict[str, Value]:
    """Compute every metric of this module; of empty music they are undefined."""
    if not len(generated) or not len(real):
        return dict.fromkeys((m.name for m in METRICS), Undefined("no notes to compare"))
    return {
        "pitch_class_js": jensen_shannon(pitch_classes(generated), pitch_classes(real)),
        "ioi_w1": ioi_w1(generated, real),
        "duration_w1": _of_times(generated.duration, real.duration),
    }
