"""Transformer decoder over notes: pre-norm, rotary or learned positions, factorised heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import parametrize

from bench.api import FIELDS, NoteCodec, Notes, Piece, PluginError, Run, TrialError

from . import _torch
from ._decoder import Network, Sampler, draw, states, window_starts
from ._training import Windows, check_splits, initial_seed

FRAMEWORK = "pytorch"
FEATURES = "Decoder-only attention, rotary or learned positions, every field of a note conditioned on those before it"
PROMPT = True
LIKELIHOOD = "exact"
SEES_TARGET = False
CONSTRAINT = True

#: Windows scored, and prompts continued, at once: bounds memory, not results.
SCORED_NOTES = 16_384
SEQUENCES = 256


@dataclass
class Model:
    """The Transformer baseline.

    It sees at most `window` notes at once. The note i of a piece is predicted from the window that begins at the piece's head
    while i < window; from there on windows advance by half their length, and note i is predicted by the first window that
    holds it, so it always has at least half a window before it. Likelihood and generation follow this same rule.

    Parameters
    ----------
    layers, width, heads : int
        Blocks, channels, attention heads.
    window : int
        Notes seen at once, in training too; even.
    positions : {"rotary", "learned"}
    dropout : float
        In every block.
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
        Of sampling.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    window: int = 128
    positions: str = "rotary"
    dropout: float = 0.0
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup: float = 0.05
    clip: float = 1.0
    transpose: int = 5
    stretch: float = 0.1
    time_classes: int = 64
    duration_classes: int = 64
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.positions not in ("rotary", "learned"):
            raise PluginError(f"transformer: positions is {self.positions!r}, not 'rotary' or 'learned'.")
        if self.width % (2 * self.heads):
            raise PluginError(f"transformer: width {self.width} is no multiple of twice the {self.heads} heads.")
        if self.window < 2 or self.window % 2:
            raise PluginError(f"transformer: window is {self.window}, must be even and at least 2.")
        if not (self.temperature > 0 and 0 < self.top_p <= 1):
            raise PluginError(f"transformer: temperature {self.temperature} must be above 0, top_p {self.top_p} in (0, 1].")
        self.codec = NoteCodec(self.time_classes, self.duration_classes)
        self.device = torch.device("cpu")
        self.network: Network | None = None
        self.compiled = _torch.Compiled(lambda: None, "no: not trained")

    # Training

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train by AdamW on random windows; keep the weights of the best epoch by validation bits."""
        torch.set_num_threads(run.threads)
        self.device = _torch.choose_device(run.device)
        _torch.seed_all(initial_seed(run.seed, "weights"))
        network = self.network = self._network().to(self.device)
        if run.budget.epochs == 0:
            run.begin()
            return
        check_splits("transformer", train, valid)
        windows = Windows(train, self.codec, self.window, self.transpose, self.stretch, initial_seed(run.seed, "order"))
        training = _Training(self, network, windows, run)
        for epoch in training.progress.epochs():
            loss, notes = training.epoch(epoch)
            rate = training.optimizer.param_groups[0]["lr"]
            training.progress.finish(epoch, loss=loss, score=self._bits(valid), notes=notes, rate=rate)
        training.progress.restore_best()

    def _network(self) -> Network:
        return Network(self.codec.sizes, self.window, self.layers, self.width, self.heads, self.positions, self.dropout)

    def _bits(self, pieces: Sequence[Piece]) -> float:
        """Mean bits per note of `pieces`."""
        scores = self.log_likelihood(pieces)
        return float(-np.concatenate(scores).sum(1).mean() / np.log(2))

    # Likelihood

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each note's fields, nats, (n, 4) a piece; see the class for what each note is given."""
        network = self._trained()
        codes = [self.codec.encode(p.notes) for p in pieces]
        results = [np.zeros((len(c), len(FIELDS))) for c in codes]
        places = [(i, at) for i, c in enumerate(codes) for at in window_starts(len(c), self.window)]
        rows = max(1, SCORED_NOTES // self.window)
        with _torch.inference(network), parametrize.cached():
            for first in range(0, len(places), rows):
                chunk = places[first : first + rows]
                inputs, targets = self._windows(codes, chunk)
                # In float32: bfloat16 has 8 bits of precision, which is for training.
                scores = network.log_probs(inputs, targets).double().cpu().numpy()
                for (i, at), score in zip(chunk, scores, strict=True):
                    skip = self.window // 2 if at else 0
                    part = results[i][at + skip : at + self.window]
                    part[:] = score[skip : skip + len(part)]
        return results

    def _windows(self, codes: Sequence[NDArray[np.int16]], places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Inputs and targets (B, window, 4) of the windows at `places`, (piece, first note); padded with zeros."""
        rows = np.zeros((len(places), self.window + 1, len(FIELDS)), np.int64)
        for row, (i, at) in zip(rows, places, strict=True):
            row[0] = codes[i][at - 1] if at else self.codec.sizes
            part = codes[i][at : at + self.window]
            row[1 : 1 + len(part)] = part
        both = torch.from_numpy(rows).to(self.device)
        return both[:, :-1], both[:, 1:]

    # Generation

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Continue each prompt by `n_notes` notes, all prompts together, with a cache of keys and values."""
        network = self._trained()
        sampler = Sampler(_torch.generator(seed, self.device), self.temperature, self.top_p)
        weights = None if constraint is None else torch.as_tensor(constraint, dtype=torch.float32, device=self.device)
        results: list[Notes] = []
        with _torch.inference(network), parametrize.cached():
            for first in range(0, len(prompts), SEQUENCES):
                part = prompts[first : first + SEQUENCES]
                given = torch.from_numpy(np.stack([self.codec.encode(p) for p in part]).astype(np.int64)).to(self.device)
                codes = self._continue(network, given, n_notes, sampler, weights).cpu().numpy()
                starts = [float(p.onset[-1]) if len(p) else 0.0 for p in part]
                results += [self.codec.decode(c, start) for c, start in zip(codes, starts, strict=True)]
        return results

    def _continue(self, network: Network, given: Tensor, n_notes: int, sampler: Sampler, weights: Tensor | None) -> Tensor:
        """Codes of the continuations, (B, n_notes, 4), of prompts `given` (B, P, 4)."""
        B, P, _ = given.shape
        notes = torch.empty(B, 1 + P + n_notes, len(FIELDS), dtype=torch.int64, device=self.device)
        notes[:, 0] = torch.tensor(self.codec.sizes, device=self.device)  # notes[:, i] is the input that predicts note i
        notes[:, 1 : P + 1] = given
        for i, h in states(network, notes, P, P + n_notes):
            added = None if weights is None else weights[i - P]

            def choose(logits: Tensor, field: int, added: Tensor | None = added) -> Tensor:
                return sampler(logits, added if field == 0 else None)

            notes[:, i + 1] = draw(network, h, choose)
        return notes[:, P + 1 :]

    def facts(self) -> Mapping[str, Any]:
        """Size, precision of training (scores and generation are in float32), and what became of compilation."""
        return {
            "parameters": _torch.count_parameters(self._trained()),
            "peak_gpu_bytes": _torch.peak_gpu_bytes(self.device),
            "precision": _torch.precision(self.device),
            "compiled": self.compiled.note,
            "compile_seconds": round(self.compiled.seconds, 3),
        }

    def _trained(self) -> Network:
        if self.network is None:
            raise TrialError("transformer: `fit` must come before this.")
        return self.network


class _Training:
    """What changes during training, and its steps."""

    def __init__(self, model: Model, network: Network, windows: Windows, run: Run) -> None:
        self.model, self.network, self.windows = model, network, windows
        groups = [
            {"params": params, "weight_decay": decay}
            for params, decay in zip(decayed(network), (model.weight_decay, 0.0), strict=True)
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=model.learning_rate, betas=(0.9, 0.95), fused=True)
        self.progress = _torch.Progress(
            "transformer",
            asdict(model),
            windows,
            model.batch,
            run,
            model.device,
            modules={"network": network},
            optimizers={"network": self.optimizer},
            chosen="network",
            score="validation_bits",
        )
        _torch.seed_all(initial_seed(run.seed, "dropout"))
        model.compiled = _torch.compiled(network, model.device, self._attempt)

    def _attempt(self, forward: Callable[..., Any]) -> Tensor:
        B, T = self.model.batch, self.model.window
        notes = np.zeros((B, T, len(FIELDS)), np.int16)
        return self._loss(forward, notes, notes, np.ones((B, T), np.bool_))

    def _loss(
        self, forward: Callable[..., Any], inputs: NDArray[np.int16], targets: NDArray[np.int16], mask: NDArray[np.bool_]
    ) -> Tensor:
        """Loss of a batch. The tensors are always contiguous copies: other strides, or one tensor twice, would recompile."""
        arrays = (inputs.astype(np.int64, "C"), targets.astype(np.int64, "C"), np.ascontiguousarray(mask))
        with _torch.autocast(self.model.device):
            loss: Tensor = forward(*(torch.from_numpy(a).to(self.model.device) for a in arrays))
        return loss

    def epoch(self, epoch: int) -> tuple[float, int]:
        """Train one epoch; the mean loss, nats per note, and the notes trained on."""
        model = self.model
        self.network.train()
        losses = torch.zeros(self.progress.steps, device=model.device)
        notes = 0
        for i, (inputs, targets, mask) in enumerate(self.windows.epoch(epoch, model.batch)):
            _torch.set_rate(self.optimizer, model.learning_rate * self.progress.rate(epoch, i, model.warmup))
            loss = self._loss(model.compiled.module, inputs, targets, mask)
            torch.autograd.backward(loss)
            _torch.clip_gradients(self.network.parameters(), model.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            losses[i] = loss.detach()
            notes += int(mask.sum())
        return float(losses.mean()), notes


def decayed(network: Network) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters with weight decay, which are the matrices of products, and those without: biases, gains, look-up tables."""
    tables = ("embed", "given", "place")
    named = list(network.named_parameters())
    products = {name for name, p in named if p.ndim == 2 and not name.startswith(tables)}
    return [p for name, p in named if name in products], [p for name, p in named if name not in products]
