"""Networks of the `midinet` model: generator, conditioner, critic. Tensors of rolls are (batch, channels, steps, pitches)."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from ._rolls import HELD, PITCHES, STEPS

#: Channels of a roll: a note begins, a note sounds on, and velocity / 127 where one begins.
CHANNELS = 3
#: Initial logits of the channels: a few notes begin in each step, and most sound on.
LOGITS = (-4.0, 1.0, 0.0)
#: Factor on the logits: cells are drawn independently given the features, so chords need sharp logits, which come sooner with it.
GAIN = 4.0
#: Pitches that a cell's own pitch is related to in the bar before: an octave below and above.
REACH = 12
#: Channels of the generator's refiner, and of the critic's features of chords.
REFINER, CHROMA = 16, 32


def channels(roll: Tensor) -> Tensor:
    """Channels (B, 3, T, 128) of rolls of bytes (B, T, 128)."""
    begins = (roll > 0) & (roll < HELD)
    return torch.stack([begins.float(), (roll == HELD).float(), torch.where(begins, roll / 127.0, 0.0)], 1)


def to_bytes(bar: Tensor) -> Tensor:
    """Convert channels (B, 3, T, 128) to rolls of bytes (B, T, 128)."""
    velocity = (bar[:, 2] * 127).round().clamp(1, 127)
    return torch.where(bar[:, 0] > 0.5, velocity, torch.where(bar[:, 1] > 0.5, HELD, 0.0)).to(torch.uint8)


def neurons(logits: Tensor, spread: float, rng: torch.Generator) -> Tensor:
    """Draw 1 or 0 for each logit; the gradient passes as if the draw were relaxed (straight-through).

    Dong & Yang 2018, "Convolutional generative adversarial networks with binary neurons for polyphonic music generation". At a
    `spread` of 1 the draw is Bernoulli; at 0 it is a threshold, and all variety comes from the noise at the generator's input.
    """
    return binary(logits + spread * logistic(logits, rng))


def logistic(like: Tensor, rng: torch.Generator) -> Tensor:
    """Draw logistic noise of the shape of `like`: a logit exceeds it with the logit's probability."""
    uniform = torch.rand(like.shape, device=like.device, generator=rng).clamp(1e-7, 1 - 1e-7)
    return uniform.log() - torch.log1p(-uniform)


def binary(logits: Tensor) -> Tensor:
    """1 where a logit is positive, else 0, with the gradient of its sigmoid."""
    soft = logits.sigmoid()
    # In this order the difference is exactly 0, so that a cell is exactly 0 or 1.
    return (soft > 0.5).float() + (soft - soft.detach())


class Conditioner(nn.Module):
    """Convolutions over the bar before, the generator's in reverse: one map for each of its scales."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, width, (1, PITCHES))
        self.halve = nn.ModuleList(nn.Conv2d(width, width, (2, 1), stride=(2, 1)) for _ in range(3))

    def forward(self, bar: Tensor) -> list[Tensor]:
        """Map a bar (B, 3, 16, 128) to features (B, C, T, 1) for T of 2, 4, 8 and 16."""
        maps = [F.leaky_relu(self.first(bar), 0.2)]
        for convolution in self.halve:
            maps.append(F.leaky_relu(convolution(maps[-1]), 0.2))
        return maps[::-1]


class Logits(NamedTuple):
    """Logits of a bar: that notes begin in a step (B, 16), and of the channels of each cell (B, 3, 16, 128)."""

    steps: Tensor
    cells: Tensor


class Generator(nn.Module):
    """Generator of a bar from noise and the bar before.

    Parameters
    ----------
    latent, width, condition : int
        Length of the noise; channels of the generator's and of the conditioner's maps.
    """

    def __init__(self, latent: int, width: int, condition: int) -> None:
        super().__init__()
        self.latent, self.width = latent, width
        self.conditioner = Conditioner(condition)
        self.enter = nn.Linear(latent, 2 * width)
        both = width + condition
        self.grow = nn.ModuleList(nn.ConvTranspose2d(both, width, (2, 1), stride=(2, 1)) for _ in range(3))
        self.leave = nn.ConvTranspose2d(both, CHANNELS, (1, PITCHES))
        self.rhythm = nn.Conv2d(both, 1 + CHANNELS, 1)
        self.carry = nn.Conv2d(2 * CHANNELS, CHANNELS, (1, 2 * REACH + 1), padding=(0, REACH))
        self.bias = nn.Parameter(torch.tensor(LOGITS).view(CHANNELS, 1, 1).repeat(1, 1, PITCHES) / GAIN)
        self.release = nn.Parameter(torch.zeros(()))
        self.pulse = nn.Parameter(torch.zeros(STEPS))
        self.threshold: Tensor
        self.register_buffer("threshold", torch.zeros(()))
        self.of_draft = nn.Conv2d(1, REFINER, (1, 2 * REACH + 1), padding=(0, REACH))
        self.of_profile = nn.Conv2d(2 * CHANNELS, REFINER, (1, 2 * REACH + 1), padding=(0, REACH))
        self.change = nn.Conv2d(REFINER, 1, (1, 2 * REACH + 1), padding=(0, REACH))
        # Training begins without changes.
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(cast(Tensor, self.change.bias))

    def noise(self, bars: int, rng: torch.Generator) -> Tensor:
        """Draw the noise of new bars, shape (bars, Z)."""
        return torch.randn(bars, self.latent, device=rng.device, generator=rng)

    def logits(self, noise: Tensor, bar: Tensor) -> Logits:
        """Map noise (B, Z) and the bar before (B, 3, 16, 128) to logits."""
        x = F.leaky_relu(self.enter(noise), 0.2).view(-1, self.width, 2, 1)
        maps = self.conditioner(bar)
        for convolution, condition in zip(self.grow, maps[:-1], strict=True):
            x = F.leaky_relu(convolution(torch.cat([x, condition], 1)), 0.2)  # (B, C, T, 1), T of 4, 8, 16
        x = torch.cat([x, maps[-1]], 1)
        rhythm = self.rhythm(x)
        cells = self.leave(x) + rhythm[:, 1:] + self.carry(profile(bar)) + self.bias
        return Logits(GAIN * rhythm[:, 0, :, 0], GAIN * cells)

    def forward(self, noise: Tensor, bar: Tensor, spread: float, rng: torch.Generator, most: bool = False) -> Tensor:
        """Draw bars (B, 3, 16, 128), see :meth:`draw`."""
        return self.draw(self.logits(noise, bar), bar, spread, rng, most)

    def draw(self, logits: Logits, bar: Tensor, spread: float, rng: torch.Generator, most: bool = False) -> Tensor:
        """Draw bars (B, 3, 16, 128), through which the gradient passes; with `most`, at least one note begins in each.

        Steps in which notes begin are drawn first, so that the notes of a chord begin together. A note sounds on only where one
        sounded in the step before, so no cell hangs in the air.
        """
        steps = self._steps(logits.steps + spread * logistic(logits.steps, rng), bar).unsqueeze(-1)  # (B, 16, 1)
        begins = steps * binary(self._noisy(logits.cells[:, 0], bar, spread, rng) - self.threshold)
        on = neurons(logits.cells[:, 1] - self.release * steps, spread, rng)
        if most:
            likeliest = _likeliest(logits.cells[:, 0] + logits.steps.unsqueeze(-1))
            begins = torch.where(begins.sum((1, 2), keepdim=True) > 0, begins, likeliest)
        sounds, held = bar[:, 0, -1] + bar[:, 1, -1], []  # (B, 128)
        for step in range(STEPS):
            held.append(sounds * on[:, step] * (1 - begins[:, step]))
            sounds = begins[:, step] + held[-1]
        return torch.stack([begins, torch.stack(held, 1), begins * logits.cells[:, 2].sigmoid()], 1)

    def _noisy(self, logits: Tensor, bar: Tensor, spread: float, rng: torch.Generator) -> Tensor:
        """Add noise to the logits that notes begin (B, 16, 128), and change them by the others of their step, as a chord."""
        draft = logits + spread * logistic(logits, rng)
        x = self.of_draft(draft.sigmoid().unsqueeze(1)) + self.of_profile(profile(bar))  # (B, C, 16, 128)
        change: Tensor = self.change(F.leaky_relu(x, 0.2))
        return draft + GAIN * change.squeeze(1)

    @torch.no_grad()
    def calibrate(self, rolls: Tensor, spread: float, rng: torch.Generator) -> None:
        """Set the threshold at which chords have as many notes as the real ones in pairs of bars (B, 3, 32, 128), on average."""
        before, begins = rolls[:, :, :STEPS], rolls[:, 0, STEPS:]
        logits = self.logits(self.noise(len(rolls), rng), before)
        chords = begins.amax(-1) > 0  # (B, 16)
        noisy = self._noisy(logits.cells[:, 0], before, spread, rng)[chords].flatten()
        notes = int(begins.sum())
        self.threshold.copy_(noisy.topk(notes).values[-1] if notes else noisy.new_zeros(()))

    def _steps(self, noisy: Tensor, bar: Tensor) -> Tensor:
        """Draw 1 for each step in which notes begin (B, 16), one after the other: each depends on the sixteen before."""
        steps = list(bar[:, 0].amax(-1).unbind(1))
        for logit in noisy.unbind(1):
            steps.append(binary(logit + GAIN * torch.stack(steps[-STEPS:], 1) @ self.pulse))
        return torch.stack(steps[STEPS:], 1)

    def cross_entropy(self, logits: Logits, rolls: Tensor) -> Tensor:
        """Cross-entropy of the real bars in pairs of bars (B, 3, 32, 128), nats a step: each cell given what it depends on."""
        begins, on, velocity = rolls[:, :, STEPS:].unbind(1)
        sounded = (rolls[:, 0] + rolls[:, 1])[:, STEPS - 1 : -1]  # in the step before
        around = rolls[:, 0].amax(-1)  # (B, 32)
        steps = around[:, STEPS:]
        pulse = GAIN * around[:, :-1].unfold(1, STEPS, 1) @ self.pulse  # (B, 16)
        nats = F.binary_cross_entropy_with_logits(logits.steps + pulse, steps, reduction="sum")
        terms = (
            (logits.cells[:, 0], begins, steps.unsqueeze(-1).expand_as(begins)),
            (logits.cells[:, 1] - self.release * steps.unsqueeze(-1), on, sounded * (1 - begins)),
            (logits.cells[:, 2], velocity, begins),
        )
        for logit, target, where in terms:
            nats = nats + F.binary_cross_entropy_with_logits(logit, target, where, reduction="sum")
        return nats / steps.numel()


def profile(bar: Tensor) -> Tensor:
    """Summarise what each pitch did in a bar (B, 3, 16, 128), on average and at its end: (B, 6, 1, 128)."""
    return torch.cat([bar.mean(2, keepdim=True), bar[:, :, -1:]], 1)


def _likeliest(logits: Tensor) -> Tensor:
    """One-hot bars (B, 16, 128) of the largest logit of each."""
    flat = logits.flatten(1)
    return torch.zeros_like(flat).scatter_(1, flat.argmax(1, keepdim=True), 1.0).view_as(logits)


class Critic(nn.Module):
    """Critic of a bar and the one before: strided convolutions over steps and pitches without normalisation, then a score.

    A second stream hears the pitch classes of each step, in any transposition (as the chroma stream of Dong & Yang 2018).

    Parameters
    ----------
    width : int
        Channels of the first convolution, whose kernel spans two octaves; the next two have twice and four times as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, width, (2, 24), stride=(2, 4), padding=(0, 10))
        self.second = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.third = nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1)
        self.chroma = nn.Conv2d(4, CHROMA, (1, 12))
        self.chord = nn.Conv2d(CHROMA, CHROMA, 1)
        self.score = nn.Sequential(nn.Linear(4 * width * 4 * 8 + CHROMA, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))

    def features(self, rolls: Tensor) -> tuple[Tensor, Tensor]:
        """Map two bars (B, 3, 32, 128) to features of the first convolution (B, C, 16, 32), and of chords (B, C')."""
        pitches = torch.stack([rolls[:, 0], rolls[:, 0] + rolls[:, 1]], 1)
        classes = F.pad(pitches, (0, 4)).view(len(rolls), 2, -1, 11, 12).sum(-2)  # (B, 2, 32, 12)
        before = classes[:, :, :STEPS].mean(2, keepdim=True).expand(-1, -1, STEPS, -1)
        x = torch.cat([classes[:, :, STEPS:], before], 1)
        x = F.leaky_relu(self.chroma(torch.cat([x, x[..., :11]], -1)), 0.2)  # (B, C', 16, 12): from each class as root
        x = F.leaky_relu(self.chord(x), 0.2)
        return F.leaky_relu(self.first(rolls), 0.2), x.mean((2, 3))

    def judge(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """Map both features to scores (B,)."""
        first, chords = features
        x = F.leaky_relu(self.second(first), 0.2)
        x = F.leaky_relu(self.third(x), 0.2)
        scores: Tensor = self.score(torch.cat([x.flatten(1), chords], 1))
        return scores.squeeze(-1)

    def forward(self, rolls: Tensor) -> Tensor:
        """Map two bars (B, 3, 32, 128) to scores (B,)."""
        return self.judge(self.features(rolls))
