"""Transformer decoder over notes: pre-norm, rotary or learned positions, factorised heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import parametrize

from bench.api import FIELDS, Piece, PluginError

from . import _torch
from ._decoder import Network, states, window_starts
from ._learner import SCORED_NOTES, Learner

FRAMEWORK = "pytorch"
FEATURES = "Decoder-only attention, rotary or learned positions, every field of a note conditioned on those before it"
PROMPT = True
LIKELIHOOD = "exact"
SEES_TARGET = False
CONSTRAINT = True


@dataclass
class Model(Learner[Network]):
    """The Transformer baseline.

    It sees at most `window` notes at once. The note i of a piece is predicted from the window that begins at the piece's head
    while i < window; from there on windows advance by half their length, and note i is predicted by the first window that
    holds it, so it always has at least half a window before it. Likelihood and generation follow this same rule.

    Parameters
    ----------
    layers, width, heads : int
        Blocks, channels, attention heads.
    window : int
        Notes seen at once, in training too; even.
    positions : {"rotary", "learned"}
    dropout : float
        In every block.
    batch : int
        Windows a training step; the paper's 128.
    learning_rate, weight_decay : float
        AdamW's; the rate is the peak of a cosine with a warm-up over `warmup` of all steps.
    warmup : float
    clip : float
        Largest norm of the gradient.
    transpose : int
        Augmentation: semitones up or down.
    stretch : float
        Augmentation: tempo by a factor of up to exp(stretch).
    time_classes, duration_classes : int
        Of the note codec.
    temperature, top_p : float
        Of sampling.
    """

    name: ClassVar[str] = "transformer"

    layers: int = 4
    width: int = 128
    heads: int = 4
    window: int = 128
    positions: str = "rotary"
    dropout: float = 0.0
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup: float = 0.05
    clip: float = 1.0
    transpose: int = 5
    stretch: float = 0.1
    time_classes: int = 64
    duration_classes: int = 64
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        self.prepare()
        if self.positions not in ("rotary", "learned"):
            raise PluginError(f"transformer: positions is {self.positions!r}, not 'rotary' or 'learned'.")
        if self.width % (2 * self.heads):
            raise PluginError(f"transformer: width {self.width} is no multiple of twice the {self.heads} heads.")
        if self.window < 2 or self.window % 2:
            raise PluginError(f"transformer: window is {self.window}, must be even and at least 2.")

    def make_network(self) -> Network:
        """A network of these sizes; its weights are drawn now."""
        return Network(self.codec.sizes, self.window, self.layers, self.width, self.heads, self.positions, self.dropout)

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each note's fields, nats, (n, 4) a piece; see the class for what each note is given."""
        network = self.trained()
        codes = [self.codec.encode(p.notes) for p in pieces]
        results = [np.zeros((len(c), len(FIELDS))) for c in codes]
        places = [(i, at) for i, c in enumerate(codes) for at in window_starts(len(c), self.window)]
        rows = max(1, SCORED_NOTES // self.window)
        with _torch.inference(network), parametrize.cached():
            for first in range(0, len(places), rows):
                chunk = places[first : first + rows]
                inputs, targets = self._windows(codes, chunk)
                # In float32: bfloat16 has 8 bits of precision, which is for training.
                scores = network.log_probs(inputs, targets).double().cpu().numpy()
                for (i, at), score in zip(chunk, scores, strict=True):
                    skip = self.window // 2 if at else 0
                    part = results[i][at + skip : at + self.window]
                    part[:] = score[skip : skip + len(part)]
        return results

    def _windows(self, codes: Sequence[NDArray[np.int16]], places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Inputs and targets (B, window, 4) of the windows at `places`, (piece, first note); padded with zeros."""
        rows = np.zeros((len(places), self.window + 1, len(FIELDS)), np.int64)
        for row, (i, at) in zip(rows, places, strict=True):
            row[0] = codes[i][at - 1] if at else self.codec.sizes
            part = codes[i][at : at + self.window]
            row[1 : 1 + len(part)] = part
        both = torch.from_numpy(rows).to(self.device)
        return both[:, :-1], both[:, 1:]

    def states(
        self, network: Network, notes: Tensor, first: int, last: int, rng: torch.Generator
    ) -> Iterator[tuple[int, Tensor]]:
        """See :func:`models._decoder.states`."""
        return states(network, notes, first, last)
