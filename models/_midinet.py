"""Networks of the `midinet` model: generator, conditioner, critic. Tensors of rolls are (batch, channels, steps, pitches)."""

from __future__ import annotations

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
    uniform = torch.rand(logits.shape, device=logits.device, generator=rng).clamp(1e-7, 1 - 1e-7)
    soft = (logits + spread * (uniform.log() - torch.log1p(-uniform))).sigmoid()
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
        self.rhythm = nn.Conv2d(both, CHANNELS, 1)
        self.carry = nn.Conv2d(2 * CHANNELS, CHANNELS, (1, 2 * REACH + 1), padding=(0, REACH))
        self.bias = nn.Parameter(torch.tensor(LOGITS).view(CHANNELS, 1, 1).repeat(1, 1, PITCHES) / GAIN)

    def noise(self, bars: int, rng: torch.Generator) -> Tensor:
        """Draw the noise of new bars, shape (bars, Z)."""
        return torch.randn(bars, self.latent, device=rng.device, generator=rng)

    def logits(self, noise: Tensor, bar: Tensor) -> Tensor:
        """Map noise (B, Z) and the bar before (B, 3, 16, 128) to logits of each channel (B, 3, 16, 128)."""
        x = F.leaky_relu(self.enter(noise), 0.2).view(-1, self.width, 2, 1)
        maps = self.conditioner(bar)
        for convolution, condition in zip(self.grow, maps[:-1], strict=True):
            x = F.leaky_relu(convolution(torch.cat([x, condition], 1)), 0.2)  # (B, C, T, 1), T of 4, 8, 16
        x = torch.cat([x, maps[-1]], 1)
        # What each pitch did in the bar before, on average and at its end.
        profile = torch.cat([bar.mean(2, keepdim=True), bar[:, :, -1:]], 1)  # (B, 6, 1, 128)
        out: Tensor = GAIN * (self.leave(x) + self.rhythm(x) + self.carry(profile) + self.bias)
        return out

    def forward(self, noise: Tensor, bar: Tensor, spread: float, rng: torch.Generator, most: bool = False) -> Tensor:
        """Draw bars (B, 3, 16, 128), through which the gradient passes; with `most`, at least one note begins in each.

        A note sounds on only where one sounded in the step before, so no cell hangs in the air.
        """
        logits = self.logits(noise, bar)
        begins, on = neurons(logits[:, 0], spread, rng), neurons(logits[:, 1], spread, rng)
        if most:
            begins = torch.where(begins.sum((1, 2), keepdim=True) > 0, begins, _likeliest(logits[:, 0]))
        sounds, held = bar[:, 0, -1] + bar[:, 1, -1], []  # (B, 128)
        for step in range(STEPS):
            held.append(sounds * on[:, step] * (1 - begins[:, step]))
            sounds = begins[:, step] + held[-1]
        return torch.stack([begins, torch.stack(held, 1), begins * logits[:, 2].sigmoid()], 1)


def _likeliest(logits: Tensor) -> Tensor:
    """One-hot bars (B, 16, 128) of the largest logit of each."""
    flat = logits.flatten(1)
    return torch.zeros_like(flat).scatter_(1, flat.argmax(1, keepdim=True), 1.0).view_as(logits)


class Critic(nn.Module):
    """Critic of a bar and the one before: strided convolutions over steps and pitches without normalisation, then a score.

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
        self.score = nn.Sequential(nn.Linear(4 * width * 4 * 8, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))

    def features(self, rolls: Tensor) -> Tensor:
        """Map two bars (B, 3, 32, 128) to the first convolution's features (B, C, 16, 32)."""
        return F.leaky_relu(self.first(rolls), 0.2)

    def judge(self, features: Tensor) -> Tensor:
        """Map the first convolution's features to scores (B,)."""
        x = F.leaky_relu(self.second(features), 0.2)
        x = F.leaky_relu(self.third(x), 0.2)
        scores: Tensor = self.score(x.flatten(1))
        return scores.squeeze(-1)

    def forward(self, rolls: Tensor) -> Tensor:
        """Map two bars (B, 3, 32, 128) to scores (B,)."""
        return self.judge(self.features(rolls))
