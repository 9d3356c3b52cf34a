"""Temporal convolutional network over frames (PyTorch): dilated causal convolutions (Bai, Kolter & Koltun 2018).

arXiv 1803.01271, section 3: residual blocks of two convolutions, each with weight normalisation, ReLU and dropout; the dilation
doubles from block to block. Training, likelihood and generation are in ``_frame_learner.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ._frame_learner import Learner, output
from ._frames import KEYS

REQUIRES = ("torch",)
FEATURES = "dilated causal convolutions over frames of 88 keys; exact likelihood of frames"
PROMPT = True
LIKELIHOOD = "exact"
UNIT = "frame"
GIVES_VELOCITY = False
CONSTRAINT = False
TINY = {"blocks": 2, "width": 8, "kernel": 3, "window": 16, "batch": 4, "learning_rate": 0.1, "warmup": 0}


@dataclass
class Model(Learner):
    """The TCN of Bai et al., by the defaults of their code: 4 blocks of 150 channels, kernels of 5, a dropout of 0.25.

    Those are for other music. For the JSB Chorales their Table 2 has 2 blocks of 150, kernels of 3 and a dropout of 0.5, about
    300 000 parameters.

    Parameters
    ----------
    blocks, width, kernel : int
        Residual blocks, channels, frames of a kernel.
    dropout : float
        After each convolution.
    window, batch : int
        Most frames seen at once, also in training; sequences in an update.
    learning_rate, weight_decay, clip : float
        Peak rate of AdamW, its decay, largest norm of the gradient.
    warmup : int
        Updates over which the rate rises; then it is constant.
    temperature : float
        Of generation: divides the log odds.
    """

    name: ClassVar[str] = "frame-tcn"

    blocks: int = 4
    width: int = 150
    kernel: int = 5
    dropout: float = 0.25
    window: int = 256
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 20
    temperature: float = 1.0

    def __post_init__(self) -> None:
        self.prepare("blocks", "width", "kernel")

    def make_network(self) -> Network:
        """Make a network of these sizes; its weights are drawn now."""
        return Network(self.blocks, self.width, self.kernel, self.dropout)


class Network(nn.Module):
    """Residual blocks, and a linear layer to the log odds of each key.

    Parameters
    ----------
    blocks, width, kernel : int
    dropout : float
    """

    def __init__(self, blocks: int, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(KEYS if i == 0 else width, width, kernel, 2**i, dropout) for i in range(blocks)))
        self.tell = output(width)

    def forward(self, frames: Tensor) -> Tensor:
        """Log odds of each next frame, (B, T, KEYS), from frames (B, T, KEYS)."""
        x = self.blocks(frames.transpose(1, 2))  # (B, C, T)
        return cast("Tensor", self.tell(x.transpose(1, 2)))


class Block(nn.Module):
    """Two causal convolutions, added to the input; a third of one frame fits the input's channels to the output's."""

    def __init__(self, given: int, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.pad, self.dropout = (kernel - 1) * dilation, dropout
        self.first = weight_norm(nn.Conv1d(given, width, kernel, dilation=dilation))
        self.second = weight_norm(nn.Conv1d(width, width, kernel, dilation=dilation))
        self.fit = nn.Conv1d(given, width, 1) if given != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, given, T) to (B, width, T)."""
        y = x
        for convolution in (self.first, self.second):
            y = F.dropout(F.relu(convolution(F.pad(y, (self.pad, 0)))), self.dropout, self.training)
        return F.relu(y + self.fit(x))
