"""What the PyTorch models share, as far as a CPU can show it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from bench.api import Budget, Run  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402

from .pieces import music  # noqa: E402

shared = sys.modules[load(find_plugins("model")["gan"]).__module__]._torch
draws = sys.modules[shared.__name__.replace("._torch", "._draws")]
batches = sys.modules[shared.__name__.replace("._torch", "._batches")]

SMALL: dict[str, dict[str, Any]] = {
    "transformer": {"layers": 1, "width": 16, "heads": 2, "window": 16, "batch": 4},
    "transformer-gan": {"layers": 1, "width": 16, "heads": 2, "window": 16, "batch": 4, "pretraining": 0.0},
    "music-transformer": {"layers": 1, "width": 16, "heads": 2, "window": 16, "span": 8, "distance": 4, "batch": 4},
    "vae": {"width": 16, "latent": 4, "window": 16, "span": 8, "batch": 4},
    "gan": {"latent": 8, "width": 8, "dilations": [1, 2], "critic_widths": [8, 8, 8], "window": 16, "batch": 4},
    "midinet": {"latent": 4, "width": 8, "condition": 4, "critic_width": 4, "batch": 4},
    "event-transformer": {"layers": 1, "width": 16, "heads": 2, "window": 48, "distance": 8, "batch": 4},
    "event-lstm": {"layers": 2, "units": 16, "window": 48, "batch": 4},
    "frame-tcn": {"blocks": 2, "width": 8, "kernel": 3, "window": 16, "batch": 4},
    "frame-transformer": {"layers": 1, "width": 8, "heads": 2, "window": 16, "batch": 4},
}


#: Those that draw a note's fields one after another.
NOTE_BY_NOTE = ("transformer", "transformer-gan", "music-transformer", "vae")


def test_the_ninth_training_of_a_process_is_compiled_too() -> None:
    """Cross-validation trains once a fold; Dynamo stops compiling a function after eight networks."""
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).sum()

    torch.compiler.reset()
    for number in range(1, 12):
        found = shared.compiled(Network(), torch.device("cpu"), lambda forward: forward(torch.ones(3, 2)), backend)
        assert (found.note, len(graphs)) == ("yes", number)


def test_memory_that_runs_out_while_compiling_is_not_blamed_on_the_compiler() -> None:
    def attempt(forward: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        shared.compiled(nn.Linear(2, 1), torch.device("cpu"), attempt, "eager")


def test_a_draw_on_a_gpu_is_the_same_and_never_of_probability_0(monkeypatch: pytest.MonkeyPatch) -> None:
    p = torch.rand(1000, 16, generator=torch.Generator().manual_seed(1))
    p[:, ::3] = 0
    seeds = (torch.Generator().manual_seed(2) for _ in range(4))
    expected = draws.draw_classes(p, next(seeds))
    assert torch.equal(draws._first_past(p.cumsum(-1).masked_fill(p <= 0, 0), next(seeds)), expected)
    stepped = p.cumsum(-1).masked_fill(p <= 0, 0) + 1e-4 * (p > 0) * torch.rand(1000, 16)  # sums in another order
    monkeypatch.setattr(draws, "on_gpu", lambda tensor: True)
    for drawn in (draws._first_past(stepped, next(seeds)), draws.draw_classes(p, next(seeds))):
        assert (p.gather(1, drawn[:, None]) > 0).all()
        assert (drawn == expected).float().mean() > 0.99  # up to sums rounded otherwise


def test_sums_on_a_gpu_are_those_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    p = torch.rand(4, 5, 130).softmax(-1)
    expected = draws.sums(p)
    monkeypatch.setattr(draws, "on_gpu", lambda tensor: True)
    torch.testing.assert_close(draws.sums(p), expected)
    assert torch.equal(draws.sums(p)[..., 0], p[..., 0])


@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_the_gradient_of_a_look_up_on_a_gpu_is_that_of_the_processor(
    backend: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under autocast it is a sum in float32 too, and one graph when compiled."""
    table, index = torch.randn(7, 5, requires_grad=True), torch.randint(0, 7, (3, 400))
    weights = torch.randn(3, 400, 5)

    def gradient(look_up: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            rows = look_up(table, index)
        assert rows.dtype == torch.float32
        return torch.autograd.grad((rows * weights).sum(), table)[0]

    expected = gradient(draws.look_up)
    monkeypatch.setattr(draws, "on_gpu", lambda tensor: True)
    torch.compiler.reset()
    found = gradient(torch.compile(draws.look_up, backend=backend, fullgraph=True) if backend else draws.look_up)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["transformer", "music-transformer", "vae"])
def test_a_networks_gradients_are_the_same_by_a_gpus_look_ups_in_one_graph(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(find_plugins("model")[name])(**SMALL[name])
    torch.manual_seed(0)
    network = model.make_network()
    codes = torch.stack([torch.randint(size, (2, 4, 16)) for size in model.codec.sizes], -1)

    def gradients(forward: Any) -> Any:
        torch.manual_seed(1)
        loss = forward(*codes, torch.ones(4, 16, dtype=torch.bool), *model.extra(0))
        return torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)

    expected = gradients(network)
    monkeypatch.setattr(draws, "on_gpu", lambda tensor: True)
    torch.compiler.reset()
    # Dynamo ends a graph at a recurrent layer.
    found = gradients(torch.compile(network, backend="aot_eager", fullgraph=name != "vae"))
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


#: Operations that have no deterministic kernel on a GPU, or as a gradient a slow one: `use_deterministic_algorithms` raises.
RAISING = ("cumsum", "histc", "put_", "median", "kthvalue", "nll_loss2d", "scatter_reduce", "upsample", "grid_sampler", "pool3d")
SLOW = ("embedding_dense_backward", "scatter_add", "index_add")


@pytest.mark.training
@pytest.mark.parametrize("name", SMALL)
def test_what_a_gpu_computes_has_deterministic_kernels(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # A sum of integers has one.
            if args and isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
                seen.add(operation.name().removeprefix("aten::").split(".")[0])
            return operation(*args, **(kwargs or {}))

    monkeypatch.setattr(draws, "on_gpu", lambda tensor: True)
    model = load(find_plugins("model")[name])(**SMALL[name] | ({"top_p": 0.9} if name in NOTE_BY_NOTE else {}))
    with Seen():
        model.fit([music(0, 100)], [music(1, 50)], Run(0, Budget(updates=2, evaluations=1), tmp_path, threads=1))
        model.generate([music(2, 20).notes], 30, seed=0)
    assert "mm" in seen
    assert any(loss in " ".join(seen) for loss in ("softmax", "binary_cross_entropy", "softplus"))
    assert not [operation for operation in seen if operation.startswith(RAISING + SLOW) or operation.endswith("pool3d")]


@pytest.mark.training
def test_tensorfloat_in_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `fit`: forwards and backwards while it trains, and not where it scores or generates."""
    seen: list[tuple[str, bool]] = []

    def note(name: str, function: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            seen.append((name, torch.backends.cudnn.allow_tf32))
            return function(*args, **kwargs)

        return noted

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.autograd, "backward", note("backward", torch.autograd.backward))
    model = load(find_plugins("model")["vae"])(**SMALL["vae"])
    network = type(model.make_network())
    for name in ("forward", "decode"):
        monkeypatch.setattr(network, name, note(name, getattr(network, name)))
    model.validate = note("validate", model.validate)
    model.fit([music(0, 100)], [music(1, 50)], Run(0, Budget(updates=4, evaluations=2), tmp_path, threads=1))
    update = [("forward", True), ("decode", True), ("backward", True)]
    evaluation = [("validate", False), ("decode", False)]
    assert seen == 2 * (2 * update + evaluation)
    seen.clear()
    model.generate([music(2, 20).notes], 2, seed=0)
    assert set(seen) == {("decode", False)}


@pytest.mark.training
@pytest.mark.parametrize("name", ["transformer", "vae", "gan"])
def test_peak_memory_is_that_of_the_training(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of scoring and generation, whose batches the card decides on: here they take 9 times as much."""
    peak = 1

    def used(amount: int) -> int:
        nonlocal peak
        peak = max(peak, amount)
        return peak

    def reset(device: Any) -> None:
        nonlocal peak
        peak = 1

    def using(amount: int, function: Any) -> Any:
        return lambda *args, **kwargs: (used(amount), function(*args, **kwargs))[1]

    monkeypatch.setattr(shared, "peak_gpu_bytes", lambda device: peak)
    monkeypatch.setattr(shared, "reset_peak", reset)
    monkeypatch.setattr(torch.autograd, "backward", using(10, torch.autograd.backward))
    monkeypatch.setattr(shared, "inference", using(90, shared.inference))
    model = load(find_plugins("model")[name])(**SMALL[name])
    model.fit([music(0, 100)], [music(1, 50)], Run(0, Budget(updates=4, evaluations=2), tmp_path, threads=1))
    model.generate([music(2, 20).notes], 2, seed=0)
    assert peak == 90
    assert model.facts()["peak_gpu_bytes"] == 10


@pytest.mark.training
def test_the_averaged_networks_recurrent_weights_are_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As cuDNN wants them: a copy of a recurrent layer has them apart."""
    flattened: list[Any] = []
    plain = nn.GRU.flatten_parameters
    monkeypatch.setattr(nn.GRU, "flatten_parameters", lambda self: (flattened.append(self), plain(self))[1])
    model = load(find_plugins("model")["vae"])(**SMALL["vae"])
    model.fit([music(0, 100)], [music(1, 50)], Run(0, Budget(updates=1, evaluations=1), tmp_path, threads=1))
    assert any(layer is model.network.recurrent[0] for layer in flattened)


def test_a_batch_keeps_its_values_and_becomes_contiguous() -> None:
    codes = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 5
    mask = np.tri(3, 4, dtype=np.bool_)
    inputs, again, present = batches.to_device(torch.device("cpu"), codes[:, 1:], codes[:, 1:], mask[:, 1:])
    assert (inputs.dtype, present.dtype) == (torch.int64, torch.bool)
    assert torch.equal(inputs, torch.from_numpy(codes[:, 1:].astype(np.int64)))
    assert torch.equal(present, torch.from_numpy(mask[:, 1:].copy()))
    assert inputs.is_contiguous()
    assert present.is_contiguous()
    inputs[:] = 0
    present[:] = False
    assert again.any()
    assert codes.any()
    assert mask.any()


@pytest.mark.parametrize(("gigabytes", "notes"), [(0.5, 2**14), (4, 2**15), (16, 2**17), (31.9, 2**17), (80, 2**18)])
def test_a_gpu_scores_as_many_notes_at_once_as_it_has_room_for(gigabytes: float, notes: int) -> None:
    assert batches.notes_within(int(gigabytes * 2**30)) == notes


def test_a_cpu_scores_as_many_notes_at_once_as_ever() -> None:
    assert batches.scored_notes(torch.device("cpu")) == 16_384


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("transformer", {"layers": 3, "width": 64, "heads": 2, "window": 128}),
        ("music-transformer", {"layers": 3, "width": 64, "heads": 2, "window": 128, "span": 128, "distance": 128}),
        ("vae", {"width": 64, "latent": 8, "window": 128, "span": 16}),
    ],
)
def test_operations_of_a_note_are_those_that_pytorch_counts(name: str, sizes: dict[str, int]) -> None:
    """Up to those that PyTorch computes of a window for keys after the query, and the shared rows' once a step."""
    model = load(find_plugins("model")[name])(**sizes)
    network = model.network = model.make_network()
    notes = torch.zeros(64, 128, 4, dtype=torch.int64)
    # The counter doesn't know the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = network(notes, notes.clone(), torch.ones(64, 128, dtype=torch.bool), *model.extra(0))
        torch.autograd.backward(loss)
    products = {"transformer": 2, "music-transformer": 3, "vae": 0}[name]
    future = 6 * products * 3 * 64 * 127 / 2
    assert model.flops_per_note() + future == pytest.approx(counter.get_total_flops() / (64 * 128), rel=0.03)
    assert "flops_per_note" not in model.facts()


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.training
@pytest.mark.parametrize(("seconds", "again"), [(0.0, [3, 4]), (30.0, [1, 2, 3, 4])])
@pytest.mark.parametrize("name", ["transformer", "vae", "gan"])
def test_a_training_on_a_gpu_resumes_from_the_checkpoints_it_writes(
    name: str, seconds: float, again: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a GPU's rule for checkpoints, on tensors of the processor."""
    monkeypatch.setattr(shared, "choose_device", lambda device: torch.device("cpu"))
    monkeypatch.setattr(shared._training, "CHECKPOINT_SECONDS", seconds)

    def kill(event: dict[str, Any]) -> None:
        if event["epoch"] == 3:
            raise KilledError

    def fit(folder: str, emit: Any) -> Any:
        model = load(find_plugins("model")[name])(**SMALL[name])
        (tmp_path / folder).mkdir(exist_ok=True)
        budget = Budget(updates=8, evaluations=4)
        model.fit([music(0, 100)], [music(1, 50)], Run(0, budget, tmp_path / folder, device="cuda", threads=1, emit=emit))
        return model

    with pytest.raises(KilledError):
        fit("killed", kill)
    epochs: list[int] = []
    resumed, straight = fit("killed", lambda event: epochs.append(event["epoch"])), fit("straight", None)
    assert epochs == again
    networks = [model.generator if name == "gan" else model.network for model in (resumed, straight)]
    weights = [network.state_dict().values() for network in networks]
    assert all(torch.equal(*both) for both in zip(*weights, strict=True))
