"""Distance of generated notes to real ones on validation music, for models without a likelihood. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS

#: Length of the stretches whose mean pitch the validation distance compares, notes: the register should move.
STRETCH = 32


def marginals(codes: Sequence[NDArray[np.integer]]) -> list[NDArray[np.int64]]:
    """Compute samples of the marginals that the validation distance compares, from the classes (n, 4) of each piece.

    The four fields; the steps between neighbouring pitches, semitones; the mean pitch of each stretch of 32 notes, rounded.
    """
    fields = [np.concatenate([c[:, field] for c in codes]).astype(np.int64) for field in range(len(FIELDS))]
    steps = np.concatenate([np.abs(np.diff(c[:, 0].astype(np.int64))) for c in codes])
    means = [c[: len(c) // STRETCH * STRETCH, 0].reshape(-1, STRETCH).mean(1) for c in codes]
    return [*fields, steps, np.rint(np.concatenate(means)).astype(np.int64)]


def wasserstein(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Wasserstein-1 distance between two samples of nonnegative integers: the area between their distribution functions."""
    top = int(max(a.max(), b.max())) + 1
    first, second = (np.bincount(x, minlength=top).cumsum() / len(x) for x in (a, b))
    return float(np.abs(first - second).sum())


def validation_distance(codes: NDArray[np.int64], real: Sequence[NDArray[np.int64]]) -> float:
    """Mean Wasserstein-1 distance of generated classes (B, N, 4) to real music, over all of :func:`marginals`.

    Each is in units of the real standard deviation (at least 1 class), so that all have the same weight.
    """
    pairs = [(sample, target) for sample, target in zip(marginals(list(codes)), real, strict=True) if len(target)]
    return float(np.mean([wasserstein(sample, target) / max(1.0, float(target.std())) for sample, target in pairs]))
