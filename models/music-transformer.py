"""Music Transformer: attention by relative distance in a sliding window, factorised heads.

Relative attention is that of Huang et al. 2018, "Music Transformer", arXiv 1809.04281. The score of a note for an earlier one has
a part that depends on their distance alone: the product of its query with a learned vector of that distance. There is no other
position, so a note means the same wherever in a piece it stands, and the past can slide by: a network that attends to `span`
notes continues music of any length.

What the model shares with the Transformer baseline, and the order in which to read it: see ``transformer.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.api import FIELDS, Piece, PluginError

from . import _torch
from ._batches import scored_notes
from ._decoder import Block, Decoder, attended
from ._learner import Learner, padded

FRAMEWORK = "pytorch"
FEATURES = "Attention by relative distance (Huang et al. 2018), sliding window, no absolute position; every field conditioned"
PROMPT = True
LIKELIHOOD = "exact"
CONSTRAINT = True
SEES_TARGET = False

#: Queries in a block of attention on a GPU: it computes scores for the keys within their reach, not for all of a window.
BLOCK = 128


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
        x, T = self.embedded(inputs), inputs.shape[1]
        first, at = (0, 0) if memory is None else memory.room(T)
        # On a CPU blocks gain less than a tenth of a step's time, and round differently.
        bands = banded(T, at + T - first, self.span, x.device, BLOCK if x.is_cuda else T)
        for i, block in enumerate(self.blocks):
            x = block(x, bands, None if memory is None else (memory.keys[i], memory.values[i], first, at))
        y: Tensor = self.norm(x)
        return y

    def step(self, inputs: Tensor, memory: Memory) -> Tensor:
        """:meth:`stream` for one note a sequence: `inputs` (B, 4), the state (B, C)."""
        x = self.embedded(inputs)
        first, at = memory.room(1)
        for block, keys, values in zip(self.blocks, memory.keys, memory.values, strict=True):
            x = block.step(x, keys, values, first, at)
        return F.layer_norm(x, (self.width,), self.norm.weight)

    def chunks(self, inputs: Tensor, memory: Memory) -> Iterator[tuple[int, Tensor]]:
        """:meth:`stream` of pieces of any length, `span` notes at a time: place of the first note, and the states."""
        for at in range(0, inputs.shape[1], self.span):
            yield at, self.stream(inputs[:, at : at + self.span], memory)


class Memory:
    """Keys and values of every layer for the last notes of `batch` sequences, (layers, B, 2 span, C), allocated once.

    It is filled from the front; when it is full, the notes still within reach move to the front.
    """

    def __init__(self, network: RelativeNetwork, batch: int) -> None:
        self.span, self.end = network.span, 0
        shape = (len(network.blocks), batch, 2 * network.span, network.width)
        like = network.norm.weight
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)

    def room(self, notes: int) -> tuple[int, int]:
        """Make room for `notes` more, at most `span`; return the first position attended to by the first of them, and its own."""
        first = max(0, self.end - self.span + 1)
        if self.end + notes > 2 * self.span:
            for past in (self.keys, self.values):
                past[:, :, : self.end - first] = past[:, :, first : self.end].clone()  # they may overlap
            first, self.end = 0, self.end - first
        at, self.end = self.end, self.end + notes
        return first, at


class RelativeBlock(Block):
    """Attention by content and by distance.

    Parameters
    ----------
    width, heads : int
    dropout : float
    distance : int
        Distances, from 0, with a vector of their own; longer ones share the last, as in the paper (and in Shaw et al. 2018,
        arXiv 1803.02155).
    """

    def __init__(self, width: int, heads: int, dropout: float, distance: int) -> None:
        super().__init__(width, heads, dropout)
        # The largest distance first, as skewing requires.
        self.distances = nn.Parameter(torch.empty(heads, distance, width // heads))

    def vectors(self, furthest: int) -> Tensor:
        """Vectors of the distances from `furthest` down to 0, (H, furthest + 1, C / H)."""
        H, own, size = self.distances.shape
        near = self.distances[:, -(furthest + 1) :]
        return torch.cat([self.distances[:, :1].expand(H, furthest + 1 - own, size), near], 1) if furthest >= own else near

    def bias(self, q: Tensor, allowed: Tensor) -> Tensor:
        """Scores by distance, (B, H, T, L), to add to those of queries `q` (B, H, T, C / H); `allowed` as from :func:`band`."""
        by_distance = torch.matmul(q * q.shape[3] ** -0.5, self.vectors(allowed.shape[1] - 1).transpose(1, 2))
        return (skew(by_distance) + allowed).type_as(q)

    def forward(self, x: Tensor, bands: Sequence[Band], memory: tuple[Tensor, Tensor, int, int] | None = None) -> Tensor:
        """Compute the stream (B, T, C) after this block; `bands` as from :func:`banded`.

        `memory` is keys and values (B, S, C), the first position attended to, and the position of the first note of `x`, whose
        keys and values are added.
        """
        qk, v = self.project(x)
        q, k = torch.chunk(qk.transpose(1, 2), 2, dim=1)  # each (B, H, T, C / H)
        v = v.transpose(1, 2)
        if memory is not None:
            keys, values, first, at = memory
            last = at + x.shape[1]
            keys[:, at:last], values[:, at:last] = k.transpose(1, 2).flatten(2), v.transpose(1, 2).flatten(2)
            k, v = (torch.unflatten(past[:, first:last], 2, (self.heads, -1)).transpose(1, 2) for past in (keys, values))
        dropout = self.dropout if self.training else 0.0
        parts = []
        for queries, reach, allowed in bands:
            some = q[:, :, queries]
            bias = self.bias(some, allowed)
            parts.append(F.scaled_dot_product_attention(some, k[:, :, reach], v[:, :, reach], bias, dropout))
        return self.feed(x, parts[0] if len(parts) == 1 else torch.cat(parts, dim=2))

    def step(self, x: Tensor, keys: Tensor, values: Tensor, first: int, at: int) -> Tensor:
        """:meth:`forward` for one note a sequence, `x` (B, C)."""
        qk, v = self.project_one(x)
        keys[:, at], values[:, at] = qk[:, self.heads :].flatten(1), v
        q = qk[:, : self.heads]
        bias = torch.einsum("bhd,hsd->bhs", q, self.vectors(at - first)) * q.shape[2] ** -0.5
        return self.feed_one(x, q, keys[:, first : at + 1], values[:, first : at + 1], bias)


def skew(by_distance: Tensor) -> Tensor:
    """Move scores by distance to their keys: the paper's memory-efficient skewing, generalised to more keys than queries.

    Parameters
    ----------
    by_distance : Tensor, shape (..., T, L)
        For each of the last T of L notes its scores by distance, the largest (L - 1) first, 0 last.

    Returns
    -------
    Tensor, shape (..., T, L)
        Row i, column j: the score for the distance between query i, which is note L - T + i, and key j. It is meaningless where
        the key comes after the query, and must be masked.
    """
    T = by_distance.shape[-2]
    # With one more column, dropping the first T elements of the flat array turns rows of length L + 1 into rows of length L, each
    # shifted by one more than the row before.
    return F.pad(by_distance, (1, 0)).flatten(-2)[..., T:].reshape(by_distance.shape)


class Band(NamedTuple):
    """Some of the queries, the keys within their reach, and what to add to their scores, as from :func:`band`."""

    queries: slice
    keys: slice
    allowed: Tensor


def banded(queries: int, keys: int, span: int, device: torch.device, block: int) -> list[Band]:
    """Divide the attention of the last `queries` of `keys` notes into blocks of `block` queries.

    A block's keys begin `span` notes before it: one more than it attends to, so that in training their number suits the GPU's
    kernels. In scoring the first block's may be one less, as :class:`Memory` has no note that no query attends to.
    """
    bands = []
    for at in range(0, queries, block):
        end = min(at + block, queries)
        first, last = max(0, keys - queries + at - span), keys - queries + end
        bands.append(Band(slice(at, end), slice(first, last), band(end - at, last - first, span, device)))
    return bands


def band(queries: int, keys: int, span: int, device: torch.device) -> Tensor:
    """Mask to add to scores so that each of the last `queries` of `keys` notes attends to `span` notes, itself the last.

    0 where a query may attend, minus infinity elsewhere. Shape (queries, keys).
    """
    at = torch.arange(keys, device=device)
    apart = at[keys - queries :, None] - at
    return torch.zeros(queries, keys, device=device).masked_fill((apart < 0) | (apart >= span), -torch.inf)
