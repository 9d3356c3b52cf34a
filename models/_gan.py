"""Networks and losses of the `gan` model: generator, critic, Gumbel-softmax. Tensors are (batch, notes, channels)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from ._draws import draw_classes

#: Notes for which a group of latents is held: sections, phrases, figures, notes. None is held for a whole piece: the critic sees
#: only windows, so whatever it accepts in one (a repeated note, say) would then last for the whole piece.
SCALES = (64, 16, 4, 1)

#: Initial factor on the logits. Notes are drawn independently given the features, so order between neighbours needs sharp logits,
#: which the heads reach sooner with it.
GAIN = 4.0


class ClassTable(nn.Module):
    """One vector for each class, partly smooth in its index: cosines of the index, mixed by a learned matrix, plus a free part.

    Neighbouring pitches, velocities or log-spaced times are neighbours in music. A plain table would have to learn that from
    the data, class by class. Pitch also has the harmonics of the octave.

    Parameters
    ----------
    classes : int
    width : int
        Length of each vector.
    waves : int
        Cosines of the index, of 0.5, 1, 1.5, ... periods over all classes.
    octave : bool
        Add the harmonics of the octave.
    """

    basis: Tensor

    def __init__(self, classes: int, width: int, waves: int = 16, octave: bool = False) -> None:
        super().__init__()
        at = torch.arange(classes) + 0.5
        columns = [torch.cos(math.pi * k * at / classes) for k in range(1, waves + 1)]
        if octave:
            columns += [f(2 * math.pi * k * at / 12) for k in (1, 2, 3, 4, 5) for f in (torch.sin, torch.cos)]
        basis = torch.stack(columns, 1)  # (K, W)
        self.register_buffer("basis", basis, persistent=False)
        self.mix = nn.Parameter(torch.randn(basis.shape[1], width) / math.sqrt(basis.shape[1]))
        self.free = nn.Parameter(torch.randn(classes, width) * 0.1)

    def forward(self) -> Tensor:
        """All vectors, shape (classes, width)."""
        return self.free + self.basis @ self.mix


def class_tables(sizes: Sequence[int], width: int) -> nn.ModuleList:
    """Make a table for each field; the first is the pitch's."""
    return nn.ModuleList(ClassTable(size, width, octave=field == 0) for field, size in enumerate(sizes))


def gumbel_softmax(logits: Tensor, temperature: float, hard: bool, rng: torch.Generator) -> Tensor:
    """Draw a relaxed sample from each row of logits (Jang et al. 2017); exactly one-hot if `hard` (straight-through)."""
    uniform = torch.rand(logits.shape, device=logits.device, generator=rng)
    soft = ((logits - uniform.log().neg().log()) / temperature).softmax(-1)
    if not hard:
        return soft
    # In this order the difference is exactly 0, so that the row is exactly one-hot.
    return one_hot(soft.argmax(-1), soft) + (soft - soft.detach())


def one_hot(index: Tensor, like: Tensor) -> Tensor:
    """One-hot rows of `index` with the classes, dtype and device of `like`."""
    return torch.zeros_like(like).scatter_(-1, index[..., None], 1.0)


class Block(nn.Module):
    """Residual block of two convolutions over the note axis."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(width, width, kernel, dilation=dilation, padding=dilation * (kernel // 2))
        self.back = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, N) to (B, C, N)."""
        out: Tensor = x + self.back(F.leaky_relu(self.wide(F.leaky_relu(x, 0.2)), 0.2))
        return out


class Generator(nn.Module):
    """Generator of any number of notes from noise.

    Parameters
    ----------
    sizes : sequence of int
        Classes of each field.
    latent : int
        Noise channels, split evenly among :data:`SCALES`.
    width : int
        Channels.
    dilations : sequence of int
        Of one residual block each.
    """

    def __init__(self, sizes: Sequence[int], latent: int, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.latent = latent
        self.enter = nn.Conv1d(latent, width, 1)
        self.blocks = nn.Sequential(*(Block(width, 3, d) for d in dilations))
        self.chosen = class_tables(sizes[:-1], width)
        self.heads = nn.ModuleList(nn.Linear(width, width) for _ in sizes)
        self.tables = class_tables(sizes, width)
        self.bias = nn.ParameterList(torch.zeros(size) for size in sizes)

    def noise(self, pieces: int, notes: int, rng: torch.Generator) -> Tensor:
        """Draw the noise of new pieces, shape (pieces, Z, notes)."""
        return torch.randn(pieces, self.latent, notes, device=rng.device, generator=rng)

    def spread(self, noise: Tensor) -> Tensor:
        """Map noise (B, Z, N) to latents of every scale (B, Z, N): a group of scale s is held for s notes."""
        groups = noise.chunk(len(SCALES), 1)
        at = torch.arange(noise.shape[-1], device=noise.device)
        return torch.cat([g[..., at - at % s] for g, s in zip(groups, SCALES, strict=True)], 1)

    def features(self, noise: Tensor) -> Tensor:
        """Map noise (B, Z, N) to features of each note (B, N, C)."""
        x: Tensor = self.blocks(self.enter(self.spread(noise)))  # (B, C, N)
        return x.transpose(1, 2)

    def logits(self, field: int, x: Tensor) -> Tensor:
        """Logits of one field (B, N, K) from the features, the chosen classes of earlier fields added (B, N, C)."""
        hidden = F.leaky_relu(self.heads[field](x), 0.2)  # (B, N, C)
        table: Tensor = self.tables[field]()  # (K, C)
        logits: Tensor = hidden @ table.T * (GAIN / math.sqrt(hidden.shape[-1])) + self.bias[field]
        return logits

    def forward(self, noise: Tensor, temperature: float, hard: bool, rng: torch.Generator) -> Tensor:
        """Relaxed notes for training: (B, Z, N) to (B, N, K1 + K2 + K3 + K4), a simplex a field."""
        x = self.features(noise)  # (B, N, C)
        fields: list[Tensor] = []
        for field in range(len(self.tables)):
            fields.append(gumbel_softmax(self.logits(field, x), temperature, hard, rng))
            if field < len(self.chosen):
                x = x + fields[-1] @ self.chosen[field]()
        return torch.cat(fields, -1)

    def sample(self, noise: Tensor, rng: torch.Generator, log_weights: Tensor | None = None) -> Tensor:
        """Classes drawn from the heads' categorical distributions: (B, Z, N) to (B, N, 4).

        `log_weights` (N, 128) are added to the pitch logits.
        """
        x = self.features(noise)  # (B, N, C)
        codes: list[Tensor] = []
        for field in range(len(self.tables)):
            logits = self.logits(field, x)  # (B, N, K)
            if field == 0 and log_weights is not None:
                logits = logits + log_weights
            codes.append(draw_classes(logits.softmax(-1), rng))
            if field < len(self.chosen):
                x = x + self.chosen[field]()[codes[-1]]
        return torch.stack(codes, -1)


class Intervals(nn.Module):
    """Features of the intervals between nearby notes for the critic: cosine and sine of the interval at several periods.

    A pitch p becomes exp(i w p) for each frequency w; one note's times the conjugate of an earlier one's is exp(i w d) of the
    interval d. Its mean over a window is the characteristic function of the intervals, so steps are as visible to the critic as
    pitches.
    """

    cosines: Tensor
    sines: Tensor

    #: Semitones: from the keyboard's range down to a whole tone, the octave and its parts among them.
    PERIODS = (128, 64, 32, 24, 16, 12, 8, 6, 4, 3, 2.4, 2)
    #: Distances in notes: short ones show steps and chords, long ones movements of the register.
    LAGS = (1, 2, 3, 4, 8, 16)

    def __init__(self, pitches: int) -> None:
        super().__init__()
        angle = 2 * math.pi * torch.arange(pitches)[:, None] / torch.tensor(self.PERIODS)  # (128, W)
        self.register_buffer("cosines", angle.cos(), persistent=False)
        self.register_buffer("sines", angle.sin(), persistent=False)

    @property
    def width(self) -> int:
        """Number of features of a note."""
        return 2 * len(self.PERIODS) * len(self.LAGS)

    def forward(self, pitch: Tensor) -> Tensor:
        """Map simplices (B, N, 128) to (B, N, width); 0 for the first notes, which have no earlier one."""
        a, b = pitch @ self.cosines, pitch @ self.sines  # (B, N, W) each: real and imaginary part
        parts = []
        for lag in self.LAGS:
            c, d = (F.pad(x, (0, 0, lag, 0))[:, : x.shape[1]] for x in (a, b))  # the same, `lag` notes before
            parts += [a * c + b * d, b * c - a * d]
        return torch.cat(parts, -1)


class Critic(nn.Module):
    """Critic of windows of notes: strided convolutions without normalisation, then a mean, then one score each.

    Parameters
    ----------
    sizes : sequence of int
        Classes of each field.
    widths : sequence of int
        Channels of the embedding, then of each convolution; all but the first convolution halve the length.
    """

    def __init__(self, sizes: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.pitches = sizes[0]
        self.tables = class_tables(sizes, widths[0])
        self.intervals = Intervals(sizes[0])
        self.related = nn.Linear(self.intervals.width, widths[0])
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, 5, stride=1 if i == 0 else 2, padding=2) for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.score = nn.Sequential(nn.Linear(widths[-1], widths[-1]), nn.LeakyReLU(0.2), nn.Linear(widths[-1], 1))

    def forward(self, notes: Tensor) -> Tensor:
        """Map (B, N, K1 + K2 + K3 + K4) to scores (B,)."""
        x = notes @ torch.cat([table() for table in self.tables])  # (B, N, C)
        x = x + self.related(self.intervals(notes[..., : self.pitches]))
        x = x.transpose(1, 2)  # (B, C, N)
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)  # (B, C, N / 2)
        scores: Tensor = self.score(x.mean(-1))  # (B, 1)
        return scores.squeeze(-1)


def relativistic_loss(ahead: Tensor, behind: Tensor) -> Tensor:
    """Mean of log(1 + exp(behind - ahead)) over pairs of scores: small if each of `ahead` (B,) exceeds its pair in `behind` (B,).

    The critic's loss if real windows are ahead, the generator's if generated ones are; only differences of scores count
    (Jolicoeur-Martineau 2018, "The relativistic discriminator: a key element missing from standard GAN").

    >>> round(float(relativistic_loss(torch.tensor([1.0]), torch.tensor([1.0]))), 4)  # log 2
    0.6931
    """
    return F.softplus(behind - ahead).mean()


def scores_and_gradients(critic: nn.Module, notes: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B,) of windows (B, N, K), and the squared norm (B,) of each score's gradient with respect to its window.

    The mean of the norms, as a penalty, is R1 on real windows and R2 on generated ones (Mescheder, Geiger & Nowozin 2018, "Which
    training methods for GANs do actually converge?"): where both kinds are alike, a critic should be flat.
    """
    notes = notes.detach().requires_grad_(True)
    scores: Tensor = critic(notes)
    (gradient,) = torch.autograd.grad(scores.sum(), notes, create_graph=True)
    return scores, gradient.flatten(1).square().sum(1)


@functools.cache
def first_rows(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Place of each field's first class among those of all fields; copied to a GPU once, as a copy waits for all before it."""
    with torch.inference_mode(mode=False):  # a tensor of inference mode would be of no use in training
        return torch.tensor(np.cumsum([0, *sizes[:-1]]), device=device)


def simplices(codes: Tensor, sizes: Sequence[int]) -> Tensor:
    """Map classes (B, N, 4) to concatenated one-hot rows (B, N, K1 + K2 + K3 + K4)."""
    first = first_rows(tuple(sizes), codes.device)
    return torch.zeros(*codes.shape[:2], sum(sizes), device=codes.device).scatter_(-1, codes + first, 1.0)
