"""The network of the variational autoencoder: an encoder of spans of notes, a recurrent decoder that is told their latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn

from ._fields import FieldNetwork

#: Stretches of a span whose means the encoder is given: what comes early and what comes late are told apart.
STRETCHES = 4

#: Notes that a convolution of the encoder sees.
KERNEL = 3


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), nats, elementwise. Kingma & Welling 2014, appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


class Encoder(nn.Module):
    """What a span of notes says about its latent: convolutions, then means over stretches of the span.

    Parameters
    ----------
    width, latent : int
        Channels of the notes' embeddings, and dimensions of the latent.
    """

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2) for _ in range(2))
        self.out = nn.Linear(STRETCHES * width, 2 * latent)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, (B, Z) each.

        `x` (B, W, C) are embedded notes. What is not in `mask` (B, W) counts as nothing, like what lies outside the span.
        """
        present = mask.unsqueeze(1).type_as(x)  # (B, 1, W)
        y = x.transpose(1, 2) * present
        for layer in self.layers:
            y = F.gelu(layer(y)) * present
        # Stretches of the whole span, however much of it is there. One without a note is zero.
        W = mask.shape[1]
        which = torch.arange(W, device=x.device) * STRETCHES // W
        member = F.one_hot(which, STRETCHES).type_as(x)  # (W, S)
        sums, counts = torch.matmul(y, member), torch.matmul(present, member)  # (B, C, S), (B, 1, S)
        mean, log_variance = self.out((sums / counts.clamp(min=1)).flatten(1)).float().chunk(2, dim=-1)
        # Between SDs of e ** -4 and e ** 2: no step of a young network can make it overflow.
        return mean, log_variance.clamp(-8, 4)


class Network(FieldNetwork):
    """Encoder, latent and decoder.

    The notes come in spans of `span`, the last of a piece may be shorter. Each span has a latent z, standard normal by the
    prior. The decoder is one recurrent network over the whole piece: its input is the note before and the z of the span of the
    note that it predicts.

    Parameters
    ----------
    sizes : sequence of int
        Classes of each field.
    span, width, layers, latent : int
        Notes of a latent; channels; recurrent layers; dimensions of a latent.
    dropout : float
        Between the recurrent layers and before the heads.
    word_dropout : float
        Share of the notes before that training hides from the decoder, so that it has to use the latent (Bowman et al. 2016).
    free_bits : float
        Bits of each latent dimension that cost nothing in training (Kingma et al. 2016).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        span: int,
        width: int,
        layers: int,
        latent: int,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        free_bits: float = 0.0,
    ) -> None:
        super().__init__(sizes, width)
        self.span, self.latent = span, latent
        self.dropout, self.word_dropout, self.free_nats = dropout, word_dropout, free_bits * math.log(2)
        self.encoder = Encoder(width, latent)
        self.recurrent = nn.GRU(width + latent, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.lift = nn.Linear(latent, width)
        self.norm = nn.LayerNorm(width)
        self.add_heads()

    def reset_body(self) -> None:
        """The posterior begins near the prior."""
        nn.init.normal_(self.encoder.out.weight, std=0.01)

    def posterior(self, notes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each span's latent, (B, K, Z) each, of `notes` (B, T, 4) where `mask` (B, T)."""
        B, T, fields = notes.shape
        short = -T % self.span
        notes, mask = F.pad(notes, (0, 0, 0, short)), F.pad(mask, (0, short))
        x = self.embedded(notes.reshape(-1, self.span, fields))
        mean, log_variance = self.encoder(x, mask.reshape(-1, self.span))
        return mean.view(B, -1, self.latent), log_variance.view(B, -1, self.latent)

    def decode(self, inputs: Tensor, z: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States (B, T, C) that predict the notes after `inputs` (B, T, 4), each told its own `z` (B, T, Z); and what goes on.

        `state` is what went on from the notes before.
        """
        x = self.embedded(inputs)
        if self.training and self.word_dropout:
            x = x * (torch.rand(x.shape[:-1], device=x.device) >= self.word_dropout).unsqueeze(-1)
        y, state = self.recurrent(torch.cat([x, z], dim=-1), state)
        h: Tensor = self.norm(y + self.lift(z))
        return F.dropout(h, self.dropout, self.training) if self.dropout else h, cast("Tensor", state)

    def along(self, z: Tensor, notes: int) -> Tensor:
        """Each note's latent, (B, notes, Z), from those of the spans, (B, K, Z)."""
        return z.repeat_interleave(self.span, dim=1)[:, :notes]

    def forward(self, inputs: Tensor, targets: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        """Training loss: nats per note of the notes in `mask` (B, T), and `weight` times the KL beyond what is free."""
        mean, log_variance = self.posterior(targets, mask)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        h, _ = self.decode(inputs, self.along(z, targets.shape[1]))
        lost = -(self.field_log_probs(h, targets).sum(-1) * mask).sum()
        # A span that is all padding has no latent to pay for.
        present = F.pad(mask, (0, -mask.shape[1] % self.span)).view(len(mask), -1, self.span).any(-1)
        kl = (kl_to_standard(mean, log_variance) * present.unsqueeze(-1)).sum((0, 1))  # (Z,)
        spans = present.sum()
        return (lost + weight * torch.maximum(kl, self.free_nats * spans).sum()) / mask.sum()
