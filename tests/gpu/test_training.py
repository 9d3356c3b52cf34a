"""Training on a GPU: precision, compilation, and whether a run repeats and resumes bit for bit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bench.api import Budget, Run  # noqa: E402

from .networks import LEARNERS, SHAPES, TRAIN, distance, fit, network, plugin, sibling, trained  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.training]


@pytest.fixture
def graphs(device: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the graphs compiled so far: by Inductor on a GPU; elsewhere they run as they were traced."""
    for name in LEARNERS:
        trained(name)  # on the processor, where nothing is compiled
    from torch._dynamo.backends.registry import lookup_backend

    sizes: list[int] = []
    inner, compiled = lookup_backend("inductor" if device == "cuda" else "eager"), sibling("_torch").compiled

    def backend(graph: Any, inputs: Any) -> Any:
        sizes.append(len(graph.graph.nodes))
        return inner(graph, inputs)

    monkeypatch.setattr(sibling("_torch"), "compiled", lambda *arguments: compiled(*arguments, backend=backend))
    torch.compiler.reset()
    yield sizes
    torch.compiler.reset()


@pytest.mark.parametrize("name", LEARNERS)
def test_fast_gradients_are_near_the_exact_ones(
    name: str, device: str, graphs: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 and compiled, against float32 uncompiled; recurrent layers in TensorFloat-32, against float32."""
    import torch._inductor.config

    shared, learner = sibling("_torch"), sibling("_learner")
    still = {"dropout": 0.0} | ({"word_dropout": 0.0} if name == "vae" else {})
    model = plugin(name)(**SHAPES[name] | still)
    model.device = shared.choose_device(device)
    model.network = model.make_network().to(model.device)
    model.network.load_state_dict(trained(name).network.state_dict())
    windows = sibling("_training").Windows(TRAIN, model.codec, model.window, 5, 0.1, 0)
    batch = sibling("_batches").to_device(model.device, *next(windows.epoch(1, model.batch)))
    if device == "cpu":
        monkeypatch.setattr(shared, "autocast", lambda device: torch.autocast("cpu", torch.bfloat16))
    # The VAE's noise: the same numbers from compiled code.
    with torch._inductor.config.patch(fallback_random=True):
        training = learner.Training(model, model.network, windows, Run(0, Budget(1), tmp_path, device=device))
        assert (model.compiled.note, bool(graphs)) == ("yes", True)
        with shared.training_precision():
            loss, fast = gradients(training, model.compiled.module, batch)
    monkeypatch.setattr(shared, "autocast", lambda device: contextlib.nullcontext())
    expected, exact = gradients(training, model.network, batch)
    assert loss == pytest.approx(expected, rel=0.01)
    assert distance(fast.values(), exact.values()) < 0.03
    recurrent = [part for part in exact if part.startswith("recurrent")]
    assert bool(recurrent) == (name == "vae")
    assert not recurrent or distance([fast[part] for part in recurrent], [exact[part] for part in recurrent]) < 0.03


def gradients(training: Any, forward: Any, batch: Any) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of a batch, late in training: the VAE's divergence counts in full."""
    training.network.train().zero_grad(set_to_none=True)
    torch.manual_seed(1)
    loss = training._likelihood(forward, batch, 1000)
    torch.autograd.backward(loss)
    return float(loss.detach()), {name: p.grad.clone() for name, p in training.network.named_parameters()}


def test_nine_trainings_in_a_process_are_all_compiled(device: str, graphs: list[int], tmp_path: Path) -> None:
    """As many as cross-validation makes; Dynamo stops compiling a function after eight networks."""
    for number in range(9):
        before = len(graphs)
        model = fit("transformer", tmp_path / str(number), device, Budget(updates=2, evaluations=1), layers=1, width=32)
        assert model.facts()["compiled"] == "yes"
        assert len(graphs) == before + 1


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("name", SHAPES)
def test_a_training_repeats_and_resumes_bit_for_bit(
    name: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sibling("_training"), "CHECKPOINT_SECONDS", 0.0)  # one at each evaluation
    budget = Budget(updates=8, evaluations=4)

    def kill(event: dict[str, Any]) -> None:
        if event["epoch"] == 3:
            raise KilledError

    shape: dict[str, Any] = {"layers": 2, "dropout": 0.1} if name in LEARNERS else {}
    straight, again = (fit(name, tmp_path / folder, device, budget, **shape) for folder in ("straight", "again"))
    with contextlib.suppress(KilledError):
        fit(name, tmp_path / "killed", device, budget, emit=kill, **shape)
    epochs: list[int] = []
    resumed = fit(name, tmp_path / "killed", device, budget, emit=lambda event: epochs.append(event["epoch"]), **shape)
    assert epochs == [3, 4], "it resumed from the second evaluation"
    if device == "cuda" and name in LEARNERS:
        assert straight.facts()["compiled"] == "yes"
    weights = [network(model).state_dict().values() for model in (straight, again, resumed)]
    repeats, resumes = (distance(other, weights[0]) for other in weights[1:])
    assert (repeats, resumes) == (0, 0), "distance of the weights, of their norm: repeated, resumed"
