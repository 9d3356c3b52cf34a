"""Counts of keys in frames: floors of the task of Boulanger-Lewandowski, Bengio & Vincent (2012)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import Notes, Piece, PluginError, Run

from ._frames import KEYS, Frames, before, check_splits, continued, mean_nats, to_frames, validation

FEATURES = "each key by how often it sounds in training: at all (order 0), or after frames with, and without, it (order 1)"
PROMPT = True
LIKELIHOOD = "exact"
UNIT = "frame"
GIVES_VELOCITY = False
CONSTRAINT = False

#: Pseudo-counts to choose from on the validation pieces.
PSEUDO_COUNTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Model(bench.api.Model):
    """Probability of each key from counts, smoothed towards the share of keys that sound.

    Parameters
    ----------
    order : {0, 1}
        Frames before that a key depends on: none, or one.

    Raises
    ------
    PluginError
        If `order` is neither.
    """

    def __init__(self, order: int = 1) -> None:
        if order not in (0, 1):
            raise PluginError(f"frame-counts: order is {order}, must be 0 or 1.")
        self.order = order
        #: Log odds of each key after a frame without it, and with it: (2, KEYS). All 0 before any count.
        self.odds = np.zeros((2, KEYS))
        self.pseudo_count: float | None = None

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Count in one pass, whatever the budget; zero epochs leave all probabilities at one half."""
        run.begin()
        if run.budget.untrained:
            return
        check_splits("frame-counts", train, valid)
        frames = [to_frames(piece.notes) for piece in train]
        counts = _counts(frames)
        share = (counts[:, 1].sum() + 1) / (counts.sum() + 2)  # of all keys those that sound
        if self.order == 0:
            counts = np.broadcast_to(counts.sum(0), counts.shape)
        scores: dict[float, dict[str, float]] = {}
        for pseudo_count in PSEUDO_COUNTS:
            self.odds = _log_odds(counts, pseudo_count * share, pseudo_count * (1 - share))
            scores[pseudo_count] = validation(self.log_likelihood(valid))
        self.pseudo_count = min(PSEUDO_COUNTS, key=lambda count: scores[count]["validation_loss"])
        self.odds = _log_odds(counts, self.pseudo_count * share, self.pseudo_count * (1 - share))
        loss, notes = mean_nats(self.log_likelihood(train)), int(sum(part.sum() for part in frames))
        run.log(1, loss=loss, notes=notes, share=1.0, **scores[self.pseudo_count])

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Continue each prompt by `n_notes` notes. See :class:`bench.api.Model`."""
        return continued(lambda frame: self._after(frame > 0).astype(np.float32), prompts, n_notes, seed)

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each frame from the second on, nats, (T - 1,) for each piece. See :class:`bench.api.Model`."""
        results = []
        for piece in pieces:
            frames = to_frames(piece.notes)
            odds = self._after(before(frames))
            # log p of a key that sounds, log (1 - p) of one that doesn't.
            results.append(-np.logaddexp(0, np.where(frames, -odds, odds)).sum(1)[1:])
        return results

    def facts(self) -> Mapping[str, Any]:
        """Parameter count, and the pseudo-count chosen on the validation pieces."""
        return {"parameters": KEYS * (1 if self.order == 0 else 2), "chosen_on_validation": self.pseudo_count}

    def _after(self, frames: Frames) -> NDArray[np.float64]:
        """Log odds of each key in the frame after each of `frames` (..., KEYS)."""
        odds: NDArray[np.float64] = np.where(frames, self.odds[1], self.odds[0])
        return odds


def _counts(pieces: Sequence[Frames]) -> NDArray[np.float64]:
    """Count frames by key, whether the key sounded in the frame before, and whether it sounds: shape (2, 2, KEYS)."""
    given = np.concatenate([before(part)[1:] for part in pieces])
    now = np.concatenate([part[1:] for part in pieces])
    counts = [[((given == a) & (now == b)).sum(0) for b in (False, True)] for a in (False, True)]
    return np.array(counts, np.float64)


def _log_odds(counts: NDArray[np.float64], on: float, off: float) -> NDArray[np.float64]:
    """Log odds (2, KEYS) from counts and pseudo-counts of a key that sounds, and of one that doesn't."""
    odds: NDArray[np.float64] = np.log(counts[:, 1] + on) - np.log(counts[:, 0] + off)
    return odds
