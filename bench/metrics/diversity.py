"""Diversity: whether the samples of one model differ from each other as much as real pieces do.

A model that gives every piece the same continuation may be near each target; only a comparison between samples shows it. Samples
of the same piece share a prompt, so only samples of different pieces are compared. Only pitches count, in the order of the notes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes
from bench.metrics.copying import PATTERN, patterns
from bench.metrics.metric import Metric, Undefined, Value

METRICS = (
    Metric(
        "shared_patterns",
        "Shared patterns",
        "%",
        None,
        f"Share of a sample's windows of {PATTERN} pitches in a row that a sample for another piece has too, mean over samples.",
        "this suite; the idea of self-BLEU (Zhu et al. 2018, Texygen)",
        1,
        group="originality",
        tolerance=5,
        floor=1.0,
    ),
    Metric(
        "pitch_spread_ratio",
        "Pitch spread ratio",
        "",
        None,
        "Mean pitch W1 between samples for different pieces over that between the real pieces; 1 is real, 0 is all alike.",
        "this suite; W1: Vallender 1974",
        ideal=1.0,
        group="originality",
        tolerance=0.4,
        floor=0.05,
    ),
)


def shared_patterns(samples: Sequence[Notes], pieces: Sequence[int]) -> Value:
    """Mean over samples of the percentage of windows of 8 pitches that a sample for another piece also has.

    Parameters
    ----------
    samples : sequence of Notes
    pieces : sequence of int
        The piece that each sample is for.

    Returns
    -------
    float or Undefined
        Undefined for fewer than two pieces, or if a sample has no window.

    Examples
    --------
    >>> one = Notes.from_columns(range(9), [1] * 9, range(60, 69), [80] * 9)
    >>> other = Notes.from_columns(range(9), [1] * 9, [0, *range(61, 69)], [80] * 9)
    >>> shared_patterns([one, other], pieces=[0, 1])
    50.0
    """
    if len(set(pieces)) < 2:
        return Undefined("fewer than two pieces")
    windows = [patterns(sample) for sample in samples]
    counts = np.array([len(w) for w in windows])
    if not counts.all():
        return Undefined(f"a sample has fewer than {PATTERN} notes")
    owner = np.repeat(np.arange(len(samples)), counts)
    _, pattern = np.unique(np.concatenate(windows), return_inverse=True)
    # Each pattern once a piece, so that what a piece repeats counts as one.
    held = np.unique(np.stack([pattern, np.asarray(pieces)[owner]]), axis=1)
    shared = np.bincount(held[0])[pattern] > 1
    return float(100 * (np.bincount(owner, weights=shared) / counts).mean())


def pitch_spread(samples: Sequence[Notes], pieces: Sequence[int]) -> Value:
    """Mean Wasserstein-1 distance of pitches over all pairs of samples for different pieces, semitones.

    >>> low, high = (Notes.from_columns([0, 1], [1, 1], pitch, [80, 80]) for pitch in ([60, 62], [63, 65]))
    >>> pitch_spread([low, low, high], pieces=[0, 0, 1])
    3.0
    """
    if len(set(pieces)) < 2:
        return Undefined("fewer than two pieces")
    if not all(map(len, samples)):
        return Undefined("a sample has no notes")
    shares: NDArray[np.float64] = np.stack([np.bincount(s.pitch, minlength=128) / len(s) for s in samples])
    below = np.cumsum(shares, axis=1)  # (samples, 128): distribution functions; W1 is the area between two of them
    order = np.argsort(pieces, kind="stable")
    of_piece = np.split(below[order], np.flatnonzero(np.diff(np.asarray(pieces)[order])) + 1)
    pairs = math.comb(len(below), 2) - sum(math.comb(len(own), 2) for own in of_piece)
    return max(0.0, _apart(below) - sum(map(_apart, of_piece))) / pairs


def _apart(values: NDArray[np.float64]) -> float:
    """Sum of city-block distances over all pairs of rows: a gap between values counts for each pair that it lies between."""
    below = np.arange(1, len(values))
    gaps = np.diff(np.sort(values, axis=0), axis=0).sum(1)
    return float(gaps @ (below * (len(values) - below)))


def evaluate_set(generated: Sequence[Notes], real: Sequence[Notes]) -> dict[str, Value]:
    """Compute every metric of this module.

    Parameters
    ----------
    generated : sequence of Notes
        In the order of pieces, then samples; the same number for each piece.
    real : sequence of Notes
        One a piece.
    """
    pieces = [i * len(real) // len(generated) for i in range(len(generated))]
    return {"shared_patterns": shared_patterns(generated, pieces), "pitch_spread_ratio": _ratio(generated, pieces, real)}


def _ratio(generated: Sequence[Notes], pieces: Sequence[int], real: Sequence[Notes]) -> Value:
    ours, theirs = pitch_spread(generated, pieces), pitch_spread(real, range(len(real)))
    if isinstance(ours, Undefined) or isinstance(theirs, Undefined):
        return ours if isinstance(ours, Undefined) else theirs
    return ours / theirs if theirs > 0 else Undefined("the real pieces all have the same pitches")
