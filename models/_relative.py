"""Relative attention over notes (Huang et al. 2018, "Music Transformer", arXiv 1809.04281) in a sliding window.

A note's attention to an earlier one has a part that depends on the distance between them alone: the product of its query with a
learned vector of that distance. There is no other position, so a note means the same wherever it stands in a piece, and the past
can slide by: a network that attends to `span` notes continues music of any length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn

from ._decoder import Block, Decoder


def skew(by_distance: Tensor) -> Tensor:
    """Put scores by distance where their keys stand: the paper's memory-efficient skewing, for more keys than queries too.

    Parameters
    ----------
    by_distance : Tensor, shape (..., T, L)
        For each of the last T of L notes its scores by distance, the largest (L - 1) first, 0 last.

    Returns
    -------
    Tensor, shape (..., T, L)
        Row i, column j: the score at the distance between query i, which is note L - T + i, and key j. Where the key comes after
        the query it is meaningless, and must be masked.
    """
    T = by_distance.shape[-2]
    # With one column more, each row of the flat array begins one place later than the one before: T of them turn rows of length
    # L + 1 into rows of length L, shifted as wanted.
    return F.pad(by_distance, (1, 0)).flatten(-2)[..., T:].reshape(by_distance.shape)


def band(queries: int, keys: int, span: int, device: torch.device) -> Tensor:
    """What is added to scores so that the last `queries` of `keys` notes attend to `span` notes, themselves and those before.

    0 where a query may look, minus infinity elsewhere. Shape (queries, keys).
    """
    at = torch.arange(keys, device=device)
    apart = at[keys - queries :, None] - at
    return torch.zeros(queries, keys, device=device).masked_fill((apart < 0) | (apart >= span), -torch.inf)


class RelativeBlock(Block):
    """Attention by content and by distance.

    Parameters
    ----------
    width, heads : int
    dropout : float
    distance : int
        Distances with a vector of their own, from 0; those beyond share the last one's, as in the paper (and in Shaw et al.
        2018, arXiv 1803.02155).
    """

    def __init__(self, width: int, heads: int, dropout: float, distance: int) -> None:
        super().__init__(width, heads, dropout)
        # The largest distance first, as skewing wants them.
        self.distances = nn.Parameter(torch.empty(heads, distance, width // heads))

    def vectors(self, furthest: int) -> Tensor:
        """The vectors of the distances from `furthest` down to 0, (H, furthest + 1, C / H)."""
        H, own, size = self.distances.shape
        near = self.distances[:, -(furthest + 1) :]
        return torch.cat([self.distances[:, :1].expand(H, furthest + 1 - own, size), near], 1) if furthest >= own else near

    def bias(self, q: Tensor, allowed: Tensor) -> Tensor:
        """What is added to the scores of queries `q` (B, H, T, C / H), (B, H, T, L); `allowed` as :func:`band` makes it."""
        by_distance = torch.matmul(q * q.shape[3] ** -0.5, self.vectors(allowed.shape[1] - 1).transpose(1, 2))
        return (skew(by_distance) + allowed).type_as(q)

    def forward(self, x: Tensor, allowed: Tensor, memory: tuple[Tensor, Tensor, int, int] | None = None) -> Tensor:
        """The stream `x` (B, T, C) after this block; `allowed` as :func:`band` makes it.

        `memory` is keys and values (B, S, C), the first place that is attended to, and the place of the first of `x`, whose own
        are added.
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
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(q, allowed), dropout_p=dropout)
        return self.feed(x, y)

    def step(self, x: Tensor, keys: Tensor, values: Tensor, first: int, at: int) -> Tensor:
        """:meth:`forward` for one note a sequence, `x` (B, C)."""
        qk, v = self.project_one(x)
        keys[:, at], values[:, at] = qk[:, self.heads :].flatten(1), v
        q = qk[:, : self.heads]
        bias = torch.einsum("bhd,hsd->bhs", q, self.vectors(at - first)) * q.shape[2] ** -0.5
        return self.feed_one(x, q, keys[:, first : at + 1], values[:, first : at + 1], bias)


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
        """Branches begin at zero, and the vectors of distances near it: content speaks first.

        With vectors as long as queries, and a rate of 0.002 instead of 0.003, the chorales took 7.71 bits per note, not 7.51.
        """
        super().reset_body()
        for block in self.blocks:
            nn.init.normal_(block.distances, std=0.02)

    def stream(self, inputs: Tensor, memory: Memory | None = None) -> Tensor:
        """State after each input note, (B, T, C). `inputs` is (B, T, 4): of a whole piece, or what follows on `memory`."""
        x, T = self.embedded(inputs), inputs.shape[1]
        first, at = (0, 0) if memory is None else memory.room(T)
        allowed = band(T, at + T - first, self.span, x.device)
        for i, block in enumerate(self.blocks):
            x = block(x, allowed, None if memory is None else (memory.keys[i], memory.values[i], first, at))
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

    It is filled from the front; when it is full, the notes that can still be attended to move there.
    """

    def __init__(self, network: RelativeNetwork, batch: int) -> None:
        self.span, self.end = network.span, 0
        shape = (len(network.blocks), batch, 2 * network.span, network.width)
        like = network.norm.weight
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)

    def room(self, notes: int) -> tuple[int, int]:
        """Make room for `notes` more, at most `span`; the first place that the first of them attends to, and its own."""
        first = max(0, self.end - self.span + 1)
        if self.end + notes > 2 * self.span:
            for past in (self.keys, self.values):
                past[:, :, : self.end - first] = past[:, :, first : self.end].clone()  # they may overlap
            first, self.end = 0, self.end - first
        at, self.end = self.end, self.end + notes
        return first, at


def states(network: RelativeNetwork, notes: Tensor, first: int, last: int) -> Iterator[tuple[int, Tensor]]:
    """State (B, C) that predicts note i, for i from `first` to `last` - 1.

    ``notes[:, i]`` is the input that predicts note i; it is read as late as it is needed, so the caller writes each note before
    asking for the next state.
    """
    h, memory = notes.new_empty(0), Memory(network, len(notes))
    for _, heard in network.chunks(notes[:, : first + 1], memory):
        h = heard[:, -1]
    for i in range(first, last):
        if i > first:
            h = network.step(notes[:, i], memory)
        yield i, h
