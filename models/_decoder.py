"""Attention decoders over notes, and the one of the Transformer baseline: rotary or learned positions, windows, a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn

from ._fields import FieldNetwork


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the stream; how a note attends is the subclass's."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, (B, T, 2 H, C / H), and values, (B, T, H, C / H), of the stream `x` (B, T, C)."""
        B, T, C = x.shape
        qkv = self.qkv(self.norm1(x)).view(B, T, 3 * self.heads, C // self.heads)
        qk, v = torch.split(qkv, [2 * self.heads, self.heads], dim=2)
        return qk, v

    def feed(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream `x` (B, T, C) after attention gave `y` (B, H, T, C / H)."""
        x = x + self.drop(self.out(y.transpose(1, 2).reshape(x.shape)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))

    def project_one(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`project` for one note a sequence, `x` (B, C): (B, 2 H, C / H) and (B, C).

        Plain products: at one note a step the overhead of modules and of SDPA outweighs their work.
        """
        C = x.shape[1]
        qk, v = torch.split(torch.mm(F.layer_norm(x, (C,), self.norm1.weight), self.qkv.weight.t()), [2 * C, C], dim=-1)
        return torch.unflatten(qk, 1, (2 * self.heads, C // self.heads)), v

    def feed_one(self, x: Tensor, q: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attention of one note a sequence and :meth:`feed`: `x` (B, C), `q` (B, H, C / H), `keys` and `values` (B, S, C).

        All heads of a sequence share one product, the queries standing block-diagonal: it multiplies by zeros, yet reads keys and
        values in long rows, and reading them is what takes the time. `bias` (B, H, S) is added to the scores.
        """
        (B, C), H = x.shape, self.heads
        own = torch.eye(H, dtype=x.dtype, device=x.device).unsqueeze(-1)  # (H, H, 1)
        queries = (q[:, None] * (own * (C // H) ** -0.5)).flatten(2)  # (B, H, C): each head's query in its own channels
        scores = torch.bmm(queries, keys.transpose(1, 2))  # (B, H, S)
        if bias is not None:
            scores = scores + bias
        mixed = torch.bmm(scores.softmax(-1), values).view(B, H, H, C // H)
        y = mixed.diagonal(dim1=1, dim2=2).transpose(1, 2).reshape(B, C)  # of each head, its own channels
        x = torch.addmm(x, y, self.out.weight.t())
        up = torch.mm(F.layer_norm(x, (C,), self.norm2.weight), self.up.weight.t())
        return torch.addmm(x, F.gelu(up), self.down.weight.t())

    def drop(self, x: Tensor) -> Tensor:
        """Dropout on a branch; nothing at all where it is 0."""
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class RotaryBlock(Block):
    """Attention to all notes before, queries and keys turned by their place where a rotation is given."""

    def forward(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The stream after this block, and its keys and values for a cache, (B, H, T, C / H)."""
        qk, v = self.project(x)
        if rotation is not None:
            qk = rotate(qk, rotation)
        q, k = torch.chunk(qk.transpose(1, 2), 2, dim=1)  # each (B, H, T, C / H)
        v = v.transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout if self.training else 0.0)
        return self.feed(x, y), k, v

    def step(self, x: Tensor, keys: Tensor, values: Tensor, t: int, rotation: Tensor | None) -> Tensor:
        """:meth:`forward` for one note a sequence, `x` (B, C), whose place is `t`; its key and value are added to the cache."""
        qk, v = self.project_one(x)
        if rotation is not None:
            qk = rotate(qk, rotation)
        keys[:, t], values[:, t] = qk[:, self.heads :].flatten(1), v
        return self.feed_one(x, qk[:, : self.heads], keys[:, : t + 1], values[:, : t + 1])


def rotation_table(length: int, size: int, base: float = 10_000.0) -> Tensor:
    """The rotary angles as complex numbers of modulus 1, (length, 1, size / 2). Su et al. 2021, RoFormer, eq. 34."""
    angles = torch.outer(torch.arange(length).float(), base ** (-torch.arange(0, size, 2).float() / size))
    return torch.polar(torch.ones_like(angles), angles).unsqueeze(1)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the pairs (2 i, 2 i + 1) of the last axis of `x` by their position's angle.

    `x` is (..., T, k, size), `rotation` (T, 1, size / 2). One complex product: on a CPU a third of the time of products with
    cosines and sines.
    """
    pairs = torch.view_as_complex(torch.unflatten(x.float(), -1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)


class Decoder(FieldNetwork):
    """Decoder over notes: the input at each step is the note before, the output is the distribution of the next.

    Parameters
    ----------
    sizes : sequence of int
        Classes of each field.
    width, layers : int
    block : callable
        Makes one block.
    """

    blocks: Sequence[Block]

    def __init__(self, sizes: Sequence[int], width: int, layers: int, block: Callable[[], Block]) -> None:
        super().__init__(sizes, width)
        self.blocks = cast("Sequence[Block]", nn.ModuleList(block() for _ in range(layers)))
        self.norm = nn.LayerNorm(width, bias=False)
        self.add_heads()

    def reset_body(self) -> None:
        """Branches begin at zero."""
        for block in self.blocks:
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(block.down.weight)

    def stream(self, inputs: Tensor) -> Tensor:
        """State after each input note, (B, T, C). `inputs` is (B, T, 4)."""
        raise NotImplementedError

    def log_probs(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Log probability of each target's fields, nats. All shapes are (B, T, 4)."""
        return self.field_log_probs(self.stream(inputs), targets)

    def forward(self, inputs: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        """Training loss: nats per note, all fields summed, over the notes in `mask` (B, T)."""
        return -(self.log_probs(inputs, targets).sum(-1) * mask).sum() / mask.sum()


class Network(Decoder):
    """The Transformer baseline's decoder: sees all notes of a window at once.

    Parameters
    ----------
    sizes : sequence of int
        Classes of each field.
    window : int
        Most notes that are seen at once.
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
        """What enters the first block: `inputs` (..., 4) at `places` of the window, as (..., C)."""
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
                cache.keys[i, :, :T], cache.values[i, :, :T] = k.transpose(1, 2).flatten(2), v.transpose(1, 2).flatten(2)
        y: Tensor = self.norm(x)
        return y


class Cache:
    """Keys and values of every layer for `batch` sequences of up to `window` notes, (layers, B, T, C), allocated once."""

    def __init__(self, network: Network, batch: int) -> None:
        shape = (len(network.blocks), batch, network.window, network.width)
        like = network.norm.weight
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)


def step(network: Network, inputs: Tensor, cache: Cache, t: int) -> Tensor:
    """State after the note `inputs` (B, 4) at place `t` of a window whose earlier notes are in `cache`: (B, C)."""
    x, rotation = network.placed(inputs, slice(t, t + 1)), network.rotation(slice(t, t + 1))
    for block, keys, values in zip(network.blocks, cache.keys, cache.values, strict=True):
        x = block.step(x, keys, values, t, rotation)
    return F.layer_norm(x, (network.width,), network.norm.weight)


def window_starts(n: int, window: int) -> Iterator[int]:
    """First note of each window over a piece of `n` notes: its head, then every half window that adds notes."""
    if n:
        yield 0
    yield from range(window // 2, n - window // 2, window // 2)


def states(network: Network, notes: Tensor, first: int, last: int) -> Iterator[tuple[int, Tensor]]:
    """State (B, C) that predicts note i, for i from `first` to `last` - 1, by the same windows as the likelihood.

    ``notes[:, i]`` is the input that predicts note i (so note i itself stands at i + 1); it is read as late as it is needed,
    so the caller writes each note before asking for the next state.
    """
    W = network.window
    cache = Cache(network, len(notes))
    start = -1
    for i in range(first, last):
        # The window that predicts note i: see window_starts.
        at = 0 if i < W else (i - W) // (W // 2) * (W // 2) + W // 2
        if at != start:  # a new window: what it has seen of the piece in one pass
            start = at
            h = network.stream(notes[:, at : i + 1], cache)[:, -1]
        else:
            h = step(network, notes[:, i], cache, i - at)
        yield i, h
