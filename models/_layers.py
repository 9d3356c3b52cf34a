"""Recurrent layers that a resumed training repeats (PyTorch)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn


class Recurrent(nn.ModuleList):
    """Recurrent layers with dropout between them; input and output are (B, T, C).

    It computes what ``kind(inputs, units, layers, batch_first=True, dropout=dropout)`` does. As one module, a GPU would draw that
    dropout from a state of cuDNN's own, which no checkpoint holds.

    Parameters
    ----------
    kind : type
        ``nn.GRU`` or ``nn.LSTM``.
    inputs, units, layers : int
    dropout : float
    """

    def __init__(self, kind: type[nn.GRU | nn.LSTM], inputs: int, units: int, layers: int, dropout: float) -> None:
        super().__init__(kind(units if i else inputs, units, batch_first=True) for i in range(layers))
        self.dropout = dropout

    def forward(self, x: Tensor, states: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """Compute the outputs of the last layer, and each layer's state after `x`; `states` are those before it."""
        after = []
        for i, layer in enumerate(self):
            if i:
                x = F.dropout(x, self.dropout, self.training)
            x, state = layer(x, None if states is None else states[i])
            after.append(state)
        return x, after
