"""Causal Transformer over frames (Vaswani et al. 2017; PyTorch), with a bias by distance (Press, Smith & Lewis 2022).

Training, likelihood and generation are in ``_frame_learner.py``, the blocks in ``_decoder.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn

from bench.api import PluginError

from ._decoder import Block
from ._frame_learner import Learner, output
from ._frames import KEYS

REQUIRES = ("torch",)
FEATURES = "causal attention over frames of 88 keys, biased by distance; exact likelihood of frames"
PROMPT = True
LIKELIHOOD = "exact"
UNIT = "frame"
GIVES_VELOCITY = False
CONSTRAINT = False
TINY = {"layers": 1, "width": 8, "heads": 2, "window": 16, "batch": 4, "learning_rate": 0.1, "warmup": 0}


@dataclass
class Model(Learner):
    """Decoder-only attention with the frame before as input and the next frame as target.

    Parameters
    ----------
    layers, width, heads : int
        Blocks, channels, attention heads.
    dropout : float
        Of the first input, of attention and in every block.
    window, batch : int
        Most frames seen at once, also in training; sequences in an update.
    learning_rate, weight_decay, clip : float
        Peak rate of AdamW, its decay, largest norm of the gradient.
    warmup : int
        Updates over which the rate rises; then it is constant.
    temperature : float
        Of generation: divides the log odds.

    Raises
    ------
    PluginError
        If one of them is out of range, or the width no multiple of the heads.
    """

    name: ClassVar[str] = "frame-transformer"

    layers: int = 2
    width: int = 128
    heads: int = 4
    dropout: float = 0.3
    window: int = 256
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    warmup: int = 50
    temperature: float = 1.0

    def __post_init__(self) -> None:
        self.prepare("layers", "width", "heads")
        if self.width % self.heads:
            raise PluginError(f"frame-transformer: width {self.width} is no multiple of the {self.heads} heads.")

    def make_network(self) -> Network:
        """Make a network of these sizes; its weights are drawn now."""
        return Network(self.layers, self.width, self.heads, self.dropout)


class Network(nn.Module):
    """A linear layer, attention blocks, and a linear layer to the log odds of each key.

    Parameters
    ----------
    layers, width, heads : int
    dropout : float
    """

    slopes: Tensor

    def __init__(self, layers: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.hear = nn.Linear(KEYS, width)
        self.blocks = nn.ModuleList(Attention(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.tell = output(width)
        # Press, Smith & Lewis 2022, Train Short, Test Long: slopes from 2^(-8 / heads) to 2^-8.
        self.register_buffer("slopes", 2.0 ** (-8 * torch.arange(1, heads + 1) / heads), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Log odds of each next frame, (B, T, KEYS), from frames (B, T, KEYS)."""
        at = torch.arange(frames.shape[1], device=frames.device)
        distance = at[:, None] - at  # (T, T), below 0 for what comes later
        bias = (-self.slopes[:, None, None] * distance).masked_fill(distance < 0, -torch.inf)  # (H, T, T)
        x = F.dropout(self.hear(frames), self.dropout, self.training)
        for block in self.blocks:
            x = block(x, bias)
        return cast("Tensor", self.tell(self.norm(x)))


class Attention(Block):
    """Attention to all earlier frames, with a bias for each head and distance."""

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map the stream (B, T, C); `bias` (H, T, T) is added to the scores."""
        qk, v = self.project(x)
        q, k = torch.chunk(qk.transpose(1, 2), 2, dim=1)  # each (B, H, T, C / H)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v.transpose(1, 2), attn_mask=bias, dropout_p=dropout)
        return self.feed(x, y)
