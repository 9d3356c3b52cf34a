"""Music in frames for the tests of models of frames, and what a network must give in a state that is known by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api import Budget, Notes, Piece, Run


def piece(*frames: list[int], start: float = 0.0, name: str = "") -> Piece:
    """A piece whose frames hold these MIDI pitches."""
    columns = [(start + 0.5 * t, 0.5, pitch, 64) for t, chord in enumerate(frames) for pitch in chord]
    return Piece(Notes.from_columns(*np.array(columns).reshape(-1, 4).T), name or str(frames))


def walk(seed: int, frames: int = 24) -> Piece:
    """Three voices, each a step up or down."""
    rng = np.random.default_rng(seed)
    moves = rng.choice([-2, -1, 0, 1, 2], (frames, 3)).cumsum(0)
    return piece(*(sorted({48 + int(a) % 12, 60 + int(b) % 12, 72 + int(c) % 12}) for a, b, c in moves), name=f"walk {seed}")


TRAIN, VALID = [walk(i) for i in range(8)], [walk(100), walk(101)]


def fitted(model: Any, folder: Path, epochs: int, seed: int = 0, **limits: Any) -> Run:
    run = Run(seed, Budget(epochs, **limits), folder, threads=1)
    model.fit(TRAIN, VALID, run)
    return run


def check_two_frames(model: Any) -> None:
    """The likelihood of a network that gives each key log odds of -3, whatever it hears."""
    on, off = -math.log1p(math.exp(3)), -math.log1p(math.exp(-3))
    two, three, one = model.log_likelihood([piece([60, 64], [60, 64, 67]), piece([60], [], [21, 108]), piece([60])])
    np.testing.assert_allclose(two, [3 * on + 85 * off], rtol=1e-6)
    np.testing.assert_allclose(three, [88 * off, 2 * on + 86 * off], rtol=1e-6)
    assert one.shape == (0,), "nothing is predicted of a single frame"


def check_learning(model: Any, folder: Path, epochs: int = 12) -> None:
    """A network that is trained goes below the frequencies of single keys, and the log says so."""
    run = fitted(model, folder, epochs)
    share = np.concatenate([frames(p) for p in TRAIN]).mean(0).clip(1e-3)
    wanted = np.concatenate([frames(p)[1:] for p in VALID])
    floor = -np.where(wanted, np.log(share), np.log1p(-share)).sum(1).mean()
    best = min(entry["validation_loss"] for entry in run.history)
    assert best < floor
    nats = np.concatenate(model.log_likelihood(VALID))
    assert len(nats) == sum(len(frames(p)) - 1 for p in VALID)
    assert -nats.mean() == pytest.approx(best, rel=1e-6), "the best evaluation's weights are in place"


def frames(music: Piece) -> np.ndarray:
    """Frames by another way than the models': the file's own, where a note is a frame."""
    grid = np.zeros((int(music.notes.onset[-1] / 0.5) + 1, 88), bool)
    grid[(music.notes.onset / 0.5).astype(int), music.notes.pitch.astype(int) - 21] = True
    return grid
