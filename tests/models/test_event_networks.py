"""The Transformer and the LSTM over events: causality, generation against likelihood, segments, learning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from bench.api import Budget, DataError, Piece, PluginError, Run, TrialError
from bench.plugins.discovery import find_plugins, load

from .test_events import FULL, trained, walk

MODELS = {name: load(find_plugins("model")[name]) for name in ("event-transformer", "event-lstm")}
TINY: dict[str, dict[str, Any]] = {
    "event-transformer": {"layers": 2, "width": 32, "heads": 2, "distance": 8, "batch": 4, "learning_rate": 0.01, "warmup": 5},
    "event-lstm": {"layers": 2, "units": 48, "batch": 4, "learning_rate": 0.02, "warmup": 5},
}
TRAIN, VALID = [walk(i) for i in range(8)], [walk(100), walk(101)]
both = pytest.mark.parametrize("name", list(MODELS))


def fitted(name: str, folder: Path, epochs: int, **params: Any) -> tuple[Any, Run]:
    model, run = MODELS[name](**TINY[name] | params), Run(0, Budget(epochs), folder, threads=1)
    model.fit(TRAIN, VALID, run)
    return model, run


def shaken(name: str, folder: Path, **params: Any) -> Any:
    """A network whose every weight matters."""
    model, _ = fitted(name, folder, 0, **params)
    torch.manual_seed(0)
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.network.eval()
    return model


@both
def test_a_network_that_tells_nothing_apart(name: str, tmp_path: Path) -> None:
    model, _ = fitted(name, tmp_path, 0, window=64)
    torch.nn.init.zeros_(model.network.tell.weight)
    torch.nn.init.zeros_(model.network.tell.bias)
    pieces = [*VALID, walk(5, 3)]
    for part, piece in zip(model.log_likelihood(pieces), pieces, strict=True):
        np.testing.assert_allclose(part, np.full(len(FULL.encode(piece.notes)[0]), -math.log(388)), rtol=1e-6)


@both
def test_it_learns_more_than_counts(name: str, tmp_path: Path) -> None:
    model, run = fitted(name, tmp_path / "model", 15, window=128, augment=False, dropout=0.0)
    best = min(entry["validation_loss"] for entry in run.history)
    floor = -np.concatenate(trained(0, TRAIN, tmp_path / "counts").log_likelihood(VALID)).mean()
    assert best < floor - 0.5 < math.log(388)
    assert -np.concatenate(model.log_likelihood(VALID)).mean() == pytest.approx(best, rel=1e-6), "the best weights are in place"
    assert run.history[0]["notes"] == pytest.approx(8 * 120, rel=0.15)


@both
def test_an_event_is_predicted_from_those_before_it_alone(name: str, tmp_path: Path) -> None:
    model = shaken(name, tmp_path)
    heard = torch.randint(0, 388, (1, 20))
    before = model.network(heard)
    heard[0, 12] = (heard[0, 12] + 1) % 388
    after = model.network(heard)
    assert torch.equal(before[:, :12], after[:, :12])
    assert (before[:, 12:] != after[:, 12:]).any(-1).all()


@both
def test_generation_draws_with_the_odds_that_the_likelihood_scores(name: str, tmp_path: Path) -> None:
    model = shaken(name, tmp_path, window=64)
    heard = torch.randint(0, 388, (3, 60))
    with torch.no_grad():
        whole, memory = model.network(heard), model.network.memory(3)
        steps = torch.stack([model.network.next(heard[:, t], memory) for t in range(60)], 1)
    torch.testing.assert_close(steps, whole, rtol=1e-3, atol=1e-4)


@both
def test_segments_are_predicted_each_by_itself(name: str, tmp_path: Path) -> None:
    model = shaken(name, tmp_path, window=50)
    (nats,) = model.log_likelihood([VALID[0]])
    codes, _ = FULL.encode(VALID[0].notes)
    assert len(nats) == len(codes)
    assert len(codes) % 50
    for at in range(0, len(codes), 50):
        part = codes[at : at + 50].astype(int)
        with torch.no_grad():
            odds = model.network(torch.tensor([[388, *part[:-1]]])).log_softmax(-1)[0]
        np.testing.assert_allclose(nats[at : at + 50], odds[np.arange(len(part)), part], rtol=1e-4)


@both
def test_a_piano_has_fewer_events(name: str, tmp_path: Path) -> None:
    model, _ = fitted(name, tmp_path, 0, keys=88)
    assert -model.log_likelihood([VALID[0]])[0].mean() == pytest.approx(math.log(308), abs=0.3)
    (made,) = model.generate([VALID[0].notes[:10]], 40, 0)
    assert made.pitch.min() >= 21
    assert made.pitch.max() <= 108


@both
def test_a_note_without_a_probability_is_refused(name: str, tmp_path: Path) -> None:
    model, _ = fitted(name, tmp_path, 0, keys=88)
    low = Piece(VALID[0].notes.from_columns([0.0, 1.0], [1.0, 1.0], [60, 5], [64, 64]), "low")
    with pytest.raises(DataError, match="The piece 'low' has 1 note outside of the MIDI pitches 21 to 108"):
        model.log_likelihood([low, VALID[0]])
    with pytest.raises(DataError, match="Set keys: 128"):
        MODELS[name](keys=88).sequences([low], VALID, 0)


@both
def test_mistakes(name: str) -> None:
    with pytest.raises(PluginError, match="layers is 0"):
        MODELS[name](layers=0)
    with pytest.raises(PluginError, match="keys is 61"):
        MODELS[name](keys=61)
    with pytest.raises(TrialError, match="`fit` must come before"):
        MODELS[name]().log_likelihood(TRAIN)


def test_the_lstms_forwards_and_backwards_have_one_precision(tmp_path: Path) -> None:
    """On cuDNN the switch of TensorFloat-32 counts at the moment of each; validation between them is in float32."""
    model = MODELS["event-lstm"](**TINY["event-lstm"])
    make, seen = model.make_network, {"forward": set(), "backward": set(), "scored": set()}

    def watched() -> Any:
        network = make()

        def switch(at: str) -> None:
            seen[at].add(torch.backends.cudnn.allow_tf32)

        def heard(module: Any, inputs: Any, output: Any) -> None:
            switch("forward" if module.training else "scored")
            if output.requires_grad:
                output.register_hook(lambda gradient: switch("backward"))

        network.register_forward_hook(heard)
        return network

    model.make_network = watched
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # as where a trial takes a GPU
    try:
        model.fit([walk(0)], [walk(1)], Run(0, Budget(1), tmp_path, threads=1))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert seen == {"forward": {True}, "backward": {True}, "scored": {False}}
