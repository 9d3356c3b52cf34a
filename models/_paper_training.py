"""Training of the paper's network: Algorithm 1 and its optimisers (TensorFlow/Keras)."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.api import FIELDS, Run, write_file

from . import _tensorflow as fast
from ._past import PastWindows
from ._training import cosine, initial_seed


class Optimizer(fast.Optimizer):
    """Adam (Algorithm 1) or RMSprop (Section 2, step 4) with Keras's constants.

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
        super().__init__(variables)
        self.kind = kind

    def rates(self, rate: float, update: int) -> NDArray[np.float32]:
        """Learning rate with the bias correction of an update, counted from 1."""
        if self.kind == "adam":
            rate *= math.sqrt(1 - self.SECOND**update) / (1 - self.FIRST**update)
        return np.array(rate, np.float32)

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        """Make one update."""
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


def cross_entropy(logits: Sequence[tf.Tensor], after: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each predicted field of the next notes `after` (batch, 4), nats, shape (batch, fields)."""
    after = tf.cast(after, tf.int32)
    return tf.stack([tf.nn.sparse_softmax_cross_entropy_with_logits(after[:, k], z) for k, z in enumerate(logits)], -1)


class Training:
    """One training run (Algorithm 1): its updates and evaluations.

    Parameters
    ----------
    model : Model
        Of ``lstm-paper.py``, a name with a hyphen, which an import statement can't contain.
    windows, valid : PastWindows
        Of the training and the validation notes.
    run : Run
    """

    def __init__(self, model: Any, windows: PastWindows, valid: PastWindows, run: Run) -> None:
        self.model, self.network, self.windows, self.valid, self.folder = model, model.network, windows, valid, run.folder
        self.seeds = {axis: initial_seed(run.seed, axis) for axis in ("order", "dropout")}
        self.optimizer = Optimizer(self.network.trained, model.optimizer)
        identity = {"hyperparameters": asdict(model), "train_notes": len(windows)}
        # The paper's rate falls along a cosine to the end of the training, so its weights are no result before that.
        self.progress = fast.Progress(
            "lstm-paper",
            run,
            "validation_loss",
            self.network.variables,
            self.optimizer,
            steps=windows.updates(model.batch, model.stride),
            stride=model.stride,
            anytime=False,
            **identity,
        )
        self._define()

    def _define(self) -> None:
        jit = self.model.xla == "yes" and not self.network.cudnn
        self._step = tf.function(self._one_step, autograph=False, jit_compile=jit)
        self._update = tf.function(self._one_update, autograph=False)

    def run(self) -> None:
        """Train until the budget ends; keep the best weights (lines 9-12 and 21), also in a file in Keras's own format."""
        for _ in self.progress.evaluations(self._compile):
            self._evaluate(*self._train())
        self.progress.restore_best()
        self.model.peak_gpu_bytes = self.progress.peak_gpu_bytes or self.model.peak_gpu_bytes
        # Keras writes HDF5 straight to a path: elsewhere first, so that a refused write never leaves a file that looks complete.
        with tempfile.TemporaryDirectory() as elsewhere:
            weights = Path(elsewhere) / "best.weights.h5"
            self.network.published.save_weights(weights)
            write_file(self.folder / weights.name, weights.read_bytes())

    def _compile(self) -> None:
        """Make one update, which changes nothing, and score one batch: the training clock starts after compilation."""
        start = time.perf_counter()
        batch = self.model.batch
        past, after = np.zeros((batch, self.model.window, len(FIELDS)), np.int16), np.zeros((batch, len(FIELDS)), np.int16)
        with self.progress.unchanged():
            rates, seed = self.optimizer.rates(0.0, 1), np.zeros(2, np.int32)
            self.model.try_update(self._define, lambda: self._update(past, after, rates, seed).numpy())
        self.model.score_zeros()
        self.model.compile_seconds = time.perf_counter() - start

    def _train(self) -> tuple[list[tf.Tensor], float]:
        """Train until the next evaluation; return the losses and the last learning rate."""
        model, losses, rate = self.model, [], 0.0

        def epoch(number: int) -> Iterator[Any]:
            return self.windows.epoch(number, model.batch, model.stride, self.seeds["order"])

        for update, (past, after) in self.progress.batches(epoch, lambda _: model.batch):
            rate = model.learning_rate * cosine(self.progress.share)
            seed = np.array([self.seeds["dropout"], len(self.network.widths) * update], np.int32)
            losses.append(self._update(past, after, self.optimizer.rates(rate, update + 1), seed))
        return losses, rate

    def _evaluate(self, losses: Sequence[tf.Tensor], rate: float) -> None:
        # Cross-entropy without the L2 penalty, so that training and validation are comparable. Nats per note, by field.
        model, loss = self.model, np.mean([x.numpy() for x in losses], 0)
        held_out = -model.nats(self.valid).mean(0)
        values = {"pitch_loss": loss[0], "validation_pitch_loss": held_out[0]}
        if model.likelihood:
            values["validation_bits"] = held_out.sum() / math.log(2)
        notes = len(losses) * model.batch
        self.progress.finish(loss=float(loss.sum()), score=float(held_out.sum()), notes=notes, rate=rate, **values)

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
