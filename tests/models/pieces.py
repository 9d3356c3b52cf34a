"""Music for the tests of models: one kind with something to learn, one with nothing. And a way to interrupt a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench.api import Budget, Notes, Piece, Run
from bench.music.notes import COLUMNS


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


def assert_draws_are_those_of_the_uncompiled_loop(model: Any, prompt: Notes) -> None:
    """Compare all fields of all notes: XLA of TensorFlow 2.21 read one column of the random numbers for all of them.

    And ask of a network that has learned nothing, of which fields hardly depend on one another, that they don't in its notes.
    """
    constraint = np.random.default_rng(0).normal(size=(20, 128)) * 3
    constraint[:, ::3] = -np.inf
    asked: list[tuple[list[Notes], int, Any]] = [
        ([prompt] * 40, len(constraint), None),
        ([prompt] * 3, len(constraint), constraint),
    ]
    asked.append(([prompt[:0]] * 2, len(constraint), None))
    drawn = []
    try:
        for xla in ("yes", "no: a test"):
            model.xla = xla
            model.define()
            drawn.append([model.generate(prompts, n, 5, limits) for prompts, n, limits in asked])
            many = model.generate([prompt] * 2000, 1, 6)
            fields = np.array([model.codec.encode(note, previous_onset=float(prompt.onset[-1]))[0] for note in many])
            assert np.abs(spearmanr(fields).statistic - np.eye(4)).max() < 0.15, xla
    finally:
        model.xla = "yes"
        model.define()
    for compiled, plain in zip(*drawn, strict=True):
        for one, other in zip(compiled, plain, strict=True):
            for column in COLUMNS:
                np.testing.assert_allclose(getattr(one, column), getattr(other, column), rtol=1e-9, err_msg=column)
