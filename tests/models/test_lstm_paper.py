"""The paper's network: its shape as published, its parts against Keras, windows by hand, checkpoints, generation."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

from bench.api import FIELDS, Budget, DataError, Notes, Piece, PluginError, Run, TrialError  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402

from .pieces import assert_draws_are_those_of_the_uncompiled_loop, interrupted, scale, without_xla  # noqa: E402

Model = load(find_plugins("model")["lstm-paper"])
module = sys.modules[Model.__module__]
training = sys.modules[module.Training.__module__]
past = sys.modules[module.PastWindows.__module__]
TINY = {"units": 8, "embedding": 4, "dense": [12, 10], "window": 10, "batch": 16, "dropout": 0.1, "learning_rate": 0.01}
LOW, HIGH = np.array([10, 0, 3], np.float32), np.array([90, 60, 3], np.float32)


TRAIN = [scale(i, 70) for i in range(6)]
VALID = [scale(100, 40), scale(101, 80)]
NOTHING = Notes.from_columns([], [], [], [])


def run_in(folder: Path, epochs: int) -> Run:
    return Run(0, Budget(epochs), folder, threads=1)


def trained(folder: Path, epochs: int, **params: object) -> object:
    model = Model(**TINY | params)
    with without_xla():
        model.fit(TRAIN, VALID, run_in(folder, epochs))
    return model


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def weights(model: object) -> dict[str, np.ndarray]:
    return training.fast.snapshot(model.network.variables)


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


def network(**changes: object) -> object:
    given = {"window": 6, "embedding": 4, "units": 5, "dense": (7, 6), "bidirectional": True, "normalization": "layer"}
    sizes = {"pitch": 128, "velocity": 128, "time": 9, "duration": 8}
    return module.Network(sizes, LOW, HIGH, dropout=0.0, seed=1, **given | changes)


def random_windows(batch: int, window: int) -> np.ndarray:
    codes = np.random.default_rng(0).integers(0, 8, (batch, window, 4)).astype(np.int16)
    codes[0, :3, 0] = past.SILENCE
    return codes


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, Path]:
    folder = tmp_path_factory.mktemp("straight")
    model = Model(**TINY)
    model.fit(TRAIN, VALID, run_in(folder, 3))
    return model, folder


# -- the network as published ------------------------------------------------------------------------------------------


def test_defaults_are_the_papers() -> None:
    model = Model()
    assert (model.window, model.batch, model.bidirectional, model.normalization) == (30, 128, True, "layer")
    assert (model.optimizer, model.stride, model.features) == ("adam", 1, "pitch+duration+velocity")


def test_three_lstm_and_three_dense_layers_and_a_softmax(tmp_path: Path) -> None:
    model = Model()
    model.fit(TRAIN, VALID, run_in(tmp_path, 0))
    published = model.network.published
    assert [tuple(i.shape) for i in published.inputs] == [(None, 30), (None, 30, 3)]
    kinds = [type(layer).__name__ for layer in published.layers if layer.name.split("_")[0] in ("lstm", "normalization", "dense")]
    assert kinds.count("Bidirectional") == kinds.count("LayerNormalization") == 3
    assert kinds.count("Dense") == 2 + len(FIELDS), "the third dense layer once a field"
    assert {name: tuple(out.shape) for name, out in published.output.items()} == {
        "pitch": (None, 128),
        "velocity": (None, 128),
        "time": (None, 64),
        "duration": (None, 64),
    }
    # Embedding 129 x 64; LSTM 4 x 512 x (inputs + 512 + 1) a direction, of 64 + 3 and 2 x 512 inputs; norms; dense; 384 classes.
    lstm = 2 * 2048 * (67 + 513) + 2 * (2 * 2048 * (1024 + 513))
    assert lstm == 14_966_784
    by_hand = 8_256 + lstm + 3 * 2 * 1024 + 1024 * 1025 + 512 * 1025 + 384 * 513
    assert model.facts()["parameters"] == by_hand == 16_752_576


@pytest.mark.parametrize(("options", "count"), [({"bidirectional": False, "normalization": "batch"}, 2_096), ({}, 3_496)])
def test_parameters_of_a_small_one_by_hand(options: dict[str, object], count: int, tmp_path: Path) -> None:
    model = Model(units=4, embedding=3, dense=[5, 3], time_classes=6, duration_classes=7, **options)
    model.fit(TRAIN, VALID, run_in(tmp_path, 0))
    directions = 1 if options else 2
    wide = 4 * directions
    lstm = directions * 16 * ((6 + 5) + 2 * (wide + 5))
    heads = (128 + 128 + 6 + 7) * 4
    assert model.facts()["parameters"] == 129 * 3 + lstm + 3 * 2 * wide + 5 * (wide + 1) + 3 * 6 + heads


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("normalization", ["layer", "batch", "none"])
def test_logits_are_those_of_keras_own_layers(bidirectional: bool, normalization: str) -> None:
    net = network(bidirectional=bidirectional, normalization=normalization)
    windows = random_windows(5, 6)
    pitch, numbers = net.scaled(windows)
    expected = net.published([pitch, numbers])
    for cudnn in (False, True):  # on a CPU Keras's layers run their own loop
        for layer in net.lstm:
            for one in (layer.forward_layer, layer.backward_layer) if bidirectional else (layer,):
                one.use_cudnn = False
        for got, want in zip(net.logits(tf.constant(windows), cudnn=cudnn), expected.values(), strict=True):
            np.testing.assert_allclose(tf.nn.softmax(got), want, rtol=1e-4, atol=1e-6)


def test_both_directions_begin_with_their_own_weights() -> None:
    layer = network().lstm[0]
    assert not np.allclose(layer.forward_layer.cell.kernel, layer.backward_layer.cell.kernel)


def test_numbers_are_minmax_scaled_and_those_of_silence_are_0() -> None:
    codes = np.array([[[128, 0, 0, 0], [60, 90, 30, 3], [61, 10, 0, 5]]], np.int16)
    _, numbers = network().scaled(codes)
    # The last column never changed in training: MinMaxScaler divides it by 1.
    np.testing.assert_allclose(numbers[0], [[0, 0, 0], [1, 0.5, 0], [0, 0, 2]])


def test_l2_is_that_of_keras_regularizer_on_every_kernel() -> None:
    net = network()
    layers = [part for layer in net.lstm for part in (layer.forward_layer.cell, layer.backward_layer.cell)]
    l2 = keras.regularizers.L2(0.5)
    expected = sum(float(l2(layer.kernel)) for layer in [*layers, *net.dense, *net.heads.values()])
    assert float(net.penalty(0.5)) == pytest.approx(expected, rel=1e-5)


def test_batch_normalisation_moves_its_statistics_only_in_training() -> None:
    net = network(normalization="batch")
    moving = [v for v in net.variables if "moving" in v.path]
    assert len(moving) == 6
    net.logits(tf.constant(random_windows(5, 6)))
    assert all(np.all(np.asarray(v) == float("variance" in v.path)) for v in moving)
    net.logits(tf.constant(random_windows(5, 6)), [])
    assert not any(np.all(np.asarray(v) == float("variance" in v.path)) for v in moving)


def test_dropout_drops_its_share_and_scales_the_rest() -> None:
    net = network()
    net.dropout = 0.25
    masks = net.kept(200, tf.constant([0, 0]))
    assert [tuple(m.shape) for m in masks] == [(6, 200, 10), (6, 200, 10), (200, 10), (200, 7), (200, 6)]
    assert float(np.mean(masks[0])) == pytest.approx(0.75, abs=0.02)
    left = net._dropped(tf.ones((6, 200, 10)), 0, masks).numpy()
    np.testing.assert_allclose(np.unique(left), [0, 4 / 3], rtol=1e-6)


@pytest.mark.parametrize(("kind", "theirs"), [("adam", keras.optimizers.Adam), ("rmsprop", keras.optimizers.RMSprop)])
def test_optimizer_moves_weights_as_keras_does(kind: str, theirs: type) -> None:
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 2), (4,))]
    ours, other = ([keras.Variable(value) for value in start] for _ in range(2))
    mine, keras_own = training.Optimizer(ours, kind), theirs(learning_rate=0.01)
    for update in (1, 2, 3):
        gradients = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in start]
        mine.apply(gradients, tf.constant(mine.rates(0.01, update)))
        keras_own.apply(gradients, other)
    for got, want in zip(ours, other, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


# -- windows -----------------------------------------------------------------------------------------------------------


def column(*pitches: int) -> np.ndarray:
    return np.array([[p, 64, 1, 2] for p in pitches], np.int16).reshape(-1, 4)


def test_windows_by_hand() -> None:
    windows = past.PastWindows([column(60, 61, 62), column(70), column(80, 81)], 2)
    inputs, targets = windows.take(np.arange(len(windows)))
    assert inputs[..., 0].tolist() == [[128, 128], [128, 60], [60, 61], [128, 128], [128, 128], [128, 80]]
    assert targets[:, 0].tolist() == [60, 61, 62, 70, 80, 81]
    assert windows.bounds.tolist() == [0, 3, 4, 6]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 9), st.integers(1, 5), st.integers(0, 9))
def test_an_epoch_has_every_target_of_its_stride_once(lengths: list[int], batch: int, stride: int, epoch: int) -> None:
    if not sum(lengths):
        return
    pieces = [column(*range(n)) + np.array([0, i, 0, 0], np.int16) for i, n in enumerate(lengths)]
    windows = past.PastWindows(pieces, 4)
    batches = list(windows.epoch(epoch, batch, stride, seed=3))
    assert len(batches) == windows.updates(batch, stride)
    seen = [tuple(row) for _, targets in batches for row in targets]
    assert len(seen) == len(batches) * batch
    if stride == 1:
        assert set(seen) == {tuple(row) for piece in pieces for row in piece}
    for (inputs, targets), (again, _) in zip(batches, windows.epoch(epoch, batch, stride, seed=3), strict=True):
        np.testing.assert_array_equal(inputs, again)
        notes = inputs[:, -1, 0] != past.SILENCE
        assert np.array_equal(inputs[notes, -1, 1], targets[notes, 1]), "a window never reaches into another piece"


def test_extremes_of_nothing_leave_numbers_alone() -> None:
    low, high = past.extremes([])
    assert (low.tolist(), high.tolist()) == ([0, 0, 0], [1, 1, 1])


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.training
def test_it_learns_and_logs_both_losses_and_the_falling_rate(straight: tuple[object, Path], tmp_path: Path) -> None:
    model, folder = straight
    history = logged(folder)
    assert [e["epoch"] for e in history] == [1, 2, 3]
    # Every third note is a target: three of its epochs are one pass, as in the rows beside it.
    music = sum(len(piece.notes) for piece in TRAIN)
    assert history[-1]["passes"] == pytest.approx(sum(e["notes"] for e in history) / music, rel=0.1)
    assert history[-1]["share"] == 1
    untrained = trained(tmp_path, 0)
    before = -sum(x.sum() for x in untrained.log_likelihood(VALID)) / 120
    assert history[-1]["validation_loss"] < 0.8 * before
    for e in history:
        assert e["validation_bits"] == pytest.approx(e["validation_loss"] / math.log(2))
        assert 0 < e["pitch_loss"] < e["loss"]
        assert 0 < e["validation_pitch_loss"] < e["validation_loss"]
    rates = [e["learning_rate"] for e in history]
    assert 0.01 > rates[0] > rates[1] > rates[2] > 0
    after = -sum(x.sum() for x in model.log_likelihood(VALID)) / 120
    assert after == pytest.approx(min(e["validation_loss"] for e in history), abs=1e-5)


@pytest.mark.training
def test_the_best_weights_are_in_keras_own_hdf5(straight: tuple[object, Path], tmp_path: Path) -> None:
    model, folder = straight
    other = Model(**TINY)
    other.fit(TRAIN, VALID, Run(9, Budget(0), tmp_path))
    other.network.published.load_weights(folder / "best.weights.h5")
    assert_same(weights(model), weights(other))


@pytest.mark.training
def test_killed_it_resumes_to_the_same_weights(tmp_path: Path) -> None:
    options = {"normalization": "batch", "optimizer": "rmsprop", "bidirectional": False, "stride": 3}
    straight = trained(tmp_path / "straight", 3, **options)
    with without_xla():
        interrupted(Model(**TINY | options), TRAIN, VALID, tmp_path / "killed", 3, at=3)
    resumed = trained(tmp_path / "killed", 3, **options)
    assert_same(weights(straight), weights(resumed))
    one, other = ([e["validation_loss"] for e in logged(tmp_path / name)] for name in ("straight", "killed"))
    assert one == other


# -- the pitch alone ---------------------------------------------------------------------------------------------------


@pytest.mark.training
def test_with_the_pitch_alone_the_rest_are_training_medians(tmp_path: Path) -> None:
    model = trained(tmp_path, 1, features="pitch", stride=4)
    (entry,) = logged(tmp_path)
    assert entry["loss"] == entry["pitch_loss"]
    assert entry["validation_loss"] == entry["validation_pitch_loss"]
    assert "validation_bits" not in entry
    assert model.likelihood is None
    with pytest.raises(TrialError, match="no likelihood"):
        model.log_likelihood(VALID)
    prompt = TRAIN[0].notes[:4]
    (made,) = model.generate([prompt], 12, seed=1)
    assert set(made.velocity) == {60}  # 211 of the 420 training notes have 50 or 60, 209 have 70 or 80
    np.testing.assert_allclose(made.duration, 0.3)
    np.testing.assert_allclose(np.diff(made.onset, prepend=prompt.onset[-1]), 0.25)
    assert len(set(made.pitch.tolist())) > 1


def test_the_median_interval_leaves_chords_out() -> None:
    chords = Piece(Notes.from_columns([0, 0, 0, 0.5, 0.5, 0.5, 1.25], [1] * 7, range(60, 67), [80] * 7), "chords")
    constants = module._Constants.of([chords])
    assert (constants.velocity, constants.interval, constants.duration) == (80, 0.625, 1.0)
    assert module._Constants.of([]) == module._Constants()


# -- likelihood, generation, errors ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> object:
    return trained(tmp_path_factory.mktemp("initial"), 0)


@pytest.mark.parametrize("params", [{}, {"normalization": "batch", "bidirectional": False, "top_p": 0.6, "temperature": 1.3}])
def test_all_fields_of_the_compiled_loop_have_random_numbers_of_their_own(tmp_path: Path, params: dict[str, Any]) -> None:
    model = Model(**TINY | params)
    model.fit(TRAIN, VALID, run_in(tmp_path, 0))
    assert_draws_are_those_of_the_uncompiled_loop(model, TRAIN[0].notes[:9])


def test_a_note_depends_on_the_window_before_it_and_on_no_more(initial: object) -> None:
    notes = VALID[1].notes[:30]
    changed = Piece(Notes(notes.onset, notes.duration, np.r_[notes.pitch[:9] + 1, notes.pitch[9:]], notes.velocity), "changed")
    one, other = initial.log_likelihood([Piece(notes, "whole"), changed])
    np.testing.assert_allclose(one[19:], other[19:], atol=1e-5)
    assert np.abs(one[9:19] - other[9:19]).min(1).max() > 0


def test_pitches_are_drawn_as_likely_as_the_likelihood_says(initial: object) -> None:
    prompt, n = TRAIN[0].notes[:5], 3000
    drawn = np.bincount([made.pitch[0] for made in initial.generate([prompt] * n, 1, seed=4)], minlength=128)
    after = float(prompt.onset[-1]) + 0.25
    pieces = [
        Piece(Notes.concatenate([prompt, Notes.from_columns([after], [0.3], [pitch], [64])]), str(pitch)) for pitch in range(128)
    ]
    probability = np.array([math.exp(x[-1, 0]) for x in initial.log_likelihood(pieces)])
    assert probability.sum() == pytest.approx(1, abs=1e-4)
    chi2 = ((drawn - n * probability) ** 2 / (n * probability)).sum()
    assert chi2 < 127 + 5 * math.sqrt(2 * 127)


def test_log_weights_steer_the_pitch_of_their_note(initial: object) -> None:
    constraint = np.full((6, 128), -np.inf)
    wanted = [60, 64, 67, 72, 67, 64]
    constraint[np.arange(6), wanted] = 0.0
    for made in initial.generate([NOTHING, NOTHING], 6, seed=2, constraint=constraint):
        assert sorted(made.pitch.tolist()) == sorted(wanted)


@pytest.mark.parametrize("prompt", [0, 1, 9, 10, 11, 40])
def test_prompts_shorter_and_longer_than_the_window(initial: object, prompt: int) -> None:
    (made,) = initial.generate([TRAIN[0].notes[:prompt]], 3, seed=0)
    assert len(made) == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"features": "rhythm"}, "features is 'rhythm'"),
        ({"normalization": "group"}, "normalization is 'group'"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'"),
        ({"units": 0}, "units is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"dense": [8]}, r"dense is \[8\], must be two"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"l2": -1.0}, "l2 is -1.0, must be at least 0"),
        ({"top_p": 0.0}, "top_p 0.0"),
    ],
)
def test_what_is_out_of_range_is_named(params: dict[str, object], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Model(**params)


def test_without_fit_or_notes_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="no weights yet"):
        Model(**TINY).generate([NOTHING], 2, seed=0)
    with pytest.raises(DataError, match="lstm-paper: the validation split has no notes"):
        Model(**TINY).fit(TRAIN, [], run_in(tmp_path, 1))
