"""The LSTM: its recurrence against Keras, its likelihood by hand, repeatability, checkpoints, generation."""

from __future__ import annotations

import functools
import io
import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")

import h5py  # noqa: E402
import keras  # noqa: E402

from bench.api import (  # noqa: E402
    Budget,
    DataError,
    Notes,
    Piece,
    PluginError,
    Run,
    TrialError,
    memory_limited,
    seed_for,
    write_sealed,
)
from bench.plugins.discovery import find_plugins, load  # noqa: E402
from tests.storage.sealed import edited_hdf5  # noqa: E402

from .pieces import assert_draws_are_those_of_the_uncompiled_loop, interrupted, scale, without_xla  # noqa: E402

Model = load(find_plugins("model")["lstm"])
module = sys.modules[Model.__module__]
fast = module.fast
recurrent = sys.modules[module.sample.__module__]
TINY = {"units": 12, "layers": 2, "embedding": 4, "head": 8, "window": 16, "batch": 4, "dropout": 0.1, "learning_rate": 0.01}


TRAIN = [scale(i, 70) for i in range(6)]
VALID = [scale(100, 40), scale(101, 150)]


def run_in(folder: Path, epochs: int, seed: int = 0, **budget: float) -> Run:
    return Run(seed, Budget(epochs, **budget), folder, threads=1)


def trained(folder: Path, epochs: int, seed: int = 0, **params: float) -> object:
    model = Model(**TINY | params)
    with without_xla():
        model.fit(TRAIN, VALID, run_in(folder, epochs, seed))
    return model


def compiled(folder: Path, epochs: int) -> object:
    model = Model(**TINY)
    model.fit(TRAIN, VALID, run_in(folder, epochs))
    return model


def weights(model: object) -> dict[str, np.ndarray]:
    return fast.snapshot(model.network.variables)


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> object:
    return compiled(tmp_path_factory.mktemp("initial"), 0)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, Path]:
    folder = tmp_path_factory.mktemp("straight")
    return trained(folder, 4), folder


# -- the recurrence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit", [False, True])
def test_recurrence_has_keras_outputs_state_and_gradients(jit: bool) -> None:
    rng = np.random.default_rng(0)
    x, upstream = (tf.constant(rng.normal(size=(5, 3, n)), tf.float32) for n in (7, 6))
    start = [tf.constant(rng.normal(size=(3, 6)), tf.float32) for _ in range(2)]
    layer = keras.layers.LSTM(6, return_sequences=True, return_state=True, bias_initializer="random_normal")
    layer.build((None, None, 7))

    def ours(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        kernel, inner, bias = (v.value for v in layer.trainable_variables)
        return recurrent.recurrence(tf.tensordot(x, kernel, 1) + bias, inner, *start)

    def theirs(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        y, h, c = layer(tf.transpose(x, (1, 0, 2)), initial_state=start)
        return tf.transpose(y, (1, 0, 2)), h, c

    def with_gradients(run) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, h, c = run(x)
            value = tf.reduce_sum(y * upstream)
        return [y, h, c, *tape.gradient(value, [x, *(v.value for v in layer.trainable_variables)])]

    expected = with_gradients(theirs)
    for got, want in zip(tf.function(lambda: with_gradients(ours), jit_compile=jit)(), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def network(cudnn: bool) -> object:
    return module.Network((7, 6, 5, 4), units=6, layers=2, embedding=3, head=4, dropout=0.0, seed=1, cudnn=cudnn)


def test_the_gpus_path_through_keras_layers_equals_the_recurrence() -> None:
    ours, theirs = network(cudnn=False), network(cudnn=True)
    for layer in theirs.lstm:
        layer.use_cudnn = False  # the same layer, on its own loop
    rng = np.random.default_rng(0)
    notes = [tf.constant(rng.integers(0, 4, (3, 9, 4)), tf.int32) for _ in range(2)]
    state = [tuple(tf.constant(rng.normal(size=(3, 6)), tf.float32) for _ in range(2)) for _ in range(2)]
    results = []
    for n in (ours, theirs):
        with tf.GradientTape() as tape:
            losses, after = n.loss(*notes, state)
        gradients = tape.gradient(losses, [v.value for v in n.variables])
        results.append([losses, *tf.nest.flatten(after), *map(tf.convert_to_tensor, gradients)])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_a_users_settings_of_keras_are_for_other_programs(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "epsilon": 0.01, "backend": "tensorflow"}')
    code = (
        "from bench.plugins.discovery import get_plugin, load; load(get_plugin('model', 'lstm')); import keras; "
        "print(keras.config.floatx(), keras.config.epsilon())"
    )
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["float32", "1e-07"], done.stderr


def test_without_cudnn_its_layer_fails_loudly_and_the_model_goes_on_without(tmp_path: Path) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    model = compiled(tmp_path, 0)
    expected = model.log_likelihood(VALID)
    model._network = module.Network(
        model.codec.sizes,
        units=12,
        layers=2,
        embedding=4,
        head=8,
        dropout=0.1,
        seed=module.initial_seed(0, "weights"),
        cudnn=True,
    )
    model.define()
    with pytest.raises((tf.errors.OpError, ValueError)):
        model.log_likelihood(VALID)
    model.try_gpu()
    assert model.facts()["cudnn"].startswith("no: ")
    assert model.facts()["compiled"] == "XLA"
    for got, want in zip(model.log_likelihood(VALID), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_backward_pass_that_fails_on_cudnn_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On some pairs of card and CUDA only the gradient fails: the first whole update shows it, before the clock starts."""
    monkeypatch.setattr(fast.Learner, "compile", functools.partialmethod(_compile_for_cudnn))
    failing = fast.AdamW.apply

    def apply(self: object, gradients: object, rates: object) -> None:
        if model.network.cudnn:
            raise tf.errors.InternalError(None, None, "Failed to call DoRnnBackward")
        failing(self, gradients, rates)

    monkeypatch.setattr(fast.AdamW, "apply", apply)
    model = Model(**TINY)
    model.fit(TRAIN, VALID, run_in(tmp_path, 1))
    assert model.facts()["cudnn"] == "no: InternalError: Failed to call DoRnnBackward"
    assert model.facts()["compiled"] == "XLA"
    model.generate([VALID[0].notes], 2, seed=0)


def test_peak_memory_is_that_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of scoring and generation, whose batches the card decides on: here they take 9 times as much."""
    monkeypatch.setattr(fast.Learner, "compile", functools.partialmethod(_compile_for_cudnn))
    used = [0]

    def using(amount: int, function: Any) -> Any:
        return lambda *arguments: (used.append(amount), function(*arguments))[1]

    monkeypatch.setattr(fast, "peak_gpu_bytes", lambda: max(used))
    monkeypatch.setattr(fast, "reset_peak", lambda: used.append(used.clear() or 1))
    monkeypatch.setattr(fast.AdamW, "rates", using(10, fast.AdamW.rates))
    for scoring in ("log_likelihood", "score_zeros"):
        monkeypatch.setattr(Model, scoring, using(90, getattr(Model, scoring)))
    model = Model(**TINY)
    model.fit(TRAIN, VALID, run_in(tmp_path, 2))
    assert max(used) == 90
    assert model.facts()["peak_gpu_bytes"] == 10


@pytest.mark.parametrize("part", ["update", "score_zeros", "generate"])
def test_exhausted_memory_is_no_lack_of_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """It may be another's for now: the trial is tried again, not trained without cuDNN or XLA for good."""
    monkeypatch.setattr(fast.Learner, "compile", functools.partialmethod(_compile_for_cudnn))
    model = Model(**TINY)
    model.fit(TRAIN, VALID, run_in(tmp_path, 0))
    assert model.network.cudnn

    def exhausted(*arguments: object, **options: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory")

    if part != "update":
        monkeypatch.setattr(model, part, exhausted)
    tried = (lambda: model.try_update(lambda: None, exhausted)) if part == "update" else model.try_gpu
    with pytest.raises(tf.errors.ResourceExhaustedError):
        tried()
    assert model.network.cudnn
    assert (model.xla, model.cudnn) == ("yes", "yes")


def _compile_for_cudnn(self: object, network: object, run: Run) -> None:
    """Compile as on a GPU, with a layer that a CPU can run in cuDNN's place."""
    for layer in network.lstm:
        layer.use_cudnn = False
    network.cudnn = True
    self._network, self.xla, self.cudnn = network, "yes", "yes"
    self.define()


def test_scores_and_generation_never_use_tensorfloat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    seen: list[bool] = []
    loss, logits = module.Network.loss, module.Network.logits

    def spied(self: object, *arguments: object) -> object:
        seen.append(enabled())
        return loss(self, *arguments)

    def spied_logits(self: object, *arguments: object) -> object:
        seen.append(enabled())
        return logits(self, *arguments)

    model = trained(tmp_path, 0)
    monkeypatch.setattr(module.Network, "loss", spied)
    monkeypatch.setattr(module.Network, "logits", spied_logits)
    with without_xla():
        model.define()
        model.log_likelihood(VALID)
        model.generate([VALID[0].notes], 2, seed=0)
    assert len(seen) >= 9
    assert not any(seen)
    assert enabled()


# -- likelihood --------------------------------------------------------------------------------------------------------


def numpy_log_likelihood(model: object, piece: Piece) -> np.ndarray:
    """The whole network once more, in plain NumPy at double precision."""
    w = {path: value.astype(np.float64) for path, value in weights(model).items()}
    codes = model.codec.encode(piece.notes).astype(int)
    inputs = np.concatenate([[model.codec.sizes], codes[:-1]])
    fields = ("pitch", "velocity", "time", "duration")
    x = np.concatenate([w[f"input_{f}/embeddings"][inputs[:, k]] for k, f in enumerate(fields)], -1)
    if model.convolution:
        width = x.shape[1]
        padded = np.concatenate([np.zeros((model.convolution - 1, width)), x])
        windows = np.concatenate([padded[k : k + len(x)] for k in range(model.convolution)], -1)
        x = x + np.tanh(windows / math.sqrt(windows.shape[1]) @ w["convolution/kernel"] + w["convolution/bias"])

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    for i in range(model.layers):
        kernel, inner, bias = (w[f"lstm_{i}/lstm_cell/{n}"] for n in ("kernel", "recurrent_kernel", "bias"))
        h, c, outputs = np.zeros(model.units), np.zeros(model.units), []
        for row in x:
            gate_i, gate_f, candidate, gate_o = np.split(row @ kernel + h @ inner + bias, 4)
            c = sigmoid(gate_f) * c + sigmoid(gate_i) * np.tanh(candidate)
            h = sigmoid(gate_o) * np.tanh(c)
            outputs.append(h)
        x = np.array(outputs)
    result = np.empty((len(codes), 4))
    hidden = np.split(x @ w["hidden/kernel"] + w["hidden/bias"], 4, axis=-1)
    for k, f in enumerate(fields):
        z = hidden[k]
        for j in range(k):
            z = z + np.split(w[f"given_{fields[j]}/embeddings"], 3 - j, axis=-1)[k - j - 1][codes[:, j]]
        logits = np.maximum(z, 0) @ w[f"head_{f}/kernel"] + w[f"head_{f}/bias"]
        logits -= logits.max(-1, keepdims=True)
        result[:, k] = logits[np.arange(len(codes)), codes[:, k]] - np.log(np.exp(logits).sum(-1))
    return result


@pytest.fixture(scope="module")
def convolved(tmp_path_factory: pytest.TempPathFactory) -> object:
    return trained(tmp_path_factory.mktemp("convolved"), 1, convolution=3)


def test_the_convolution_hardly_changes_the_input_before_training() -> None:
    network = module.Network((7, 6, 5, 4), units=6, layers=1, embedding=48, head=4, dropout=0.0, convolution=4, seed=1)
    x = tf.constant(np.random.default_rng(0).normal(0, 0.5, (9, 3, 192)), tf.float32)
    out, _ = network.convolved(x, network.zero_state(3))
    assert 0 < np.abs(out - x).max() < 0.3


@pytest.mark.parametrize("network", ["initial", "convolved"])
def test_likelihood_by_hand_over_many_chunks_the_first_note_included(request: pytest.FixtureRequest, network: str) -> None:
    initial = request.getfixturevalue(network)
    pieces = [scale(7, 3 * module.CHUNK + 5), scale(8, 1), scale(9, module.CHUNK), scale(10, 40)]
    got = initial.log_likelihood(pieces)
    assert [x.shape for x in got] == [(len(p.notes), 4) for p in pieces]
    for values, piece in zip(got, pieces, strict=True):
        np.testing.assert_allclose(values, numpy_log_likelihood(initial, piece), rtol=1e-4, atol=1e-4)


def test_likelihood_of_a_piece_does_not_hang_on_its_neighbours(initial: object) -> None:
    pieces = [scale(i, 20 + 37 * i) for i in range(module.LANES["cpu"] + 5)]
    together = initial.log_likelihood(pieces)
    for i in (0, 3, len(pieces) - 1):
        (alone,) = initial.log_likelihood([pieces[i]])
        np.testing.assert_allclose(together[i], alone, atol=1e-5)
    initial.device = "cuda"  # more lanes
    try:
        for lane, other in zip(together, initial.log_likelihood(pieces), strict=True):
            np.testing.assert_allclose(lane, other, atol=1e-5)
    finally:
        initial.device = "cpu"


def test_training_loss_is_the_negative_likelihood(initial: object) -> None:
    piece = TRAIN[0]
    codes = initial.codec.encode(piece.notes).astype(np.int32)
    inputs = np.concatenate([[initial.codec.sizes], codes[:-1]]).astype(np.int32)
    losses, _ = initial.network.loss(tf.constant(inputs[None]), tf.constant(codes[None]), initial.network.zero_state(1))
    (likelihood,) = initial.log_likelihood([piece])
    np.testing.assert_allclose(-losses.numpy()[:, 0], likelihood, atol=1e-4)


# -- training ----------------------------------------------------------------------------------------------------------


def test_zero_epochs_leave_the_initial_network(initial: object, tmp_path: Path) -> None:
    assert_same(weights(initial), weights(trained(tmp_path, 0)))
    assert list(tmp_path.glob("*.h5")) == []
    assert not np.array_equal(weights(initial)["head_pitch/kernel"], weights(trained(tmp_path, 0, seed=1))["head_pitch/kernel"])


@pytest.mark.training
def test_training_learns_and_logs_each_epoch(initial: object, straight: tuple[object, Path]) -> None:
    model, folder = straight
    history = run_in(folder, 4)
    history.begin(4)
    assert [e["epoch"] for e in history.history] == [1, 2, 3, 4]
    before = -sum(x.sum() for x in initial.log_likelihood(VALID)) / 190 / math.log(2)
    after = -sum(x.sum() for x in model.log_likelihood(VALID)) / 190 / math.log(2)
    assert after == pytest.approx(min(e["validation_bits"] for e in history.history), abs=1e-6)
    assert after < 0.95 * before


@pytest.mark.training
def test_compiled_training_repeats_itself(tmp_path: Path) -> None:
    one, again = compiled(tmp_path / "one", 2), compiled(tmp_path / "again", 2)
    assert_same(weights(one), weights(again))


@pytest.mark.training
def test_killed_after_two_epochs_it_resumes_to_the_same_weights(straight: tuple[object, Path], tmp_path: Path) -> None:
    with without_xla():
        interrupted(Model(**TINY), TRAIN, VALID, tmp_path, 4, at=3)
    _, values = fast.read_checkpoint(tmp_path / "checkpoint.h5")
    assert (values["evaluation"], values["updates"]) == (2, 16)
    model = trained(tmp_path, 4)
    run = run_in(tmp_path, 4)
    run.begin(4)
    assert [e["epoch"] for e in run.history] == [1, 2, 3, 4]
    assert_same(weights(straight[0]), weights(model))


@pytest.mark.training
def test_a_finished_training_is_not_repeated(straight: tuple[object, Path]) -> None:
    model, folder = straight
    before = (folder / "checkpoint.h5").read_bytes()
    again = trained(folder, 4)
    assert (folder / "checkpoint.h5").read_bytes() == before
    assert_same(weights(model), weights(again))


def _elsewhere(file: h5py.File, secret: Path) -> None:
    file.create_dataset("best/a", shape=16, dtype="u1", external=[(str(secret), 0, 16)])


def _virtual(file: h5py.File, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["a"] = np.zeros(4)
    layout = h5py.VirtualLayout(4, "f8")
    layout[:] = h5py.VirtualSource(secret.with_suffix(".h5"), "a", 4)
    file.create_virtual_dataset("best/a", layout)


def _promised(file: h5py.File, _: Path) -> None:
    file.create_dataset("best/a", shape=1 << 40, dtype="f4", chunks=(1 << 20,))


def _packed(file: h5py.File, _: Path) -> None:
    file.create_dataset("best/a", data=np.zeros(1 << 20), compression="gzip")


def _unwritten(file: h5py.File, _: Path) -> None:
    file.create_dataset("best/a", shape=1 << 40, dtype="f4")


def _words(file: h5py.File, _: Path) -> None:
    file["best/a"] = ["of any length"]


@pytest.mark.parametrize("craft", [_elsewhere, _virtual, _promised, _packed, _unwritten, _words])
def test_of_a_checkpoint_nothing_is_read_that_is_not_in_it(tmp_path: Path, craft: Callable[[h5py.File, Path], None]) -> None:
    """A received run's: what is in another file would be in the next checkpoint, and a few bytes stand for any number."""
    (tmp_path / "secret").write_bytes(b"of another user")
    path, memory = tmp_path / "checkpoint.h5", io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["values"] = np.frombuffer(json.dumps({"format": fast.FORMAT}).encode(), np.uint8)
        file["weights/kernel"] = np.ones(3)
        craft(file, tmp_path / "secret")
    write_sealed(path, memory.getvalue())
    with pytest.raises(TrialError, match=r"best/a is(n't stored in one piece in this file| no array of numbers)"):
        fast.read_checkpoint(path)


def test_a_link_of_a_checkpoint_is_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["best/a"] = np.zeros(4)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["values"] = np.frombuffer(json.dumps({"format": fast.FORMAT}).encode(), np.uint8)
        file["weights/kernel"] = np.ones(3)
        file["best"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "best")
    write_sealed(tmp_path / "checkpoint.h5", memory.getvalue())
    assert fast.read_checkpoint(tmp_path / "checkpoint.h5")[0].keys() == {"weights"}


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    groups = {"weights": {"a/b": np.arange(6.0).reshape(2, 3), "c": np.zeros(0)}, "moments": {"step": np.array(3)}}
    fast.write_checkpoint(tmp_path / "checkpoint.h5", groups, epoch=2, best=1.5, loss=math.inf)
    read, values = fast.read_checkpoint(tmp_path / "checkpoint.h5")
    assert {name: {key: array.tolist() for key, array in arrays.items()} for name, arrays in read.items()} == {
        name: {key: array.tolist() for key, array in arrays.items()} for name, arrays in groups.items()
    }
    assert values == {"epoch": 2, "best": 1.5, "loss": math.inf}


def test_attributes_of_a_checkpoint_are_not_read(tmp_path: Path) -> None:
    """Each of its texts may be the same one in the file: 400 kilobytes took 2 GB."""
    path, memory, long = tmp_path / "checkpoint.h5", io.BytesIO(), 1 << 16
    with h5py.File(memory, "w", libver="earliest") as file:
        file["values"] = np.frombuffer(json.dumps({"format": fast.FORMAT}).encode(), np.uint8)
        file["weights/kernel"] = np.ones(3)
        texts = ["a" * long, *(f"{i:04}" for i in range(2999))]
        file.attrs.create("note", np.array(texts, object), dtype=h5py.string_dtype())
    content = bytearray(memory.getvalue())
    at = content.find(struct.pack("<I", long))
    while struct.unpack_from("<I", content, at + 16) != (4,):  # the length of the second text
        at = content.find(struct.pack("<I", long), at + 1)
    content[at : at + 16 * 3000] = content[at : at + 16] * 3000
    write_sealed(path, bytes(content))
    with memory_limited(100 << 20):
        assert fast.read_checkpoint(path)[0].keys() == {"weights"}


@pytest.mark.parametrize("text", [b"[1]", b'{"format": 1}', b"{", b"[" * 100_000, b"9" * (2 << 20)])
def test_other_values_of_a_checkpoint_are_refused(tmp_path: Path, text: bytes) -> None:
    path, memory = tmp_path / "checkpoint.h5", io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["values"] = np.frombuffer(text, np.uint8)
    write_sealed(path, memory.getvalue())
    with pytest.raises(TrialError, match=r"not a readable checkpoint|has another checkpoint format"):
        fast.read_checkpoint(path)


def test_a_checkpoint_of_the_first_format_is_named_as_such(tmp_path: Path) -> None:
    """Its plain values are attributes."""
    path, memory = tmp_path / "checkpoint.h5", io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs.update(format=1, epoch=3)
        file["weights/kernel"] = np.zeros(3)
    write_sealed(path, memory.getvalue())
    with pytest.raises(TrialError, match=f"another checkpoint format than this version reads, {fast.FORMAT}"):
        fast.read_checkpoint(path)


@pytest.mark.training
def test_a_checkpoint_that_is_damaged_or_of_another_format_is_refused(straight: tuple[object, Path], tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.h5"
    path.write_bytes((straight[1] / "checkpoint.h5").read_bytes())
    with edited_hdf5(path) as file:
        del file["values"]
        file["values"] = np.frombuffer(json.dumps({"format": fast.FORMAT + 1}).encode(), np.uint8)
    with pytest.raises(TrialError, match=f"has another checkpoint format than this version reads, {fast.FORMAT}"):
        trained(tmp_path, 4)
    path.write_bytes((straight[1] / "checkpoint.h5").read_bytes()[:3000])
    with pytest.raises(TrialError, match="not a readable checkpoint"):
        trained(tmp_path, 4)


@pytest.mark.training
def test_compilation_leaves_the_training_as_it_was_and_off_its_clock(initial: object, tmp_path: Path) -> None:
    model, run = Model(**TINY | {"dropout": 0.0}), run_in(tmp_path, 1)
    model.fit([], [], run_in(tmp_path, 0))
    windows = module.Windows(TRAIN, model.codec, model.window)
    training = module._Training(model, windows, VALID, run)
    training._compile()
    assert_same(weights(initial), weights(model))
    assert all(not v.any() for v in training.optimizer.state().values())
    traces = training._update.experimental_get_tracing_count(), model._score.__wrapped__.experimental_get_tracing_count()
    training.run()
    after = training._update.experimental_get_tracing_count(), model._score.__wrapped__.experimental_get_tracing_count()
    assert traces == after == (1, 1)
    assert model.facts()["compile_seconds"] > 0


def untrained_training(folder: Path) -> object:
    model = Model(**TINY)
    with without_xla():
        model.fit([], [], run_in(folder, 0))
        return module._Training(model, module.Windows(TRAIN, model.codec, model.window), VALID, run_in(folder, 1))


@pytest.mark.training
def test_the_optimizer_averages_the_weights_of_all_updates(tmp_path: Path) -> None:
    training, seen = untrained_training(tmp_path), []
    for update, batch in enumerate(training.windows.epoch(1, 4)):
        training._update(*batch, training.optimizer.rates(0.01, update + 1), np.array([1, 2 * update], np.int32))
        seen.append(fast.snapshot(training.network.variables))
    share = np.diff((np.arange(len(seen) + 1) / len(seen)) ** (fast._training.EXPONENT + 1))
    averaged = training.optimizer.averaged()
    assert averaged.keys() == seen[0].keys()
    for path, value in averaged.items():
        expected = sum(part * weights[path] for part, weights in zip(share, seen, strict=True))
        np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=path)


@pytest.mark.training
def test_an_evaluation_that_fails_leaves_the_weights_that_train(tmp_path: Path) -> None:
    training = untrained_training(tmp_path)
    before = fast.snapshot(training.network.variables)
    others = {path: value + 1 for path, value in before.items()}

    def evaluate() -> None:
        with training.progress.evaluating(others):
            assert_same(others, fast.snapshot(training.network.variables))
            raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="disk"):
        evaluate()
    assert_same(before, fast.snapshot(training.network.variables))
    training.progress.save(evaluation=0)
    assert_same(before, training.progress.load()[0]["weights"])


@pytest.mark.training
def test_a_diverged_training_fails(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="lstm: the training diverged in epoch 1"):
        trained(tmp_path, 2, learning_rate=1e38, clip=1e38)
    assert not (tmp_path / "checkpoint.h5").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"window": 0},
        {"dropout": 1.0},
        {"layers": 0},
        {"learning_rate": 0.0},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PluginError, match=f"lstm: .*{next(iter(wrong))}"):
        Model(**TINY | wrong)


def test_nothing_to_train_or_validate_on_is_refused(tmp_path: Path) -> None:
    for train, valid in (([], VALID), (TRAIN, [])):
        with pytest.raises(DataError, match="split has no notes"):
            Model(**TINY).fit(train, valid, run_in(tmp_path, 1))


@pytest.mark.training
def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    # A rate at which the loss soon rises again.
    model, run = Model(**TINY | {"learning_rate": 1.5, "warmup": 0, "clip": 100.0}), run_in(tmp_path, 12, patience=2)
    with without_xla():
        model.fit(TRAIN, VALID, run)
    bits = [e["validation_bits"] for e in run.history]
    assert len(bits) == int(np.argmin(bits)) + 3 < 12
    kept = -sum(x.sum() for x in model.log_likelihood(VALID)) / 190 / math.log(2)
    assert kept == pytest.approx(min(bits), abs=1e-6)


# -- generation --------------------------------------------------------------------------------------------------------


def test_a_constraint_that_forbids_pitches_is_obeyed(initial: object) -> None:
    constraint = np.full((25, 128), -np.inf)
    constraint[:, [60, 67]] = 0
    samples = initial.generate([TRAIN[0].notes[:5]] * 4, 25, seed=1, constraint=constraint)
    assert {int(p) for s in samples for p in s.pitch} == {60, 67}


@pytest.mark.parametrize("network", ["initial", "convolved"])
def test_samples_follow_the_likelihood(request: pytest.FixtureRequest, network: str) -> None:
    """The first note's pitches of many samples against its probabilities: the loop and the likelihood are one model."""
    initial = request.getfixturevalue(network)
    prompt, n = TRAIN[0].notes[:9], 4000
    pieces = []
    for p in range(128):
        last = Notes.from_columns([prompt.onset[-1]], [0.3], [p], [64])
        pieces.append(
            Piece(
                Notes(*(np.append(getattr(prompt, c), getattr(last, c)) for c in ("onset", "duration", "pitch", "velocity")))
                if p >= prompt.pitch[-1]
                else Notes.concatenate([prompt, last.shifted(1e-9)]),
                id=str(p),
            )
        )
    probability = np.array([math.exp(x[-1, 0]) for x in initial.log_likelihood(pieces)])
    assert probability.sum() == pytest.approx(1, abs=1e-4)
    drawn = np.bincount([s.pitch[0] for s in initial.generate([prompt] * n, 1, seed=4)], minlength=128)
    chi2 = ((drawn - n * probability) ** 2 / (n * probability)).sum()
    assert chi2 < 127 + 5 * math.sqrt(2 * 127)


@pytest.mark.parametrize("params", [{}, {"convolution": 3, "layers": 3, "top_p": 0.6, "temperature": 0.7}])
def test_all_fields_of_the_compiled_loop_have_random_numbers_of_their_own(tmp_path: Path, params: dict[str, Any]) -> None:
    model = Model(**TINY | params)
    model.fit(TRAIN, VALID, run_in(tmp_path, 0))
    assert_draws_are_those_of_the_uncompiled_loop(model, TRAIN[0].notes[:9])


def test_cold_sampling_takes_the_likeliest_class() -> None:
    logits = tf.constant([[0.0, 1.0, 0.5], [2.0, 0.0, -1.0]])
    noise = tf.random.stateless_uniform((2, 1), [0, 1])
    assert module.sample(logits, noise, 1e-4, 1.0).numpy().tolist() == [1, 0]


def test_a_class_without_probability_is_never_drawn() -> None:
    logits = tf.constant([[-np.inf, 0.0, -np.inf, 1.0, -np.inf]] * 2)
    assert module.sample(logits, tf.constant([[0.0], [1 - 2**-24]]), 1.0, 1.0).numpy().tolist() == [1, 3]


def test_log_weights_come_before_the_temperature() -> None:
    # (1/2, 1/2) weighted by (3, 1) is (3/4, 1/4); squared, as at temperature 1/2, it is 9 : 1.
    logits = tf.zeros((20000, 2))
    noise = tf.random.stateless_uniform((20000, 1), [0, 1])
    drawn = module.sample(logits, noise, 0.5, 1.0, tf.math.log([3.0, 1.0])).numpy()
    assert np.mean(drawn == 0) == pytest.approx(0.9, abs=0.015)


def test_nucleus_drops_the_tail() -> None:
    logits = tf.repeat(tf.math.log([[0.5, 0.3, 0.15, 0.05]]), 5000, axis=0)
    noise = tf.random.stateless_uniform((5000, 1), [0, 1])
    share = np.bincount(module.sample(logits, noise, 1.0, 0.75).numpy(), minlength=4) / 5000
    np.testing.assert_allclose(share, [0.625, 0.375, 0, 0], atol=0.03)


def test_without_fit_it_says_so() -> None:
    with pytest.raises(TrialError, match="no weights yet"):
        Model(**TINY).generate([TRAIN[0].notes[:1]], 2, seed=0)


def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(TrialError, match="sees none"):
        Model(**TINY).fit(TRAIN, VALID, Run(0, Budget(0), tmp_path, device="cuda"))


def test_facts_count_the_parameters(initial: object) -> None:
    facts = initial.facts()
    assert facts["parameters"] == sum(v.size for v in weights(initial).values())
    assert facts["precision"] == "float32"
    assert facts["cudnn"] == "no: on a CPU"
    assert facts["compiled"] == "XLA"
    assert facts["compile_seconds"] == 0
    assert "flops_per_note" not in facts
    initial.device = "cuda"
    try:
        operations = initial.facts()["flops_per_note"]
    finally:
        initial.device = "cpu"
    units, sizes = TINY["units"], initial.codec.sizes
    recurrent_kernels = 4 * units * (4 * TINY["embedding"] + units) + 4 * units * (units + units)
    assert operations == 6 * (recurrent_kernels + units * 4 * TINY["head"] + TINY["head"] * sum(sizes))


def test_seeds_of_the_axes_differ() -> None:
    assert len({module.initial_seed(0, a) for a in ("weights", "order", "dropout")}) == 3
    assert module.initial_seed(0, "weights") == seed_for("training", 0, "weights")
