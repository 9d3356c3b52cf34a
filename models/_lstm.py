"""Network of the `lstm` model, and the chunks in which pieces are scored (TensorFlow)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.api import FIELDS

from ._recurrent import lookup, recurrence

#: Notes of each piece in a call: one shape, so one compilation, whatever the pieces.
CHUNK = 128

#: Hidden state and cell of each layer; then, with a convolution, the notes before that it still sees.
State = list[tuple[tf.Tensor, ...]]


class Network:
    """Embeddings of the note before, an LSTM stack, and a head for each field, given the fields before it.

    Parameters
    ----------
    sizes : tuple of int
        Classes of each field; the inputs have one more, the start symbol.
    units, layers, embedding, head : int
        Width of the LSTM layers, their number, width of each field's embedding and of each head's hidden layer.
    dropout : float
        Dropped share of each LSTM layer's output.
    convolution : int
        Notes that a causal convolution before the first layer sees, the last one included; 0 goes without it.
    seed : int
        For the initial weights.
    cudnn : bool
        Whether training and scoring run Keras's own LSTM layer on cuDNN, which fails without it, instead of `recurrence`.
        Generation runs `step` in both cases. All three use the same weights.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int, int],
        *,
        units: int,
        layers: int,
        embedding: int,
        head: int,
        dropout: float,
        seed: int,
        convolution: int = 0,
        cudnn: bool = False,
    ) -> None:
        self.sizes, self.units, self.head, self.dropout, self.cudnn = sizes, units, head, dropout, cudnn
        self.width, self.convolution = 4 * embedding, convolution
        seeds = iter(np.random.SeedSequence(seed).generate_state(64).tolist())

        def normal(scale: float) -> keras.initializers.Initializer:
            return keras.initializers.RandomNormal(0.0, scale, seed=next(seeds))

        def glorot() -> keras.initializers.Initializer:
            return keras.initializers.GlorotUniform(seed=next(seeds))

        self.inputs = [
            keras.layers.Embedding(n + 1, embedding, normal(0.5), name=f"input_{f}") for f, n in zip(FIELDS, sizes, strict=True)
        ]
        self.lstm = [
            keras.layers.LSTM(
                units,
                return_sequences=True,
                return_state=True,
                kernel_initializer=glorot(),
                recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
                use_cudnn=cudnn,
                dtype="float32",
                name=f"lstm_{i}",
            )
            for i in range(layers)
        ]
        self.hidden = keras.layers.Dense(4 * head, kernel_initializer=glorot(), dtype="float32", name="hidden")
        # Contributions of field j to the hidden layers of the heads after it, side by side.
        self.given = [keras.layers.Embedding(sizes[j], (3 - j) * head, normal(0.1), name=f"given_{FIELDS[j]}") for j in range(3)]
        self.heads = [
            keras.layers.Dense(n, kernel_initializer=glorot(), dtype="float32", name=f"head_{f}")
            for f, n in zip(FIELDS, sizes, strict=True)
        ]
        for layer in (*self.inputs, *self.given):
            layer.build()
        # Weights of the window's notes one below the other, the earliest first.
        self.convolve: list[keras.layers.Dense] = []
        if convolution:
            self.convolve.append(keras.layers.Dense(self.width, kernel_initializer=normal(0.1), name="convolution"))
            self.convolve[0].build((None, convolution * self.width))
        for i, layer in enumerate(self.lstm):
            layer.build((None, None, units if i else self.width))
        self.hidden.build((None, units))
        for layer in self.heads:
            layer.build((None, head))

    @property
    def variables(self) -> list[keras.Variable]:
        """All weights, in a fixed order."""
        layers = [*self.inputs, *self.convolve, *self.lstm, self.hidden, *self.given, *self.heads]
        return [v for layer in layers for v in layer.trainable_variables]

    def zero_state(self, batch: int) -> State:
        """State before a piece."""
        state: State = [(tf.zeros((batch, self.units)), tf.zeros((batch, self.units))) for _ in self.lstm]
        # Silence before a piece.
        return state + [(tf.zeros((batch, (self.convolution - 1) * self.width)),) for _ in self.convolve]

    def loss(
        self, inputs: tf.Tensor, targets: tf.Tensor, state: State, kept: Sequence[tf.Tensor] | None = None
    ) -> tuple[tf.Tensor, State]:
        """Negative log likelihood of each target's fields, nats.

        Parameters
        ----------
        inputs, targets : Tensor of int32, shape (batch, time, 4)
        state : list of (hidden, cell), and the convolution's past
        kept : sequence of Tensor of bool, shape (time, batch, units), optional
            Elements of each layer's output that dropout keeps, see `kept`; without it nothing is dropped.

        Returns
        -------
        Tensor, shape (time, batch, 4)
        list
            State after the last step.
        """
        x, state = self.encode(tf.transpose(inputs, (1, 0, 2)), state, kept)
        fields = tf.unstack(tf.transpose(targets, (1, 0, 2)), axis=-1)
        hidden = self.hidden(x)
        losses = []
        for k, field in enumerate(fields):
            logits = self.logits(k, hidden, fields[:k])
            losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(field, logits))
        return tf.stack(losses, -1), state

    def kept(self, time: int, batch: int, seed: tf.Tensor) -> list[tf.Tensor]:
        """Draw the dropout masks of one update, (time, batch, units) each; `seed` has shape (2,).

        They are drawn outside XLA, which would draw them again for each use: 4x the time of the whole step on a CPU.
        """
        shape = (time, batch, self.units)
        return [
            tf.random.stateless_uniform(shape, tf.stack([seed[0], seed[1] + i])) >= self.dropout for i in range(len(self.lstm))
        ]

    def encode(self, inputs: tf.Tensor, state: State, kept: Sequence[tf.Tensor] | None = None) -> tuple[tf.Tensor, State]:
        """Output of the stack, (time, batch, units), for notes (time, batch, 4), and its state after them."""
        x = tf.concat([lookup(e.embeddings.value, inputs[..., k]) for k, e in enumerate(self.inputs)], -1)
        x, past = self.convolved(x, state)
        after: State = []
        for i, layer in enumerate(self.lstm):
            x, *last = self._recur(layer, x, *state[i])
            after.append((last[0], last[1]))
            if kept is not None:
                x = tf.where(kept[i], x / (1 - self.dropout), tf.zeros_like(x))
        return x, after + past

    def convolved(self, x: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Add a causal convolution to embeddings (time, batch, width): an output sees its note and those before; return its past.

        Huang, Huang & Cai 2018, "Music generation based on convolution-LSTM". As a product with windows, it has one body for
        training, scoring and the single step of generation. It is small at first and bounded, so that training begins as the
        LSTM's does. A step of Adam has one size for all weights, so the window is divided by the root of its length.
        """
        if not self.convolve:
            return x, []
        time, batch, width = x.shape
        before = tf.reshape(state[-1][0], (batch, self.convolution - 1, width))
        notes = tf.concat([tf.transpose(before, (1, 0, 2)), x], 0)  # (convolution - 1 + time, batch, width)
        windows = tf.concat([notes[k : k + time] for k in range(self.convolution)], -1)
        past = tf.reshape(tf.transpose(notes[time:], (1, 0, 2)), (batch, (self.convolution - 1) * width))
        scaled = windows / math.sqrt(self.convolution * width)
        return x + tf.tanh(self.convolve[0](scaled)), [(past,)]

    def _recur(
        self, layer: keras.layers.LSTM, x: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if self.cudnn:
            y, h, c = layer(tf.transpose(x, (1, 0, 2)), initial_state=[hidden, cell])
            return tf.transpose(y, (1, 0, 2)), h, c
        kernel, recurrent, bias = (v.value for v in layer.trainable_variables)
        time, batch, width = x.shape
        projected = tf.matmul(tf.reshape(x, (time * batch, width)), kernel) + bias
        return recurrence(tf.reshape(projected, (time, batch, 4 * self.units)), recurrent, hidden, cell)

    def logits(self, k: int, hidden: tf.Tensor, before: Sequence[tf.Tensor]) -> tf.Tensor:
        """Logits of field `k` given the stack's output through ``self.hidden`` and the note's fields before `k`."""
        z = hidden[..., k * self.head : (k + 1) * self.head]
        for j, field in enumerate(before):
            part = (k - j - 1) * self.head
            z += lookup(self.given[j].embeddings.value[:, part : part + self.head], field)
        return self.heads[k](tf.nn.relu(z))


@dataclass
class Chunk:
    """The next notes of each lane: pieces follow each other in a lane, each cut into chunks of one length."""

    inputs: NDArray[np.int16]  # (lanes, CHUNK, 4)
    targets: NDArray[np.int16]
    continues: NDArray[np.bool_]  # (lanes,), False where a piece begins
    where: dict[int, tuple[int, int]]  # lane -> piece, offset of its first note


def chunks(codes: Sequence[NDArray[np.int16]], start: tuple[int, ...], number: int) -> Iterator[Chunk]:
    """Assign pieces to `number` lanes, the longest first to the emptiest, to minimise padding; yield chunk after chunk."""
    lanes: list[list[tuple[int, int]]] = [[] for _ in range(number)]
    for piece in sorted(range(len(codes)), key=lambda p: -len(codes[p])):
        min(lanes, key=len).extend((piece, at) for at in range(0, len(codes[piece]), CHUNK))
    for i in range(max(map(len, lanes))):
        inputs, targets = np.zeros((2, number, CHUNK, len(FIELDS)), np.int16)
        where = {lane: places[i] for lane, places in enumerate(lanes) if i < len(places)}
        for lane, (piece, at) in where.items():
            part = codes[piece][at : at + CHUNK]
            before = codes[piece][at - 1] if at else np.array(start, np.int16)
            targets[lane, : len(part)] = part
            inputs[lane, : len(part)] = np.concatenate([before[None], part[:-1]])
        yield Chunk(inputs, targets, np.array([lane in where and where[lane][1] > 0 for lane in range(number)]), where)
