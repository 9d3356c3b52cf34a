"""Parts of both LSTMs: embedding look-up, a recurrence that is fast on a CPU, sampling (TensorFlow)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def lookup(table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Look up rows of an embedding; the gradient is a product with the one-hot index, as XLA's scatter on a CPU is slow.

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
    """LSTM over time for XLA, given the input projections of all steps.

    Keras's layer projects the input of each step separately, and accumulates the kernel's gradient step by step. Here the
    loops contain only what depends on the step before: one product forwards, one backwards. The kernel's gradient is one
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
    """One step of :func:`recurrence`: the gates (batch, 4 * units), hidden state and cell (batch, units) each."""
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
    """Gradient of ``inputs``, (time, batch, 4 * units), from that of the outputs, (time, batch, units)."""
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
    """Draw a class for each row by inverting the cumulative probability; never one of probability 0.

    Parameters
    ----------
    logits : Tensor, shape (batch, classes)
    uniform : Tensor, shape (batch, 1)
        In [0, 1), drawn in advance: random numbers inside an XLA loop would take more time than the network.
    temperature : float
    top_p : float
        Below 1, restricts the draw to the nucleus: the likeliest classes that together have this probability.
    weights : Tensor, shape (classes,), optional
        Log weights, added before the temperature, which scales them too.

    Returns
    -------
    Tensor of int32, shape (batch,)
    """
    weighted = logits if weights is None else logits + weights
    probability = tf.nn.softmax(weighted / temperature)
    if top_p < 1:
        # Probability of all likelier classes, without a sort: (batch, classes, classes) is small here, and XLA fuses it.
        likelier = tf.cast(probability[:, None, :] > probability[:, :, None], tf.float32)
        probability *= tf.cast(tf.reduce_sum(likelier * probability[:, None, :], -1) < top_p, tf.float32)
    classes = logits.shape[-1]
    # A product with a triangular matrix is the fastest cumulative sum here.
    cumulative = tf.matmul(probability, tf.constant(np.triu(np.ones((classes, classes), np.float32))))
    # Rounding must not raise the threshold to the total, or no class would remain.
    threshold = uniform * cumulative[:, -1:] * (1 - 1e-6)
    # The first class above the threshold, as a minimum over indices: XLA's argmax takes twice as long on a CPU.
    return tf.reduce_min(tf.where((cumulative > threshold) & (probability > 0), tf.range(classes), classes), axis=-1)
