"""Music for the tests of models: one kind with something to learn, one with nothing."""

from __future__ import annotations

import numpy as np

from bench.api import Notes, Piece


def music(seed: int, n: int) -> Piece:
    """A scale up and down with a regular beat, in a register of its own."""
    step = np.arange(n) + np.random.default_rng(seed).integers(0, 20)
    onset = np.cumsum(np.where(step % 4 == 0, 0.5, 0.25))
    pitch = 48 + 12 * (seed % 3) + np.abs(step % 24 - 12)
    return Piece(Notes.from_columns(onset, np.full(n, 0.3), pitch, 50 + 10 * (step % 4)), id=f"{seed}-{n}")


def noise(seed: int, n: int) -> Piece:
    """Notes of any kind; no two at once, so that a changed pitch can't change their order."""
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.uniform(0.01, 2, n))
    return Piece(
        Notes.from_columns(onset, rng.uniform(0.02, 3, n), rng.integers(0, 128, n), rng.integers(1, 128, n)), id=str(seed)
    )
