"""MGEval's comparison of two sets of pieces: how alike the differences between pieces are (Yang & Lerch 2020).

For each feature, the distances between the real pieces (intra-set) and those between samples and real pieces (inter-set) become
two densities by Gaussian kernels; their overlap and their Kullback-Leibler divergence show whether samples lie among the real
pieces as one of these would. Implemented from the paper's definitions, for the nine of its features that need no bar lines:

=======================  =========================================================================================================
pitch_count              different pitches
pitch_class_histogram    share of each of 12 pitch classes, weighted by duration
pitch_class_transitions  share of each of 12 x 12 pairs of pitch classes of consecutive notes
pitch_range              highest minus lowest pitch, semitones
pitch_interval           mean absolute interval between consecutive notes, semitones
note_count               notes a second, from the first onset to the last end: all samples have the same number of notes
inter_onset_interval     mean time between consecutive onsets, seconds; 0 within a chord
note_length_histogram    share of each of 12 note lengths
note_length_transitions  share of each of 12 x 12 pairs of note lengths of consecutive notes
=======================  =========================================================================================================

What differs from the paper or its tool:

- Consecutive means the order (onset, pitch). Pitch classes are weighted by duration, not by velocity too.
- Notes here are in seconds, so features counted per bar are left out. Note lengths are the paper's twelve (whole to sixteenth,
  dotted, triplets) on a fixed grid of 120 quarters a minute, each note rounded to the nearest; none is dropped.
- Transitions are shares, not counts. Each pair of real pieces counts once, not twice.
- The overlap is taken over the whole line, not only between the extreme distances, so that equal sets overlap by 1.
- Both densities are taken at the same points. The tool's divergence takes each over its own range, so that a set and the same
  set moved by 100 diverge by 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.api import Notes
from bench.metrics.metric import Metric, Undefined, Value

SOURCE = "Yang & Lerch 2020, On the evaluation of generative models in music, doi 10.1007/s00521-018-3849-7"

#: Distances between pieces, at most: they are in memory together, and a stored run is anyone's.
MOST_DISTANCES = 10_000_000

METRICS = (
    Metric(
        "mgeval_oa",
        "MGEval overlap",
        "",
        "higher",
        "Overlap of the densities of distances between real pieces and from samples to real pieces, mean over nine features; at "
        "most 1.",
        SOURCE,
        3,
        group="distributions",
        tolerance=0.15,
        floor=0.03,
    ),
    Metric(
        "mgeval_kl",
        "MGEval divergence",
        "nats",
        "lower",
        "Kullback-Leibler divergence of the density of distances between real pieces from that of distances from samples to real "
        "pieces, mean over nine features.",
        f"{SOURCE}; both densities at the same points",
        3,
        group="distributions",
        tolerance="200%",
        floor=0.1,
    ),
)

Floats = NDArray[np.float64]

#: The paper's note lengths in seconds at 120 quarters a minute, 4/4: whole to sixteenth, the same dotted from half on, triplets.
NOTE_LENGTHS = np.array([2.0, 1.0, 0.5, 0.25, 0.125, 1.5, 0.75, 0.375, 0.1875, 2 / 3, 1 / 3, 1 / 6])

#: Points of a density's grid in one bandwidth, and bandwidths that a kernel reaches to each side.
RESOLUTION, REACH = 16, 5

#: Weight of an even density mixed into both before a divergence is taken: where a kernel density has none, it would be infinite.
FLOOR = 1e-6

#: Spread below this part of the values counts as none: the same distances added up in another order.
ROUNDING = 1e-9


def features(notes: Notes) -> dict[str, Floats]:
    """Compute every feature of one piece as a vector; see the table above.

    Parameters
    ----------
    notes : Notes
        At least two.

    Examples
    --------
    >>> features(Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 64, 62], [80, 80, 80]))["pitch_interval"]
    array([3.])
    """
    pitch = notes.pitch.astype(np.int64)
    pitch_class = pitch % 12
    length = np.abs(notes.duration[:, None] - NOTE_LENGTHS).argmin(1)
    span = float((notes.onset + notes.duration).max() - notes.onset[0])
    return {
        "pitch_count": np.array([len(np.unique(pitch))], np.float64),
        "pitch_class_histogram": np.bincount(pitch_class, notes.duration, minlength=12) / notes.duration.sum(),
        "pitch_class_transitions": _transitions(pitch_class),
        "pitch_range": np.array([np.ptp(pitch)], np.float64),
        "pitch_interval": np.array([np.abs(np.diff(pitch)).mean()]),
        "note_count": np.array([len(notes) / span]),
        "inter_onset_interval": np.array([(notes.onset[-1] - notes.onset[0]) / (len(notes) - 1)]),
        "note_length_histogram": np.bincount(length, minlength=12) / len(length),
        "note_length_transitions": _transitions(length),
    }


def _transitions(classes: NDArray[np.int64]) -> Floats:
    """Share of each ordered pair of consecutive classes, of twelve; shape (144,)."""
    return np.bincount(classes[:-1] * 12 + classes[1:], minlength=144) / (len(classes) - 1)


@dataclass(frozen=True)
class Density:
    """Gaussian kernel density with Scott's bandwidth, on a grid fine enough to be read between its points.

    Parameters
    ----------
    grid, height : ndarray of float64, shape (points,)
        0 beyond the grid's ends.
    """

    grid: Floats
    height: Floats

    @classmethod
    def of(cls, values: ArrayLike) -> Density | Undefined:
        """Estimate the density of at least two values that are not all equal, shape (n,).

        The values are binned to the grid's points and smoothed there, which takes n steps, not n times the points.

        References
        ----------
        Scott 1992, Multivariate Density Estimation; Silverman 1982, Algorithm AS 176 (the binning).
        """
        distances = np.asarray(values, np.float64)
        if len(distances) < 2:
            return Undefined("fewer than two distances")
        if np.ptp(distances) <= ROUNDING * np.abs(distances).max():
            return Undefined("all distances are equal")
        bandwidth = float(distances.std(ddof=1)) * len(distances) ** -0.2
        step = bandwidth / RESOLUTION
        reach = RESOLUTION * REACH
        at = (distances - distances.min()) / step + reach
        below = np.floor(at).astype(np.int64)
        points = int(below.max()) + 2 + reach
        weight = np.bincount(below, 1 - (at - below), points) + np.bincount(below + 1, at - below, points)
        kernel = np.exp(-((np.arange(-reach, reach + 1) / RESOLUTION) ** 2) / 2) / math.sqrt(2 * math.pi)
        height = np.convolve(weight, kernel / kernel.sum(), "same") / (len(distances) * step)
        return cls(distances.min() + (np.arange(points) - reach) * step, height)

    def at(self, points: Floats) -> Floats:
        """Height at each of `points`."""
        return np.interp(points, self.grid, self.height, left=0.0, right=0.0)


def overlap_area(one: Density, other: Density) -> float:
    """Area under both densities, 0 to 1.

    >>> near, far = Density.of([1, 2, 3]), Density.of([101, 102, 103])
    >>> round(overlap_area(near, near), 6), overlap_area(near, far)
    (1.0, 0.0)
    """
    points = np.union1d(one.grid, other.grid)
    return min(1.0, float(np.trapezoid(np.minimum(one.at(points), other.at(points)), points)))


def divergence(one: Density, other: Density) -> float:
    """Kullback-Leibler divergence of `one` from `other`, nats, both at the same points.

    A millionth of each density is spread evenly over the range of both, so that the divergence of densities far apart is large
    (about 14 nats and more) but finite.

    >>> divergence(Density.of([1, 2, 3]), Density.of([1, 2, 3]))
    0.0
    """
    points = np.union1d(one.grid, other.grid)
    even = 1 / (points[-1] - points[0])
    p, q = ((1 - FLOOR) * density.at(points) + FLOOR * even for density in (one, other))
    return max(0.0, float(np.trapezoid(p * np.log(p / q), points)))


def densities(generated: Sequence[Notes], real: Sequence[Notes]) -> dict[str, tuple[Density | Undefined, Density | Undefined]]:
    """Estimate, for each feature, the densities of the intra-set and of the inter-set distances; either may be undefined.

    Distances are Euclidean. All samples are compared with all real pieces.

    Parameters
    ----------
    generated, real : sequence of Notes
        At least one piece each; every piece of at least two notes.
    """
    ours, theirs = _columns(generated), _columns(real)
    return {
        n: (
            Density.of(np.concatenate([_distances(theirs[n][i : i + 1], theirs[n][i + 1 :]) for i in range(len(theirs[n]))])),
            Density.of(_distances(ours[n], theirs[n])),
        )
        for n in theirs
    }


def _distances(ours: Floats, theirs: Floats) -> Floats:
    """Distances from each of ours to each of theirs, one after the other."""
    return np.concatenate([np.linalg.norm(theirs - one, axis=1) for one in ours])


def _columns(pieces: Sequence[Notes]) -> dict[str, Floats]:
    """Stack each feature's vectors, (pieces, size)."""
    by_piece: list[Mapping[str, Floats]] = [features(piece) for piece in pieces]
    return {name: np.stack([piece[name] for piece in by_piece]) for name in by_piece[0]}


def evaluate_set(generated: Sequence[Notes], real: Sequence[Notes]) -> dict[str, Value]:
    """Compute every metric of this module.

    A feature in which all real pieces are equally far apart is left out, for all systems alike. One in which only the samples are
    makes both columns undefined: a mean over other features could not be compared.

    Parameters
    ----------
    generated, real : sequence of Notes
    """
    if undefined := _lacking(generated, real):
        return {metric.name: undefined for metric in METRICS}
    pairs: list[tuple[Density, Density]] = []
    for name, (intra, inter) in densities(generated, real).items():
        if isinstance(intra, Density):
            if isinstance(inter, Undefined):
                return {metric.name: Undefined(f"{name}, from samples to real pieces: {inter.reason}") for metric in METRICS}
            pairs.append((intra, inter))
    if not pairs:
        return {metric.name: Undefined("the real pieces differ equally in every feature") for metric in METRICS}
    return {
        "mgeval_oa": math.fsum(overlap_area(*pair) for pair in pairs) / len(pairs),
        "mgeval_kl": math.fsum(divergence(*pair) for pair in pairs) / len(pairs),
    }


def _lacking(generated: Sequence[Notes], real: Sequence[Notes]) -> Undefined | None:
    if len(real) < 3 or not generated:
        return Undefined("fewer than three real pieces" if len(real) < 3 else "no samples")
    if len(real) * max(len(generated), len(real)) > MOST_DISTANCES:
        return Undefined(f"more than {MOST_DISTANCES:,} distances between pieces")
    return Undefined("a piece has fewer than two notes") if min(map(len, [*generated, *real])) < 2 else None
