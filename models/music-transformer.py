"""Music Transformer: attention by relative distance in a sliding window, factorised heads."""

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
from ._learner import Learner, padded
from ._relative import Memory, RelativeNetwork, states

FRAMEWORK = "pytorch"
FEATURES = "Attention by relative distance (Huang et al. 2018), sliding window, no absolute position; every field conditioned"
PROMPT = True
LIKELIHOOD = "exact"
CONSTRAINT = True
SEES_TARGET = False


@dataclass
class Model(Learner[RelativeNetwork]):
    """The Music Transformer of Huang et al. 2018 (arXiv 1809.04281) over notes, where theirs is over events.

    In each layer a note attends to the `span` notes that end with it, so what it is given reaches back ``layers * (span - 1)``
    notes. This is one rule for training, likelihood and generation; the likelihood is exact. With `window` above `span` training
    sees the past slide by, as a long piece does.

    Parameters
    ----------
    layers, width, heads : int
        Blocks, channels, attention heads.
    window : int
        Notes of a training window.
    span : int
        Notes that a note attends to, itself included.
    distance : int
        Distances with a vector of their own; those beyond share the last one's. At most `span` are used.
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

    name: ClassVar[str] = "music-transformer"

    layers: int = 4
    width: int = 128
    heads: int = 4
    window: int = 128
    span: int = 64
    distance: int = 64
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
        if self.width % self.heads:
            raise PluginError(f"music-transformer: width {self.width} is no multiple of the {self.heads} heads.")

    def make_network(self) -> RelativeNetwork:
        """A network of these sizes; its weights are drawn now."""
        distance = min(self.distance, self.span)
        return RelativeNetwork(self.codec.sizes, self.layers, self.width, self.heads, self.span, distance, self.dropout)

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each note's fields, nats, (n, 4) a piece; exact."""
        network = self.trained()
        codes = [self.codec.encode(p.notes) for p in pieces]
        results = [np.zeros((len(c), len(FIELDS))) for c in codes]
        with _torch.inference(network), parametrize.cached():
            for rows, inputs, targets in padded(codes, self.codec.sizes, self.device):
                # In float32: bfloat16 has 8 bits of precision, which is for training.
                for at, h in network.chunks(inputs, Memory(network, len(inputs))):
                    scores = network.field_log_probs(h, targets[:, at : at + h.shape[1]]).double().cpu().numpy()
                    for i, score in zip(rows, scores, strict=True):
                        part = results[i][at : at + len(score)]
                        part[:] = score[: len(part)]
        return results

    def states(
        self, network: RelativeNetwork, notes: Tensor, first: int, last: int, rng: torch.Generator
    ) -> Iterator[tuple[int, Tensor]]:
        """See :func:`models._relative.states`."""
        return states(network, notes, first, last)
