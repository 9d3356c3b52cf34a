"""Music Transformer (Huang et al. 2018): attention by relative distance in a sliding window, factorised heads.

Relative attention is that of Huang et al. 2018, "Music Transformer", arXiv 1809.04281. The score of a note for an earlier one has
a part that depends on their distance alone: the product of its query with a learned vector of that distance. There is no other
position, so a note means the same wherever in a piece it stands, and the past can slide by: a network that attends to `span`
notes continues music of any length.

The attention is in ``_relative.py``. What the model shares with the Transformer baseline, and the order in which to read it: see
``transformer.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.api import FIELDS, Piece, PluginError

from . import _torch
from ._batches import scored_notes
from ._decoder import Decoder, attended
from ._learner import Learner, padded
from ._relative import Memory, RelativeBlock, attend, attend_one

REQUIRES = ("torch",)
FEATURES = "Attention by relative distance (Huang et al. 2018), sliding window, no absolute position; every field conditioned"
PROMPT = True
LIKELIHOOD = "exact"
CONSTRAINT = True
TINY = {"layers": 1, "width": 16, "heads": 2, "window": 16, "span": 8, "distance": 4, "batch": 4}


@dataclass
class Model(Learner["RelativeNetwork"]):
    """The Music Transformer of Huang et al. 2018 (arXiv 1809.04281) over notes; theirs is over events.

    In each layer a note attends to the `span` notes that end with it, so its context reaches back ``layers * (span - 1)`` notes.
    Training, likelihood and generation share this rule; the likelihood is exact. With `window` above `span` the context slides in
    training as it does in a long piece.

    Parameters
    ----------
    layers, width, heads : int
        Blocks, channels, attention heads.
    window : int
        Notes in a training window.
    span : int
        Notes to which a note attends, itself included.
    distance : int
        Distances with a vector of their own; longer ones share the last. At most `span` are used.
    dropout : float
        In every block.
    batch : int
        Windows in a training step; the paper's 128.
    learning_rate, weight_decay : float
        AdamW's.
    warmup : int
        Updates over which the rate rises; then it is constant.
    clip : float
        Largest norm of the gradient.
    transpose : int
        Augmentation: semitones up or down, at most.
    stretch : float
        Augmentation: tempo by a factor of up to exp(stretch), or down to its inverse.
    time_classes, duration_classes : int
        Of the note codec.
    temperature, top_p : float
        Sampling temperature; probability of the nucleus drawn from.
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
    warmup: int = 20
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
        """Make a network of these sizes; its weights are drawn now."""
        distance = min(self.distance, self.span)
        return RelativeNetwork(self.codec.sizes, self.layers, self.width, self.heads, self.span, distance, self.dropout)

    def flops_per_note(self) -> float:
        """See :class:`Learner`; and three products with each note attended to: with its key, its distance and its value."""
        return super().flops_per_note() + 6 * 3 * self.layers * self.width * attended(self.window, self.span)

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each note's fields, nats, (n, 4) for each piece; exact."""
        network = self.trained()
        codes = [self.codec.encode(p.notes) for p in pieces]
        results = [np.zeros((len(c), len(FIELDS))) for c in codes]
        # On a GPU there is room for so many short pieces that what each has in memory counts.
        shortest = 2 * self.span if self.device.type == "cuda" else 1
        most = scored_notes(self.device)
        with _torch.inference(network), parametrize.cached():
            for rows, inputs, targets in padded(codes, self.codec.sizes, self.device, most, shortest):
                # In float32: bfloat16's 8 bits of precision suffice for training only.
                for at, h in network.chunks(inputs, Memory(network, len(inputs))):
                    scores = network.field_log_probs(h, targets[:, at : at + h.shape[1]]).double().cpu().numpy()
                    for i, score in zip(rows, scores, strict=True):
                        part = results[i][at : at + len(score)]
                        part[:] = score[: len(part)]
        return results

    def states(
        self, network: RelativeNetwork, notes: Tensor, first: int, last: int, rng: torch.Generator
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the state that predicts each note. See :class:`Learner`."""
        h, memory = notes.new_empty(0), Memory(network, len(notes))
        for _, states in network.chunks(notes[:, : first + 1], memory):
            h = states[:, -1]
        for i in range(first, last):
            if i > first:
                h = network.step(notes[:, i], memory)
            yield i, h


class RelativeNetwork(Decoder):
    """Decoder with relative attention.

    Parameters
    ----------
    sizes : sequence of int
        Classes of each field.
    layers, width, heads : int
    span : int
        Notes that a note attends to in each layer, itself included.
    distance : int
        See :class:`RelativeBlock`.
    dropout : float
    """

    blocks: Sequence[RelativeBlock]

    def __init__(
        self, sizes: Sequence[int], layers: int, width: int, heads: int, span: int, distance: int, dropout: float = 0.0
    ) -> None:
        self.span = span
        super().__init__(sizes, width, layers, lambda: RelativeBlock(width, heads, dropout, distance))

    def reset_body(self) -> None:
        """Initialise branches with zero, and the vectors of distances near it: content counts first.

        With vectors as long as queries, and a rate of 0.002 instead of 0.003, the chorales took 7.71 bits per note, not 7.51.
        """
        super().reset_body()
        for block in self.blocks:
            nn.init.normal_(block.distances, std=0.02)

    def stream(self, inputs: Tensor, memory: Memory | None = None) -> Tensor:
        """State after each input note, (B, T, C). `inputs` is (B, T, 4): a whole piece, or the continuation of `memory`."""
        return attend(self, self.embedded(inputs), memory)

    def step(self, inputs: Tensor, memory: Memory) -> Tensor:
        """:meth:`stream` for one note a sequence: `inputs` (B, 4), the state (B, C)."""
        return attend_one(self, self.embedded(inputs), memory)

    def chunks(self, inputs: Tensor, memory: Memory) -> Iterator[tuple[int, Tensor]]:
        """:meth:`stream` of pieces of any length, `span` notes at a time: place of the first note, and the states."""
        for at in range(0, inputs.shape[1], self.span):
            yield at, self.stream(inputs[:, at : at + self.span], memory)
