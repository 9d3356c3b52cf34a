"""Training independent of the framework: windows, augmentation, learning-rate schedule, early stopping, epochs. NumPy only."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS, DataError, NoteCodec, Piece, PluginError, Run, TrialError, seed_for


@dataclass
class Windows:
    """Training windows of encoded notes, drawn anew in each epoch.

    An epoch covers the training notes about once: each piece contributes ``len / window`` windows, rounded up, at random offsets.
    The first and last note of a long piece are covered in about every second epoch, those in the middle once in each. The input
    of a window's first note is the start symbol at a piece's head, else the true preceding note.

    Parameters
    ----------
    pieces : sequence of Piece
    codec : NoteCodec
    window : int
        Notes in a window; shorter pieces are padded and masked.
    transpose : int
        Each window is transposed by a uniform draw from -transpose..transpose, as far as MIDI's range allows.
    stretch : float
        Each window's tempo is scaled by exp(u), u uniform in -stretch..stretch.
    seed : int
    """

    pieces: Sequence[Piece]
    codec: NoteCodec
    window: int
    transpose: int = 0
    stretch: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = np.array([len(p.notes) for p in self.pieces])
        self.bounds = np.concatenate([[0], np.cumsum(sizes)])
        self.pitch = np.concatenate([p.notes.pitch for p in self.pieces]).astype(np.int16)
        self.velocity = np.concatenate([p.notes.velocity for p in self.pieces]).astype(np.int16)
        self.shift = np.concatenate([np.diff(p.notes.onset, prepend=p.notes.onset[:1]) for p in self.pieces])
        self.duration = np.concatenate([p.notes.duration for p in self.pieces])

    @property
    def notes(self) -> int:
        """Number of training notes."""
        return int(self.bounds[-1])

    def count(self) -> int:
        """Count the windows in an epoch."""
        return int(np.ceil(np.diff(self.bounds) / self.window).sum())

    def epoch(self, epoch: int, batch: int) -> Iterator[tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]]:
        """Yield the batches of one epoch, the same for the same (seed, epoch).

        Yields
        ------
        inputs : ndarray of int16, shape (batch, window, 4)
            The note before each target; the start symbol is one past the last class.
        targets : ndarray of int16, shape (batch, window, 4)
        mask : ndarray of bool, shape (batch, window)
            False where padded. The last batch is completed with windows drawn again, so that shapes never change.
        """
        rng = np.random.default_rng([self.seed, epoch])
        starts, ends = self._draw(rng)
        order = rng.permutation(len(starts))
        lacking = -len(order) % batch
        if lacking:
            order = np.concatenate([order, rng.integers(0, len(starts), lacking)])
        for rows in order.reshape(-1, batch):
            yield self._batch(starts[rows], ends[rows], rng)

    def _draw(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw the start of each window; also return the end of its piece, both as positions in the columns."""
        starts, ends = [], []
        half = self.window / 2
        for first, last in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            number = math.ceil((last - first) / self.window)
            latest = max(first, last - self.window)
            # Stratified: one window in each of `number` equal stretches, so that an epoch covers the piece evenly. The range
            # extends half a window beyond each end and is clipped, or a piece's head and tail would hardly ever be drawn.
            at = first - half + (np.arange(number) + rng.random(number)) / number * (latest - first + 2 * half)
            starts.append(np.clip(np.floor(at), first, latest).astype(np.int64))
            ends.append(np.full(number, last))
        return np.concatenate(starts), np.concatenate(ends)

    def _batch(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]:
        # One more note at the front of the window: the input of its first step. (batch, window + 1)
        at = starts[:, None] + np.arange(-1, self.window)
        piece = np.searchsorted(self.bounds, starts, side="right") - 1
        head = starts == self.bounds[piece]
        mask = at < ends[:, None]
        at = np.clip(at, 0, self.notes - 1)
        codes = np.empty((*at.shape, len(FIELDS)), np.int16)
        codes[..., 0] = self._transposed(self.pitch[at], mask, rng)
        codes[..., 1] = self.velocity[at]
        factor = np.exp(rng.uniform(-self.stretch, self.stretch, (len(at), 1)))
        codes[..., 2] = np.searchsorted(self.codec.time_edges, self.shift[at] * factor, side="right")
        codes[..., 3] = np.searchsorted(self.codec.duration_edges, self.duration[at] * factor, side="right")
        codes[head, 0] = self.codec.sizes
        return codes[:, :-1], codes[:, 1:], mask[:, 1:]

    def _transposed(self, pitch: NDArray[np.int16], mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int16]:
        by = rng.integers(-self.transpose, self.transpose + 1, (len(pitch), 1))
        low = np.where(mask, pitch, 127).min(1, keepdims=True)
        high = np.where(mask, pitch, 0).max(1, keepdims=True)
        return np.clip(pitch + np.clip(by, -low, 127 - high), 0, 127).astype(np.int16)


def cosine(step: int, total: int, peak: float, warmup: int, floor: float = 0.05) -> float:
    """Learning rate at `step`: linear warm-up, then half a cosine from `peak` down to ``floor * peak`` at `total`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass
class EarlyStopping:
    """The best epoch by validation loss so far, and whether to stop."""

    patience: int | None
    best: float = math.inf
    best_epoch: int = 0

    def improved(self, epoch: int, loss: float) -> bool:
        """Record one epoch's validation loss; whether it is the best so far (a NaN never is)."""
        if not loss < self.best:
            return False
        self.best, self.best_epoch = loss, epoch
        return True

    def exhausted(self, epoch: int) -> bool:
        """Whether `patience` epochs have passed since the best."""
        return self.patience is not None and epoch - self.best_epoch >= self.patience


class Progress(ABC):
    """Epochs of a training run: the log, the best weights, and checkpoints from which a killed run resumes bit for bit.

    A framework's subclass defines what the weights are and how a checkpoint is stored.

    Parameters
    ----------
    name : str
        The model's, for messages.
    run : Run
    score : str
        Name of the logged value that selects the best epoch, lower is better: ``validation_bits``, say.
    **identity : JSON values
        Whatever else than seed and epochs determines the weights after an epoch. A checkpoint with another identity is ignored.
    """

    def __init__(self, name: str, run: Run, score: str, **identity: Any) -> None:
        self.name, self.run, self.score = name, run, score
        self.identity = json.dumps({**identity, "seed": run.seed, "epochs": run.budget.epochs}, sort_keys=True)
        self.stopping = EarlyStopping(run.budget.patience)
        self.best = self.weights()

    @abstractmethod
    def weights(self) -> dict[str, Any]:
        """Copy the weights that the model is evaluated with."""

    @abstractmethod
    def save(self, **scalars: Any) -> None:
        """Write a checkpoint: all that training changes, the best weights, and `scalars`."""

    @abstractmethod
    def load(self) -> tuple[Any, dict[str, Any]] | None:
        """Read the checkpoint's arrays and its scalars; None if there is no checkpoint."""

    @abstractmethod
    def restore(self, arrays: Any) -> None:
        """Continue from the arrays that :meth:`load` read, the best weights included."""

    @abstractmethod
    def restore_best(self) -> None:
        """Give the model the weights of its best epoch."""

    def epochs(self, warm_up: Callable[[], None] = lambda: None) -> Iterator[int]:
        """Yield the epochs to train, after those of a checkpoint, until epochs, patience or time are used up; at least one.

        Parameters
        ----------
        warm_up : callable
            Called before the training clock starts, if anything is left to train; must leave the model as it was.
        """
        done = self._resume()
        if done < self.run.budget.epochs:
            warm_up()
        self.run.begin(done)
        for epoch in range(done + 1, self.run.budget.epochs + 1):
            if epoch > 1 and (self.stopping.exhausted(epoch - 1) or self.run.out_of_time):
                return
            yield epoch

    def finish(self, epoch: int, *, loss: float, score: float, notes: int, rate: float, **values: float) -> None:
        """Log an epoch and further `values`, remember the best weights, write the checkpoint.

        Raises
        ------
        TrialError
            If the training diverged.
        """
        check_finite(self.name, epoch, loss=loss, **{self.score: score})
        self.run.log(epoch, loss=loss, notes=notes, learning_rate=rate, **{self.score: score}, **values)
        if self.stopping.improved(epoch, score):
            self.best = self.weights()
        self.save(identity=self.identity, epoch=epoch, best_loss=self.stopping.best, best_epoch=self.stopping.best_epoch)

    def _resume(self) -> int:
        """Restore the checkpoint of this very training, if there is one; return the number of epochs it has completed."""
        checkpoint = self.load()
        if checkpoint is None or checkpoint[1]["identity"] != self.identity:
            return 0
        arrays, scalars = checkpoint
        self.restore(arrays)
        self.stopping.best, self.stopping.best_epoch = float(scalars["best_loss"]), int(scalars["best_epoch"])
        return int(scalars["epoch"])


def check_ranges(
    name: str,
    model: Any,
    *,
    counts: Sequence[str] = (),
    positive: Sequence[str] = (),
    nonnegative: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> None:
    """Raise a PluginError that names the first hyperparameter of `model` out of range, sampling's included.

    Parameters
    ----------
    name : str
        The model's, for the message.
    model : object
        Has the hyperparameters as attributes, ``temperature`` and ``top_p`` among them.
    counts, positive, nonnegative, shares : sequence of str
        Hyperparameters that must be at least 1, above 0, at least 0, in [0, 1).
    """
    limits: list[tuple[Sequence[str], Callable[[float], bool], str]] = [
        (counts, lambda value: value >= 1, "at least 1"),
        (positive, lambda value: value > 0, "above 0"),
        (nonnegative, lambda value: value >= 0, "at least 0"),
        (shares, lambda value: 0 <= value < 1, "in [0, 1)"),
    ]
    for fields, accepts, expected in limits:
        for field in fields:
            if not accepts(getattr(model, field)):
                raise PluginError(f"{name}: {field} is {getattr(model, field)}, must be {expected}.")
    if not (model.temperature > 0 and 0 < model.top_p <= 1):
        raise PluginError(f"{name}: temperature {model.temperature} must be above 0, top_p {model.top_p} in (0, 1].")


def check_splits(model: str, train: Sequence[Piece], valid: Sequence[Piece]) -> None:
    """Raise a DataError if there is nothing to train on or nothing to select the best epoch by."""
    for name, pieces in (("training", train), ("validation", valid)):
        if not any(len(p.notes) for p in pieces):
            raise DataError(f"{model}: the {name} split has no notes.")


def check_finite(model: str, epoch: int, **values: float) -> None:
    """Raise a TrialError if a training diverged: after an epoch, before its checkpoint is written.

    Parameters
    ----------
    model : str
        Its name, for the message.
    epoch : int
    **values : float
        Values that must be finite: ``loss``, ``validation_bits``.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            what = name.replace("_", " ")
            raise TrialError(f"{model}: the training diverged in epoch {epoch}: {what} is {value}.", "Lower the learning_rate.")


def initial_seed(seed: int, axis: str) -> int:
    """Seed of one axis (weights, order, dropout, augmentation) of one training run."""
    return seed_for("training", seed, axis)
