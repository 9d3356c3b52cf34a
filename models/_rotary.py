"""Decoder with rotary or learned positions that sees a window of notes, and its likelihood and generation by windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from ._learner import Learner


class WindowedLearner(Learner["Network"]):
    """A Transformer that sees at most `window` notes at once. A plug-in's dataclass derives from it.

    While i < window, note i of a piece is predicted from the window that begins at the piece's head; after that, windows advance
    by half their length, and note i is predicted by the first window that holds it, so it always has at least half a window of
    context. Likelihood and generation follow the same rule.
    """

    layers: int
    width: int
    heads: int
    positions: str

    def prepare(self) -> None:
        """See :class:`Learner`."""
        super().prepare()
        if self.positions not in ("rotary", "learned"):
            raise PluginError(f"{self.name}: positions is {self.positions!r}, not 'rotary' or 'learned'.")
        if self.width % (2 * self.heads):
            raise PluginError(f"{self.name}: width {self.width} is no multiple of twice the {self.heads} heads.")
        if self.window < 2 or self.window % 2:
            raise PluginError(f"{self.name}: window is {self.window}, must be even and at least 2.")

    def make_network(self) -> Network:
        """Make a network of these sizes; its weights are drawn now."""
        return Network(self.codec.sizes, self.window, self.layers, self.width, self.heads, self.positions, self.dropout)

    def flops_per_note(self) -> float:
        """See :class:`Learner`; and two products with each note attended to: with its key, and with its value."""
        return super().flops_per_note() + 6 * 2 * self.layers * self.width * attended(self.window, self.window)

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each note's fields, nats, (n, 4) for each piece; see the class for each note's context."""
        network = self.trained()
        codes = [self.codec.encode(p.notes) for p in pieces]
        results = [np.zeros((len(c), len(FIELDS))) for c in codes]
        places = [(i, at) for i, c in enumerate(codes) for at in window_starts(len(c), self.window)]
        rows = max(1, scored_notes(self.device) // self.window)
        with _torch.inference(network), parametrize.cached():
            for first in range(0, len(places), rows):
                chunk = places[first : first + rows]
                inputs, targets = self._windows(codes, chunk)
                # In float32: bfloat16's 8 bits of precision suffice for training only.
                scores = network.log_probs(inputs, targets).double().cpu().numpy()
                for (i, at), score in zip(chunk, scores, strict=True):
                    skip = self.window // 2 if at else 0
                    part = results[i][at + skip : at + self.window]
                    part[:] = score[skip : skip + len(part)]
        return results

    def _windows(self, codes: Sequence[NDArray[np.int16]], places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Cut inputs and targets, (B, window, 4) each, at `places`, (piece, first note); padded with zeros."""
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
        """Yield the state that predicts each note, by the same windows as the likelihood. See :class:`Learner`."""
        W = self.window
        cache = Cache(network, len(notes))
        start = -1
        for i in range(first, last):
            # The window that predicts note i: see window_starts.
            at = 0 if i < W else (i - W) // (W // 2) * (W // 2) + W // 2
            if at != start:  # a new window: one pass over the part of it that exists
                start = at
                h = network.stream(notes[:, at : i + 1], cache)[:, -1]
            else:
                h = network.step(notes[:, i], cache, i - at)
            yield i, h


def window_starts(n: int, window: int) -> Iterator[int]:
    """First note of each window over a piece of `n` notes: its head, then every half window that adds notes."""
    if n:
        yield 0
    yield from range(window // 2, n - window // 2, window // 2)


class Network(Decoder):
    """The Transformer baseline's decoder: sees all notes of a window at once.

    Parameters
    ----------
    sizes : sequence of int
        Classes of each field.
    window : int
        Notes seen at once, at most.
    layers, width, heads : int
    positions : {"rotary", "learned"}
    dropout : float
    """

    turns: Tensor
    blocks: Sequence[RotaryBlock]

    def __init__(
        self,
        sizes: Sequence[int],
        window: int,
        layers: int,
        width: int,
        heads: int,
        positions: str = "rotary",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(sizes, width, layers, lambda: RotaryBlock(width, heads, dropout))
        self.window = window
        self.place = nn.Parameter(torch.empty(window, width)) if positions == "learned" else None
        if self.place is not None:
            nn.init.normal_(self.place, std=0.02)
        self.register_buffer("turns", rotation_table(window, width // heads), persistent=False)

    def placed(self, inputs: Tensor, places: slice) -> Tensor:
        """Input of the first block, (..., C): `inputs` (..., 4) embedded, with learned positions those of `places` added."""
        x = self.embedded(inputs)
        return x if self.place is None else x + self.place[places]

    def rotation(self, places: slice) -> Tensor | None:
        """Rotary angles of `places`; None with learned positions."""
        return self.turns[places] if self.place is None else None

    def stream(self, inputs: Tensor, cache: Cache | None = None) -> Tensor:
        """State after each input note, (B, T, C). `inputs` is (B, T, 4); a `cache` takes the keys and values."""
        T = inputs.shape[1]
        x, rotation = self.placed(inputs, slice(T)), self.rotation(slice(T))
        for i, block in enumerate(self.blocks):
            x, k, v = block(x, rotation)
            if cache is not None:
                cache.keys[i, :, :, :T], cache.values[i, :, :, :T] = k, v
        y: Tensor = self.norm(x)
        return y

    def step(self, inputs: Tensor, cache: Cache, t: int) -> Tensor:
        """State (B, C) after the note `inputs` (B, 4) at position `t` of a window whose earlier notes are in `cache`."""
        x, rotation = self.placed(inputs, slice(t, t + 1)), self.rotation(slice(t, t + 1))
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = block.step(x, keys, values, t, rotation)
        return F.layer_norm(x, (self.width,), self.norm.weight)


class Cache:
    """Keys and values of every layer for `batch` sequences of up to `window` notes, (layers, B, H, T, C / H), allocated once."""

    def __init__(self, network: Network, batch: int) -> None:
        heads = network.blocks[0].heads
        shape = (len(network.blocks), batch, heads, network.window, network.width // heads)
        like = network.norm.weight
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)


class RotaryBlock(Block):
    """Attention to all earlier notes, with queries and keys rotated by position if a rotation is given."""

    def forward(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the stream (B, T, C) after this block, and its keys and values for a cache, (B, H, T, C / H) each."""
        qk, v = self.project(x)
        if rotation is not None:
            qk = rotate(qk, rotation)
        q, k = torch.chunk(qk.transpose(1, 2), 2, dim=1)  # each (B, H, T, C / H)
        v = v.transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout if self.training else 0.0)
        return self.feed(x, y), k, v

    def step(self, x: Tensor, keys: Tensor, values: Tensor, t: int, rotation: Tensor | None) -> Tensor:
        """:meth:`forward` for one note of each sequence, `x` (B, C), at position `t`; its key and value join the cache."""
        qk, v = self.project_one(x)
        if rotation is not None:
            qk = rotate(qk, rotation)
        keys[:, :, t], values[:, :, t] = qk[:, self.heads :], v
        return self.feed_one(x, qk[:, : self.heads], keys[:, :, : t + 1], values[:, :, : t + 1])


def rotation_table(length: int, size: int, base: float = 10_000.0) -> Tensor:
    """Compute cosine and sine of the rotary angles, (length, 1, size / 2, 2). Su et al. 2021, RoFormer, eq. 34."""
    angles = torch.outer(torch.arange(length).float(), base ** (-torch.arange(0, size, 2).float() / size))
    return torch.view_as_real(torch.polar(torch.ones_like(angles), angles)).unsqueeze(1)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the pairs (2 i, 2 i + 1) of the last axis of `x` by the angle of their position.

    `x` is (..., T, k, size), `rotation` (T, 1, size / 2, 2). On a CPU one complex product takes a third of the time of products
    with cosines and sines; on a GPU the compiler fuses these with their surroundings, but no complex product.
    """
    pairs = torch.unflatten(x.float(), -1, (-1, 2))
    turned = turned_real(pairs, rotation) if x.is_cuda else turned_complex(pairs, rotation)
    return turned.flatten(-2).type_as(x)


def turned_complex(pairs: Tensor, rotation: Tensor) -> Tensor:
    """Rotate `pairs` (..., T, k, size / 2, 2) as complex numbers."""
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotation))


def turned_real(pairs: Tensor, rotation: Tensor) -> Tensor:
    """:func:`turned_complex` by real arithmetic."""
    (a, b), (cos, sin) = pairs.unbind(-1), rotation.unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
