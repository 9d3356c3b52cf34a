"""LSTM over performance events: Performance RNN (Oore et al. 2018, arXiv 1808.03715), PyTorch.

A vector of each event, three layers of 512 units, a linear layer to the log odds of the next event. Events are in ``_events.py``;
training, likelihood and generation in ``_event_learner.py``.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn

from . import _torch
from ._draws import look_up
from ._event_learner import Learner
from ._layers import Recurrent

REQUIRES = ("torch",)
FEATURES = "LSTM over performance events (Oore et al. 2018); exact likelihood of events"
PROMPT = True
LIKELIHOOD = "exact"
UNIT = "event"
CONSTRAINT = False
TINY = {"layers": 1, "units": 16, "window": 48, "batch": 4, "learning_rate": 0.02, "warmup": 0}


@dataclass
class Model(Learner):
    """Recurrent network with the event before as input and the next event as target.

    Parameters
    ----------
    layers, units : int
        Recurrent layers, and units of each.
    dropout : float
        Of each recurrent layer's input and of the last one's output.
    window, batch : int
        Events of a segment, in training and in the likelihood; segments in an update.
    keys : {128, 88}
        Keys of the vocabulary: 388 events, or a piano's 308.
    augment : bool
        Whether training segments are transposed and in other tempos.
    learning_rate, weight_decay, clip : float
        Peak rate of AdamW, its decay (not of biases), largest norm of the gradient.
    warmup : int
        Updates over which the rate rises; then it is constant.
    temperature : float
        Of generation: divides the log odds.

    Raises
    ------
    PluginError
        If one of them is out of range.
    """

    name: ClassVar[str] = "event-lstm"

    layers: int = 3
    units: int = 512
    dropout: float = 0.1
    window: int = 2048
    batch: int = 8
    keys: int = 128
    augment: bool = True
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 50
    temperature: float = 1.0

    def __post_init__(self) -> None:
        self.prepare("layers", "units")

    def make_network(self) -> Network:
        """Make a network of these sizes; its weights are drawn now."""
        return Network(self.vocabulary.size, self.layers, self.units, self.dropout)

    def autocast(self) -> Any:
        """Nothing: autocast would run recurrent layers in float16, see :func:`models._torch.training_precision`."""
        return contextlib.nullcontext()

    def training_precision(self) -> Any:
        """TensorFloat-32 in cuDNN's recurrent layers."""
        return _torch.training_precision()

    def precision(self) -> str:
        """Precision of the products in training."""
        return "TensorFloat-32" if self.device.type == "cuda" else "float32"


class State:
    """What each recurrent layer carries, (1, B, units) twice; nothing before the first event."""

    carried: list[tuple[Tensor, Tensor]] | None = None


class Network(nn.Module):
    """A vector of each event, recurrent layers, and a linear layer to the log odds of the next event.

    Parameters
    ----------
    events : int
        Size of the vocabulary.
    layers, units : int
    dropout : float
    """

    def __init__(self, events: int, layers: int, units: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.hear = nn.Embedding(events + 1, units)  # and the start symbol
        self.lstm = Recurrent(nn.LSTM, units, units, layers, dropout)
        self.tell = nn.Linear(units, events)
        # With PyTorch's own weights, a third of these, signals vanish: two layers learned nothing but how often each event comes.
        for name, parameter in self.lstm.named_parameters():
            for gate in parameter.chunk(4):  # input, forget, cell, output
                if "weight_ih" in name:
                    nn.init.xavier_uniform_(gate, gain=2.0)
                elif "weight_hh" in name:
                    nn.init.orthogonal_(gate)
            if "bias_ih" in name:  # forget gates begin open (Jozefowicz et al. 2015)
                nn.init.ones_(parameter.chunk(4)[1])

    def forward(self, events: Tensor) -> Tensor:
        """Log odds of each next event, (B, T, V), from events (B, T)."""
        y, _ = self.lstm(F.dropout(look_up(self.hear.weight, events), self.dropout, self.training))
        return cast("Tensor", self.tell(F.dropout(y, self.dropout, self.training)))

    def memory(self, batch: int) -> State:
        """Make an empty memory; see :class:`EventNetwork`."""
        return State()

    def next(self, events: Tensor, memory: State) -> Tensor:
        """Log odds of the next events, (B, V); see :class:`EventNetwork`."""
        y, memory.carried = self.lstm(look_up(self.hear.weight, events)[:, None], memory.carried)
        return cast("Tensor", self.tell(y[:, 0]))
