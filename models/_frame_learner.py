"""Base of the PyTorch models of frames: what they train on, likelihood, continuing prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.api import Notes, Piece

from . import _torch
from ._batches import to_device
from ._frames import KEYS, ODDS, Sequences, batched, before, check_splits, continued, padded, to_frames
from ._unit_learner import Batch, UnitLearner

#: Frames scored at once: limits memory, and doesn't affect results.
SCORED = 2**13


class Learner(UnitLearner):
    """A model whose network maps frames (B, T, KEYS) to the log odds of each next one. A plug-in's dataclass derives from it.

    The plug-in declares the hyperparameters of :class:`UnitLearner` and defines :meth:`make_network`. A network sees `window`
    frames at once, at most. While i < window, frame i of a piece is predicted from the window that begins at the piece's head;
    after that, windows advance by half their length, and frame i is predicted by the first window that holds it. Likelihood and
    generation follow the same rule.
    """

    def sequences(self, train: Sequence[Piece], valid: Sequence[Piece], seed: int) -> Sequences:
        """Prepare whole pieces, longer ones in stretches of `window` frames. See :class:`UnitLearner`."""
        check_splits(self.name, train, valid)
        return Sequences(train, self.window, seed)

    def losses(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Negative log probability of each frame, nats, (B, T)."""
        return frame_losses(network(inputs), targets)

    def count_notes(self, batch: Batch) -> int:
        """Count the keys that sound, over all frames."""
        return int(batch[1].sum())

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each frame from the second on, nats, (T - 1,) for each piece. See :class:`bench.api.Model`."""
        network = self.trained()
        frames = [to_frames(piece.notes) for piece in pieces]
        results = [np.zeros(len(part)) for part in frames]
        places = [(i, at) for i, part in enumerate(frames) for at in window_starts(len(part), self.window)]
        given = [before(part) for part in frames]
        stretches = [(given[i][at : at + self.window], frames[i][at : at + self.window]) for i, at in places]
        with _torch.inference(network), parametrize.cached():
            for rows in batched([len(targets) for _, targets in stretches], SCORED):
                inputs, targets = to_device(self.device, *padded([stretches[row] for row in rows])[:2])
                nats = -frame_losses(network(inputs), targets).double().cpu().numpy()
                for row, score in zip(rows, nats, strict=True):
                    i, at = places[row]
                    skip = self.window - max(1, self.window // 2) if at else 0
                    part = results[i][at + skip : at + self.window]
                    part[:] = score[skip : skip + len(part)]
        return [part[1:] for part in results]

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Continue each prompt by `n_notes` notes, all prompts together. See :class:`bench.api.Model`."""
        network = self.trained()
        heard: list[Tensor] = []

        def predict(frame: NDArray[np.float32]) -> NDArray[np.float32]:
            heard.append(*to_device(self.device, frame))
            at = window_start(len(heard) - 1, self.window)
            odds: NDArray[np.float32] = network(torch.stack(heard[at:], 1))[:, -1].cpu().numpy()
            return odds

        with _torch.inference(network), parametrize.cached():
            return continued(predict, prompts, n_notes, seed, self.temperature)


def output(width: int) -> nn.Linear:
    """Make a linear layer from `width` channels to the log odds of each key, few of which sound before training."""
    layer = nn.Linear(width, KEYS)
    nn.init.constant_(layer.bias, ODDS)
    return layer


def frame_losses(odds: Tensor, targets: Tensor) -> Tensor:
    """Negative log probability of each frame, nats, (B, T), from the log odds of its keys (B, T, KEYS)."""
    return F.binary_cross_entropy_with_logits(odds, targets, reduction="none").sum(-1)


def window_start(frame: int, window: int) -> int:
    """First frame of the window that predicts `frame`: see :class:`Learner`."""
    half = max(1, window // 2)
    return 0 if frame < window else (frame - window) // half * half + half


def window_starts(n: int, window: int) -> Iterator[int]:
    """First frame of each window over a piece of `n` frames: its head, then every half window that adds frames."""
    if n:
        yield 0
    half = max(1, window // 2)
    yield from range(half, n - window + half, half)
