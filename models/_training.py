"""Training independent of the framework: windows, augmentation, learning-rate schedule, early stopping, epochs. NumPy only."""

from __future__ import annotations

import bisect
import itertools
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS, DataError, NoteCodec, Piece, PluginError, Run, TrialError, seed_for

#: Training on a GPU between two checkpoints, seconds, unless evaluations are rarer.
CHECKPOINT_SECONDS = 30.0

#: A share of the budget counts as reached this far below it: sums of floating-point numbers.
TINY = 1e-9

B = TypeVar("B")


class Batches(Protocol):
    """Training music in batches."""

    @property
    def notes(self) -> int:
        """Number of training notes."""

    def updates(self, batch: int) -> int:
        """Count the batches in an epoch."""


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

    def updates(self, batch: int) -> int:
        """Count the batches in an epoch."""
        return -(-self.count() // batch)

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


def warmed(update: int, warmup: int) -> float:
    """Factor on the learning rate at `update`, from 0: a rise over `warmup` updates, then 1, whatever the budget."""
    return min(1.0, (update + 1) / (warmup + 1))


#: Exponent of :func:`averaging`: the average's span is a tenth of the training so far (its relative standard deviation).
EXPONENT = 6.94


def averaging(update: int) -> float:
    """Share of the new weights in their moving average after `update`, from 0.

    The average is of power form: its span grows with the training, so that it is as good wherever the training stops. With a
    constant learning rate it takes the place of a rate that falls to 0 at an end known in advance.

    References
    ----------
    Karras et al. 2024, Analyzing and Improving the Training Dynamics of Diffusion Models, section 3.1 (power function averages);
    Hagele et al. 2024, Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, section 4 (constant rate).
    """
    return float(1 - (1 - 1 / (update + 1)) ** (EXPONENT + 1))


def cosine(share: float) -> float:
    """Half a cosine from 1 down to 0 over the budget: the paper's schedule. Not valid before its end.

    >>> cosine(0.5)
    0.5
    """
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


@dataclass
class EarlyStopping:
    """The best evaluation by validation loss so far, and whether to stop."""

    patience: int | None
    best: float = math.inf
    best_epoch: int = 0
    #: Number of evaluations since the best.
    since: int = 0

    def improved(self, epoch: int, loss: float) -> bool:
        """Record one evaluation's validation loss; whether it is the best so far (a NaN never is)."""
        if not loss < self.best:
            self.since += 1
            return False
        self.best, self.best_epoch, self.since = loss, epoch, 0
        return True

    @property
    def exhausted(self) -> bool:
        """Whether `patience` evaluations have passed since the best."""
        return self.patience is not None and self.since >= self.patience


class Progress(ABC):
    """A training run from evaluation to evaluation: log, best weights, checkpoints from which a killed run resumes bit for bit.

    A framework's subclass defines what the weights are and how a checkpoint is stored. Evaluations are at the budget's shares:
    after each epoch, or at equal shares of a budget in updates, notes or seconds. An evaluation has the number of the last share
    that training had reached by then: where one update passes several shares, or a validation takes longer than the time between
    two, numbers are left out, and the budget is not exceeded.

    Parameters
    ----------
    name : str
        The model's, for messages.
    run : Run
    score : str
        Name of the logged value that selects the best evaluation, lower is better: ``validation_bits``, say.
    steps : int
        Updates of what the model calls an epoch.
    stride : int
        Of how many training notes it predicts one there: an epoch is that part of a pass.
    anytime : bool
        Whether the weights are as good at any share of the budget: then results are taken at its stages.
    **identity : JSON values
        Whatever else than seed and budget determines the weights. A checkpoint with another identity is ignored.
    """

    def __init__(
        self, name: str, run: Run, score: str, *, steps: int, stride: int = 1, anytime: bool = True, **identity: Any
    ) -> None:
        self.name, self.run, self.score, self.steps, self.stride, self.anytime = name, run, score, steps, stride, anytime
        # Yardstick-seconds are converted anew after a kill: the same training continues with another number of seconds.
        budget = asdict(run.budget) | {"max_seconds": None, "patience": None, "seconds": run.budget.seconds is not None}
        self.identity = json.dumps({**identity, "seed": run.seed, "budget": budget}, sort_keys=True)
        self.stopping = EarlyStopping(run.budget.patience)
        self.evaluation = self.reached = self.updates_done = self.notes_done = 0
        self.best = self.weights()
        #: Evaluation at the last checkpoint, and the training clock then.
        self._saved, self._saved_at = 0, 0.0
        self._stream: Iterator[Any] | None = None

    @abstractmethod
    def weights(self) -> dict[str, Any]:
        """Copy the weights that the model is evaluated with."""

    @abstractmethod
    def use(self, weights: Any) -> None:
        """Give the model weights to be evaluated with; training continues from its own weights."""

    @abstractmethod
    def save(self, **scalars: Any) -> None:
        """Write a checkpoint: all that training changes, the best weights, and `scalars`."""

    @abstractmethod
    def load(self) -> tuple[Any, dict[str, Any]] | None:
        """Read the checkpoint's arrays and its scalars; None if there is no checkpoint."""

    @abstractmethod
    def restore(self, arrays: Any) -> None:
        """Continue from the arrays that :meth:`load` read, the best weights included."""

    def restore_best(self) -> None:
        """Give the model the weights of its best evaluation."""
        self.use(self.best)

    @property
    def share(self) -> float:
        """Share of the budget that is used."""
        epochs = self.updates_done / self.steps  # in which its budget may be
        return self.run.share(updates=self.updates_done, notes=self.notes_done, passes=epochs)

    def evaluations(self, warm_up: Callable[[], None] = lambda: None) -> Iterator[int]:
        """Yield the evaluations still to come, after those of a checkpoint, until budget, patience or time are used up.

        Before each the caller trains on :meth:`batches`, after it it calls :meth:`finish`.

        Parameters
        ----------
        warm_up : callable
            Called before the training clock starts, if anything is left to train; must leave the model as it was.
        """
        self._resume()
        number = len(self.run.budget.shares)
        if self.evaluation < number:
            warm_up()
        self.run.begin(self.evaluation)
        self._saved, self._saved_at = self.evaluation, self.run.seconds
        while self.evaluation < number:
            if self.evaluation and (self.stopping.exhausted or self.run.out_of_time or self._used_up):
                break
            yield self.evaluation + 1
        if self._saved < self.evaluation:
            self._checkpoint()

    def batches(self, epoch: Callable[[int], Iterator[B]], notes: Callable[[B], int]) -> Iterator[tuple[int, B]]:
        """Yield the number of each update, from 0, and its batch until the next evaluation is due; at least one.

        Parameters
        ----------
        epoch : callable
            Gives the batches of an epoch, counted from 1: `steps` of them.
        notes : callable
            Number of notes in a batch.
        """
        shares = self.run.budget.shares
        due = next((share for share in shares[self.evaluation :] if share > self.share + TINY), 1.0)
        if self._stream is None:
            number, done = divmod(self.updates_done, self.steps)
            every = itertools.chain.from_iterable(map(epoch, itertools.count(number + 1)))
            self._stream = itertools.islice(every, done, None)
        for batch in self._stream:
            yield self.updates_done, batch
            self.updates_done += 1
            self.notes_done += notes(batch)
            if self.share >= due - TINY:
                self.reached = bisect.bisect_right(shares, self.share + TINY)
                return

    def finish(self, *, loss: float, score: float, notes: int, rate: float, **values: float) -> None:
        """Log an evaluation and further `values`, remember the best weights, take a stage's result, write the checkpoint.

        On a GPU a checkpoint may be large, and the time between two evaluations short: one that is neither the last nor a stage
        may go without. After a kill it is made again, and the log begins anew from the checkpoint.

        Raises
        ------
        TrialError
            If the training diverged.
        """
        before, self.evaluation = self.evaluation, self.reached
        check_finite(self.name, self.evaluation, loss=loss, **{self.score: score})
        passes = self.updates_done / self.steps / self.stride
        place = {"updates": self.updates_done, "passes": passes, "share": self.share}
        self.run.log(self.evaluation, loss=loss, notes=notes, learning_rate=rate, **place, **{self.score: score}, **values)
        if self.stopping.improved(self.evaluation, score):
            self.best = self.weights()
        staged = self._take(self.run.budget.shares[before : self.evaluation])
        if staged or self.run.device != "cuda" or self.run.seconds - self._saved_at >= CHECKPOINT_SECONDS:
            self._checkpoint()

    def _checkpoint(self) -> None:
        counts = {"evaluation": self.evaluation, "updates": self.updates_done, "notes": self.notes_done}
        best = {"best_loss": self.stopping.best, "best_epoch": self.stopping.best_epoch, "since_best": self.stopping.since}
        with self.run.paused():
            self.save(identity=self.identity, **counts, **best)
        self._saved, self._saved_at = self.evaluation, self.run.seconds

    def _take(self, shares: Sequence[float]) -> bool:
        """Let the engine take the results that are due at `shares`, with the best weights so far; whether there are any."""
        due = [share for share in shares if share in self.run.budget.stages]
        if not self.anytime or not due:
            return False
        now = self.weights()
        self.use(self.best)
        for share in due:
            self.run.stage(share)
        self.use(now)
        return True

    @property
    def _used_up(self) -> bool:
        """Whether the last evaluation was at the end of a budget in seconds."""
        return bool(self.run.history) and self.run.history[-1].get("share", 0.0) >= 1 - TINY

    def _resume(self) -> None:
        """Restore the checkpoint of this very training, if there is one."""
        checkpoint = self.load()
        if checkpoint is None or checkpoint[1]["identity"] != self.identity:
            return
        arrays, scalars = checkpoint
        self.restore(arrays)
        self.stopping.best, self.stopping.best_epoch = float(scalars["best_loss"]), int(scalars["best_epoch"])
        self.stopping.since = int(scalars["since_best"])
        self.evaluation, self.updates_done, self.notes_done = (int(scalars[k]) for k in ("evaluation", "updates", "notes"))


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
        Has the hyperparameters as attributes; ``temperature`` and ``top_p`` too if it draws classes by them.
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
    temperature, top_p = getattr(model, "temperature", 1.0), getattr(model, "top_p", 1.0)
    if not (temperature > 0 and 0 < top_p <= 1):
        raise PluginError(f"{name}: temperature {temperature} must be above 0, top_p {top_p} in (0, 1].")


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
