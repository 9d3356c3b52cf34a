"""The LSTM network: a recurrence that is fast on a CPU, a stack of layers, a head a field (TensorFlow/Keras)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bench.api import FIELDS

State = list[tuple[tf.Tensor, tf.Tensor]]


class Network:
    """Embeddings of the note before, an LSTM stack, and a head a field that sees the fields before it.

    Parameters
    ----------
    sizes : tuple of int
        Classes of each field; the inputs have one more, the start symbol.
    units, layers, embedding, head : int
        Width of the LSTM layers, their number, width of each field's embedding and of each head's hidden layer.
    dropout : float
        Dropped share of each LSTM layer's output.
    seed : int
        For the initial weights.
    policy : str
        Keras dtype policy of the heads and their hidden layer. The recurrence is always float32: cuDNN's has no bfloat16 kernel
        in TensorFlow.
    cudnn : bool
        Whether training and scoring run Keras's own LSTM layer on cuDNN, which fails where there is none. Otherwise they run
        `recurrence`. Generation runs `step` either way. All three take the same weights.
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
        policy: str = "float32",
        cudnn: bool = False,
    ) -> None:
        self.sizes, self.units, self.head, self.dropout, self.cudnn = sizes, units, head, dropout, cudnn
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
        self.hidden = keras.layers.Dense(4 * head, kernel_initializer=glorot(), dtype=policy, name="hidden")
        # Field j's part in the hidden layers of the heads after it, side by side.
        self.given = [keras.layers.Embedding(sizes[j], (3 - j) * head, normal(0.1), name=f"given_{FIELDS[j]}") for j in range(3)]
        self.heads = [
            keras.layers.Dense(n, kernel_initializer=glorot(), dtype=policy, name=f"head_{f}")
            for f, n in zip(FIELDS, sizes, strict=True)
        ]
        for layer in (*self.inputs, *self.given):
            layer.build()
        for i, layer in enumerate(self.lstm):
            layer.build((None, None, units if i else 4 * embedding))
        self.hidden.build((None, units))
        for layer in self.heads:
            layer.build((None, head))

    @property
    def variables(self) -> list[keras.Variable]:
        """All weights, in a fixed order."""
        layers = [*self.inputs, *self.lstm, self.hidden, *self.given, *self.heads]
        return [v for layer in layers for v in layer.trainable_variables]

    def zero_state(self, batch: int) -> State:
        """State before a piece."""
        return [(tf.zeros((batch, self.units)), tf.zeros((batch, self.units))) for _ in self.lstm]

    def loss(
        self, inputs: tf.Tensor, targets: tf.Tensor, state: State, kept: Sequence[tf.Tensor] | None = None
    ) -> tuple[tf.Tensor, State]:
        """Negative log likelihood of each target's fields, nats.

        Parameters
        ----------
        inputs, targets : Tensor of int32, shape (batch, time, 4)
        state : list of (hidden, cell)
        kept : sequence of Tensor of bool, shape (time, batch, units), optional
            What dropout leaves of each layer's output, see `kept`; without it nothing is dropped.

        Returns
        -------
        Tensor, shape (time, batch, 4)
        list of (hidden, cell)
            State after the last step.
        """
        x, state = self.encode(tf.transpose(inputs, (1, 0, 2)), state, kept)
        fields = tf.unstack(tf.transpose(targets, (1, 0, 2)), axis=-1)
        hidden = self.hidden(x)
        losses = []
        for k, field in enumerate(fields):
            logits = tf.cast(self.logits(k, hidden, fields[:k]), tf.float32)
            losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(field, logits))
        return tf.stack(losses, -1), state

    def kept(self, time: int, batch: int, seed: tf.Tensor) -> list[tf.Tensor]:
        """Dropout's masks of one update; `seed` has shape (2,).

        Drawn outside XLA, which would draw them again wherever they are used: 4x the time of the whole step on a CPU.
        """
        shape = (time, batch, self.units)
        return [
            tf.random.stateless_uniform(shape, tf.stack([seed[0], seed[1] + i])) >= self.dropout for i in range(len(self.lstm))
        ]

    def encode(self, inputs: tf.Tensor, state: State, kept: Sequence[tf.Tensor] | None = None) -> tuple[tf.Tensor, State]:
        """Output of the stack, shape (time, batch, units), for notes of shape (time, batch, 4)."""
        x = tf.concat([lookup(e.embeddings.value, inputs[..., k]) for k, e in enumerate(self.inputs)], -1)
        after: State = []
        for i, layer in enumerate(self.lstm):
            x, *last = self._recur(layer, x, *state[i])
            after.append((last[0], last[1]))
            if kept is not None:
                x = tf.where(kept[i], x / (1 - self.dropout), tf.zeros_like(x))
        return x, after

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
            z += tf.cast(lookup(self.given[j].embeddings.value[:, part : part + self.head], field), z.dtype)
        return self.heads[k](tf.nn.relu(z))


def lookup(table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Rows of an embedding. Its gradient is a product with the one-hot index: XLA's scatter on a CPU goes row by row.

    Parameters
    ----------
    table : Tensor, shape (classes, width)
    index : Tensor of int, any shape

    Returns
    -------
    Tensor, shape (*index.shape, width)
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def rows(table: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            hot = tf.one_hot(tf.reshape(index, (-1,)), table.shape[0], dtype=upstream.dtype)
            return tf.matmul(hot, tf.reshape(upstream, (-1, table.shape[1])), transpose_a=True)

        return tf.gather(table, index), gradient

    return rows(table)


def recurrence(
    inputs: tf.Tensor, kernel: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """LSTM over time for XLA, with the input projection of all steps already done.

    Keras's layer multiplies the input of each step on its own, and its gradient adds to the kernel's at each step. Here the
    loops hold only what depends on the step before: one product forwards, one backwards. The kernel's gradient is one
    product over all steps. Gates are in Keras's order: input, forget, candidate, output.

    Parameters
    ----------
    inputs : Tensor, shape (time, batch, 4 * units)
        ``x @ input_kernel + bias``. The shape must be static.
    kernel : Tensor, shape (units, 4 * units)
    hidden, cell : Tensor, shape (batch, units)
        State before the first step.

    Returns
    -------
    outputs : Tensor, shape (time, batch, units)
    hidden, cell : Tensor, shape (batch, units)
        State after the last step. No gradient flows back from ``cell``, nor into the state before the first step.
    """
    time, batch, units = inputs.shape[0], inputs.shape[1], hidden.shape[-1]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def scan(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., Any]]:
        outputs, cells, gates = _forwards(inputs, kernel, hidden, cell)

        def gradient(upstream: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            before = tf.concat([cell[None], cells[:-1]], 0)
            flow = _backwards(upstream, kernel, gates, cells, before)
            previous = tf.concat([hidden[None], outputs[:-1]], 0)
            by_row = tf.reshape(previous, (time * batch, units)), tf.reshape(flow, (time * batch, 4 * units))
            return flow, tf.matmul(*by_row, transpose_a=True)

        return (outputs, cells[-1]), gradient

    outputs, last = scan(inputs, kernel)
    return outputs, outputs[-1], last


def step(inputs: tf.Tensor, kernel: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One step of :func:`recurrence`: the gates after their non-linearity (batch, 4 * units), hidden and cell after it."""
    i, f, g, o = tf.split(inputs + tf.matmul(hidden, kernel), 4, axis=-1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    cell = f * cell + i * g
    return tf.concat([i, f, g, o], -1), o * tf.tanh(cell), cell


def _forwards(inputs: tf.Tensor, kernel: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    time, batch, width = inputs.shape
    arrays = [tf.TensorArray(tf.float32, time, element_shape=(batch, n)) for n in (width // 4, width // 4, width)]

    def body(t: tf.Tensor, h: tf.Tensor, c: tf.Tensor, hs: Any, cs: Any, gs: Any) -> tuple[Any, ...]:
        gates, h, c = step(inputs[t], kernel, h, c)
        return t + 1, h, c, hs.write(t, h), cs.write(t, c), gs.write(t, gates)

    *_, hs, cs, gs = tf.while_loop(lambda t, *_: t < time, body, (0, hidden, cell, *arrays), maximum_iterations=time)
    return hs.stack(), cs.stack(), gs.stack()


def _backwards(upstream: tf.Tensor, kernel: tf.Tensor, gates: tf.Tensor, cells: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """Gradient of ``inputs``, shape (time, batch, 4 * units), from that of the outputs."""
    time, batch, width = gates.shape
    squashed, transposed = tf.tanh(cells), tf.transpose(kernel)

    def body(t: tf.Tensor, dh: tf.Tensor, dc: tf.Tensor, flow: Any) -> tuple[Any, ...]:
        i, f, g, o = tf.split(gates[t], 4, axis=-1)
        dh, tanh = dh + upstream[t], squashed[t]
        dc = dc + dh * o * (1 - tanh * tanh)
        parts = dc * g * i * (1 - i), dc * before[t] * f * (1 - f), dc * i * (1 - g * g), dh * tanh * o * (1 - o)
        dz = tf.concat(parts, -1)
        return t - 1, tf.matmul(dz, transposed), dc * f, flow.write(t, dz)

    zero = tf.zeros((batch, width // 4))
    flow = tf.TensorArray(tf.float32, time, element_shape=(batch, width))
    *_, flow = tf.while_loop(lambda t, *_: t >= 0, body, (time - 1, zero, zero, flow), maximum_iterations=time)
    return flow.stack()


def sample(
    logits: tf.Tensor, uniform: tf.Tensor, temperature: float, top_p: float, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Draw a class a row by inverting the cumulative probability; a class of probability 0 is never drawn.

    Parameters
    ----------
    logits : Tensor, shape (batch, classes)
    uniform : Tensor, shape (batch, 1)
        In [0, 1). One number a draw: random numbers inside an XLA loop cost more than the network does.
    temperature : float
    top_p : float
        Below 1, only the nucleus is drawn from: the likeliest classes that together hold this probability.
    weights : Tensor, shape (classes,), optional
        Log weights, added before the temperature, which scales them too.

    Returns
    -------
    Tensor of int32, shape (batch,)
    """
    weighted = logits if weights is None else logits + weights
    probability = tf.nn.softmax(weighted / temperature)
    if top_p < 1:
        # Probability of all likelier classes, without a sort: (batch, classes, classes) is small here and XLA fuses it.
        likelier = tf.cast(probability[:, None, :] > probability[:, :, None], tf.float32)
        probability *= tf.cast(tf.reduce_sum(likelier * probability[:, None, :], -1) < top_p, tf.float32)
    classes = logits.shape[-1]
    # A product with a triangle is the cumulative sum that runs fastest here.
    cumulative = tf.matmul(probability, tf.constant(np.triu(np.ones((classes, classes), np.float32))))
    # Rounding must not lift the threshold to the total, or no class would be left.
    threshold = uniform * cumulative[:, -1:] * (1 - 1e-6)
    # The first class above the threshold. A minimum over indices: XLA's argmax takes twice as long on a CPU.
    return tf.reduce_min(tf.where((cumulative > threshold) & (probability > 0), tf.range(classes), classes), axis=-1)
