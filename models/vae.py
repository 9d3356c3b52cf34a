"""Variational autoencoder over spans of notes: a latent a span, a recurrent decoder, factorised heads; its likelihood is a bound.

The evidence lower bound (Kingma & Welling 2014, arXiv 1312.6114), with a weight on the KL divergence (Higgins et al. 2017,
beta-VAE) that rises from 0 in training, words hidden from the decoder (both Bowman et al. 2016, arXiv 1511.06349) and free bits
(Kingma et al. 2016, arXiv 1606.04934): against a decoder that learns to do without the latent.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import parametrize

from bench.api import FIELDS, Piece, PluginError, Run

from . import _torch
from ._latent import STRETCHES, Network, kl_to_standard
from ._learner import SCORED_NOTES, Learner, padded

FRAMEWORK = "pytorch"
FEATURES = "Variational: a latent a span of notes, recurrent decoder; continues a prompt; its likelihood is a bound"
PROMPT = True
LIKELIHOOD = "bound"
CONSTRAINT = True
SEES_TARGET = False

#: Draws from the posterior for each span when pieces are scored.
SAMPLES = 8

#: Variance of its posterior mean, over spans, from which a latent dimension counts as used. Burda et al. 2016, arXiv 1509.00519.
ACTIVE = 0.01


@dataclass
class Model(Learner[Network]):
    """The variational autoencoder.

    Notes come in spans of `span`; each span x has a latent z with a standard normal prior, and an encoder gives its posterior
    q(z | x). The decoder, told z, predicts each note of the span from all notes before it; its recurrent state goes on from span
    to span. Training windows hold several spans, so that it learns to.

    Likelihood: of a piece with spans x_k, by definition no more than its log probability,
    ``sum_k E_q[log p(x_k | notes before, z_1 .. z_k)] - KL(q(z_k | x_k) || N(0, 1))``. The expectation is the mean over SAMPLES
    draws of all z of the piece, their seed made from the piece's own notes: an unbiased estimate of the bound, the same whenever
    it is made. The KL is exact. A note's four values are its fields' expected log probabilities, each less an equal share of its
    span's KL (``KL / (4 * notes of the span)``), so that they sum to the bound and none is above 0.

    Generation: the spans of the prompt get a z from their posterior. If the prompt ends within a span, the rest of that span
    keeps the z drawn from the posterior of the notes that are there. Every span after it draws its z from the prior. The decoder
    has read the whole prompt.

    Parameters
    ----------
    width, layers : int
        Channels of embeddings, encoder and decoder; recurrent layers.
    latent : int
        Dimensions of z.
    window : int
        Notes of a training window, a multiple of `span`.
    span : int
        Notes of a latent, at least 4.
    beta : float
        Weight of the KL in training, in the end; the likelihood always counts it once.
    anneal : float
        Share of all steps in which that weight rises from 0.
    free_bits : float
        Bits of each latent dimension and span that cost nothing in training.
    word_dropout : float
        Share of the notes before that training hides from the decoder.
    dropout : float
        Of the decoder.
    batch : int
        Windows a training step; the paper's 128.
    learning_rate, weight_decay : float
        AdamW's; the rate is the peak of a cosine with a warm-up over `warmup` of all steps.
    warmup : float
    clip : float
        Largest norm of the gradient.
    transpose : int
        Augmentation: semitones up or down.
    stretch : float
        Augmentation: tempo by a factor of up to exp(stretch).
    time_classes, duration_classes : int
        Of the note codec.
    temperature, top_p : float
        Of sampling notes; z is always drawn as it is.
    """

    name: ClassVar[str] = "vae"

    width: int = 256
    layers: int = 1
    latent: int = 32
    window: int = 64
    span: int = 32
    beta: float = 1.0
    anneal: float = 0.3
    free_bits: float = 0.1
    word_dropout: float = 0.1
    dropout: float = 0.1
    batch: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
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
        for field in ("beta", "anneal", "free_bits"):
            if not getattr(self, field) >= 0:
                raise PluginError(f"vae: {field} is {getattr(self, field)}, must be at least 0.")
        if not 0 <= self.word_dropout < 1:
            raise PluginError(f"vae: word_dropout is {self.word_dropout}, must be in [0, 1).")
        self.use: dict[str, float] = {}

    # Training

    def make_network(self) -> Network:
        """A network of these sizes; its weights are drawn now."""
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

    def extra(self, progress: float) -> tuple[Tensor, ...]:
        """The weight of the KL."""
        risen = min(1.0, progress / self.anneal) if self.anneal else 1.0
        return (torch.tensor(self.beta * risen, device=self.device),)

    def validate(self, pieces: Sequence[Piece]) -> dict[str, float]:
        """The bound in bits per note, and the KL in nats per span: near 0 the latent has collapsed."""
        scores, kl = self._bound(pieces)
        bits = -np.concatenate(scores).sum(1).mean() / np.log(2)
        return {"validation_bits": float(bits), "kl": float(np.concatenate(kl).mean())}

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train as all such models do, then measure on `valid` how much the latent is used."""
        super().fit(train, valid, run)
        self.use = self._measured(valid) if run.budget.epochs else {}

    def _measured(self, pieces: Sequence[Piece]) -> dict[str, float]:
        network, means, kl = self.trained(), [], []
        with _torch.inference(network), parametrize.cached():
            for rows, _, targets in padded([self.codec.encode(p.notes) for p in pieces], self.codec.sizes, self.device):
                lengths = torch.tensor([len(pieces[i].notes) for i in rows], device=self.device)
                mean, log_variance = network.posterior(targets, _before(lengths, targets.shape[1]))
                present = _before(-(-lengths // self.span), mean.shape[1])
                means.append(mean[present])
                kl.append(kl_to_standard(mean, log_variance).sum(-1)[present])
        active = torch.cat(means).var(0, correction=0) > ACTIVE
        return {"kl_nats_per_span": float(torch.cat(kl).mean()), "active_units": int(active.sum())}

    # Likelihood

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Each note's fields' share of the bound, nats, (n, 4) a piece; see the class."""
        return self._bound(pieces)[0]

    def _bound(self, pieces: Sequence[Piece]) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """:meth:`log_likelihood`, and of each piece the KL of its spans, nats."""
        network = self.trained()
        codes = [self.codec.encode(p.notes) for p in pieces]
        scores = [np.zeros((len(c), len(FIELDS))) for c in codes]
        divergences = [np.zeros(-(-len(c) // self.span)) for c in codes]
        with _torch.inference(network), parametrize.cached():
            for rows, inputs, targets in padded(codes, self.codec.sizes, self.device, SCORED_NOTES // SAMPLES):
                lengths = torch.tensor([len(codes[i]) for i in rows], device=self.device)
                mean, log_variance = network.posterior(targets, _before(lengths, targets.shape[1]))
                noise = _noise([codes[i] for i in rows], self.span, self.latent).to(self.device)
                z = mean + noise * (0.5 * log_variance).exp()  # (S, B, K, Z)
                kl = kl_to_standard(mean, log_variance).sum(-1).double().cpu().numpy()  # (B, K)
                expected = self._expected(network, inputs, targets, z)
                for i, score, divergence in zip(rows, expected, kl, strict=True):
                    scores[i][:], divergences[i][:] = score[: len(scores[i])], divergence[: len(divergences[i])]
                    scores[i] -= _shares(divergences[i], len(scores[i]), self.span)
        return scores, divergences

    def _expected(self, network: Network, inputs: Tensor, targets: Tensor, z: Tensor) -> NDArray[np.float64]:
        """Mean over the draws `z` (S, B, K, Z) of the log probabilities of `targets`, (B, T, 4)."""
        S, B, T = *z.shape[:2], inputs.shape[1]
        z, inputs, targets = z.flatten(0, 1), inputs.repeat(S, 1, 1), targets.repeat(S, 1, 1)
        # In float32: bfloat16 has 8 bits of precision, which is for training. A few spans at once: bounds memory.
        step = max(1, SCORED_NOTES // (S * B * self.span)) * self.span
        state, parts = None, []
        for at in range(0, T, step):
            now = slice(at, at + step)
            told = network.along(z[:, at // self.span : (at + step) // self.span], inputs[:, now].shape[1])
            h, state = network.decode(inputs[:, now], told, state)
            parts.append(network.field_log_probs(h, targets[:, now]).view(S, B, -1, len(FIELDS)).double().mean(0))
        found: NDArray[np.float64] = torch.cat(parts, dim=1).cpu().numpy()
        return found

    # Generation

    def states(
        self, network: Network, notes: Tensor, first: int, last: int, rng: torch.Generator
    ) -> Iterator[tuple[int, Tensor]]:
        """States after the prompt, notes[:, 1 : first + 1]; see the class for where each latent comes from."""
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

    def facts(self) -> Mapping[str, Any]:
        """What all such models say, and how much the latent is used: KL in nats per span, dimensions that vary with the music."""
        return {**super().facts(), **self.use}


def _before(lengths: Tensor, most: int) -> Tensor:
    """Which of `most` places come before each of `lengths` (B,): (B, most)."""
    return torch.arange(most, device=lengths.device) < lengths[:, None]


def _noise(codes: Sequence[NDArray[np.int16]], span: int, latent: int) -> Tensor:
    """Standard normal noise, (SAMPLES, B, most spans, latent): each piece's by a seed from its own notes."""
    draws = []
    most = max(-(-len(c) // span) for c in codes)
    for c in codes:
        rng, spans = torch.Generator().manual_seed(zlib.crc32(c.tobytes())), -(-len(c) // span)
        # As many as the piece has: of another number PyTorch may draw others from the first on.
        draws.append(F.pad(torch.randn(SAMPLES, spans, latent, generator=rng), (0, 0, 0, most - spans)))
    return torch.stack(draws, dim=1)


def _shares(divergences: NDArray[np.float64], notes: int, span: int) -> NDArray[np.float64]:
    """Each span's KL spread evenly over its notes' fields, (notes, 1)."""
    sizes = np.minimum(span, notes - span * np.arange(len(divergences)))
    return np.repeat(divergences / (len(FIELDS) * sizes), sizes)[:, None]
