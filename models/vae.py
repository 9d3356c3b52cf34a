"""Variational autoencoder (Kingma & Welling 2014) over spans of notes: a latent for each; likelihood is a bound.

The evidence lower bound (Kingma & Welling 2014, arXiv 1312.6114), with three measures against a decoder that learns to ignore the
latent: a weight on the KL divergence (Higgins et al. 2017, beta-VAE) that rises from 0 in training and words hidden from the
decoder (both Bowman et al. 2016, arXiv 1511.06349), and free bits (Kingma et al. 2016, arXiv 1606.04934). With `mmd` it is the
InfoVAE (Zhao, Song & Ermon 2017, arXiv 1706.02262), whose latents shall follow the prior all together, not each span's alone.

From top to bottom: the model, its network, its encoder. Shared with the Transformers: see the table in ``transformer.py``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.api import FIELDS, Piece, PluginError, Run

from . import _torch
from ._batches import scored_notes
from ._divergence import discrepancy, kl_to_standard
from ._fields import FieldNetwork
from ._layers import Recurrent
from ._learner import Learner, padded

REQUIRES = ("torch",)
FEATURES = "Variational: a latent a span of notes, recurrent decoder; continues a prompt; its likelihood is a bound"
PROMPT = True
LIKELIHOOD = "bound"
CONSTRAINT = True
TINY = {"width": 16, "latent": 4, "window": 16, "span": 8, "batch": 4}

#: Draws from the posterior of each span when pieces are scored.
SAMPLES = 8

#: Variance of a latent dimension's posterior mean over spans above which it is active. Burda et al. 2016, arXiv 1509.00519.
ACTIVE = 0.01

#: Stretches of a span of which the encoder takes means, to distinguish early from late.
STRETCHES = 4

#: Width of the encoder's convolutions, notes.
KERNEL = 3


@dataclass
class Model(Learner["Network"]):
    """The variational autoencoder.

    Notes are divided into spans of `span`; each span x has a latent z with a standard normal prior and a posterior q(z | x) from
    an encoder. Given z, the decoder predicts each note of the span from all notes before it; its recurrent state continues from
    span to span. Training windows hold several spans, so that it learns to.

    Training: nats of the notes, plus `beta` times the KL of each span, plus `mmd` times, for each span, the maximum mean
    discrepancy of the batch's posteriors to the prior. In the InfoVAE's terms `beta` is 1 - alpha and `mmd` alpha + lambda - 1;
    the MMD-VAE has a `beta` of 0.

    Likelihood: a lower bound of the log probability of a piece with spans x_k,
    ``sum_k E_q[log p(x_k | notes before, z_1 .. z_k)] - KL(q(z_k | x_k) || N(0, 1))``. The expectation is the mean over SAMPLES
    draws of all z of the piece, seeded from the piece's own notes: an unbiased and reproducible estimate of the bound. The KL is
    exact. A note's four values are its fields' expected log probabilities, each less an equal share of its
    span's KL (``KL / (4 * notes of the span)``), so that they sum to the bound and none is above 0.

    This is a bound for any q, so also with `mmd`: the KL counts fully, although that training hardly reduces it. The smaller
    `beta` is, the further the bound may lie below the log probability.

    Generation: z of the prompt's spans is drawn from their posterior. If the prompt ends within a span, the rest of that span
    keeps the z drawn from the posterior of its existing notes. z of every later span is drawn from the prior. The decoder has
    read the whole prompt.

    Parameters
    ----------
    width, layers : int
        Channels of embeddings, encoder and decoder; recurrent layers.
    latent : int
        Dimensions of z.
    window : int
        Notes in a training window, a multiple of `span`.
    span : int
        Notes for each latent, at least 4.
    beta : float
        Final weight of the KL in training; the likelihood always has weight 1.
    mmd : float
        Final weight of the maximum mean discrepancy in training.
    anneal : int
        Updates over which these weights rise from 0.
    free_bits : float
        Bits of each latent dimension and span without cost in training.
    word_dropout : float
        Share of the previous notes hidden from the decoder in training.
    dropout : float
        Of the decoder.
    batch : int
        Windows in a training step; the paper's 128.
    learning_rate, weight_decay : float
        AdamW's.
    warmup : int
        Updates over which the rate rises; then it is constant.
    clip : float
        Largest norm of the gradient.
    transpose : int
        Augmentation: semitones up or down, at most.
    stretch : float
        Augmentation: tempo by a factor of up to exp(stretch), or down to its inverse.
    time_classes, duration_classes : int
        Of the note codec.
    temperature, top_p : float
        Of sampling notes; z is always drawn at temperature 1.
    """

    name: ClassVar[str] = "vae"

    width: int = 256
    layers: int = 1
    latent: int = 32
    window: int = 64
    span: int = 32
    beta: float = 1.0
    mmd: float = 0.0
    anneal: int = 150
    free_bits: float = 0.1
    word_dropout: float = 0.1
    dropout: float = 0.1
    batch: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    warmup: int = 20
    clip: float = 1.0
    transpose: int = 5
    stretch: float = 0.1
    time_classes: int = 64
    duration_classes: int = 64
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        self.prepare()
        if self.span < STRETCHES or self.window % self.span:
            raise PluginError(
                f"vae: window is {self.window} and span {self.span}; "
                f"window must be a multiple of span, and span at least {STRETCHES} notes."
            )
        for field in ("beta", "mmd", "anneal", "free_bits"):
            if not getattr(self, field) >= 0:
                raise PluginError(f"vae: {field} is {getattr(self, field)}, must be at least 0.")
        if not 0 <= self.word_dropout < 1:
            raise PluginError(f"vae: word_dropout is {self.word_dropout}, must be in [0, 1).")
        self.use: dict[str, float] = {}

    # Training

    def make_network(self) -> Network:
        """Make a network of these sizes; its weights are drawn now."""
        return Network(
            self.codec.sizes,
            self.span,
            self.width,
            self.layers,
            self.latent,
            self.dropout,
            self.word_dropout,
            self.free_bits,
        )

    def extra(self, update: int) -> tuple[Tensor, ...]:
        """Weight of the KL; also that of the discrepancy, if there is any."""
        risen = min(1.0, update / self.anneal) if self.anneal else 1.0
        # Filled in on the device: a copy from the host would wait for all updates before it.
        weights = (self.beta, self.mmd) if self.mmd else (self.beta,)
        return tuple(torch.full((), weight * risen, device=self.device) for weight in weights)

    def validate(self, pieces: Sequence[Piece]) -> dict[str, float]:
        """Compute the bound in bits per note, and the KL in nats per span: near 0 the latent has collapsed."""
        scores, kl = self._bound(pieces, samples=1)  # unbiased too, and no time is lost that belongs to training
        bits = -np.concatenate(scores).sum(1).mean() / np.log(2)
        return {"validation_bits": float(bits), "kl": float(np.concatenate(kl).mean())}

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train as :class:`Learner` does, then measure on `valid` how much the latent is used."""
        super().fit(train, valid, run)
        self.use = {} if run.budget.untrained else self._measured(valid)

    def _measured(self, pieces: Sequence[Piece]) -> dict[str, float]:
        network, means, kl = self.trained(), [], []
        codes, most = [self.codec.encode(p.notes) for p in pieces], scored_notes(self.device)
        with _torch.inference(network), parametrize.cached():
            for rows, _, targets in padded(codes, self.codec.sizes, self.device, most):
                lengths = torch.tensor([len(pieces[i].notes) for i in rows], device=self.device)
                mean, log_variance = network.posterior(targets, _before(lengths, targets.shape[1]))
                present = _before(-(-lengths // self.span), mean.shape[1])
                means.append(mean[present])
                kl.append(kl_to_standard(mean, log_variance).sum(-1)[present])
        active = torch.cat(means).var(0, correction=0) > ACTIVE
        return {"kl_nats_per_span": float(torch.cat(kl).mean()), "active_units": int(active.sum())}

    # Likelihood

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Share of each note's fields in the bound, nats, (n, 4) for each piece; see the class."""
        return self._bound(pieces, SAMPLES)[0]

    def _bound(self, pieces: Sequence[Piece], samples: int) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """:meth:`log_likelihood`, and of each piece the KL of its spans, nats."""
        network = self.trained()
        codes = [self.codec.encode(p.notes) for p in pieces]
        scores = [np.zeros((len(c), len(FIELDS))) for c in codes]
        divergences = [np.zeros(-(-len(c) // self.span)) for c in codes]
        most = scored_notes(self.device) // samples
        with _torch.inference(network), parametrize.cached():
            for rows, inputs, targets in padded(codes, self.codec.sizes, self.device, most):
                lengths = torch.tensor([len(codes[i]) for i in rows], device=self.device)
                mean, log_variance = network.posterior(targets, _before(lengths, targets.shape[1]))
                noise = _noise([codes[i] for i in rows], self.span, self.latent, samples).to(self.device)
                z = mean + noise * (0.5 * log_variance).exp()  # (S, B, K, Z)
                kl = kl_to_standard(mean, log_variance).sum(-1).double().cpu().numpy()  # (B, K)
                expected = self._expected(network, inputs, targets, z)
                for i, score, divergence in zip(rows, expected, kl, strict=True):
                    scores[i][:], divergences[i][:] = score[: len(scores[i])], divergence[: len(divergences[i])]
                    scores[i] -= _shares(divergences[i], len(scores[i]), self.span)
        return scores, divergences

    def _expected(self, network: Network, inputs: Tensor, targets: Tensor, z: Tensor) -> NDArray[np.float64]:
        """Mean over the draws `z` (S, B, K, Z) of the log probabilities of `targets` (B, T, 4)."""
        S, B, T = *z.shape[:2], inputs.shape[1]
        z, inputs, targets = z.flatten(0, 1), inputs.repeat(S, 1, 1), targets.repeat(S, 1, 1)
        # In float32: bfloat16's 8 bits of precision suffice for training only. A few spans at once, to limit memory.
        step = max(1, scored_notes(self.device) // (S * B * self.span)) * self.span
        state, parts = None, []
        for at in range(0, T, step):
            now = slice(at, at + step)
            latents = network.along(z[:, at // self.span : (at + step) // self.span], inputs[:, now].shape[1])
            h, state = network.decode(inputs[:, now], latents, state)
            parts.append(network.field_log_probs(h, targets[:, now]).view(S, B, -1, len(FIELDS)).double().mean(0))
        expected: NDArray[np.float64] = torch.cat(parts, dim=1).cpu().numpy()
        return expected

    # Generation

    def states(
        self, network: Network, notes: Tensor, first: int, last: int, rng: torch.Generator
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the states after the prompt, notes[:, 1 : first + 1]; see the class for the origin of each latent."""
        B = len(notes)

        def noise(*shape: int) -> Tensor:
            return torch.randn(B, *shape, self.latent, generator=rng, device=self.device)

        z, state = noise(), None
        if first:
            heard = notes[:, 1 : first + 1]
            mean, log_variance = network.posterior(heard, torch.ones(heard.shape[:2], dtype=torch.bool, device=self.device))
            drawn = mean + noise(mean.shape[1]) * (0.5 * log_variance).exp()
            z = drawn[:, -1]
            _, state = network.decode(notes[:, :first], network.along(drawn, first))
        for i in range(first, last):
            if i % self.span == 0:
                z = noise()
            h, state = network.decode(notes[:, i : i + 1], z[:, None], state)
            yield i, h[:, 0]

    def flops_per_note(self) -> float:
        """See :class:`Learner`; the posterior is computed once a span."""
        return super().flops_per_note() - 6 * self.trained().encoder.out.weight.numel() * (1 - 1 / self.span)

    def facts(self) -> Mapping[str, Any]:
        """Facts of all such models, and use of the latent: KL in nats per span, number of active dimensions."""
        facts = dict(super().facts())
        if facts["precision"] != "float32":
            facts["precision"] += ", recurrent layers TensorFloat-32"
        return {**facts, **self.use}


class Network(FieldNetwork):
    """Encoder, latent and decoder.

    Notes are divided into spans of `span`; the last of a piece may be shorter. Each span has a latent z with a standard normal
    prior. The decoder is one recurrent network over the whole piece: its input is the previous note and the z of the predicted
    note's span.

    Parameters
    ----------
    sizes : sequence of int
        Classes of each field.
    span, width, layers, latent : int
        Notes for each latent; channels; recurrent layers; dimensions of a latent.
    dropout : float
        Between the recurrent layers and before the heads.
    word_dropout : float
        Share of the previous notes hidden from the decoder in training, so that it must use the latent (Bowman et al. 2016).
    free_bits : float
        Bits of each latent dimension without cost in training (Kingma et al. 2016).
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
        self.recurrent = Recurrent(nn.GRU, width + latent, width, layers, dropout)
        self.lift = nn.Linear(latent, width)
        self.norm = nn.LayerNorm(width)
        self.add_heads()

    def reset_body(self) -> None:
        """Initialise the posterior near the prior."""
        nn.init.normal_(self.encoder.out.weight, std=0.01)

    def posterior(self, notes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each span's latent, (B, K, Z) each, of `notes` (B, T, 4) where `mask` (B, T)."""
        B, T, fields = notes.shape
        short = -T % self.span
        notes, mask = F.pad(notes, (0, 0, 0, short)), F.pad(mask, (0, short))
        x = self.embedded(notes.reshape(-1, self.span, fields))
        mean, log_variance = self.encoder(x, mask.reshape(-1, self.span))
        return mean.view(B, -1, self.latent), log_variance.view(B, -1, self.latent)

    def decode(self, inputs: Tensor, z: Tensor, state: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Compute the states (B, T, C) that predict the notes after `inputs` (B, T, 4), given `z` (B, T, Z).

        The recurrent `state` after the notes before is passed in, that after `inputs` returned as well.
        """
        x = self.embedded(inputs)
        if self.training and self.word_dropout:
            x = x * (torch.rand(x.shape[:-1], device=x.device) >= self.word_dropout).unsqueeze(-1)
        with torch.autocast(x.device.type, enabled=False):  # cuDNN's recurrent layers know no bfloat16, see training_precision
            y, state = self.recurrent(torch.cat([x, z], dim=-1).float(), state)
        h: Tensor = self.norm(y + self.lift(z))
        return F.dropout(h, self.dropout, self.training) if self.dropout else h, state

    def along(self, z: Tensor, notes: int) -> Tensor:
        """Each note's latent, (B, notes, Z), from those of the spans, (B, K, Z)."""
        return z.repeat_interleave(self.span, dim=1)[:, :notes]

    def forward(self, inputs: Tensor, targets: Tensor, mask: Tensor, weight: Tensor, mmd: Tensor | None = None) -> Tensor:
        """Training loss: nats per note of the notes in `mask` (B, T), plus `weight` times the KL beyond the free bits.

        And `mmd` times the :func:`discrepancy`, each for every span.
        """
        mean, log_variance = self.posterior(targets, mask)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        h, _ = self.decode(inputs, self.along(z, targets.shape[1]))
        lost = -(self.field_log_probs(h, targets).sum(-1) * mask).sum()
        # A span of padding only has no latent, so no cost.
        present = F.pad(mask, (0, -mask.shape[1] % self.span)).view(len(mask), -1, self.span).any(-1)
        kl = (kl_to_standard(mean, log_variance) * present.unsqueeze(-1)).sum((0, 1))  # (Z,)
        spans = present.sum()
        cost = lost + weight * torch.maximum(kl, self.free_nats * spans).sum()
        if mmd is not None:
            cost = cost + mmd * spans * discrepancy(mean.flatten(0, 1), log_variance.exp().flatten(0, 1), present.flatten())
        return cost / mask.sum()


class Encoder(nn.Module):
    """Posterior of a span's latent: convolutions, then means over stretches of the span.

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

        `x` (B, W, C) are embedded notes. Those outside `mask` (B, W) count as zero, like those outside the span.
        """
        present = mask.unsqueeze(1).type_as(x)  # (B, 1, W)
        y = x.transpose(1, 2) * present
        for layer in self.layers:
            y = F.gelu(layer(y)) * present
        # Stretches of the whole span, however many notes it has. One without a note is zero.
        W = mask.shape[1]
        which = torch.arange(W, device=x.device) * STRETCHES // W
        member = F.one_hot(which, STRETCHES).type_as(x)  # (W, S)
        sums, counts = torch.matmul(y, member), torch.matmul(present, member)  # (B, C, S), (B, 1, S)
        mean, log_variance = self.out((sums / counts.clamp(min=1)).flatten(1)).float().chunk(2, dim=-1)
        # Between SDs of e ** -4 and e ** 2, so that no early step can make it overflow.
        return mean, log_variance.clamp(-8, 4)


def _before(lengths: Tensor, most: int) -> Tensor:
    """Mask (B, most) of the places before each of `lengths` (B,)."""
    return torch.arange(most, device=lengths.device) < lengths[:, None]


def _noise(codes: Sequence[NDArray[np.int16]], span: int, latent: int, samples: int) -> Tensor:
    """Draw standard normal noise, (samples, B, most spans, latent), each piece's with a seed from its own notes."""
    draws = []
    most = max(-(-len(c) // span) for c in codes)
    for c in codes:
        rng, spans = torch.Generator().manual_seed(zlib.crc32(c.tobytes())), -(-len(c) // span)
        # Exactly as many as the piece has spans: for another count PyTorch may draw other values from the first on.
        draws.append(F.pad(torch.randn(samples, spans, latent, generator=rng), (0, 0, 0, most - spans)))
    return torch.stack(draws, dim=1)


def _shares(divergences: NDArray[np.float64], notes: int, span: int) -> NDArray[np.float64]:
    """Distribute each span's KL evenly over its notes' fields, (notes, 1)."""
    sizes = np.minimum(span, notes - span * np.arange(len(divergences)))
    return np.repeat(divergences / (len(FIELDS) * sizes), sizes)[:, None]
