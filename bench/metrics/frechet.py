"""Fréchet distance between samples and real pieces over twelve descriptors, after FID; it needs no network or download.

Not the Frechet Music Distance (Retkowski et al. 2024), which takes a pretrained network's vectors: here a piece is a vector of
twelve plain descriptors.

=================================  ===============================================================================================
pitch mean, SD                     semitones
pitch-class entropy                bits
interval                           mean absolute interval between consecutive notes, semitones
velocity mean, SD                  MIDI velocity
velocity step                      mean absolute difference between consecutive notes
inter-onset interval               log2 of the mean in seconds, at least 1 ms
chord share                        share of notes that begin within 30 ms of the previous one
inter-onset interval SD            of log2 of those above 30 ms; 0 for fewer than two
duration mean, SD                  of log2 of seconds
=================================  ===============================================================================================

Each is divided by its SD among the real pieces, at least 0.01: little of any of them in its unit, about what a file's ticks make.
One in which the real pieces don't differ is left out. A Gaussian is fitted to either set; as about 50 pieces say little about 78
covariances, these are shrunk towards a multiple of the identity (Ledoit & Wolf 2004). The distance is squared, as FID is. Few
pieces alone make it larger than 0: read it beside the reference row `real`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes
from bench.metrics.distributions import entropy, pitch_classes
from bench.metrics.metric import Metric, Undefined, Value
from bench.music.notes import ROUNDED

METRICS = (
    Metric(
        "descriptor_frechet",
        "Descriptor Fréchet distance",
        "",
        "lower",
        "Squared Fréchet distance between Gaussians fitted to twelve descriptors of the samples and of the real pieces, each in "
        "units of its standard deviation among the real ones.",
        "this suite, after FID (Heusel et al. 2017, arXiv 1706.08500); shrinkage: Ledoit & Wolf 2004",
        group="distributions",
        tolerance="150%",
        floor=2.0,
        of_velocity=True,
        version=2,
    ),
)

Floats = NDArray[np.float64]

#: Notes that begin within this of the previous one are one chord. Seconds.
CHORD = 0.03
#: The shortest mean inter-onset interval. Seconds.
SHORTEST = 0.001
#: A range below this among the real pieces counts as none, and the least SD that a descriptor is divided by, in its own unit.
ROUNDING, LEAST = 1e-6, 0.01


def descriptors(notes: Notes) -> Floats:
    """Describe a piece of at least two notes by twelve numbers, in the order of the table above; shape (12,).

    >>> descriptors(Notes.from_columns([0, 1, 2], [1, 1, 1], [60, 64, 62], [80, 80, 80]))[[0, 3]]  # pitch mean, interval
    array([62.,  3.])
    """
    pitch, velocity = notes.pitch.astype(np.float64), notes.velocity.astype(np.float64)
    shift = np.diff(notes.onset)
    together = shift <= CHORD + ROUNDED
    apart = np.log2(shift[~together])
    length = np.log2(notes.duration)
    return np.array(
        [
            pitch.mean(),
            pitch.std(),
            entropy(pitch_classes(notes)),
            np.abs(np.diff(pitch)).mean(),
            velocity.mean(),
            velocity.std(),
            np.abs(np.diff(velocity)).mean(),
            np.log2(max(shift.mean(), SHORTEST)),
            together.mean(),
            apart.std() if len(apart) > 1 else 0.0,
            length.mean(),
            length.std(),
        ]
    )


def shrunk_covariance(vectors: Floats) -> Floats:
    """Covariance (divisor n) shrunk towards the mean variance times the identity by Ledoit and Wolf's weight.

    The weight is the share of the covariance's distance from that target that is its own sampling error, estimated from how the
    single vectors' products scatter about it.

    Parameters
    ----------
    vectors : ndarray of float64, shape (n, k)

    Returns
    -------
    ndarray of float64, shape (k, k)

    References
    ----------
    Ledoit & Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices, doi 10.1016/S0047-259X(03)00096-4.
    """
    n, k = vectors.shape
    centred = vectors - vectors.mean(0)
    sample = centred.T @ centred / n
    target = np.trace(sample) / k * np.eye(k)
    distance = float(((sample - target) ** 2).sum())
    # sum over vectors of |x x' - S|^2 is sum of |x|^4 less n |S|^2
    error = float((((centred**2).sum(1) ** 2).sum() - n * (sample**2).sum()) / n**2)
    weight = min(1.0, max(0.0, error) / distance) if distance > 0 else 0.0
    shrunk: Floats = weight * target + (1 - weight) * sample
    return shrunk


def gaussian_distance(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """Squared Fréchet (2-Wasserstein) distance between two Gaussians of k dimensions.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2). The roots are of symmetric matrices, by their eigenvalues. Those that
    rounding alone makes differ from 0 count as 0: the root of 1e-16 is 1e-8, and it differs from one processor to the next.

    Parameters
    ----------
    mean, other_mean : ndarray, shape (k,)
    covariance, other_covariance : ndarray, shape (k, k)
        Symmetric, no eigenvalue below 0.

    References
    ----------
    Dowson & Landau 1982, The Fréchet distance between multivariate normal distributions.

    Examples
    --------
    >>> gaussian_distance(np.array([3.0]), np.array([[16.0]]), np.array([1.0]), np.array([[9.0]]))  # (3 - 1)^2 + (4 - 3)^2
    5.0
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * _roots(values)) @ vectors.T
    between = _roots(np.linalg.eigvalsh(root @ other_covariance @ root)).sum()
    squared = ((mean - other_mean) ** 2).sum() + np.trace(covariance) + np.trace(other_covariance) - 2 * between
    return max(0.0, float(squared))


def _roots(eigenvalues: Floats) -> Floats:
    """Square roots of a symmetric matrix's eigenvalues, 0 where they are within rounding of it."""
    noise = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max(initial=0.0)
    roots: Floats = np.sqrt(np.where(eigenvalues > noise, eigenvalues, 0.0))
    return roots


def descriptor_frechet(generated: Sequence[Notes], real: Sequence[Notes]) -> Value:
    """Squared Fréchet distance between two sets of at least two pieces, each of at least two notes."""
    if min(len(generated), len(real)) < 2:
        return Undefined("fewer than two pieces")
    if min(map(len, [*generated, *real])) < 2:
        return Undefined("a piece has fewer than two notes")
    ours, theirs = (np.stack([descriptors(piece) for piece in pieces]) for pieces in (generated, real))
    differ = np.ptp(theirs, axis=0) > ROUNDING
    if not differ.any():
        return Undefined("the real pieces don't differ in any descriptor")
    ours, theirs = ours[:, differ], theirs[:, differ]
    scale = np.maximum(theirs.std(0), LEAST)
    ours, theirs = ours / scale, theirs / scale
    return gaussian_distance(ours.mean(0), shrunk_covariance(ours), theirs.mean(0), shrunk_covariance(theirs))


def evaluate_set(generated: Sequence[Notes], real: Sequence[Notes]) -> dict[str, Value]:
    """Compute every metric of this module.

    Parameters
    ----------
    generated, real : sequence of Notes
    """
    return {"descriptor_frechet": descriptor_frechet(generated, real)}
