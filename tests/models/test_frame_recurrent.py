"""Recurrent networks over frames: the cells against Keras's layers, the likelihood by hand, generation, learning."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras
import tensorflow as tf

from bench.api import Budget, Notes, PluginError, Run, TrialError
from bench.plugins.discovery import find_plugins, load

from .frames import TRAIN, VALID, check_learning, check_two_frames, fitted, piece

Model = load(find_plugins("model")["frame-recurrent"])
module = sys.modules[Model.__module__]
scan = sys.modules[module.scan.__module__]
TINY = {"units": 24, "batch": 4, "learning_rate": 0.02, "dropout": 0.1}
CELLS = pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}


@CELLS
def test_a_scan_and_its_gradients_are_those_of_keras(cell: str) -> None:
    units, time, batch = 5, 7, 3
    layer = LAYERS[cell](units, return_sequences=True)
    layer.build((None, None, 4))
    x = tf.random.stateless_normal((batch, time, 4), [1, 2])
    upstream = tf.random.stateless_normal((batch, time, units), [3, 4])
    layer.set_weights([np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(layer.get_weights())])
    kernel, recurrent, bias = (w.value for w in layer.trainable_variables)
    if cell == "gru":  # the bias of the products, which ours hasn't
        layer.trainable_variables[2].assign(tf.stack([bias[0], tf.zeros_like(bias[0])]))
        bias = bias[0]
    kind = scan.CELLS[cell]
    state = tf.zeros((batch, kind.parts * units))
    with tf.GradientTape() as tape:
        tape.watch((x, recurrent))
        inputs = tf.transpose(x, (1, 0, 2)) @ kernel + bias
        ours = tf.transpose(scan.scan(kind, inputs, recurrent, state)[..., :units], (1, 0, 2))
        loss = tf.reduce_sum(ours * upstream)
    gradients = tape.gradient(loss, (x, recurrent))
    with tf.GradientTape() as tape:
        tape.watch(x)
        theirs = layer(x)
        loss = tf.reduce_sum(theirs * upstream)
    expected = tape.gradient(loss, (x, layer.trainable_variables[1].value))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, atol=2e-4)


def silenced(folder: Path, **params: Any) -> Any:
    """A network that gives each key log odds of -3, whatever it hears."""
    model = Model(**TINY | params)
    fitted(model, folder, 0)
    model.network.tell.kernel.assign(tf.zeros_like(model.network.tell.kernel))
    return model


@CELLS
def test_the_likelihood_of_two_frames_by_hand(cell: str, tmp_path: Path) -> None:
    check_two_frames(silenced(tmp_path, cell=cell))


@CELLS
def test_it_learns(cell: str, tmp_path: Path) -> None:
    check_learning(Model(**TINY | {"cell": cell}), tmp_path)


@CELLS
def test_generation_steps_through_what_the_likelihood_scores(cell: str, tmp_path: Path) -> None:
    model = Model(**TINY | {"cell": cell, "layers": 2})
    fitted(model, tmp_path, 0)
    rng = np.random.default_rng(0)
    grid = rng.random((1, 9, 88)).astype(np.float32) < 0.1
    given = np.concatenate([np.zeros((1, 1, 88)), grid[:, :-1]], 1).astype(np.float32)
    losses, _ = model.network.score(given, grid.astype(np.float32), model.network.zero_state(1))
    state, stepped = model.network.zero_state(1), []
    for t in range(9):
        odds, state = model.network.step(given[:, t], state)
        stepped.append(np.logaddexp(0, np.where(grid[:, t], -odds, odds)).sum())
    np.testing.assert_allclose(losses[0], stepped, rtol=1e-5)


def test_a_long_piece_is_scored_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(**TINY)
    fitted(model, tmp_path, 1)
    whole = model.log_likelihood([*VALID, TRAIN[0]])
    monkeypatch.setattr(module, "CHUNK", 5)
    for one, other in zip(whole, model.log_likelihood([*VALID, TRAIN[0]]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_a_padded_frame_costs_and_teaches_nothing(tmp_path: Path) -> None:
    """The loss of a batch of two pieces is the mean over the frames of both."""
    model = Model(**TINY | {"dropout": 0.0, "batch": 2})
    pieces = [piece([60], [62], [64], [65], [67]), piece([72], [71])]
    run = Run(0, Budget(1), tmp_path, threads=1)
    model.fit(pieces, pieces, run)
    untrained = Model(**TINY | {"dropout": 0.0})
    untrained.fit(pieces, pieces, Run(0, Budget(0), tmp_path / "untrained"))
    nats = []
    for music in pieces:
        grid = module.to_frames(music.notes)[None].astype(np.float32)
        given = np.concatenate([np.zeros((1, 1, 88), np.float32), grid[:, :-1]], 1)
        nats += untrained.network.score(given, grid, untrained.network.zero_state(1))[0][0].numpy().tolist()
    assert run.history[0]["loss"] == pytest.approx(math.fsum(nats) / 7, rel=1e-5)
    assert run.history[0]["notes"] == 7


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="cell is 'elman'"):
        Model(cell="elman")
    with pytest.raises(PluginError, match="units is 0"):
        Model(units=0)
    with pytest.raises(PluginError, match="temperature 0"):
        Model(temperature=0.0)
    with pytest.raises(TrialError, match="no weights yet"):
        Model().generate([Notes.from_columns([], [], [], [])], 3, seed=0)
