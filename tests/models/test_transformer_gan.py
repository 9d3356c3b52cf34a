"""The adversarial Transformer: its losses and advantages by hand, its two phases, its updates, what the discriminator learns."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench.api import Budget, PluginError, Run  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402

from .pieces import scale  # noqa: E402

Model = load(find_plugins("model")["transformer-gan"])
adversarial = sys.modules[sys.modules[Model.__module__].AdversarialLearner.__module__]
TINY = {"layers": 1, "width": 16, "heads": 2, "window": 16, "batch": 4, "learning_rate": 0.01, "warmup": 0, "dropout": 0.1}

TRAIN = [scale(i, 70) for i in range(6)]
VALID = [scale(100, 40), scale(101, 50)]


def run_in(folder: Path, updates: int, evaluations: int = 1) -> Run:
    return Run(0, Budget(updates=updates, evaluations=evaluations), folder, threads=1)


def fitted(folder: Path, updates: int, evaluations: int = 1, **params: Any) -> tuple[Any, Run]:
    run = run_in(folder, updates, evaluations)
    model = Model(**TINY | params)
    model.fit(TRAIN, VALID, run)
    return model, run


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch, **params: Any) -> Any:
    """The training of a model that was trained for 4 updates, and is not over."""
    trainings = []
    original = Model.training
    monkeypatch.setattr(Model, "training", lambda *args: trainings.append(original(*args)) or trainings[-1])
    fitted(folder, 4, **params)
    return trainings[0]


def batch(training: Any) -> Any:
    """Inputs, targets and mask of one batch; the last window has 11 notes."""
    arrays = next(training.windows.epoch(1, 4))
    inputs, targets, mask = (torch.from_numpy(a.astype(np.int64) if a.dtype == np.int16 else a) for a in arrays)
    mask[-1, 11:] = False
    return inputs, targets, mask


# The discriminator


def test_discriminator_loss_by_hand() -> None:
    local, whole = torch.tensor([[0.0, math.log(3), 50.0]]), torch.tensor([-math.log(3)])
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    of_real = adversarial.discriminator_loss(local, whole, 1.0, mask).item()
    assert of_real == pytest.approx((math.log(2) + math.log(4 / 3)) / 2 + math.log(4))
    of_drawn = adversarial.discriminator_loss(local, whole, 0.0, mask).item()
    assert of_drawn == pytest.approx((math.log(2) + math.log(4)) / 2 + math.log(4 / 3))


@torch.inference_mode()
def test_scores_begin_at_zero_and_local_ones_look_only_back() -> None:
    network = Model(**TINY).make_network()
    discriminator = adversarial.Discriminator(network.sizes, 16, 1, 16, 2).eval()
    notes, mask = torch.randint(0, 64, (2, 16, 4)), torch.ones(2, 16)
    assert all(torch.equal(score, torch.zeros_like(score)) for score in discriminator.scores(notes, mask))
    for parameter in discriminator.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    other = notes.clone()
    other[:, 10:] = 63 - other[:, 10:]
    (local, whole), (changed, elsewhere) = discriminator.scores(notes, mask), discriminator.scores(other, mask)
    torch.testing.assert_close(changed[:, :10], local[:, :10])
    assert not torch.allclose(changed[:, 10:], local[:, 10:])
    assert not torch.allclose(whole, elsewhere)
    mask[:, 10:] = 0
    torch.testing.assert_close(discriminator.scores(other, mask)[1], discriminator.scores(notes, mask)[1])


# The advantages


def test_advantages_by_hand() -> None:
    """Two windows of a given note and two drawn ones; returns are centred at each place and in units of their deviation."""
    local = torch.tensor([[9.0, 1.0, 4.0], [9.0, 0.0, -2.0]])
    whole, mask = torch.tensor([1.0, 3.0]), torch.tensor([[0.0, 1.0, 1.0]] * 2)
    # Rewards 1, 3 and 0, -2; returns 1 + 1.5 + 1, 3 + 1 and 0 - 1 + 3, -2 + 3.
    centred = torch.tensor([[0.0, 0.75, 1.5], [0.0, -0.75, -1.5]])
    expected = centred / math.sqrt((0.75**2 + 1.5**2) / 2)
    torch.testing.assert_close(adversarial.advantages(local, whole, mask, 0.5), expected)


def test_padding_earns_nothing_and_equal_windows_neither() -> None:
    local, whole = torch.randn(3, 8), torch.randn(3)
    mask = (torch.arange(8) < torch.tensor([[8], [8], [5]])).float()
    earned = adversarial.advantages(local, whole, mask, 0.9)
    assert (earned[2, 5:] == 0).all()
    other = torch.where(mask > 0, local, local + 7)
    torch.testing.assert_close(adversarial.advantages(other, whole, mask, 0.9), earned)
    same = adversarial.advantages(local[:1].expand(3, 8), whole[:1].expand(3), torch.ones(3, 8), 0.9)
    torch.testing.assert_close(same, torch.zeros(3, 8), atol=0.01, rtol=0)


# The updates


def test_what_is_drawn_follows_a_true_first_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = prepared(tmp_path, monkeypatch)
    inputs, targets, _ = batch(training)
    drawn = training._drawn(inputs, targets, 3)
    assert torch.equal(drawn[:, :8], targets[:, :8])
    assert not torch.equal(drawn[:, 8:], targets[:, 8:])
    assert torch.equal(training._drawn(inputs, targets, 3), drawn)
    assert not torch.equal(training._drawn(inputs, targets, 4), drawn)


def test_the_gradient_is_that_of_likelihood_and_expected_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By single notes, with rewards of our own; where notes are padded nothing is earned."""
    training = prepared(tmp_path, monkeypatch, dropout=0.0, pretraining=0.0, reward=0.3)
    inputs, targets, mask = batch(training)
    earned = torch.randn(4, 16)
    counted = mask & (torch.arange(16) >= 8)
    monkeypatch.setattr(training, "_discriminate", lambda *_: earned * counted)
    network = training.network

    def gradient(loss: Any) -> Any:
        return torch.autograd.grad(loss, list(network.parameters()))

    found = gradient(training.loss((inputs, targets, mask), 3))
    drawn = training._drawn(inputs, targets, 3)
    nats = network.log_probs(torch.cat([inputs[:, :1], drawn[:, :-1]], 1), drawn).sum(-1)
    returned = sum(earned[b, t] * nats[b, t] for b in range(4) for t in range(8, 16) if mask[b, t]) / counted.sum()
    expected = gradient(network(inputs, targets, mask) - 0.3 * returned)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.training
def test_without_a_reward_it_is_the_transformer(tmp_path: Path) -> None:
    """While likelihood alone is trained, weights are those of `transformer` bit for bit."""
    model, run = fitted(tmp_path / "gan", 6, 3, pretraining=0.99)
    other = load(find_plugins("model")["transformer"])(**TINY)
    plain = run_in(tmp_path / "plain", 6, 3)
    other.fit(TRAIN, VALID, plain)
    assert all(np.array_equal(*both) for both in zip(model.log_likelihood(VALID), other.log_likelihood(VALID), strict=True))
    assert "score_gap" not in run.history[-1]
    assert model.facts()["discriminator_parameters"] > 0


@pytest.mark.training
def test_the_reward_begins_at_its_share(tmp_path: Path) -> None:
    _, run = fitted(tmp_path, 8, 4, pretraining=0.5)
    assert ["score_gap" in entry for entry in run.history] == [False, False, True, True]


@pytest.mark.training
def test_the_discriminator_tells_music_from_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = prepared(tmp_path, monkeypatch, pretraining=0.99, discriminator_learning_rate=0.01)
    inputs, targets, mask = batch(training)
    second = (mask & (torch.arange(16) >= 8)).float()
    losses = []
    for update in range(30):
        training._discriminate(targets, training._drawn(inputs, targets, update), second, update)
        losses.append(training.measured[-1][0].item())
    assert losses[0] == pytest.approx(2 * math.log(2), abs=0.05)
    assert np.mean(losses[-5:]) < 0.5
    assert training.measured[-1][1] > 1


# Errors


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pretraining": 1.0}, r"transformer-gan: pretraining is 1.0, must be in \[0, 1\)"),
        ({"discount": -0.1}, r"discount is -0.1, must be in \[0, 1\)"),
        ({"reward": -1.0}, "reward is -1.0, must be at least 0"),
        ({"discriminator_learning_rate": 0.0}, "discriminator_learning_rate is 0.0, must be above 0"),
        ({"positions": "sine"}, "transformer-gan: positions is 'sine'"),
    ],
)
def test_hyperparameters_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Model(**TINY | wrong)
