"""The TCN and the Transformer over frames: causality, reach, the likelihood by hand, windows, generation, learning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from bench.api import Notes, PluginError, TrialError
from bench.plugins.discovery import find_plugins, load

from .frames import TRAIN, VALID, check_learning, check_two_frames, fitted

PLUGINS = {"frame-tcn": find_plugins("model")["frame-tcn"], "frame-transformer": find_plugins("model")["frame-transformer"]}
MODELS = {name: load(plugin) for name, plugin in PLUGINS.items()}
TINY: dict[str, dict[str, Any]] = {
    "frame-tcn": {"blocks": 2, "width": 24, "kernel": 3, "batch": 4, "learning_rate": 0.02, "dropout": 0.1},
    "frame-transformer": {"layers": 2, "width": 24, "heads": 2, "batch": 4, "learning_rate": 0.02, "dropout": 0.1},
}
learner = sys.modules[sys.modules[MODELS["frame-tcn"].__module__].Learner.__module__]
shared = sys.modules[learner.to_frames.__module__]
both = pytest.mark.parametrize("name", list(MODELS))


def untrained(name: str, folder: Path, **params: Any) -> Any:
    model = MODELS[name](**TINY[name] | params)
    fitted(model, folder, 0)
    model.network.eval()
    return model


@both
def test_the_likelihood_of_two_frames_by_hand(name: str, tmp_path: Path) -> None:
    model = untrained(name, tmp_path)
    torch.nn.init.zeros_(model.network.tell.weight)
    check_two_frames(model)


@both
def test_it_learns(name: str, tmp_path: Path) -> None:
    check_learning(MODELS[name](**TINY[name]), tmp_path)


@both
def test_a_frame_is_predicted_from_those_before_it_alone(name: str, tmp_path: Path) -> None:
    model = untrained(name, tmp_path)
    torch.manual_seed(0)
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    frames = (torch.rand(1, 20, 88) < 0.1).float().requires_grad_()
    model.network(frames)[0, 11].sum().backward()
    reached = frames.grad[0].abs().sum(1) > 0
    assert not reached[12:].any()
    # Two blocks of two convolutions of 3 frames, dilated by 1 and 2: 1 + 2 (2 + 4) = 13 frames.
    assert reached[:12].all()
    if name == "frame-tcn":
        frames.grad = None
        model.network(frames)[0, 19].sum().backward()
        assert (frames.grad[0].abs().sum(1) > 0).tolist() == [False] * 7 + [True] * 13


@both
def test_generation_draws_with_the_odds_that_the_likelihood_scores(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the window too: a piece that was generated has the likelihood of the odds that it was drawn with."""
    model = untrained(name, tmp_path, window=6)
    torch.manual_seed(1)
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.constant_(model.network.tell.bias, -3)
    used: list[np.ndarray] = []

    def spied(predict: Any, *args: Any) -> Any:
        def recorded(frame: np.ndarray) -> np.ndarray:
            used.append(predict(frame))
            return used[-1]

        return shared.continued(recorded, *args)

    monkeypatch.setattr(learner, "continued", spied)
    (made,) = model.generate([Notes.from_columns([], [], [], [])], 120, seed=0)
    first = round(made.onset[0] / 0.5)  # silent frames before it are no part of a piece
    grid = np.concatenate([np.zeros((first, 88), bool), shared.to_frames(made)])
    assert len(grid) > 18
    monkeypatch.setattr(learner, "to_frames", lambda notes: grid)
    (nats,) = model.log_likelihood([VALID[0]])
    odds = np.array([frame[0] for frame in used[: len(grid)]])
    drawn = -np.logaddexp(0, np.where(grid, -odds, odds)).sum(1)[1:]
    # The last frame was cut to the number of notes.
    np.testing.assert_allclose(nats[:-1], drawn[:-1], rtol=1e-4)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 8])
def test_windows_cover_each_frame_once(window: int) -> None:
    for n in range(30):
        starts = list(learner.window_starts(n, window))
        assert starts == sorted({learner.window_start(i, window) for i in range(n)})
        for i in range(n):
            at = learner.window_start(i, window)
            assert at <= i < at + window


@both
def test_long_pieces_are_scored_as_in_training(name: str, tmp_path: Path) -> None:
    """A window as long as the piece changes nothing."""
    model = untrained(name, tmp_path)
    whole = model.log_likelihood(VALID)
    model.window = 24
    assert all(np.array_equal(a, b) for a, b in zip(whole, model.log_likelihood(VALID), strict=True))
    model.window = 8
    for one, other in zip(whole, model.log_likelihood(VALID), strict=True):
        np.testing.assert_allclose(one[:7], other[:7], rtol=1e-5)


@both
def test_mistakes(name: str) -> None:
    with pytest.raises(PluginError, match="width is 0"):
        MODELS[name](width=0)
    with pytest.raises(TrialError, match="`fit` must come before"):
        MODELS[name]().log_likelihood(TRAIN)


def test_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(PluginError, match="no multiple of the 3 heads"):
        MODELS["frame-transformer"](width=16, heads=3)
