"""GAN over notes (Goodfellow et al. 2014), convolutional, with Gumbel-softmax heads (Jang, Gu & Poole 2017).

Training follows Huang et al., "The GAN is dead; long live the GAN! A modern baseline GAN" (2024): the critic scores a real window
relative to a generated one (Jolicoeur-Martineau 2018), and the squared norm of its gradient is penalised at both (R1 and R2,
Mescheder et al. 2018), which makes the training converge locally. The critic has no normalisation. An update is one step of the
critic, then one of the generator; Adam has no momentum. Notes are discrete, so the generator ends in Gumbel-softmax heads (Jang,
Gu & Poole 2017), straight-through by default, one for each field in the codec's order: each head sees the classes that the heads
before it chose for the same note.

It takes no prompt: a sample is generated from noise alone. It has no likelihood. Its networks and losses are in ``_gan.py``.

The generator that is evaluated is a moving average of its weights. The best is the one with the smallest validation distance: see
``validation_distance`` in ``_distance.py``.
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
from bench.api import FIELDS, NoteCodec, Notes, Piece, PluginError, Run, TrialError

from . import _torch
from ._batches import to_device
from ._critic_training import CriticTraining
from ._distance import marginals, validation_distance
from ._gan import Critic, Generator, simplices
from ._training import Windows, check_splits, initial_seed, warmed

REQUIRES = ("torch",)
FEATURES = "Adversarial (relativistic, R1 and R2 penalty), convolutional, Gumbel-softmax note fields; takes no prompt"
PROMPT = False
LIKELIHOOD = None
#: Its heads give a pitch's probability given the noise, not the notes before, so weights on it would have little meaning.
CONSTRAINT = False
TINY = {"latent": 8, "width": 8, "dilations": [1, 2], "critic_widths": [8, 8, 8], "window": 16, "batch": 4}

#: Pieces generated at once: limits memory.
SEQUENCES = 64

#: Pieces, and notes of each, on which the validation distance is measured.
VALIDATION = (32, 256)


@dataclass
class Model(bench.api.Model):
    """The GAN baseline: an update trains the critic and then the generator on the same real windows.

    Parameters
    ----------
    latent, width : int
        Noise channels (a multiple of 4) and channels of the generator.
    dilations : sequence of int
        Dilation of each residual block of the generator.
    critic_widths : sequence of int
        Channels of the critic's embedding, then of each of its convolutions.
    window : int
        Notes that the critic sees at once.
    batch : int
        Windows in a training step; the paper's 128.
    penalty : float
        Weight of the gradient penalty, gamma in the paper: half of it multiplies R1 + R2.
    temperature : float
        Of the Gumbel-softmax in training. Sampling always draws from the heads' own distributions.
    straight_through : bool
        The critic sees one-hot notes and the gradient passes as if they were relaxed; if false it sees the relaxed ones.
    learning_rate, critic_learning_rate : float
        Of the generator and of the critic.
    warmup : int
        Updates over which the rates rise; then they are constant.
    clip : float
        Largest norm of a network's gradient.
    transpose : int
        Augmentation: semitones up or down, at most. More than a few widen the learned distribution of pitches.
    stretch : float
        Augmentation: tempo by a factor of up to exp(stretch).
    time_classes, duration_classes : int
        Of the note codec.
    """

    latent: int = 64
    width: int = 96
    dilations: Sequence[int] = (1, 2, 4, 8)
    critic_widths: Sequence[int] = (64, 64, 96, 128, 192)
    window: int = 64
    batch: int = 128
    penalty: float = 1.0
    temperature: float = 1.0
    straight_through: bool = True
    learning_rate: float = 2e-3
    critic_learning_rate: float = 1e-3
    warmup: int = 20
    clip: float = 10.0
    transpose: int = 0
    stretch: float = 0.0
    time_classes: int = 64
    duration_classes: int = 64

    def __post_init__(self) -> None:
        if self.latent < 4 or self.latent % 4:
            raise PluginError(f"gan: latent is {self.latent}, must be a multiple of 4: a group of channels for each time scale.")
        if self.window < 8:
            raise PluginError(f"gan: window is {self.window}, must be at least 8 notes.")
        if not self.penalty >= 0:
            raise PluginError(f"gan: penalty is {self.penalty}, must be at least 0.")
        if not self.temperature > 0:
            raise PluginError(f"gan: temperature is {self.temperature}, must be above 0.")
        self.codec = NoteCodec(self.time_classes, self.duration_classes)
        self.device = torch.device("cpu")
        self.generator: Generator | None = None
        self.peak_gpu_bytes: int | None = None
        self.parameters: dict[str, int] = {}

    # Training

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train critic and generator in turn; keep the averaged generator with the least validation distance."""
        torch.set_num_threads(run.threads)
        self.device = _torch.choose_device(run.device)
        _torch.seed_all(initial_seed(run.seed, "weights"))
        # Weights are drawn on the CPU, so that they don't depend on the device.
        generator = Generator(self.codec.sizes, self.latent, self.width, self.dilations).to(self.device)
        critic = Critic(self.codec.sizes, self.critic_widths).to(self.device)
        self.generator = generator
        self.parameters = {"parameters": _torch.count_parameters(generator), "critic_parameters": _torch.count_parameters(critic)}
        self.peak_gpu_bytes = _torch.peak_gpu_bytes(self.device)
        if run.budget.untrained:
            run.begin()
            return
        check_splits("gan", train, valid)
        windows = Windows(train, self.codec, self.window, self.transpose, self.stretch, initial_seed(run.seed, "order"))
        real = marginals([self.codec.encode(piece.notes) for piece in valid])
        training = _Training("gan", self, generator, critic, windows, run)
        self.generator = training.averaged
        for _ in training.progress.evaluations():
            values, notes = training.train()
            distance = validation_distance(self._sample(training.averaged, *VALIDATION, seed=0), real)
            rate = self.learning_rate * warmed(training.progress.updates_done - 1, self.warmup)
            training.progress.finish(score=distance, notes=notes, rate=rate, **values)
        training.progress.restore_best()
        self.peak_gpu_bytes = training.progress.peak_gpu_bytes

    # Generation

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Generate a piece of `n_notes` notes for each prompt, whose notes are ignored; each piece starts at 0 s."""
        if self.generator is None:
            raise TrialError("gan: `fit` must come before this.")
        codes = self._sample(self.generator, len(prompts), n_notes, seed, constraint)
        return [self.codec.decode(c) for c in codes]

    def _sample(
        self, generator: Generator, pieces: int, n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> NDArray[np.int64]:
        """Generate classes of new pieces, (pieces, n_notes, 4)."""
        rng = _torch.generator(seed, self.device)
        weights = None if constraint is None else torch.as_tensor(constraint, dtype=torch.float32, device=self.device)
        codes = np.empty((pieces, n_notes, len(FIELDS)), np.int64)
        with _torch.inference(generator):
            for first in range(0, pieces, SEQUENCES):
                noise = generator.noise(min(SEQUENCES, pieces - first), n_notes, rng)
                codes[first : first + SEQUENCES] = generator.sample(noise, rng, weights).cpu().numpy()
        return codes

    def facts(self) -> Mapping[str, Any]:
        """Sizes of both networks and precision."""
        return {
            **self.parameters,
            "peak_gpu_bytes": self.peak_gpu_bytes,
            # The penalty is a second derivative, for which bfloat16 and TensorFloat-32 are coarse.
            "precision": "float32",
            "compiled": "no: torch.compile can't make the second derivatives of the gradient penalty",
        }


class _Training(CriticTraining[Generator, Critic]):
    """Training on windows of notes: the generator is given where the real ones are padded."""

    def count(self, batch: Any) -> int:
        return int(batch[2].sum())

    def prepare(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Real notes as one-hot rows, and False where a short piece is padded."""
        _, targets, mask = batch
        codes, there = to_device(self.model.device, targets, mask)  # (B, N, 4), (B, N)
        present = there[..., None]
        return simplices(codes, self.model.codec.sizes) * present, present

    def fake(self, given: Tensor, rng: torch.Generator) -> Tensor:
        """Generate windows (B, N, K), padded where the real ones are."""
        model = self.model
        noise = self.generator.noise(len(given), model.window, rng)
        if model.straight_through and not torch.is_grad_enabled():
            # The same distribution as the relaxed path's one-hot rows, with a fraction of the random numbers.
            return simplices(self.generator.sample(noise, rng), model.codec.sizes) * given
        notes: Tensor = self.generator(noise, model.temperature, model.straight_through, rng)
        return notes * given
