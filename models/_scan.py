"""Recurrent cells over time, of any kind, at the speed of one made by hand (TensorFlow).

A cell is a function ``step(inputs, product, state)`` of one step: ``inputs`` (batch, gates * units) is what the layer below
contributes, ``product`` the hidden state before it times the recurrent kernel, of the same shape, and ``state`` (batch, parts *
units) begins with the hidden state. It returns the state after the step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


def lstm(inputs: tf.Tensor, product: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Long short-term memory. Hochreiter & Schmidhuber 1997; with a forget gate as in Gers et al. 2000."""
    _, cell = tf.split(state, 2, -1)
    i, f, g, o = tf.split(inputs + product, 4, -1)
    cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
    return tf.concat([tf.sigmoid(o) * tf.tanh(cell), cell], -1)


def gru(inputs: tf.Tensor, product: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Gated recurrent unit. Cho et al. 2014, with the reset gate after the product, as cuDNN has it."""
    z, r, n = tf.split(inputs, 3, -1)
    z_before, r_before, n_before = tf.split(product, 3, -1)
    keep = tf.sigmoid(z + z_before)
    return keep * state + (1 - keep) * tf.tanh(n + tf.sigmoid(r + r_before) * n_before)


def rnn(inputs: tf.Tensor, product: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Hyperbolic tangent of a sum. Elman 1990."""
    return tf.tanh(inputs + product)


class Cell(NamedTuple):
    """A kind of cell: its step, and how many times its units its inputs and its state are wide."""

    step: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    gates: int
    parts: int


CELLS = {"lstm": Cell(lstm, 4, 2), "gru": Cell(gru, 3, 1), "rnn": Cell(rnn, 1, 1)}


def scan(cell: Cell, inputs: tf.Tensor, kernel: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """States after each step, (time, batch, parts * units); the first ``units`` of each are the output.

    The loops hold only what depends on the step before. The kernel's gradient is one product over all steps; that of a step is
    TensorFlow's own. No gradient flows into the state before the first step.

    Parameters
    ----------
    cell : Cell
    inputs : Tensor, shape (time, batch, gates * units)
    kernel : Tensor, shape (units, gates * units)
    state : Tensor, shape (batch, parts * units)
        Before the first step.
    """
    units, width, size = kernel.shape[0], kernel.shape[1], state.shape[-1]
    time, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def states(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        after, products = _forwards(cell, inputs, kernel, state)
        before = tf.concat([state[None], after[:-1]], 0)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            to_inputs, to_products = _backwards(cell, upstream, inputs, products, before, kernel)
            hidden = tf.reshape(before[..., :units], (time * batch, units))
            return to_inputs, tf.matmul(hidden, tf.reshape(to_products, (time * batch, width)), transpose_a=True)

        return tf.ensure_shape(after, (None, None, size)), gradient

    return states(inputs, kernel)


def _forwards(cell: Cell, inputs: tf.Tensor, kernel: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """States after each step, and the products with the kernel before it."""
    time, units = tf.shape(inputs)[0], kernel.shape[0]

    def body(t: tf.Tensor, state: tf.Tensor, states: Any, products: Any) -> tuple[Any, ...]:
        product = tf.matmul(state[:, :units], kernel)
        state = cell.step(inputs[t], product, state)
        return t + 1, state, states.write(t, state), products.write(t, product)

    arrays = [tf.TensorArray(tf.float32, time) for _ in range(2)]
    *_, states, products = tf.while_loop(lambda t, *_: t < time, body, (0, state, *arrays))
    return states.stack(), products.stack()


def _backwards(
    cell: Cell, upstream: tf.Tensor, inputs: tf.Tensor, products: tf.Tensor, before: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Gradients of the inputs and of the products, from that of the states."""
    time, transposed = tf.shape(inputs)[0], tf.transpose(kernel)
    rest = before.shape[-1] - kernel.shape[0]

    def body(t: tf.Tensor, flow: tf.Tensor, to_inputs: Any, to_products: Any) -> tuple[Any, ...]:
        sources = inputs[t], products[t], before[t]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            state = cell.step(*sources)
        here, product, state = tape.gradient(state, sources, flow + upstream[t], unconnected_gradients="zero")
        flow = state + tf.pad(tf.matmul(product, transposed), ((0, 0), (0, rest)))
        return t - 1, flow, to_inputs.write(t, here), to_products.write(t, product)

    arrays = [tf.TensorArray(tf.float32, time) for _ in range(2)]
    start = (time - 1, tf.zeros_like(before[0]), *arrays)
    *_, to_inputs, to_products = tf.while_loop(lambda t, *_: t >= 0, body, start)
    return to_inputs.stack(), to_products.stack()
