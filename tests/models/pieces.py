"""Music for the tests of models: one kind with something to learn, one with nothing. And a way to interrupt a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api import Budget, Notes, Piece, Run


def scale(seed: int, n: int, lowest: int = 60) -> Piece:
    """A scale up and down with a regular beat."""
    step = np.arange(n) + np.random.default_rng(seed).integers(0, 20)
    onset = np.cumsum(np.where(step % 4 == 0, 0.5, 0.25))
    pitch = lowest + np.abs(step % 24 - 12)
    return Piece(Notes.from_columns(onset, np.full(n, 0.3), pitch, 50 + 10 * (step % 4)), id=f"{seed}-{n}")


def music(seed: int, n: int) -> Piece:
    """A scale in a register of its own."""
    return scale(seed, n, 48 + 12 * (seed % 3))


def noise(seed: int, n: int) -> Piece:
    """Notes of any kind; no two at once, so that a changed pitch can't change their order."""
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.uniform(0.01, 2, n))
    return Piece(
        Notes.from_columns(onset, rng.uniform(0.02, 3, n), rng.integers(0, 128, n), rng.integers(1, 128, n)), id=str(seed)
    )


class KilledError(Exception):
    """Stands for a kill."""


def interrupted(model: Any, train: list[Piece], valid: list[Piece], folder: Path, epochs: int, at: int) -> None:
    """Train a model until epoch `at` is logged; a kill prevents its checkpoint."""

    def kill(event: dict[str, Any]) -> None:
        if event["epoch"] == at:
            raise KilledError

    with suppress(KilledError):
        model.fit(train, valid, Run(0, Budget(epochs), folder, threads=1, emit=kill))
        raise AssertionError(f"it has no epoch {at}")


@contextmanager
def without_xla() -> Iterator[None]:
    """TensorFlow graphs that are not compiled: compiling takes most of a tiny training's time."""
    import tensorflow as tf

    function = tf.function
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "function", lambda *args, jit_compile=None, **options: function(*args, **options))
        yield
