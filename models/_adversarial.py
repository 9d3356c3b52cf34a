"""Adversarial training of a Transformer over notes: its discriminator, the reward of each drawn note, the updates.

Shapes: B windows of T notes in a batch, of which the first half is given and the second drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.api import Run, seed_for

from . import _torch
from ._fields import Sampler
from ._gan import Intervals
from ._learner import Training, adamw
from ._rotary import Network, WindowedLearner
from ._training import TINY, Windows, check_ranges, warmed


class AdversarialLearner(WindowedLearner):
    """A Transformer that is trained by likelihood, then by likelihood and a reward. A plug-in's dataclass derives from it."""

    pretraining: float
    reward: float
    discount: float
    discriminator_learning_rate: float

    def prepare(self) -> None:
        """See :class:`WindowedLearner`."""
        super().prepare()
        check_ranges(
            self.name,
            self,
            positive=("discriminator_learning_rate",),
            nonnegative=("reward",),
            shares=("pretraining", "discount"),
        )
        self.discriminator_parameters = 0

    def training(self, network: Network, windows: Windows, run: Run) -> AdversarialTraining:
        """See :class:`Learner`."""
        training = AdversarialTraining(self, network, windows, run)
        self.discriminator_parameters = _torch.count_parameters(training.discriminator)
        return training

    def facts(self) -> Mapping[str, Any]:
        """Facts of all such models, and the size of the discriminator; operations are those of the likelihood alone."""
        return {**super().facts(), "discriminator_parameters": self.discriminator_parameters}


class Discriminator(Network):
    """Transformer like the generator, with scores in place of the heads: of each note given those before it, and of all notes.

    Both are logits of the probability that the notes are real and not drawn. Beside the fields of a note it sees the intervals to
    those before: without, 60 updates on chorales brought the local scores of true and drawn notes 0.9 apart, not 2.6.
    """

    def add_heads(self) -> None:
        """Make the scores, which begin at 0, then draw all other weights."""
        self.given, self.heads = (), ()  # no field is predicted
        self.local, self.whole = nn.Linear(self.width, 1), nn.Linear(self.width, 1)
        self.intervals = Intervals(self.sizes[0])
        self.related = nn.Linear(self.intervals.width, self.width)
        self.reset()

    def reset_body(self) -> None:
        """See :class:`Decoder`."""
        super().reset_body()
        nn.init.zeros_(self.local.weight)
        nn.init.zeros_(self.whole.weight)

    def embedded(self, inputs: Tensor) -> Tensor:
        """See :class:`FieldNetwork`; and features of the intervals to earlier notes."""
        pitch = F.one_hot(inputs[..., 0], self.sizes[0]).to(self.related.weight.dtype)
        intervals: Tensor = self.related(self.intervals(pitch))
        return super().embedded(inputs) + intervals

    def scores(self, notes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Local scores (B, T) and global scores (B,) of `notes` (B, T, 4); the latter are of those in `mask` (B, T)."""
        h = self.stream(notes)  # (B, T, C)
        shares = mask / mask.sum(1, keepdim=True).clamp(min=1)
        mean = torch.einsum("btc,bt->bc", h, shares)
        return self.local(h).squeeze(-1), self.whole(mean).squeeze(-1)


def discriminator_loss(local: Tensor, whole: Tensor, real: float, mask: Tensor) -> Tensor:
    """Cross-entropy of local scores (B, T), mean over the notes in `mask` (B, T), plus that of global scores (B,), nats.

    `real` is 1 for real notes, 0 for drawn ones.
    """
    of_notes = F.binary_cross_entropy_with_logits(local, torch.full_like(local, real), reduction="none")
    of_windows = F.binary_cross_entropy_with_logits(whole, torch.full_like(whole, real))
    return (of_notes * mask).sum() / mask.sum().clamp(min=1) + of_windows


def advantages(local: Tensor, whole: Tensor, mask: Tensor, discount: float) -> Tensor:
    """Advantage (B, T) of each note in `mask` (B, T), by the scores of the window that it belongs to; 0 elsewhere.

    The reward of a note is what it adds to the local score: for the best discriminator, the log ratio of its probabilities under
    the music and under the generator. A note's return is its own reward and those of the later notes, each discounted once more,
    plus the global score. The baseline is the mean over the batch for each place; returns are in units of their standard
    deviation, so that the weight of the reward means the same whatever the discriminator's scale.
    """
    local = local * mask
    rewards = (local - F.pad(local, (1, 0))[:, :-1]) * mask
    returns, later = torch.empty_like(rewards), torch.zeros_like(whole)
    for t in reversed(range(rewards.shape[1])):
        later = rewards[:, t] + discount * later
        returns[:, t] = later
    returns = returns + whole[:, None]
    centred = (returns - (returns * mask).sum(0) / mask.sum(0).clamp(min=1)) * mask
    scale = (centred.square().sum() / mask.sum().clamp(min=1)).sqrt()
    return centred / scale.clamp(min=1e-3)


class AdversarialTraining(Training[Network]):
    """Training by likelihood for a share of the budget, then by likelihood and the discriminator's reward together.

    An update of the second kind draws the second half of each window given its first, updates the discriminator on it and on the
    true second half, and adds the gradient of the expected return (REINFORCE, Williams 1992) to that of the likelihood.
    """

    def __init__(self, model: AdversarialLearner, network: Network, windows: Windows, run: Run) -> None:
        sizes = (model.layers, model.width, model.heads, model.positions, model.dropout)
        self.discriminator = Discriminator(model.codec.sizes, model.window, *sizes).to(model.device)
        self.of_discriminator = adamw(self.discriminator, model.discriminator_learning_rate, model.weight_decay)
        self.hyper, self.seed = model, run.seed
        self.measured: list[Tensor] = []
        super().__init__(
            model,
            network,
            windows,
            run,
            modules={"discriminator": self.discriminator},
            optimizers={"discriminator": self.of_discriminator},
            # The share of the likelihood alone is one of the budget's: at half of it the training is not that of half the budget.
            anytime=False,
        )

    def train(self) -> tuple[dict[str, float], int]:
        """See :class:`Training`; also the ``discriminator_loss``, and the ``score_gap`` of true notes to drawn ones."""
        self.measured = []
        values, notes = super().train()
        if self.measured:
            means = torch.stack(self.measured).mean(0).tolist()
            values |= dict(zip(("discriminator_loss", "score_gap"), means, strict=True))
        return values, notes

    def loss(self, batch: tuple[Tensor, ...], update: int) -> Tensor:
        """See :class:`Training`. The value is that of the likelihood; the reward adds its gradient alone."""
        likelihood = super().loss(batch, update)
        if self.progress.share < self.hyper.pretraining - TINY:
            return likelihood
        inputs, targets, present = batch
        drawn = self._drawn(inputs, targets, update)
        half = targets.shape[1] // 2
        mask = present & (torch.arange(targets.shape[1], device=present.device) >= half)
        earned = self._discriminate(targets, drawn, mask.float(), update)
        # Without dropout, as they were drawn.
        self.network.eval()
        nats = self.network.log_probs(torch.cat([inputs[:, :1], drawn[:, :-1]], 1), drawn).sum(-1)
        self.network.train()
        returned = -(earned * nats).sum() / mask.sum().clamp(min=1)
        return likelihood + self.hyper.reward * (returned - returned.detach())

    def _drawn(self, inputs: Tensor, targets: Tensor, update: int) -> Tensor:
        """Draw the second half of each of `targets` (B, T, 4) given the first."""
        # A generator for each update: what is drawn doesn't depend on where the evaluations are.
        rng = _torch.generator(seed_for("training", self.seed, "reward", update), self.model.device)
        with _torch.inference(self.network), parametrize.cached():
            notes = torch.cat([inputs[:, :1], targets], 1)
            self.model.draw_notes(self.network, notes, targets.shape[1] // 2, Sampler(rng, 1.0, 1.0))
        return notes[:, 1:].clone()  # a tensor of inference mode would be of no use in training

    def _discriminate(self, real: Tensor, drawn: Tensor, mask: Tensor, update: int) -> Tensor:
        """Update the discriminator; return the advantages (B, T) of the drawn notes, by its scores before."""
        self.discriminator.train()
        local, whole = self.discriminator.scores(torch.cat([real, drawn]), torch.cat([mask, mask]))
        (local_real, local_drawn), (whole_real, whole_drawn) = local.chunk(2), whole.chunk(2)
        loss = discriminator_loss(local_real, whole_real, 1.0, mask) + discriminator_loss(local_drawn, whole_drawn, 0.0, mask)
        _torch.set_rate(self.of_discriminator, self.hyper.discriminator_learning_rate * warmed(update, self.model.warmup))
        torch.autograd.backward(loss / 2)
        _torch.clip_gradients(self.discriminator.parameters(), self.model.clip)
        self.of_discriminator.step()
        self.of_discriminator.zero_grad(set_to_none=True)
        gap = ((local_real - local_drawn) * mask).sum() / mask.sum().clamp(min=1)
        self.measured.append(torch.stack([loss / 2, gap]).detach())
        return advantages(local_drawn.detach(), whole_drawn.detach(), mask, self.hyper.discount)
