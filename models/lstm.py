"""LSTM over notes (Hochreiter & Schmidhuber 1997), with a convolution before it if asked for (Huang, Huang & Cai 2018).

Many-to-many, with four factorised heads (TensorFlow/Keras). From top to bottom: the model, its training; its network is in
``_lstm.py``. Shared with the paper's LSTM: the recurrence in ``_recurrent.py``, compilation, optimisers and checkpoints in
``_tensorflow.py``; with all models: windows, schedule and epochs in ``_training.py``. Huang, Huang & Cai convolve a matrix of the
score; the convolution here is over the embeddings of the notes, and causal, so that the likelihood stays exact.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.api import FIELDS, NoteCodec, Notes, Piece, Run

from . import _tensorflow as fast
from ._lstm import CHUNK, Network, State, chunks
from ._recurrent import sample, step
from ._training import Windows, check_splits, initial_seed, warmed

REQUIRES = ("tensorflow",)
FEATURES = "recurrent state carried over the whole piece; continues a prompt; exact likelihood"
PROMPT = True
LIKELIHOOD = "exact"
CONSTRAINT = True
TINY = {"units": 16, "layers": 1, "embedding": 4, "head": 8, "window": 16, "batch": 4}

#: Pieces scored in parallel on each device.
LANES = {"cpu": 16, "cuda": 128}


@dataclass
class Model(fast.Learner[Network]):
    """LSTM with the previous note as input and the next note as target, at every position.

    Parameters
    ----------
    units, layers, embedding, head : int
        See :class:`Network`.
    convolution : int
        Notes that a convolution before the first layer sees, as in Huang, Huang & Cai 2018; 0 goes without it.
    dropout : float
    window, batch : int
        Notes in a training window, windows in an update. 128 is the paper's batch.
    learning_rate, weight_decay, clip : float
        Peak rate of AdamW, its decay (not of biases), largest norm of the gradient.
    warmup : int
        Updates over which the rate rises; then it is constant.
    transpose : int
    stretch : float
        Augmentation, see ``Windows``.
    temperature, top_p : float
        Sampling temperature; probability of the nucleus drawn from.
    time_classes, duration_classes : int
        Of the codec.

    Raises
    ------
    PluginError
        If one of them is out of range.
    """

    name: ClassVar[str] = "lstm"

    units: int = 512
    layers: int = 2
    embedding: int = 64
    head: int = 192
    convolution: int = 0
    dropout: float = 0.2
    window: int = 128
    batch: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 20
    transpose: int = 5
    stretch: float = 0.1
    temperature: float = 1.0
    top_p: float = 1.0
    time_classes: int = 64
    duration_classes: int = 64

    def __post_init__(self) -> None:
        self.check(
            counts=("units", "layers", "embedding", "head", "window", "batch"),
            shares=("dropout",),
            positive=("learning_rate", "clip"),
            nonnegative=("convolution", "weight_decay", "warmup", "transpose", "stretch"),
        )
        self.codec = NoteCodec(self.time_classes, self.duration_classes)

    # -- training ------------------------------------------------------------------------------------------------------

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train on `train`; keep the averaged weights that predict `valid` best. See ``bench.api.Model``."""
        fast.prepare(run.device, run.threads)
        network = Network(
            self.codec.sizes,
            units=self.units,
            layers=self.layers,
            embedding=self.embedding,
            head=self.head,
            dropout=self.dropout,
            convolution=self.convolution,
            seed=initial_seed(run.seed, "weights"),
            cudnn=run.device == "cuda",
        )
        self.compile(network, run)
        if run.budget.untrained:
            run.begin()
            return
        check_splits("lstm", train, valid)
        windows = Windows(train, self.codec, self.window, self.transpose, self.stretch, initial_seed(run.seed, "order"))
        _Training(self, windows, valid, run).run()

    # -- likelihood ----------------------------------------------------------------------------------------------------

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each field of each note given all notes before it, nats, shape (n, 4) for each piece."""
        network = self.network
        lengths = [len(p.notes) for p in pieces]
        state = network.zero_state(self.lanes)
        result = [np.zeros((n, len(FIELDS))) for n in lengths]
        for chunk in chunks([self.codec.encode(p.notes) for p in pieces], self.codec.sizes, self.lanes):
            loss, state = self._score(chunk.inputs, chunk.targets, chunk.continues, state)
            nats = -loss.numpy()  # (CHUNK, lanes, 4)
            for lane, (piece, at) in chunk.where.items():
                n = min(CHUNK, lengths[piece] - at)
                result[piece][at : at + n] = nats[:n, lane]
        return result

    def score_zeros(self) -> None:
        """Score a chunk of zeros, which traces and compiles."""
        codes = np.zeros((self.lanes, CHUNK, len(FIELDS)), np.int16)
        self._score(codes, codes, np.zeros(self.lanes, np.bool_), self.network.zero_state(self.lanes))[0].numpy()

    @property
    def lanes(self) -> int:
        """Number of pieces scored in parallel."""
        return LANES[self.device]

    def _score_batch(self, inputs: tf.Tensor, targets: tf.Tensor, continues: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        keep = tf.cast(continues, tf.float32)[:, None]  # (lanes, 1)
        state = [tuple(x * keep for x in part) for part in state]
        return self.network.loss(tf.cast(inputs, tf.int32), tf.cast(targets, tf.int32), state)

    # -- generation ----------------------------------------------------------------------------------------------------

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Continue each prompt by exactly `n_notes` notes, all at once. See ``bench.api.Model``."""
        if not prompts or n_notes == 0:
            return [Notes.from_columns([], [], [], []) for _ in prompts]
        weights = np.zeros((n_notes, self.codec.sizes[0])) if constraint is None else constraint
        start = np.broadcast_to(np.array(self.codec.sizes, np.int16), (len(prompts), 1, len(FIELDS)))
        heard = np.concatenate([start, np.stack([self.codec.encode(p) for p in prompts])], axis=1)
        noise = tf.random.stateless_uniform((n_notes, len(prompts), len(FIELDS)), [seed, 0])
        self.network  # noqa: B018  (raises before a trace would)
        codes = self._loop(tf.constant(heard, tf.int32), tf.constant(weights, tf.float32), noise).numpy()
        return [self.codec.decode(c, start=float(p.onset[-1]) if len(p) else 0.0) for c, p in zip(codes, prompts, strict=True)]

    def _generate(self, heard: tf.Tensor, constraint: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Codes (batch, notes, 4) after `heard` (batch, 1 + prompt, 4), which begins with the start symbol."""
        network, batch, notes = self.network, heard.shape[0], constraint.shape[0]
        kernels = [[v.value for v in layer.trainable_variables] for layer in network.lstm]
        # Without a convolution the first layer's input projection is linear in the embeddings: four look-ups replace a product.
        parts = tf.split(kernels[0][0], len(FIELDS))
        tables = [tf.matmul(e.embeddings.value, part) for e, part in zip(network.inputs, parts, strict=True)]  # (K + 1, 4 units)

        def stack(note: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
            if network.convolve:
                x = tf.concat([tf.gather(e.embeddings.value, note[:, k]) for k, e in enumerate(network.inputs)], -1)
                x, past = network.convolved(x[None], state)
                z = tf.matmul(x[0], kernels[0][0]) + kernels[0][2]
            else:
                z, past = kernels[0][2] + tf.add_n([tf.gather(table, note[:, k]) for k, table in enumerate(tables)]), []
            after: State = []
            for i, (kernel, recurrent, bias) in enumerate(kernels):
                z = z if i == 0 else tf.matmul(after[-1][0], kernel) + bias
                _, h, c = step(z, recurrent, *state[i])
                after.append((h, c))
            return after[-1][0], after + past  # (batch, units)

        def draw(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            hidden, uniform = network.hidden(x), noise[t]  # XLA took column 0 of noise[t, :, k : k + 1] for each k
            fields: list[tf.Tensor] = []
            for k in range(len(FIELDS)):
                logits = network.logits(k, hidden, fields)
                added = constraint[t] if k == 0 else None
                fields.append(sample(logits, uniform[:, k : k + 1], self.temperature, self.top_p, added))
            return tf.stack(fields, -1)  # (batch, 4)

        def body(t: tf.Tensor, note: tf.Tensor, state: State, drawn: Any) -> tuple[Any, ...]:
            x, state = stack(note, state)
            note = draw(x, t)
            return t + 1, note, state, drawn.write(t, note)

        state = network.zero_state(batch)
        prompt = tf.transpose(heard, (1, 0, 2))  # (1 + prompt, batch, 4)
        length = prompt.shape[0] - 1
        *_, state = tf.while_loop(
            lambda t, _: t < length, lambda t, s: (t + 1, stack(prompt[t], s)[1]), (0, state), maximum_iterations=length
        )
        drawn = tf.TensorArray(tf.int32, notes, element_shape=(batch, len(FIELDS)))
        *_, drawn = tf.while_loop(lambda t, *_: t < notes, body, (0, prompt[-1], state, drawn), maximum_iterations=notes)
        return tf.transpose(drawn.stack(), (1, 0, 2))

    def facts(self) -> Mapping[str, Any]:
        """Parameters, operations, precision, use of cuDNN and XLA, seconds of compilation before training, and GPU memory."""
        products = sum(math.prod(v.shape) for v in self.network.variables if v.path.endswith("kernel"))
        return {
            "parameters": sum(math.prod(v.shape) for v in self.network.variables),
            # 6 a weight of a product, see _learner.py.
            **({"flops_per_note": 6.0 * products} if self.device == "cuda" else {}),
            **self.outcome(),
        }


class _Training:
    """Updates and epochs of one training run."""

    def __init__(self, model: Model, windows: Windows, valid: Sequence[Piece], run: Run) -> None:
        self.model, self.network, self.windows, self.valid = model, model.network, windows, valid
        self.dropout_seed = initial_seed(run.seed, "dropout")
        self.optimizer = fast.AdamW(self.network.variables, decay=model.weight_decay, clip=model.clip)
        identity = {"hyperparameters": asdict(model), "train_notes": windows.notes}
        self.progress = fast.Progress(
            "lstm",
            run,
            "validation_bits",
            self.network.variables,
            self.optimizer,
            steps=windows.updates(model.batch),
            **identity,
        )
        self._define()

    def _define(self) -> None:
        jit = self.model.xla == "yes" and not self.network.cudnn
        self._step = tf.function(self._one_step, autograph=False, jit_compile=jit)
        self._update = tf.function(self._one_update, autograph=False)

    def run(self) -> None:
        """Train until the budget ends, then put the best weights in place."""
        for _ in self.progress.evaluations(self._compile):
            before, losses, rate = self.progress.notes_done, [], 0.0
            for update, (inputs, targets, mask) in self.progress.batches(self._epoch, lambda batch: int(batch[2].sum())):
                rate = self.model.learning_rate * warmed(update, self.model.warmup)
                seed = np.array([self.dropout_seed, len(self.network.lstm) * update], np.int32)
                losses.append(self._update(inputs, targets, mask, self.optimizer.rates(rate, update + 1), seed))
            loss, notes = float(np.mean([x.numpy() for x in losses])), self.progress.notes_done - before
            with self.progress.evaluating(self.optimizer.averaged()):
                self.progress.finish(loss=loss, score=self._bits(), notes=notes, rate=rate)
        self.progress.restore_best()
        self.model.peak_gpu_bytes = self.progress.peak_gpu_bytes or self.model.peak_gpu_bytes

    def _epoch(self, epoch: int) -> Iterator[tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]]:
        return self.windows.epoch(epoch, self.model.batch)

    def _bits(self) -> float:
        """Bits per note of the validation pieces."""
        nats = sum(float(x.sum()) for x in self.model.log_likelihood(self.valid))
        return -nats / sum(len(p.notes) for p in self.valid) / math.log(2)

    def _compile(self) -> None:
        """Make one update, which changes nothing, and score one chunk: the training clock starts after compilation."""
        start = time.perf_counter()
        codes = np.zeros((self.model.batch, self.model.window, len(FIELDS)), np.int16)
        mask, rates, seed = np.ones(codes.shape[:2], np.bool_), self.optimizer.rates(0.0, 1), np.zeros(2, np.int32)
        with self.progress.unchanged():
            self.model.try_update(self._define, lambda: self._update(codes, codes, mask, rates, seed).numpy())
        self.model.score_zeros()
        self.model.compile_seconds = time.perf_counter() - start

    def _one_update(self, inputs: tf.Tensor, targets: tf.Tensor, mask: tf.Tensor, rates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        kept = self.network.kept(self.model.window, self.model.batch, seed) if self.model.dropout else None
        return self._step(tf.cast(inputs, tf.int32), tf.cast(targets, tf.int32), tf.cast(mask, tf.float32), rates, kept)

    def _one_step(
        self, inputs: tf.Tensor, targets: tf.Tensor, mask: tf.Tensor, rates: tf.Tensor, kept: list[tf.Tensor] | None
    ) -> tf.Tensor:
        weights = [v.value for v in self.network.variables]
        with tf.GradientTape() as tape:
            state = self.network.zero_state(inputs.shape[0])
            losses, _ = self.network.loss(inputs, targets, state, kept)  # (time, batch, 4)
            here = tf.transpose(mask)  # (time, batch)
            loss = tf.reduce_sum(tf.reduce_sum(losses, -1) * here) / tf.reduce_sum(here)
        self.optimizer.apply([tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)], rates)
        return loss
