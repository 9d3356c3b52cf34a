"""Training of the paper's network: Algorithm 1, its optimisers, checkpoints and best weights (TensorFlow/Keras)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.api import FIELDS, Run

from . import _tensorflow as fast
from ._past import PastWindows
from ._training import EarlyStopping, check_finite, cosine, initial_seed


class Optimizer:
    """Adam (Algorithm 1) or RMSprop (Section 2, step 4) with Keras's constants, over all weights as one vector.

    Keras's own take seconds to compile by XLA on a CPU, and here rate and bias correction are numbers passed in.

    Parameters
    ----------
    variables : sequence of keras.Variable
    kind : {"adam", "rmsprop"}
    """

    KINDS = ("adam", "rmsprop")
    FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-7
    #: RMSprop's decay of the squared gradient.
    RHO = 0.9

    def __init__(self, variables: Sequence[keras.Variable], kind: str) -> None:
        self.variables, self.kind = variables, kind
        self.sizes = [math.prod(v.shape) for v in variables]
        self.first, self.second = (tf.Variable(tf.zeros(sum(self.sizes))) for _ in range(2))

    def rates(self, rate: float, update: int) -> NDArray[np.float32]:
        """Learning rate and its bias correction in an update, counted from 1."""
        if self.kind == "adam":
            rate *= math.sqrt(1 - self.SECOND**update) / (1 - self.FIRST**update)
        return np.array(rate, np.float32)

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        """One update."""
        g = tf.concat([tf.reshape(x, (-1,)) for x in gradients], 0)
        if self.kind == "adam":
            first = self.first.assign(self.FIRST * self.first + (1 - self.FIRST) * g)
            second = self.second.assign(self.SECOND * self.second + (1 - self.SECOND) * g * g)
            change = first / (tf.sqrt(second) + self.EPSILON)
        else:
            second = self.second.assign(self.RHO * self.second + (1 - self.RHO) * g * g)
            change = g / tf.sqrt(second + self.EPSILON)
        for variable, part in zip(self.variables, tf.split(rate * change, self.sizes), strict=True):
            variable.value.assign_sub(tf.reshape(part, variable.shape))

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Both moments; RMSprop leaves the first at 0."""
        return {"first": self.first.numpy(), "second": self.second.numpy()}

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Take `state` back."""
        self.first.assign(state["first"])
        self.second.assign(state["second"])


def cross_entropy(logits: Sequence[tf.Tensor], after: tf.Tensor) -> tf.Tensor:
    """Nats of each predicted field of the notes that came, codes of shape (batch, 4); shape (batch, fields)."""
    after = tf.cast(after, tf.int32)
    return tf.stack([tf.nn.sparse_softmax_cross_entropy_with_logits(after[:, k], z) for k, z in enumerate(logits)], -1)


class Training:
    """One training run (Algorithm 1): an update, an epoch, a checkpoint after each.

    Parameters
    ----------
    model : Model
        Of ``lstm-paper.py``. A file with a hyphen in its name can't be named in an import.
    windows, valid : PastWindows
        Of the training and the validation notes.
    run : Run
    """

    def __init__(self, model: Any, windows: PastWindows, valid: PastWindows, run: Run) -> None:
        self.model, self.network, self.windows, self.valid, self.run = model, model.network, windows, valid, run
        self.stopping = EarlyStopping(run.budget.patience)
        self.updates = windows.updates(model.batch, model.stride)
        self.seeds = {axis: initial_seed(run.seed, axis) for axis in ("order", "dropout")}
        self.optimizer = Optimizer(self.network.trained, model.optimizer)
        self.best = fast.snapshot(self.network.variables)
        self.path = run.folder / "checkpoint.h5"
        #: What decides the weights after an epoch; a checkpoint of anything else isn't gone on from.
        self.identity = repr((asdict(model), run.seed, run.budget.epochs, len(windows)))
        jit = model.xla == "yes" and not self.network.cudnn
        self._step = tf.function(self._one_step, autograph=False, jit_compile=jit)
        self._update = tf.function(self._one_update, autograph=False)

    def all_epochs(self) -> None:
        """Train until the budget ends, then load the best weights from their file."""
        done = self._resume()
        if done < self.run.budget.epochs:
            self._compile()
        self.run.begin(done)
        for epoch in range(done + 1, self.run.budget.epochs + 1):
            if epoch > 1 and (self.stopping.exhausted(epoch - 1) or self.run.out_of_time):
                break
            self._epoch(epoch)
        self.network.published.load_weights(self._best_file)  # Algorithm 1, line 21

    @property
    def _best_file(self) -> Path:
        return self.run.folder / "best.weights.h5"

    def _compile(self) -> None:
        """Make one update and score one batch, then put everything back: the training clock starts after compilation."""
        start = time.perf_counter()
        weights, moments = fast.snapshot(self.network.variables), self.optimizer.state()
        batch = self.model.batch
        past, after = np.zeros((batch, self.model.window, len(FIELDS)), np.int16), np.zeros((batch, len(FIELDS)), np.int16)
        self._update(past, after, self.optimizer.rates(0.0, 1), np.zeros(2, np.int32)).numpy()
        fast.restore(self.network.variables, weights)
        self.optimizer.restore(moments)
        self.model.score_zeros()
        self.model.compile_seconds = time.perf_counter() - start

    def _epoch(self, epoch: int) -> None:
        model, total, rate = self.model, self.updates * self.run.budget.epochs, 0.0
        losses = []
        for i, (past, after) in enumerate(self.windows.epoch(epoch, model.batch, model.stride, self.seeds["order"])):
            at = (epoch - 1) * self.updates + i
            rate = cosine(at, total, model.learning_rate, warmup=0, floor=0.0)
            seed = np.array([self.seeds["dropout"], len(self.network.widths) * at], np.int32)
            losses.append(self._update(past, after, self.optimizer.rates(rate, at + 1), seed))
        # Cross-entropy without the L2 penalty, so that training and validation compare. Nats a note, by field.
        loss = np.mean([x.numpy() for x in losses], 0)
        held_out = -self.model.nats(self.valid).mean(0)
        values = {"validation_loss": held_out.sum(), "pitch_loss": loss[0], "validation_pitch_loss": held_out[0]}
        if model.likelihood:
            values["validation_bits"] = held_out.sum() / math.log(2)
        check_finite("lstm-paper", epoch, loss=float(loss.sum()), validation_loss=float(held_out.sum()))
        improved = self.stopping.improved(epoch, float(held_out.sum()))
        if improved:
            self.best = fast.snapshot(self.network.variables)
        self.run.log(epoch, loss=float(loss.sum()), notes=len(losses) * model.batch, learning_rate=rate, **values)
        self._save(epoch)
        if improved:
            self._write_best()

    def _one_update(self, past: tf.Tensor, after: tf.Tensor, rate: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        kept = self.network.kept(self.model.batch, seed) if self.model.dropout else []
        return self._step(past, after, rate, kept)

    def _one_step(self, past: tf.Tensor, after: tf.Tensor, rate: tf.Tensor, kept: list[tf.Tensor]) -> tf.Tensor:
        weights = [v.value for v in self.network.trained]
        with tf.GradientTape() as tape:
            losses = tf.reduce_mean(cross_entropy(self.network.logits(past, kept), after), 0)
            loss = tf.reduce_sum(losses) + self.network.penalty(self.model.l2)
        self.optimizer.apply([tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)], rate)
        return losses

    def _write_best(self) -> None:
        """Algorithm 1, line 12: weights in Keras's own HDF5 format, replaced as a whole so that a kill leaves the old ones."""
        temporary = self.run.folder / "new.weights.h5"
        self.network.published.save_weights(temporary)
        temporary.replace(self._best_file)

    def _save(self, epoch: int) -> None:
        groups = {"weights": fast.snapshot(self.network.variables), "best": self.best, "moments": self.optimizer.state()}
        best = {"best_loss": self.stopping.best, "best_epoch": self.stopping.best_epoch}
        fast.write_checkpoint(self.path, groups, epoch=epoch, identity=self.identity, **best)

    def _resume(self) -> int:
        """Take up the checkpoint of this very training; the epochs it has behind it."""
        found = fast.read_checkpoint(self.path)
        if found is None or found[1]["identity"] != self.identity:
            return 0
        groups, values = found
        self.best = groups["best"]
        # The kill may have come between the checkpoint and the file of the best weights.
        fast.restore(self.network.variables, self.best)
        self._write_best()
        fast.restore(self.network.variables, groups["weights"])
        self.optimizer.restore(groups["moments"])
        self.stopping.best, self.stopping.best_epoch = float(values["best_loss"]), int(values["best_epoch"])
        return int(values["epoch"])
