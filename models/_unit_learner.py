"""Base of the PyTorch models that predict frames or events: training by likelihood, facts."""

from __future__ import annotations

import contextlib
import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import bench.api
from bench.api import Piece, Run, TrialError

from . import _torch
from ._batches import to_device
from ._frames import validation
from ._training import averaging, check_ranges, initial_seed, warmed

#: Inputs, targets, and a mask that is 0 where they are padded, (B, T).
Batch = tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]


class Sequences(Protocol):
    """Training sequences in batches."""

    @property
    def notes(self) -> int:
        """Number of training notes."""

    def updates(self, batch: int) -> int:
        """Count the batches in an epoch."""

    def epoch(self, epoch: int, batch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""


class UnitLearner(bench.api.Model):
    """A model whose network predicts the next frame or event; `_frame_learner.py` and `_event_learner.py` say how.

    A plug-in's dataclass declares the hyperparameters named here and calls :meth:`prepare` first in its ``__post_init__``.
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

    @abstractmethod
    def sequences(self, train: Sequence[Piece], valid: Sequence[Piece], seed: int) -> Sequences:
        """Prepare the training sequences.

        Raises
        ------
        DataError
            If there is nothing to train on, or to select the best evaluation by.
        """

    @abstractmethod
    def losses(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Negative log probability of each target, nats, (B, T)."""

    @abstractmethod
    def count_notes(self, batch: Batch) -> int:
        """Count the notes of a batch."""

    @abstractmethod
    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each frame or event of each piece, nats. See :class:`bench.api.Model`."""

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train by AdamW; keep the averaged weights of the best evaluation by the validation loss."""
        torch.set_num_threads(run.threads)
        self.device = _torch.choose_device(run.device)
        _torch.seed_all(initial_seed(run.seed, "weights"))
        network = self.network = self.make_network().to(self.device)
        if run.budget.untrained:
            run.begin()
            return
        training = Training(self, network, self.sequences(train, valid, initial_seed(run.seed, "order")), run)
        self.network = training.averaged
        progress = training.progress
        for _ in progress.evaluations():
            with self.training_precision():
                loss, notes = training.train()
            rate = training.optimizer.param_groups[0]["lr"]
            score = validation(self.log_likelihood(valid))
            progress.finish(loss=loss, score=score.pop("validation_loss"), notes=notes, rate=rate, **score)
        progress.restore_best()
        self.peak_gpu_bytes = progress.peak_gpu_bytes

    def training_precision(self) -> Any:
        """Context of the updates, forwards and backwards; an evaluation between them is outside."""
        return contextlib.nullcontext()

    def precision(self) -> str:
        """Precision of the products in training."""
        return "float32"

    def facts(self) -> Mapping[str, Any]:
        """Parameters, precision and GPU memory."""
        return {
            "parameters": _torch.count_parameters(self.trained()),
            "precision": self.precision(),
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

    def __init__(self, model: UnitLearner, network: nn.Module, sequences: Sequences, run: Run) -> None:
        self.model, self.network, self.sequences = model, network, sequences
        self.averaged = copy.deepcopy(network).requires_grad_(False)
        for part in self.averaged.modules():
            if isinstance(part, nn.RNNBase):
                part.flatten_parameters()  # else cuDNN would gather the weights anew at each call
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
        """Train until the next evaluation; return the mean loss, nats a frame or event, and the number of notes trained on."""
        model, notes_before = self.model, self.progress.notes_done
        self.network.train()
        losses = []
        batches = self.progress.batches(lambda epoch: self.sequences.epoch(epoch, model.batch), model.count_notes)
        for update, batch in batches:
            _torch.set_rate(self.optimizer, model.learning_rate * warmed(update, model.warmup))
            inputs, targets, mask = to_device(model.device, *batch)
            loss = (model.losses(self.network, inputs, targets) * mask).sum() / mask.sum()
            torch.autograd.backward(loss)
            _torch.clip_gradients(self.network.parameters(), model.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            _torch.average(self.averaged, self.network, averaging(update))
            losses.append(loss.detach())
        return float(torch.stack(losses).mean()), self.progress.notes_done - notes_before
