"""Scores, draws and derivatives on a GPU against the same on the processor."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.models.pieces import music, noise  # noqa: E402

from .networks import LEARNERS, SHAPES, distance, moved, plugin, sibling, trained  # noqa: E402

pytestmark = pytest.mark.gpu

#: Nats a note by which scores may differ.
NATS = 1e-3


@pytest.mark.parametrize("name", LEARNERS)
def test_likelihoods_are_those_of_the_processor(name: str, device: str) -> None:
    pieces = [music(0, 400), *(noise(n, n) for n in (1, 63, 64, 65, 200))]
    expected, found = trained(name).log_likelihood(pieces), moved(name, device).log_likelihood(pieces)
    apart = [float(np.abs(a.sum(1) - b.sum(1)).max()) for a, b in zip(expected, found, strict=True)]
    assert max(apart) < NATS


def test_attention_is_tried_in_several_blocks() -> None:
    model = plugin("music-transformer")(**SHAPES["music-transformer"])
    attention = sibling("_relative")
    for queries, keys in ((model.window, model.window), (model.span, 2 * model.span - 1)):  # in training, and in scoring
        assert len(attention.banded(queries, keys, model.span, torch.device("cpu"), attention.BLOCK)) > 1


def followed(model: Any, notes: Any, first: int, rng: Any) -> Any:
    """Log probabilities (B, notes, 4) of given notes on the way of generation, from note `first` on."""
    scores = []
    for i, h in model.states(model.network, notes, first, notes.shape[1] - 1, rng):
        parts = []

        def true(logits: Any, field: int, i: int = i, parts: list[Any] = parts) -> Any:
            target = notes[:, i + 1, field]
            parts.append(logits.log_softmax(-1).gather(1, target[:, None])[:, 0])
            return target

        sibling("_fields").draw(model.network, h, true)
        scores.append(torch.stack(parts, -1))
    return torch.stack(scores, 1)


def sequences(model: Any, pieces: Any) -> Any:
    """Start symbol and classes of pieces of one length, (B, 1 + notes, 4)."""
    codes = torch.from_numpy(np.stack([model.codec.encode(p.notes) for p in pieces]).astype(np.int64))
    return torch.cat([torch.tensor(model.codec.sizes).expand(len(pieces), 1, 4), codes], dim=1).to(model.device)


@pytest.mark.parametrize("prompt", [0, 37, 100])
@pytest.mark.parametrize("name", ["transformer", "music-transformer"])
def test_cached_steps_are_the_teacher_forced_scores(name: str, prompt: int, device: str) -> None:
    model, pieces = moved(name, device), [noise(i, 140) for i in range(3)]
    expected = np.stack(model.log_likelihood(pieces))[:, prompt:]
    with torch.inference_mode():
        found = followed(model.network.eval() and model, sequences(model, pieces), prompt, torch.Generator(device))
    np.testing.assert_allclose(found.cpu(), expected, atol=NATS)


def test_the_vaes_steps_are_its_decoder_in_one_pass(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise: the latents of the prompt's spans are their means, and later ones 0."""
    model, pieces = moved("vae", device), [noise(i, 140) for i in range(3)]
    notes, prompt = sequences(model, pieces), 4 * model.span
    network = model.network.eval()
    monkeypatch.setattr(torch, "randn", lambda *shape, device, **_: torch.zeros(shape, device=device))
    with torch.inference_mode():
        found = followed(model, notes, prompt, torch.Generator(device))
        mean, _ = network.posterior(notes[:, 1 : prompt + 1], torch.ones(3, prompt, dtype=torch.bool, device=device))
        spans = torch.cat([mean, torch.zeros(3, 9 - mean.shape[1], model.latent, device=device)], 1)
        h, _ = network.decode(notes[:, :-1], network.along(spans, 140))
        expected = network.field_log_probs(h, notes[:, 1:])[:, prompt:]
    np.testing.assert_allclose(found.cpu(), expected.cpu(), atol=NATS)


@pytest.mark.parametrize("top_p", [1.0, 0.95])
def test_forbidden_classes_are_never_drawn(top_p: float, device: str) -> None:
    """Sums of a parallel scan are rounded in another order than a loop's: a class of probability 0 must not gain any by it."""
    rng = torch.Generator(device).manual_seed(0)
    sampler = sibling("_fields").Sampler(rng, 1.0, top_p)
    forbidden = torch.rand(128, generator=rng, device=device) < 0.5
    weights = torch.zeros(128, device=device).masked_fill(forbidden, -torch.inf)
    drawn = torch.zeros(128, device=device)
    for _ in range(50):
        logits = 3 * torch.randn(20_000, 128, generator=rng, device=device)
        drawn += torch.bincount(sampler(logits, weights), minlength=128)
    assert drawn.sum() == 1_000_000
    assert len(drawn) == 128
    assert float(drawn[forbidden].sum()) == 0


def test_the_second_derivatives_of_the_gans_penalty_are_those_of_the_processor(device: str) -> None:
    sibling("_torch").choose_device(device)
    model, parts = plugin("gan")(), sibling("_gan")
    torch.manual_seed(0)
    critic = parts.Critic(model.codec.sizes, model.critic_widths)
    codes = torch.stack([torch.randint(size, (16, 64)) for size in model.codec.sizes], -1)

    def gradient(where: str) -> tuple[Any, list[Any]]:
        here = copy.deepcopy(critic).to(where)
        scores, squares = parts.scores_and_gradients(here, parts.simplices(codes.to(where), model.codec.sizes))
        torch.autograd.backward(squares.mean() + 1e-3 * scores.mean())
        return squares, [p.grad for p in here.parameters()]

    (squares, expected), (found_squares, found) = gradient("cpu"), gradient(device)
    assert distance([found_squares], [squares]) < 1e-4
    assert distance(found, expected) < 1e-3
