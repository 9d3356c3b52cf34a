"""Music Transformer over performance events (Huang et al. 2019, arXiv 1809.04281), PyTorch.

The system of published tables, where ``music-transformer.py`` predicts notes: the same attention by relative distance, in
``_relative.py``. Events are in ``_events.py``; training, likelihood and generation in ``_event_learner.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn

from bench.api import PluginError

from ._draws import look_up
from ._event_learner import Learner
from ._relative import Memory, RelativeBlock, attend, attend_one

REQUIRES = ("torch",)
FEATURES = "attention by relative distance over performance events (Huang et al. 2019); exact likelihood of events"
PROMPT = True
LIKELIHOOD = "exact"
UNIT = "event"
CONSTRAINT = False
TINY = {"layers": 1, "width": 16, "heads": 2, "window": 48, "batch": 4, "learning_rate": 0.02, "warmup": 0}


@dataclass
class Model(Learner):
    """Decoder-only attention with the event before as input and the next event as target.

    Parameters
    ----------
    layers, width, heads : int
        Blocks, channels, attention heads.
    distance : int
        Distances with a vector of their own; longer ones share the last. At most `window` are used.
    dropout : float
        Of the first input, of attention and in every block.
    window, batch : int
        Events of a segment, in training and in the likelihood, and those attended to; segments in an update.
    keys : {128, 88}
        Keys of the vocabulary: 388 events, or a piano's 308.
    augment : bool
        Whether training segments are transposed and in other tempos.
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

    name: ClassVar[str] = "event-transformer"

    layers: int = 2
    width: int = 128
    heads: int = 4
    distance: int = 1024
    dropout: float = 0.1
    window: int = 2048
    batch: int = 4
    keys: int = 128
    augment: bool = True
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    warmup: int = 50
    temperature: float = 1.0

    def __post_init__(self) -> None:
        self.prepare("layers", "width", "heads", "distance")
        if self.width % self.heads:
            raise PluginError(f"event-transformer: width {self.width} is no multiple of the {self.heads} heads.")

    def make_network(self) -> Network:
        """Make a network of these sizes; its weights are drawn now."""
        distance = min(self.distance, self.window)
        return Network(self.vocabulary.size, self.layers, self.width, self.heads, self.window, distance, self.dropout)


class Network(nn.Module):
    """A vector of each event, blocks of relative attention, and a linear layer to the log odds of the next event.

    Parameters
    ----------
    events : int
        Size of the vocabulary.
    layers, width, heads : int
    span : int
        Events that an event attends to, itself included.
    distance : int
    dropout : float
    """

    blocks: Sequence[RelativeBlock]

    def __init__(self, events: int, layers: int, width: int, heads: int, span: int, distance: int, dropout: float) -> None:
        super().__init__()
        self.width, self.span, self.dropout = width, span, dropout
        self.hear = nn.Embedding(events + 1, width)  # and the start symbol
        nn.init.normal_(self.hear.weight, std=0.1)
        blocks = nn.ModuleList(RelativeBlock(width, heads, dropout, distance) for _ in range(layers))
        self.blocks = cast("Sequence[RelativeBlock]", blocks)
        self.norm = nn.LayerNorm(width, bias=False)
        self.tell = nn.Linear(width, events)
        for block in self.blocks:  # branches begin with zero, as in _decoder.py: content counts first
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(block.down.weight)
            nn.init.normal_(block.distances, std=0.02)

    def forward(self, events: Tensor) -> Tensor:
        """Log odds of each next event, (B, T, V), from events (B, T)."""
        x = F.dropout(look_up(self.hear.weight, events), self.dropout, self.training)
        return cast("Tensor", self.tell(attend(self, x)))

    def memory(self, batch: int) -> Memory:
        """Make an empty memory; see :class:`EventNetwork`."""
        return Memory(self, batch)

    def next(self, events: Tensor, memory: Memory) -> Tensor:
        """Log odds of the next events, (B, V); see :class:`EventNetwork`."""
        return cast("Tensor", self.tell(attend_one(self, look_up(self.hear.weight, events), memory)))
