"""Training of a generator against a critic that scores real relative to generated examples: of ``gan.py`` and ``midinet.py``."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from bench.api import Run, seed_for

from . import _torch
from ._gan import relativistic_loss, scores_and_gradients
from ._training import averaging, warmed

G = TypeVar("G", bound=nn.Module)
C = TypeVar("C", bound=nn.Module)

#: Adam's: no momentum, as the critic's gradient changes with every step of the generator.
BETAS = (0.0, 0.9)


class CriticTraining(ABC, Generic[G, C]):
    """State of a training run, and its steps. All randomness comes from the seed and the number of the update.

    Parameters
    ----------
    name : str
        The plug-in's.
    model : dataclass
        Its ``batch``, ``learning_rate``, ``critic_learning_rate``, ``warmup``, ``penalty`` and ``clip``; and its ``device``.
    generator, critic : Module
    data : object
        Training examples: ``epoch(number, batch)`` yields the batches.
    run : Run
    """

    def __init__(self, name: str, model: Any, generator: G, critic: C, data: Any, run: Run) -> None:
        self.model, self.generator, self.critic, self.data, self.seed = model, generator, critic, data, run.seed
        self.averaged = copy.deepcopy(generator).requires_grad_(False)
        self.of_generator = torch.optim.Adam(generator.parameters(), lr=model.learning_rate, betas=BETAS, foreach=True)
        self.of_critic = torch.optim.Adam(critic.parameters(), lr=model.critic_learning_rate, betas=BETAS, foreach=True)
        self.progress = _torch.Progress(
            name,
            asdict(model),
            data,
            model.batch,
            run,
            model.device,
            modules={"generator": generator, "averaged": self.averaged, "critic": critic},
            optimizers={"generator": self.of_generator, "critic": self.of_critic},
            chosen="averaged",
            score="validation_distance",
        )

    @abstractmethod
    def count(self, batch: Any) -> int:
        """Count the notes of a batch."""

    @abstractmethod
    def prepare(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Put a batch on the device: the real examples, and what the generator is given beside noise."""

    @abstractmethod
    def fake(self, given: Tensor, rng: torch.Generator) -> Tensor:
        """Generate as many examples as are given, of the shape of the real ones."""

    def generator_loss(self, real: Tensor, given: Tensor, rng: torch.Generator) -> Tensor:
        """Loss of the generator, whose gradient passes through the critic."""
        return relativistic_loss(self.critic(self.fake(given, rng)), self.critic(real))

    def train(self) -> tuple[dict[str, float], int]:
        """Train until the next evaluation.

        Returns
        -------
        values : dict of str to float
            Means over the updates: the critic's ``loss``; ``critic_gap``, its mean score of real examples less that of generated
            ones; ``gradient_norm``, of its weights, before it is clipped.
        notes : int
        """
        model, before = self.model, self.progress.notes_done
        values: list[Tensor] = []
        for update, batch in self.progress.batches(lambda epoch: self.data.epoch(epoch, model.batch), self.count):
            # A generator for each update: what is drawn doesn't depend on where the evaluations are.
            rng = _torch.generator(seed_for("training", self.seed, "noise", update), model.device)
            rate = warmed(update, model.warmup)
            real, given = self.prepare(batch)
            values.append(self._critic_step(real, given, rate, rng))
            self._generator_step(real, given, rate, rng)
            _torch.average(self.averaged, self.generator, averaging(update))
        means = torch.stack(values).mean(0).tolist()
        return dict(zip(("loss", "critic_gap", "gradient_norm"), means, strict=True)), self.progress.notes_done - before

    def _critic_step(self, real: Tensor, given: Tensor, rate: float, rng: torch.Generator) -> Tensor:
        """Update the critic; return its loss, its gap and its gradient's norm."""
        with torch.no_grad():
            fake = self.fake(given, rng)
        scores, squares = scores_and_gradients(self.critic, torch.cat([real, fake]))  # (2B,) each
        of_real, of_fake = scores.chunk(2)
        # The mean over both halves is half of the sum of R1 and R2.
        loss = relativistic_loss(of_real, of_fake) + self.model.penalty * squares.mean()
        norm = self._descend(self.of_critic, self.critic, loss, self.model.critic_learning_rate * rate)
        return torch.stack([loss, (of_real - of_fake).mean(), norm]).detach()

    def _generator_step(self, real: Tensor, given: Tensor, rate: float, rng: torch.Generator) -> None:
        # The gradient passes through the critic to the examples; that of the critic's own weights is not needed.
        self.critic.requires_grad_(False)
        loss = self.generator_loss(real, given, rng)
        self._descend(self.of_generator, self.generator, loss, self.model.learning_rate * rate)
        self.critic.requires_grad_(True)

    def _descend(self, optimizer: torch.optim.Optimizer, network: nn.Module, loss: Tensor, rate: float) -> Tensor:
        """Update a network by the gradient of `loss`; return the gradient's norm before it is clipped."""
        _torch.set_rate(optimizer, rate)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = _torch.clip_gradients(network.parameters(), self.model.clip)
        optimizer.step()
        return norm
