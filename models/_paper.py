"""The network of Mon (2025): embedding, three LSTM layers, three dense layers, softmax (TensorFlow/Keras).

Section numbers are those of "LSTM-Based Music Generation Technologies", Computers 14(6), 229. :class:`Network` contains the
published network as a plain ``keras.Model``, with Keras's own layers and weights. Its `logits` computes the same with a
recurrence that is fast on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ._past import SILENCE
from ._recurrent import lookup, recurrence

#: Figure 5: three LSTM layers. Its three dense layers are two hidden ones and the one before the softmax.
LSTM_LAYERS, HIDDEN_LAYERS = 3, 2
NORMALIZATIONS = ("layer", "batch", "none")


class Network:
    """The published network over windows of past notes.

    Parameters
    ----------
    sizes : mapping of str to int
        Classes of each predicted field, which has a dense layer and a softmax of its own.
    low, high : ndarray, shape (numbers,)
        Minimum and maximum in the training music of the input fields other than pitch, for MinMax scaling (Section 4, 1). There
        may be none.
    window : int
    embedding, units : int
        Width of the pitch's embedding and of each LSTM layer in each direction.
    dense : sequence of int
        Widths of the two hidden dense layers.
    bidirectional : bool
        Section 4, 2. The whole window precedes the predicted note, so that reading it backwards reveals nothing of that note.
    normalization : {"layer", "batch", "none"}
        After each LSTM layer.
    dropout : float
        After each LSTM and hidden dense layer.
    seed : int
        For the initial weights.
    cudnn : bool
        Whether `logits` runs Keras's LSTM layers on cuDNN, which fails without it.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        low: NDArray[np.float32],
        high: NDArray[np.float32],
        *,
        window: int,
        embedding: int,
        units: int,
        dense: Sequence[int],
        bidirectional: bool,
        normalization: str,
        dropout: float,
        seed: int,
        cudnn: bool = False,
    ) -> None:
        self.window, self.units, self.dropout, self.cudnn = window, units, dropout, cudnn
        # MinMaxScaler's own rule: a column that never changes is divided by 1.
        self.low, self.width = low, np.where(high > low, high - low, 1.0).astype(np.float32)
        seeds = iter(np.random.SeedSequence(seed).generate_state(64).tolist())
        # Section 4, 2: "the discrete notes (0-127) are mapped to a low-dimensional continuous space". One more class: silence.
        # The text gives no initial scale. Keras's default, within 0.05, is small compared with numbers from 0 to 1.
        spread = keras.initializers.RandomNormal(0.0, 0.5, seed=next(seeds))
        self.embedding = keras.layers.Embedding(SILENCE + 1, embedding, spread, name="embedding")
        self.lstm = [_lstm(f"lstm_{i + 1}", units, i < LSTM_LAYERS - 1, bidirectional, cudnn, seeds) for i in range(LSTM_LAYERS)]
        self.norms = [_normalization(normalization, f"normalization_{i + 1}") for i in range(LSTM_LAYERS)]
        self.dense = [_dense(f"dense_{i + 1}", n, "relu", seeds) for i, n in enumerate(dense)]
        self.heads = {field: _dense(f"dense_3_{field}", n, None, seeds) for field, n in sizes.items()}
        self.widths = [(window, units * (1 + bidirectional))] * (LSTM_LAYERS - 1) + [(units * (1 + bidirectional),)]
        self.widths += [(n,) for n in dense]
        #: Maps pitches (batch, window) and, if there are any, scaled numbers (batch, window, numbers) to probabilities.
        self.published: Any = self._published()

    def _published(self) -> Any:
        pitch = keras.Input((self.window,), dtype="int32", name="past_pitch")
        inputs, x = [pitch], self.embedding(pitch)
        if len(self.low):
            inputs.append(keras.Input((self.window, len(self.low)), name="past_numbers"))
            x = keras.layers.Concatenate(name="note")([x, inputs[1]])
        for i, (lstm, norm) in enumerate(zip(self.lstm, self.norms, strict=True)):
            x = keras.layers.Dropout(self.dropout, name=f"dropout_{i + 1}")(norm(lstm(x)))
        for i, dense in enumerate(self.dense):
            x = keras.layers.Dropout(self.dropout, name=f"dense_dropout_{i + 1}")(dense(x))
        softmax = {field: keras.layers.Softmax(name=field)(head(x)) for field, head in self.heads.items()}
        return keras.Model(inputs, softmax, name="lstm_paper")

    @property
    def trained(self) -> list[keras.Variable]:
        """Weights that the optimiser changes."""
        return list(self.published.trainable_variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that determines a prediction: these weights and the moving statistics of batch normalisation."""
        return [*self.trained, *(v for norm in self.norms for v in norm.non_trainable_variables)]

    def scaled(self, windows: tuple[Any, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        """Pitches and MinMax-scaled numbers of windows given as codes (batch, window, 4); the numbers of silence are 0."""
        codes = tf.cast(windows, tf.int32)
        pitch = codes[..., 0]
        numbers = (tf.cast(codes[..., 1 : 1 + len(self.low)], tf.float32) - self.low) / self.width
        return pitch, tf.where(pitch[..., None] == SILENCE, 0.0, numbers)

    def kept(self, batch: int, seed: tf.Tensor) -> list[tf.Tensor]:
        """Draw the dropout masks of one update outside XLA (see the `kept` in ``lstm.py``); `seed` has shape (2,)."""
        masks = []
        for i, shape in enumerate(self.widths):
            full = (shape[0], batch, shape[1]) if len(shape) == 2 else (batch, *shape)
            masks.append(tf.random.stateless_uniform(full, tf.stack([seed[0], seed[1] + i])) >= self.dropout)
        return masks

    def logits(self, windows: tf.Tensor, kept: Sequence[tf.Tensor] | None = None, cudnn: bool | None = None) -> list[tf.Tensor]:
        """Compute the input of each field's softmax.

        Parameters
        ----------
        windows : Tensor of int, shape (batch, window, 4)
            Codes.
        kept : sequence of Tensor of bool, optional
            Elements that dropout keeps, see `kept`. If given, this is a training step: batch normalisation uses the batch's
            statistics and updates its moving ones.
        cudnn : bool, optional
            Overrides the network's own setting.

        Returns
        -------
        list of Tensor, shape (batch, classes)
        """
        pitch, numbers = self.scaled(windows)
        x = tf.concat([lookup(self.embedding.embeddings.value, pitch), numbers], -1)
        x = tf.transpose(x, (1, 0, 2))  # (window, batch, width)
        for i, (lstm, norm) in enumerate(zip(self.lstm, self.norms, strict=True)):
            run = self._on_cudnn if (self.cudnn if cudnn is None else cudnn) else self._scanned
            x = norm(run(lstm, x, i == LSTM_LAYERS - 1), training=kept is not None)
            x = self._dropped(x, i, kept)
        for i, dense in enumerate(self.dense, LSTM_LAYERS):
            x = self._dropped(dense(x), i, kept)
        return [head(x) for head in self.heads.values()]

    def penalty(self, l2: float) -> tf.Tensor:
        """L2 penalty that Keras's ``kernel_regularizer=L2(l2)`` adds for every LSTM and dense layer (Section 4, 4)."""
        kernels = [v.value for v in self.trained if v.path.endswith("/kernel")]
        return l2 * tf.add_n([tf.reduce_sum(tf.square(k)) for k in kernels])

    def _dropped(self, x: tf.Tensor, layer: int, kept: Sequence[tf.Tensor] | None) -> tf.Tensor:
        if kept is None or not self.dropout:
            return x
        return tf.where(kept[layer], x / (1 - self.dropout), tf.zeros_like(x))

    def _on_cudnn(self, layer: Any, x: tf.Tensor, last: bool) -> tf.Tensor:
        y = layer(tf.transpose(x, (1, 0, 2)))
        return y if last else tf.transpose(y, (1, 0, 2))

    def _scanned(self, layer: Any, x: tf.Tensor, last: bool) -> tf.Tensor:
        """Run both directions; outputs at each step, (window, batch, width), or each direction's last, (batch, width)."""
        if not isinstance(layer, keras.layers.Bidirectional):
            y = self._scan(layer, x)
            return y[-1] if last else y
        forward = self._scan(layer.forward_layer, x)
        backward = self._scan(layer.backward_layer, x[::-1])
        return tf.concat([forward[-1], backward[-1]] if last else [forward, backward[::-1]], -1)

    def _scan(self, layer: Any, x: tf.Tensor) -> tf.Tensor:
        kernel, recurrent, bias = (v.value for v in layer.trainable_variables)
        time, batch, width = x.shape
        projected = tf.reshape(tf.matmul(tf.reshape(x, (time * batch, width)), kernel) + bias, (time, batch, 4 * self.units))
        zero = tf.zeros((batch, self.units))
        return recurrence(projected, recurrent, zero, zero)[0]


def _lstm(name: str, units: int, sequences: bool, bidirectional: bool, cudnn: bool, seeds: Any) -> Any:
    def one(name: str, backwards: bool) -> Any:
        return keras.layers.LSTM(
            units,
            return_sequences=sequences,
            go_backwards=backwards,
            kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
            use_cudnn=cudnn,
            name=name,
        )

    if not bidirectional:
        return one(name, False)
    # An explicit backward layer, since a copy of the forward one would begin with the same weights.
    return keras.layers.Bidirectional(one(name, False), backward_layer=one(name, True), name=name)


def _normalization(kind: str, name: str) -> Any:
    if kind == "none":
        return keras.layers.Identity(name=name)
    return (keras.layers.LayerNormalization if kind == "layer" else keras.layers.BatchNormalization)(name=name)


def _dense(name: str, units: int, activation: str | None, seeds: Any) -> Any:
    initial = keras.initializers.GlorotUniform(seed=next(seeds))
    return keras.layers.Dense(units, activation=activation, kernel_initializer=initial, name=name)
