"""LSTM over notes, many-to-many, four factorised heads (TensorFlow/Keras)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.api import FIELDS, NoteCodec, Notes, Piece, PluginError, Run, TrialError

from . import _tensorflow as fast
from ._recurrent import Network, State, sample, step
from ._training import EarlyStopping, Windows, check_finite, check_splits, cosine, initial_seed

FRAMEWORK = "tensorflow"
FEATURES = "recurrent state carried over the whole piece; continues a prompt; exact likelihood"
PROMPT = True
LIKELIHOOD = "exact"
SEES_TARGET = False
CONSTRAINT = True

#: Pieces scored side by side and notes a call: one shape, so one compilation, whatever the pieces.
LANES, CHUNK = 16, 128


@dataclass
class Model:
    """LSTM with the note before as input and the next note as target, at every position.

    Parameters
    ----------
    units, layers, embedding, head : int
        See :class:`Network`.
    dropout : float
    window, batch : int
        Notes in a training window, windows in an update. 128 is the paper's batch.
    learning_rate, weight_decay, clip : float
        Peak rate of AdamW, its decay (not of biases), largest norm of the gradient.
    warmup : float
        Share of the updates in which the rate rises; then it falls along half a cosine.
    transpose : int
    stretch : float
        Augmentation, see ``Windows``.
    temperature, top_p : float
        Of sampling.
    time_classes, duration_classes : int
        Of the codec.

    Raises
    ------
    PluginError
        If one of them is out of range.
    """

    units: int = 512
    layers: int = 2
    embedding: int = 64
    head: int = 192
    dropout: float = 0.2
    window: int = 128
    batch: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: float = 0.05
    transpose: int = 5
    stretch: float = 0.1
    temperature: float = 1.0
    top_p: float = 1.0
    time_classes: int = 64
    duration_classes: int = 64

    def __post_init__(self) -> None:
        for name in ("units", "layers", "embedding", "head", "window", "batch"):
            if getattr(self, name) < 1:
                raise PluginError(f"lstm: {name} is {getattr(self, name)}, must be at least 1.")
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise PluginError(f"lstm: {name} is {getattr(self, name)}, must be in [0, 1).")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise PluginError(f"lstm: {name} is {getattr(self, name)}, must be above 0.")
        if not (self.temperature > 0 and 0 < self.top_p <= 1):
            raise PluginError(f"lstm: temperature {self.temperature} must be above 0, top_p {self.top_p} in (0, 1].")
        self.codec = NoteCodec(self.time_classes, self.duration_classes)
        #: The first `generate` of a shape compiles: the worker times those after it.
        self.compiles = True
        self.compile_seconds = 0.0
        self._network: Network | None = None
        self._policy = "float32"
        self._xla = self._cudnn = "no: not trained"

    # -- training ------------------------------------------------------------------------------------------------------

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Learn from `train`; the weights of the epoch with the best loss on `valid` are kept. See ``bench.api.Model``."""
        self._policy = fast.prepare(run.device, run.threads)
        self._build(run)
        if run.budget.epochs == 0:
            run.begin()
            return
        check_splits("lstm", train, valid)
        windows = Windows(train, self.codec, self.window, self.transpose, self.stretch, initial_seed(run.seed, "order"))
        _Training(self, windows, valid, run).all_epochs()

    def _build(self, run: Run) -> None:
        self._network = Network(
            self.codec.sizes,
            units=self.units,
            layers=self.layers,
            embedding=self.embedding,
            head=self.head,
            dropout=self.dropout,
            seed=initial_seed(run.seed, "weights"),
            policy=self._policy,
            cudnn=run.device == "cuda",
        )
        self._xla, self._cudnn = "yes", "yes" if self._network.cudnn else "no: on a CPU"
        self._define()
        if run.device == "cuda":
            self._try_gpu()

    def _define(self) -> None:
        # Without autograph: the loops are written as tf.while_loop.
        xla = self._xla == "yes"
        self._score = tf.function(self._score_chunk, autograph=False, jit_compile=xla and not self.network.cudnn)
        self._loop = tf.function(self._generate, autograph=False, jit_compile=xla)

    def _try_gpu(self) -> None:
        """Run one note through XLA and one chunk through cuDNN; what fails on this GPU is done without, and `facts` says so."""
        try:
            self.generate([Notes.from_columns([], [], [], [])], 1, seed=0)
        except tf.errors.OpError as error:
            self._xla = _reason(error)
        try:
            self._score_zeros()
        except (tf.errors.OpError, ValueError) as error:
            self._cudnn, self.network.cudnn = _reason(error), False
        self._define()

    @property
    def network(self) -> Network:
        """The network; there is one after `fit`.

        Raises
        ------
        TrialError
            Before that.
        """
        if self._network is None:
            raise TrialError("The LSTM has no weights yet.", "Call fit first; zero epochs give an untrained network.")
        return self._network

    # -- likelihood ----------------------------------------------------------------------------------------------------

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each field of each note given all notes before it, nats, shape (n, 4) a piece."""
        network = self.network
        lengths = [len(p.notes) for p in pieces]
        state = network.zero_state(LANES)
        result = [np.zeros((n, len(FIELDS))) for n in lengths]
        for chunk in _chunks([self.codec.encode(p.notes) for p in pieces], self.codec.sizes):
            loss, state = self._score(chunk.inputs, chunk.targets, chunk.going_on, state)
            nats = -loss.numpy()  # (CHUNK, LANES, 4)
            for lane, (piece, at) in chunk.where.items():
                n = min(CHUNK, lengths[piece] - at)
                result[piece][at : at + n] = nats[:n, lane]
        return result

    def _score_zeros(self) -> None:
        """Score a chunk of nothing, which traces and compiles."""
        codes = np.zeros((LANES, CHUNK, len(FIELDS)), np.int16)
        self._score(codes, codes, np.zeros(LANES, np.bool_), self.network.zero_state(LANES))[0].numpy()

    def _score_chunk(self, inputs: tf.Tensor, targets: tf.Tensor, going_on: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        keep = tf.cast(going_on, tf.float32)[:, None]
        state = [(h * keep, c * keep) for h, c in state]
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
        """Codes of shape (batch, notes, 4) after `heard`, shape (batch, 1 + prompt, 4), which begins with the start symbol."""
        network, batch, notes = self.network, heard.shape[0], constraint.shape[0]
        kernels = [[v.value for v in layer.trainable_variables] for layer in network.lstm]
        # The first layer's input projection is linear in the embeddings, so that a step needs four look-ups, no product.
        parts = tf.split(kernels[0][0], len(FIELDS))
        tables = [tf.matmul(e.embeddings.value, part) for e, part in zip(network.inputs, parts, strict=True)]

        def stack(note: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
            z = kernels[0][2] + tf.add_n([tf.gather(table, note[:, k]) for k, table in enumerate(tables)])
            after: State = []
            for i, (kernel, recurrent, bias) in enumerate(kernels):
                z = z if i == 0 else tf.matmul(after[-1][0], kernel) + bias
                _, h, c = step(z, recurrent, *state[i])
                after.append((h, c))
            return after[-1][0], after

        def draw(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            hidden = network.hidden(x)
            fields: list[tf.Tensor] = []
            for k in range(len(FIELDS)):
                logits = tf.cast(network.logits(k, hidden, fields), tf.float32)
                added = constraint[t] if k == 0 else None
                fields.append(sample(logits, noise[t, :, k : k + 1], self.temperature, self.top_p, added))
            return tf.stack(fields, -1)

        def body(t: tf.Tensor, note: tf.Tensor, state: State, drawn: Any) -> tuple[Any, ...]:
            x, state = stack(note, state)
            note = draw(x, t)
            return t + 1, note, state, drawn.write(t, note)

        state = network.zero_state(batch)
        prompt = tf.transpose(heard, (1, 0, 2))
        length = prompt.shape[0] - 1
        *_, state = tf.while_loop(
            lambda t, _: t < length, lambda t, s: (t + 1, stack(prompt[t], s)[1]), (0, state), maximum_iterations=length
        )
        drawn = tf.TensorArray(tf.int32, notes, element_shape=(batch, len(FIELDS)))
        *_, drawn = tf.while_loop(lambda t, *_: t < notes, body, (0, prompt[-1], state, drawn), maximum_iterations=notes)
        return tf.transpose(drawn.stack(), (1, 0, 2))

    # -- facts ---------------------------------------------------------------------------------------------------------

    def facts(self) -> Mapping[str, Any]:
        """Parameters, precision, what became of cuDNN and XLA, seconds of compilation before training, and GPU memory."""
        network = self.network
        seen = tf.config.list_logical_devices("GPU")  # none in a trial on the CPU
        return {
            "parameters": sum(math.prod(v.shape) for v in network.variables),
            "precision": "bfloat16 heads, float32 recurrence" if self._policy == "mixed_bfloat16" else "float32",
            "cudnn": self._cudnn,
            "compiled": ("XLA (generation)" if network.cudnn else "XLA") if self._xla == "yes" else self._xla,
            "compile_seconds": round(self.compile_seconds, 3),
            "peak_gpu_bytes": tf.config.experimental.get_memory_info("GPU:0")["peak"] if seen else None,
        }


def _reason(error: Exception) -> str:
    return f"no: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"


class _Training:
    """One training run: an update, an epoch, a checkpoint after each."""

    def __init__(self, model: Model, windows: Windows, valid: Sequence[Piece], run: Run) -> None:
        self.model, self.network, self.windows, self.valid, self.run = model, model.network, windows, valid, run
        self.stopping = EarlyStopping(run.budget.patience)
        self.updates = math.ceil(windows.count() / model.batch)
        self.dropout_seed = initial_seed(run.seed, "dropout")
        self.optimizer = fast.AdamW(self.network.variables, decay=model.weight_decay, clip=model.clip)
        self.best = fast.snapshot(self.network.variables)
        self.path = run.folder / "checkpoint.h5"
        #: What decides the weights after an epoch; a checkpoint of anything else isn't gone on from.
        self.identity = repr((asdict(model), run.seed, run.budget.epochs, windows.notes, model._policy))
        jit = model._xla == "yes" and not self.network.cudnn
        self._step = tf.function(self._one_step, autograph=False, jit_compile=jit)
        self._update = tf.function(self._one_update, autograph=False)

    def all_epochs(self) -> None:
        """Train until the budget ends, then put the best weights back."""
        done = self._resume()
        if done < self.run.budget.epochs:
            self._compile()
        self.run.begin(done)
        for epoch in range(done + 1, self.run.budget.epochs + 1):
            if epoch > 1 and (self.stopping.exhausted(epoch - 1) or self.run.out_of_time):
                break
            self._epoch(epoch)
        fast.restore(self.network.variables, self.best)

    def _compile(self) -> None:
        """Make one update and score one chunk, then put everything back: the training clock starts after compilation."""
        start = time.perf_counter()
        weights, moments = fast.snapshot(self.network.variables), self.optimizer.state()
        shape = self.model.batch, self.model.window
        codes = np.zeros((*shape, len(FIELDS)), np.int16)
        rates, seed = self.optimizer.rates(0.0, 1), np.zeros(2, np.int32)
        self._update(codes, codes, np.ones(shape, np.bool_), rates, seed).numpy()
        fast.restore(self.network.variables, weights)
        self.optimizer.restore(moments)
        self.model._score_zeros()
        self.model.compile_seconds = time.perf_counter() - start

    def _epoch(self, epoch: int) -> None:
        total, rate = self.updates * self.run.budget.epochs, 0.0
        warmup = max(1, round(self.model.warmup * total))
        losses, notes = [], 0
        for i, (inputs, targets, mask) in enumerate(self.windows.epoch(epoch, self.model.batch)):
            at = (epoch - 1) * self.updates + i
            rate = cosine(at, total, self.model.learning_rate, warmup)
            seed = np.array([self.dropout_seed, len(self.network.lstm) * at], np.int32)
            losses.append(self._update(inputs, targets, mask, self.optimizer.rates(rate, at + 1), seed))
            notes += int(mask.sum())
        loss = float(np.mean([x.numpy() for x in losses]))
        bits = -sum(x.sum() for x in self.model.log_likelihood(self.valid)) / sum(len(p.notes) for p in self.valid) / math.log(2)
        check_finite("lstm", epoch, loss=loss, validation_bits=bits)
        if self.stopping.improved(epoch, bits):
            self.best = fast.snapshot(self.network.variables)
        self.run.log(epoch, loss=loss, notes=notes, validation_bits=bits, learning_rate=rate)
        self._save(epoch)

    def _one_update(self, inputs: tf.Tensor, targets: tf.Tensor, mask: tf.Tensor, rates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        kept = self.network.kept(self.model.window, self.model.batch, seed) if self.model.dropout else None
        return self._step(tf.cast(inputs, tf.int32), tf.cast(targets, tf.int32), tf.cast(mask, tf.float32), rates, kept)

    def _one_step(
        self, inputs: tf.Tensor, targets: tf.Tensor, mask: tf.Tensor, rates: tf.Tensor, kept: list[tf.Tensor] | None
    ) -> tf.Tensor:
        weights = [v.value for v in self.network.variables]
        with tf.GradientTape() as tape:
            state = self.network.zero_state(inputs.shape[0])
            losses, _ = self.network.loss(inputs, targets, state, kept)
            here = tf.transpose(mask)  # (time, batch)
            loss = tf.reduce_sum(tf.reduce_sum(losses, -1) * here) / tf.reduce_sum(here)
        self.optimizer.apply([tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)], rates)
        return loss

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
        fast.restore(self.network.variables, groups["weights"])
        self.optimizer.restore(groups["moments"])
        self.best = groups["best"]
        self.stopping.best, self.stopping.best_epoch = float(values["best_loss"]), int(values["best_epoch"])
        return int(values["epoch"])


@dataclass
class _Chunk:
    """The next notes of each lane: pieces follow each other in a lane, each cut into chunks of one length."""

    inputs: NDArray[np.int16]  # (LANES, CHUNK, 4)
    targets: NDArray[np.int16]
    going_on: NDArray[np.bool_]  # (LANES,), False where a piece begins
    where: dict[int, tuple[int, int]]  # lane -> piece, offset of its first note


def _chunks(codes: Sequence[NDArray[np.int16]], start: tuple[int, ...]) -> Iterator[_Chunk]:
    """Lay pieces into lanes, the longest first into the emptiest, so that little of a call is padding."""
    lanes: list[list[tuple[int, int]]] = [[] for _ in range(LANES)]
    for piece in sorted(range(len(codes)), key=lambda p: -len(codes[p])):
        min(lanes, key=len).extend((piece, at) for at in range(0, len(codes[piece]), CHUNK))
    for i in range(max(map(len, lanes))):
        inputs, targets = np.zeros((2, LANES, CHUNK, len(FIELDS)), np.int16)
        where = {lane: places[i] for lane, places in enumerate(lanes) if i < len(places)}
        for lane, (piece, at) in where.items():
            part = codes[piece][at : at + CHUNK]
            before = codes[piece][at - 1] if at else np.array(start, np.int16)
            targets[lane, : len(part)] = part
            inputs[lane, : len(part)] = np.concatenate([before[None], part[:-1]])
        yield _Chunk(inputs, targets, np.array([lane in where and where[lane][1] > 0 for lane in range(LANES)]), where)
