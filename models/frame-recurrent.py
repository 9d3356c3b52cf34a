"""Recurrent networks over frames: LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014), RNN (Elman 1990).

A linear layer, one or more recurrent layers, a linear layer to the log odds of each key: the networks of Boulanger-Lewandowski et
al. 2012 and of Bai, Kolter & Koltun 2018, arXiv 1803.01271. Frames, batches and generation are in ``_frames.py``, the cells in
``_scan.py``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import bench.api
from bench.api import Notes, Piece, PluginError, Run, TrialError

from . import _tensorflow as fast
from ._frames import KEYS, ODDS, Sequences, batched, before, check_splits, continued, padded, to_frames, validation
from ._scan import CELLS, scan
from ._training import check_ranges, initial_seed, warmed

REQUIRES = ("tensorflow",)
FEATURES = "recurrent over frames of 88 keys: LSTM, GRU or plain RNN; exact likelihood of frames"
PROMPT = True
LIKELIHOOD = "exact"
UNIT = "frame"
GIVES_VELOCITY = False
CONSTRAINT = False
TINY = {"units": 12, "window": 16, "batch": 4, "learning_rate": 0.1, "warmup": 0}

#: Frames scored at once, and of each piece in a call: they limit memory, and don't affect results.
SCORED, CHUNK = 2**14, 512


@dataclass
class Model(bench.api.Model):
    """Recurrent network with the frame before as input and the next frame as target.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
    units, layers : int
        Width of the first linear layer and of the recurrent layers; number of these.
    dropout : float
        Of each recurrent layer's output.
    window, batch : int
        Most frames of a training sequence, and sequences in an update.
    learning_rate, weight_decay, clip : float
        Peak rate of AdamW, its decay (not of biases), largest norm of the gradient.
    warmup : int
        Updates over which the rate rises; then it is constant.
    temperature : float
        Of generation: divides the log odds.

    Raises
    ------
    PluginError
        If one of them is out of range.
    """

    name: ClassVar[str] = "frame-recurrent"

    cell: str = "lstm"
    units: int = 200
    layers: int = 1
    dropout: float = 0.4
    window: int = 256
    batch: int = 8
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 20
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise PluginError(f"frame-recurrent: cell is {self.cell!r}.", f"Valid: {', '.join(CELLS)}.")
        check_ranges(
            self.name,
            self,
            counts=("units", "layers", "window", "batch"),
            shares=("dropout",),
            positive=("learning_rate", "clip"),
            nonnegative=("weight_decay", "warmup"),
        )
        self.compile_seconds = 0.0
        self.peak_gpu_bytes: int | None = None
        self._network: Network | None = None

    @property
    def network(self) -> Network:
        """The network; it exists after `fit`.

        Raises
        ------
        TrialError
            Before that.
        """
        if self._network is None:
            raise TrialError("frame-recurrent has no weights yet.", "Call fit first; zero epochs give an untrained network.")
        return self._network

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train on `train`; keep the averaged weights that predict `valid` best. See :class:`bench.api.Model`."""
        fast.prepare(run.device, run.threads)
        seed = initial_seed(run.seed, "weights")
        self._network = Network(self.cell, units=self.units, layers=self.layers, dropout=self.dropout, seed=seed)
        if run.budget.untrained:
            run.begin()
            return
        check_splits(self.name, train, valid)
        _Training(self, Sequences(train, self.window, initial_seed(run.seed, "order")), valid, run).run()

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each frame from the second on, nats, (T - 1,) for each piece. See :class:`bench.api.Model`."""
        network = self.network
        frames = [to_frames(piece.notes) for piece in pieces]
        results = [np.zeros(len(part)) for part in frames]
        for rows in batched([len(part) for part in frames], SCORED):
            inputs, targets, _ = padded([(before(frames[i]), frames[i]) for i in rows])
            state = network.zero_state(len(rows))
            for at in range(0, inputs.shape[1], CHUNK):
                losses, state = network.score(inputs[:, at : at + CHUNK], targets[:, at : at + CHUNK], state)
                for i, row in zip(rows, losses.numpy(), strict=True):
                    part = results[i][at : at + CHUNK]
                    part[:] = -row[: len(part)]
        return [part[1:] for part in results]

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Continue each prompt by `n_notes` notes. See :class:`bench.api.Model`."""
        network = self.network
        state = network.zero_state(len(prompts))

        def predict(frame: NDArray[np.float32]) -> NDArray[np.float32]:
            nonlocal state
            odds, state = network.step(frame, state)
            result: NDArray[np.float32] = odds.numpy()
            return result

        return continued(predict, prompts, n_notes, seed, self.temperature)

    def facts(self) -> Mapping[str, Any]:
        """Parameters, precision, seconds of tracing before training, and GPU memory."""
        gpus = tf.config.list_logical_devices("GPU")
        return {
            "parameters": sum(math.prod(v.shape) for v in self.network.variables),
            "precision": "float32, TensorFloat-32 in training" if gpus else "float32",
            "compiled": "no: sequences differ in length",
            "compile_seconds": round(self.compile_seconds, 3),
            "peak_gpu_bytes": self.peak_gpu_bytes,
        }


class _Training:
    """Updates and evaluations of one training run."""

    def __init__(self, model: Model, sequences: Sequences, valid: Sequence[Piece], run: Run) -> None:
        self.model, self.network, self.sequences, self.valid = model, model.network, sequences, valid
        self.dropout_seed = initial_seed(run.seed, "dropout")
        self.optimizer = fast.AdamW(self.network.variables, decay=model.weight_decay, clip=model.clip)
        self.progress = fast.Progress(
            model.name,
            run,
            "validation_loss",
            self.network.variables,
            self.optimizer,
            steps=sequences.updates(model.batch),
            hyperparameters=asdict(model),
            train_notes=sequences.notes,
        )
        shape = (None, None, KEYS)
        self._update = tf.function(
            self._one_update,
            input_signature=[
                tf.TensorSpec(s, d)
                for s, d in (
                    (shape, tf.float32),
                    (shape, tf.float32),
                    ((None, None), tf.float32),
                    ((4,), tf.float32),
                    ((2,), tf.int32),
                )
            ],
            autograph=False,
        )

    def run(self) -> None:
        """Train until the budget ends, then put the best weights in place."""
        model = self.model
        for _ in self.progress.evaluations(self._trace):
            notes_before, losses, rate = self.progress.notes_done, [], 0.0
            for update, batch in self.progress.batches(self._epoch, lambda batch: int(batch[1].sum())):
                rate = model.learning_rate * warmed(update, model.warmup)
                seed = np.array([self.dropout_seed, model.layers * update], np.int32)
                losses.append(self._update(*batch, self.optimizer.rates(rate, update + 1), seed))
            loss, notes = float(np.mean([x.numpy() for x in losses])), self.progress.notes_done - notes_before
            with self.progress.evaluating(self.optimizer.averaged()):
                score = validation(model.log_likelihood(self.valid))
                self.progress.finish(loss=loss, score=score.pop("validation_loss"), notes=notes, rate=rate, **score)
        self.progress.restore_best()
        model.peak_gpu_bytes = fast.peak_gpu_bytes()

    def _epoch(self, epoch: int) -> Iterator[tuple[NDArray[np.float32], ...]]:
        return self.sequences.epoch(epoch, self.model.batch)

    def _trace(self) -> None:
        """Make one update, which changes nothing, and score: the training clock starts after tracing."""
        start = time.perf_counter()
        frames = np.zeros((1, 2, KEYS), np.float32)
        with self.progress.unchanged():
            self._update(frames, frames, frames[..., 0] + 1, self.optimizer.rates(0.0, 1), np.zeros(2, np.int32)).numpy()
        self.network.score(frames, frames, self.network.zero_state(1))
        self.model.compile_seconds = time.perf_counter() - start

    def _one_update(self, inputs: tf.Tensor, targets: tf.Tensor, mask: tf.Tensor, rates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        weights = [v.value for v in self.network.variables]
        with tf.GradientTape() as tape:
            losses, _ = self.network.losses(inputs, targets, self.network.zero_state(tf.shape(inputs)[0]), seed)
            loss = tf.reduce_sum(losses * mask) / tf.reduce_sum(mask)
        self.optimizer.apply([tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)], rates)
        return loss


class Network:
    """A linear layer, recurrent layers, and the log odds of each key.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
    units, layers : int
    dropout : float
    seed : int
        For the initial weights.
    """

    def __init__(self, cell: str, *, units: int, layers: int, dropout: float, seed: int) -> None:
        self.cell, self.units, self.dropout = CELLS[cell], units, dropout
        seeds = iter(np.random.SeedSequence(seed).generate_state(2 + 2 * layers).tolist())

        def dense(name: str, given: int, width: int) -> keras.layers.Dense:
            layer = keras.layers.Dense(width, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), name=name)
            layer.build((None, None, given))
            return layer

        self.hear, self.tell = dense("hear", KEYS, units), dense("tell", units, KEYS)
        self.projections = [dense(f"projection_{i}", units, self.cell.gates * units) for i in range(layers)]
        self.kernels = [
            keras.Variable(
                keras.initializers.Orthogonal(seed=next(seeds)),
                shape=(units, self.cell.gates * units),
                dtype="float32",
                name=f"recurrent_{i}",
            )
            for i in range(layers)
        ]
        self.tell.bias.assign(np.full(KEYS, ODDS))
        if cell == "lstm":  # the forget gate begins open: Jozefowicz et al. 2015
            for layer in self.projections:
                layer.bias.assign(np.repeat([0.0, 1.0, 0.0, 0.0], units))
        shape = (None, None, KEYS)
        arrays = [tf.TensorSpec(shape, tf.float32), tf.TensorSpec(shape, tf.float32)]
        states = [tf.TensorSpec((None, self.cell.parts * units), tf.float32)] * layers
        self.score = fast.full_precision()(tf.function(self.losses, input_signature=[*arrays, states], autograph=False))
        self.step = fast.full_precision()(
            tf.function(self._step, input_signature=[tf.TensorSpec((None, KEYS), tf.float32), states], autograph=False)
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """All weights, in a fixed order."""
        layers = [self.hear, *self.projections, self.tell]
        return [v for layer in layers for v in layer.trainable_variables] + self.kernels

    def zero_state(self, batch: int | tf.Tensor) -> list[tf.Tensor]:
        """State of each layer before a piece."""
        return [tf.zeros((batch, self.cell.parts * self.units)) for _ in self.kernels]

    def losses(
        self, inputs: tf.Tensor, targets: tf.Tensor, state: list[tf.Tensor], seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Negative log likelihood of each frame, nats, and the state after the last.

        Parameters
        ----------
        inputs, targets : Tensor of float32, shape (batch, time, KEYS)
        state : list of Tensor
        seed : Tensor of int32, shape (2,), optional
            Of dropout; without it nothing is dropped.

        Returns
        -------
        Tensor, shape (batch, time)
        list of Tensor
        """
        x = self.hear(tf.transpose(inputs, (1, 0, 2)))  # (time, batch, units)
        after = []
        for i, (projection, kernel) in enumerate(zip(self.projections, self.kernels, strict=True)):
            states = scan(self.cell, projection(x), kernel.value, state[i])
            after.append(states[-1])
            x = states[..., : self.units]
            if seed is not None and self.dropout:
                kept = tf.random.stateless_uniform(tf.shape(x), tf.stack([seed[0], seed[1] + i])) >= self.dropout
                x = tf.where(kept, x / (1 - self.dropout), tf.zeros_like(x))
        odds = tf.transpose(self.tell(x), (1, 0, 2))  # (batch, time, KEYS)
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(targets, odds), -1), after

    def _step(self, frame: tf.Tensor, state: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Log odds of the keys after one frame (batch, KEYS) of each sequence, and the state after it."""
        x = self.hear(frame)
        after = []
        for projection, kernel, last in zip(self.projections, self.kernels, state, strict=True):
            after.append(self.cell.step(projection(x), tf.matmul(last[:, : self.units], kernel.value), last))
            x = after[-1][:, : self.units]
        return self.tell(x), after
