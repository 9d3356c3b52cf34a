"""Attention by relative distance in a sliding window, as in Huang et al. 2018, "Music Transformer", arXiv 1809.04281."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn

from ._decoder import Block

#: Queries in a block of attention on a GPU: it computes scores for the keys within their reach, not for all of a window.
BLOCK = 128


class Spanned(Protocol):
    """A network of relative attention: what :class:`Memory` needs to know of it."""

    span: int
    width: int
    blocks: Sequence[RelativeBlock]
    norm: nn.LayerNorm


def attend(network: Spanned, x: Tensor, memory: Memory | None = None) -> Tensor:
    """Pass a stream (B, T, C) through all blocks and the last norm: whole pieces, or the continuation of `memory`."""
    T = x.shape[1]
    first, at = (0, 0) if memory is None else memory.room(T)
    # On a CPU blocks gain less than a tenth of a step's time, and round differently.
    bands = banded(T, at + T - first, network.span, x.device, BLOCK if x.is_cuda else T)
    for i, block in enumerate(network.blocks):
        x = block(x, bands, None if memory is None else (memory.keys[i], memory.values[i], first, at))
    y: Tensor = network.norm(x)
    return y


def attend_one(network: Spanned, x: Tensor, memory: Memory) -> Tensor:
    """:func:`attend` for one step of each sequence: `x` and the result are (B, C)."""
    first, at = memory.room(1)
    for block, keys, values in zip(network.blocks, memory.keys, memory.values, strict=True):
        x = block.step(x, keys, values, first, at)
    return F.layer_norm(x, (network.width,), network.norm.weight)


class Memory:
    """Keys and values of every layer for the last notes of `batch` sequences, (layers, B, H, 2 span, C / H), allocated once.

    It is filled from the front; when it is full, the notes still within reach move to the front.
    """

    def __init__(self, network: Spanned, batch: int) -> None:
        self.span, self.end = network.span, 0
        heads = network.blocks[0].heads
        shape = (len(network.blocks), batch, heads, 2 * network.span, network.width // heads)
        like = network.norm.weight
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)

    def room(self, notes: int) -> tuple[int, int]:
        """Make room for `notes` more, at most `span`; return the first position attended to by the first of them, and its own."""
        first = max(0, self.end - self.span + 1)
        if self.end + notes > 2 * self.span:
            for past in (self.keys, self.values):
                past[:, :, :, : self.end - first] = past[:, :, :, first : self.end].clone()  # they may overlap
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

        `memory` is keys and values (B, H, S, C / H), the first position attended to, and the position of the first note of
        `x`, whose keys and values are added.
        """
        qk, v = self.project(x)
        q, k = torch.chunk(qk.transpose(1, 2), 2, dim=1)  # each (B, H, T, C / H)
        v = v.transpose(1, 2)
        if memory is not None:
            keys, values, first, at = memory
            last = at + x.shape[1]
            keys[:, :, at:last], values[:, :, at:last] = k, v
            k, v = keys[:, :, first:last], values[:, :, first:last]
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
        keys[:, :, at], values[:, :, at] = qk[:, self.heads :], v
        q = qk[:, : self.heads]
        bias = torch.einsum("bhd,hsd->bhs", q, self.vectors(at - first)) * q.shape[2] ** -0.5
        return self.feed_one(x, q, keys[:, :, first : at + 1], values[:, :, first : at + 1], bias)


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
