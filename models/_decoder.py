"""The decoder that both Transformers share: pre-norm blocks between the embeddings and heads of ``_fields.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn

from ._fields import FieldNetwork


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the stream; subclasses define the attention."""

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
        """Project the stream `x` (B, T, C) to queries and keys, (B, T, 2 H, C / H), and values, (B, T, H, C / H)."""
        B, T, C = x.shape
        qkv = self.qkv(self.norm1(x)).view(B, T, 3 * self.heads, C // self.heads)
        qk, v = torch.split(qkv, [2 * self.heads, self.heads], dim=2)
        return qk, v

    def feed(self, x: Tensor, y: Tensor) -> Tensor:
        """Add attention's result `y` (B, H, T, C / H), then the feed-forward branch, to the stream `x` (B, T, C)."""
        x = x + self.drop(self.out(y.transpose(1, 2).reshape(x.shape)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))

    def project_one(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`project` for one note a sequence, `x` (B, C): (B, 2 H, C / H) and (B, H, C / H).

        Plain products: at one note a step the overhead of modules and of SDPA outweighs their work.
        """
        C = x.shape[1]
        qk, v = torch.split(torch.mm(F.layer_norm(x, (C,), self.norm1.weight), self.qkv.weight.t()), [2 * C, C], dim=-1)
        return torch.unflatten(qk, 1, (2 * self.heads, -1)), torch.unflatten(v, 1, (self.heads, -1))

    def feed_one(self, x: Tensor, q: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attention of one note of each sequence, then :meth:`feed`.

        `x` is (B, C), `q` (B, H, C / H), `keys` and `values` (B, H, S, C / H). `bias` (B, H, S) is added to the scores. Reading
        keys and values dominates the time; each head's lie in one piece.
        """
        C = x.shape[1]
        scores = torch.matmul((q * q.shape[2] ** -0.5).unsqueeze(2), keys.transpose(2, 3))  # (B, H, 1, S)
        if bias is not None:
            scores = scores + bias.unsqueeze(2)
        y = torch.matmul(scores.softmax(-1), values).view(x.shape)
        x = torch.addmm(x, y, self.out.weight.t())
        up = torch.mm(F.layer_norm(x, (C,), self.norm2.weight), self.up.weight.t())
        return torch.addmm(x, F.gelu(up), self.down.weight.t())

    def drop(self, x: Tensor) -> Tensor:
        """Apply dropout to a branch; nothing at all if it is 0."""
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


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
        """Initialise the output of each branch with zero."""
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
        """Training loss: nats per note, summed over the fields, of the notes in `mask` (B, T)."""
        return -(self.log_probs(inputs, targets).sum(-1) * mask).sum() / mask.sum()


def attended(window: int, span: int) -> float:
    """Mean number of notes that a note of a window attends to: itself and those before, `span` at most.

    >>> attended(4, 4), attended(4, 2)
    (2.5, 1.75)
    """
    return sum(min(note, span) for note in range(1, window + 1)) / window
