"""Base of the PyTorch models of frames: training by likelihood, likelihood, continuing prompts, facts."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.api import Notes, Piece, Run, TrialError

from . import _torch
from ._batches import to_device
from ._frames import KEYS, ODDS, Sequences, batched, before, check_splits, continued, mean_nats, padded, to_frames
from ._training import averaging, check_ranges, initial_seed, warmed

#: Frames scored at once: limits memory, and doesn't affect results.
SCORED = 2**13


class Learner(ABC):
    """A model whose network maps frames (B, T, KEYS) to the log odds of each next one. A plug-in's dataclass derives from it.

    The plug-in declares the hyperparameters named here, calls :meth:`prepare` first in its ``__post_init__``, and defines
    :meth:`make_network`. A network sees `window` frames at once, at most. While i < window, frame i of a piece is predicted from
    the window that begins at the piece's head; after that, windows advance by half their length, and frame i is predicted by the
    first window that holds it. Likelihood and generation follow the same rule.
    """

    #: The plug-in's name, for messages.
    name: ClassVar[str]
    window: int
    batch: int
    dropout: float
    learning_rate: float
    weight_decay: float
    clip: float
    warmup: int
    temperature: float

    def prepare(self, *sizes: str) -> None:
        """Check the shared hyperparameters and `sizes`, names of the plug-in's own counts; set up a model without weights.

        Raises
        ------
        PluginError
            If a size is below 1, or a rate or share is out of its range.
        """
        check_ranges(
            self.name,
            self,
            counts=(*sizes, "window", "batch"),
            positive=("learning_rate", "clip"),
            nonnegative=("weight_decay", "warmup"),
            shares=("dropout",),
        )
        self.device = torch.device("cpu")
        self.network: nn.Module | None = None
        self.peak_gpu_bytes: int | None = None

    @abstractmethod
    def make_network(self) -> nn.Module:
        """Make a network of these sizes; its weights are drawn now."""

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train by AdamW on whole pieces; keep the averaged weights of the best evaluation by the validation loss."""
        torch.set_num_threads(run.threads)
        self.device = _torch.choose_device(run.device)
        _torch.seed_all(initial_seed(run.seed, "weights"))
        network = self.network = self.make_network().to(self.device)
        if run.budget.untrained:
            run.begin()
            return
        check_splits(self.name, train, valid)
        training = Training(self, network, Sequences(train, self.window, initial_seed(run.seed, "order")), run)
        self.network = training.averaged
        progress = training.progress
        for _ in progress.evaluations():
            loss, notes = training.train()
            rate = training.optimizer.param_groups[0]["lr"]
            progress.finish(loss=loss, score=mean_nats(self.log_likelihood(valid)), notes=notes, rate=rate)
        progress.restore_best()
        self.peak_gpu_bytes = progress.peak_gpu_bytes

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each frame from the second on, nats, (T - 1,) for each piece. See :class:`bench.api.Model`."""
        network = self.trained()
        frames = [to_frames(piece.notes) for piece in pieces]
        results = [np.zeros(len(part)) for part in frames]
        places = [(i, at) for i, part in enumerate(frames) for at in window_starts(len(part), self.window)]
        given = [before(part) for part in frames]
        stretches = [(given[i][at : at + self.window], frames[i][at : at + self.window]) for i, at in places]
        with _torch.inference(network), parametrize.cached():
            for rows in batched([len(targets) for _, targets in stretches], SCORED):
                inputs, targets = to_device(self.device, *padded([stretches[row] for row in rows])[:2])
                nats = -frame_losses(network(inputs), targets).double().cpu().numpy()
                for row, score in zip(rows, nats, strict=True):
                    i, at = places[row]
                    skip = self.window - max(1, self.window // 2) if at else 0
                    part = results[i][at + skip : at + self.window]
                    part[:] = score[skip : skip + len(part)]
        return [part[1:] for part in results]

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Continue each prompt by `n_notes` notes, all prompts together. See :class:`bench.api.Model`."""
        network = self.trained()
        heard: list[Tensor] = []

        def predict(frame: NDArray[np.float32]) -> NDArray[np.float32]:
            heard.append(*to_device(self.device, frame))
            at = window_start(len(heard) - 1, self.window)
            odds: NDArray[np.float32] = network(torch.stack(heard[at:], 1))[:, -1].cpu().numpy()
            return odds

        with _torch.inference(network), parametrize.cached():
            return continued(predict, prompts, n_notes, seed, self.temperature)

    def facts(self) -> Mapping[str, Any]:
        """Parameters, precision and GPU memory."""
        return {
            "parameters": _torch.count_parameters(self.trained()),
            "precision": "float32",
            "compiled": "no: sequences differ in length",
            "peak_gpu_bytes": self.peak_gpu_bytes,
        }

    def trained(self) -> nn.Module:
        """Return the network, which exists after `fit`.

        Raises
        ------
        TrialError
            Before that.
        """
        if self.network is None:
            raise TrialError(f"{self.name}: `fit` must come before this.")
        return self.network


class Training:
    """State of a training run, and its steps."""

    def __init__(self, model: Learner, network: nn.Module, sequences: Sequences, run: Run) -> None:
        self.model, self.network, self.sequences = model, network, sequences
        self.averaged = copy.deepcopy(network).requires_grad_(False)
        weights = list(network.parameters())
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": model.weight_decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=model.learning_rate, betas=(0.9, 0.99), fused=True)
        self.progress = _torch.Progress(
            model.name,
            asdict(model),  # type: ignore[call-overload]  # every plug-in is a dataclass
            sequences,
            model.batch,
            run,
            model.device,
            modules={"network": network, "averaged": self.averaged},
            optimizers={"network": self.optimizer},
            chosen="averaged",
            score="validation_loss",
        )
        _torch.seed_all(initial_seed(run.seed, "dropout"))

    def train(self) -> tuple[float, int]:
        """Train until the next evaluation; return the mean loss, nats a frame, and the number of notes trained on."""
        model, notes_before = self.model, self.progress.notes_done
        self.network.train()
        losses = []
        batches = self.progress.batches(lambda epoch: self.sequences.epoch(epoch, model.batch), lambda batch: int(batch[1].sum()))
        for update, batch in batches:
            _torch.set_rate(self.optimizer, model.learning_rate * warmed(update, model.warmup))
            inputs, targets, mask = to_device(model.device, *batch)
            loss = (frame_losses(self.network(inputs), targets) * mask).sum() / mask.sum()
            torch.autograd.backward(loss)
            _torch.clip_gradients(self.network.parameters(), model.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            _torch.average(self.averaged, self.network, averaging(update))
            losses.append(loss.detach())
        return float(torch.stack(losses).mean()), self.progress.notes_done - notes_before


def output(width: int) -> nn.Linear:
    """Make a linear layer from `width` channels to the log odds of each key, few of which sound before training."""
    layer = nn.Linear(width, KEYS)
    nn.init.constant_(layer.bias, ODDS)
    return layer


def frame_losses(odds: Tensor, targets: Tensor) -> Tensor:
    """Negative log probability of each frame, nats, (B, T), from the log odds of its keys (B, T, KEYS)."""
    return F.binary_cross_entropy_with_logits(odds, targets, reduction="none").sum(-1)


def window_start(frame: int, window: int) -> int:
    """First frame of the window that predicts `frame`: see :class:`Learner`."""
    half = max(1, window // 2)
    return 0 if frame < window else (frame - window) // half * half + half


def window_starts(n: int, window: int) -> Iterator[int]:
    """First frame of each window over a piece of `n` frames: its head, then every half window that adds frames."""
    if n:
        yield 0
    half = max(1, window // 2)
    yield from range(half, n - window + half, half)
