"""MidiNet: a convolutional GAN of piano-roll bars, conditioned on the bar before (Yang, Chou & Yang 2017).

The generator draws sixteen steps of 128 pitches from noise; a conditioner convolves the bar before, and its maps join the
generator's at each scale. Music grows bar by bar, each from noise of its own, as for one track of MuseGAN (Dong et al. 2018).
Where this differs from the paper:

- A roll may hold chords. Each cell has three channels: a note begins, a note sounds on, and velocity; the first two are binary
  neurons (Dong & Yang 2018).
- A logit also sees its pitch's neighbourhood in the bar before, with weights shared by all pitches.
- Steps in which notes begin are drawn first, one after the other, then the pitches. A refiner (Dong & Yang 2018) lets the noisy
  logits of a step change each other, and the critic hears pitch classes in a stream of its own (theirs too).
- The generator also minimises the cross-entropy of the real bar, as in pix2pix (Isola et al. 2017): the losses of the GAN alone
  learned no rhythm within some hundred updates. Its threshold is set so that chords have the training's mean number of notes.
- The critic sees the bar before too, and its loss is that of ``gan.py`` (relativistic, gradient penalties): with the paper's
  cross-entropy and one-sided label smoothing the training diverged within 200 updates. Feature matching is the paper's.

Performances have no bar lines, so that a bar is any sixteen steps in a row; see ``_rolls.py``, which finds the step. The networks
are in ``_midinet.py``. The generator that is evaluated is a moving average of its weights; the best one has the least validation
distance (``_distance.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import bench.api
from bench.api import NoteCodec, Notes, Piece, Run, TrialError

from . import _torch
from ._batches import to_device
from ._critic_training import CriticTraining
from ._distance import marginals, validation_distance
from ._gan import relativistic_loss
from ._midinet import Critic, Generator, channels, to_bytes
from ._rolls import DEFAULT, STEPS, Bars, from_roll, last_bar, to_grid
from ._training import check_ranges, check_splits, initial_seed, warmed

REQUIRES = ("torch",)
FEATURES = "Adversarial, piano roll in bars of 16 steps, 2-D convolutions conditioned on the bar before; continues a prompt"
PROMPT = True
LIKELIHOOD = None
#: It draws the cells of a bar, not one note after the other.
CONSTRAINT = False
TINY = {"latent": 4, "width": 8, "condition": 4, "critic_width": 4, "batch": 4}

#: Pieces generated at once: limits memory.
SEQUENCES = 64

#: Pieces, notes of their prompts and notes after them on which the validation distance is measured.
VALIDATION, VALIDATION_PROMPT, VALIDATION_NOTES = 32, 32, 128

#: Training bars on which the number of notes in a chord is calibrated.
CALIBRATION = 128


@dataclass
class Model(bench.api.Model):
    """The GAN of bars: an update trains the critic and then the generator on the same real bars.

    Parameters
    ----------
    latent, width, condition : int
        Length of the noise; channels of the generator and of the conditioner.
    critic_width : int
        Channels of the critic's first convolution.
    batch : int
        Bars in a training step.
    penalty : float
        Weight of the gradient penalty, see the `gan` model.
    matching : float
        Weight of feature matching: squared differences between mean features of real and generated bars, the paper's second.
    chords : float
        Weight of the same for the critic's features of chords.
    cross_entropy : float
        Weight of the cross-entropy of the real bars, nats a step.
    spread : float
        Of the noise at the binary neurons: 1 draws cells by their probability, 0 by a threshold.
    learning_rate, critic_learning_rate : float
        Of the generator and of the critic.
    warmup : int
        Updates over which the rates rise; then they are constant.
    clip : float
        Largest norm of a network's gradient.
    """

    latent: int = 64
    width: int = 128
    condition: int = 32
    critic_width: int = 16
    batch: int = 32
    penalty: float = 0.1
    matching: float = 0.02
    chords: float = 2.0
    cross_entropy: float = 1.0
    spread: float = 1.0
    learning_rate: float = 4e-3
    critic_learning_rate: float = 2e-3
    warmup: int = 20
    clip: float = 10.0

    def __post_init__(self) -> None:
        check_ranges(
            "midinet",
            self,
            counts=("latent", "width", "condition", "critic_width", "batch"),
            positive=("learning_rate", "critic_learning_rate", "clip"),
            nonnegative=("penalty", "matching", "chords", "cross_entropy", "spread", "warmup"),
        )
        self.device = torch.device("cpu")
        self.generator: Generator | None = None
        self.peak_gpu_bytes: int | None = None
        self.parameters: dict[str, int] = {}
        #: Step of a piece whose prompt tells none, seconds; articulation and lead of the training pieces, see `Grid`.
        self.seconds, self.articulation, self.lead = DEFAULT, 1.0, 0.0

    # Training

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train critic and generator in turn; keep the averaged generator with the least validation distance."""
        torch.set_num_threads(run.threads)
        self.device = _torch.choose_device(run.device)
        _torch.seed_all(initial_seed(run.seed, "weights"))
        # Weights are drawn on the CPU, so that they don't depend on the device.
        generator = Generator(self.latent, self.width, self.condition).to(self.device)
        critic = Critic(self.critic_width).to(self.device)
        self.generator = generator
        self.parameters = {"parameters": _torch.count_parameters(generator), "critic_parameters": _torch.count_parameters(critic)}
        self.peak_gpu_bytes = _torch.peak_gpu_bytes(self.device)
        if run.budget.untrained:
            run.begin()
            return
        check_splits("midinet", train, valid)
        bars = Bars([piece.notes for piece in train if len(piece.notes)], initial_seed(run.seed, "order"))
        self.seconds, self.articulation, self.lead = bars.seconds, bars.articulation, bars.lead
        codec = NoteCodec()
        held_out = [piece.notes for piece in valid if len(piece.notes)][:VALIDATION]
        real = marginals([codec.encode(notes) for notes in held_out])
        training = _Training("midinet", self, generator, critic, bars, run)
        self.generator = training.averaged
        for _ in training.progress.evaluations():
            values, notes = training.train()
            training.calibrate()
            drawn = self.generate([piece[:VALIDATION_PROMPT] for piece in held_out], VALIDATION_NOTES, seed=0)
            distance = validation_distance(np.stack([codec.encode(piece) for piece in drawn]), real)
            rate = self.learning_rate * warmed(training.progress.updates_done - 1, self.warmup)
            training.progress.finish(score=distance, notes=notes, rate=rate, **values)
        training.progress.restore_best()
        self.peak_gpu_bytes = training.progress.peak_gpu_bytes

    # Generation

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Continue each prompt by `n_notes` notes, from the step after its last chord, on the grid of its own tempo."""
        if self.generator is None:
            raise TrialError("midinet: `fit` must come before this.")
        rng, results = _torch.generator(seed, self.device), list[Notes]()
        with _torch.inference(self.generator):
            for first in range(0, len(prompts), SEQUENCES):
                results += self._continue(self.generator, prompts[first : first + SEQUENCES], n_notes, rng)
        return results

    def _continue(self, generator: Generator, prompts: Sequence[Notes], n_notes: int, rng: torch.Generator) -> list[Notes]:
        """Draw bars until each piece has its notes: at least one begins in each bar."""
        grids = [to_grid(prompt, self.seconds) for prompt in prompts]
        last = np.stack([last_bar(prompt, grid) for prompt, grid in zip(prompts, grids, strict=True)])
        bars, notes = list[NDArray[np.uint8]](), np.zeros(len(prompts), np.int64)
        (roll,) = to_device(self.device, last)
        while notes.min() < n_notes:
            bar = generator(generator.noise(len(prompts), rng), channels(roll), self.spread, rng, most=True)
            roll = to_bytes(bar)
            bars.append(roll.cpu().numpy())
            notes += bar[:, 0].sum((1, 2)).long().cpu().numpy()
        # A bar of silence behind them: so a roll of no notes has a length too.
        rolls = np.concatenate([*bars, np.zeros_like(last)], axis=1)
        return [
            # Without a prompt a piece begins at 0 s.
            from_roll(roll, n_notes, float(p.onset[-1]) + g.seconds if len(p) else 0.0, g.seconds, self.articulation, self.lead)
            for roll, p, g in zip(rolls, prompts, grids, strict=True)
        ]

    def facts(self) -> Mapping[str, Any]:
        """Sizes of both networks and precision."""
        return {
            **self.parameters,
            "peak_gpu_bytes": self.peak_gpu_bytes,
            "precision": "float32",
            "compiled": "no: torch.compile can't make the second derivatives of the gradient penalty",
        }


class _Training(CriticTraining[Generator, Critic]):
    """Training on pairs of bars, the second of which is generated."""

    def count(self, batch: Any) -> int:
        return self.data.count(batch)  # type: ignore[no-any-return]

    def prepare(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Pairs of bars, (B, 3, 32, 128), and the first of each."""
        real = channels(*to_device(self.model.device, batch))
        return real, real[:, :, :STEPS]

    def fake(self, given: Tensor, rng: torch.Generator) -> Tensor:
        """Generate a bar after each given one: pairs of bars."""
        bar: Tensor = self.generator(self.generator.noise(len(given), rng), given, self.model.spread, rng)
        return torch.cat([given, bar], 2)

    def generator_loss(self, real: Tensor, given: Tensor, rng: torch.Generator) -> Tensor:
        """With feature matching and the cross-entropy of the real bar."""
        model = self.model
        logits = self.generator.logits(self.generator.noise(len(real), rng), given)
        fake = torch.cat([given, self.generator.draw(logits, given, model.spread, rng)], 2)
        seen, wanted = self.critic.features(fake), self.critic.features(real)
        loss: Tensor = relativistic_loss(self.critic.judge(seen), self.critic.judge(wanted))
        loss = loss + model.matching * (seen[0].mean(0) - wanted[0].mean(0)).square().sum()
        loss = loss + model.chords * (seen[1].mean(0) - wanted[1].mean(0)).square().sum()
        loss = loss + model.cross_entropy * self.generator.cross_entropy(logits, real)
        return loss

    def calibrate(self) -> None:
        """Set the averaged generator's threshold on the same training bars each time."""
        rolls = channels(*to_device(self.model.device, next(self.data.epoch(0, CALIBRATION))))
        self.averaged.calibrate(rolls, self.model.spread, _torch.generator(0, self.model.device))
