"""The VAE: its bound against numerical integration, KL by hand, masks, latents in generation, annealing, repeatability."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench.api import Budget, Piece, PluginError, Run, TrialError  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402

from .pieces import music, noise  # noqa: E402

Model = load(find_plugins("model")["vae"])
module = sys.modules[Model.__module__]
batches = sys.modules[module.scored_notes.__module__]
SPAN = 8
TINY = {"width": 16, "latent": 3, "window": 16, "span": SPAN, "batch": 4, "learning_rate": 0.01}

TRAIN = [music(i, 70) for i in range(6)]
VALID = [music(100, 40), music(101, 50)]


def fitted(folder: Path, epochs: int, seed: int = 0, **params: Any) -> tuple[Any, Run]:
    run = Run(seed, Budget(epochs), folder, threads=1)
    model = Model(**TINY | params)
    model.fit(TRAIN, VALID, run)
    return model, run


def scrambled(folder: Path, **params: Any) -> Any:
    """A model with large random weights everywhere: every part of it matters, which at the initial weights isn't so."""
    model, _ = fitted(folder, 0, **params)
    torch.manual_seed(7)
    model.network.eval()
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 1.0)
    return model


def deaf(model: Any) -> Any:
    """The model with a decoder that doesn't listen to the latent."""
    with torch.no_grad():
        model.network.recurrent[0].weight_ih_l0[:, model.width :] = 0
        model.network.lift.weight.zero_()
    return model


def tensors(model: Any, piece: Piece) -> tuple[Any, Any]:
    """Inputs and targets, (1, n, 4)."""
    codes = torch.from_numpy(model.codec.encode(piece.notes)).long()
    return torch.cat([torch.tensor([model.codec.sizes]), codes[:-1]])[None], codes[None]


def posterior(model: Any, piece: Piece) -> tuple[Any, Any]:
    _, targets = tensors(model, piece)
    mean, log_variance = model.network.posterior(targets, torch.ones(targets.shape[:2], dtype=torch.bool))
    return mean[0].double(), log_variance[0].double()


def given(model: Any, piece: Piece, z: Any) -> Any:
    """Log probability of the piece given latents `z` (S, K, Z), (S,)."""
    inputs, targets = tensors(model, piece)
    S, n = len(z), len(piece.notes)
    h, _ = model.network.decode(inputs.expand(S, -1, -1), model.network.along(z.float(), n))
    return model.network.field_log_probs(h, targets.expand(S, -1, -1)).double().sum((1, 2))


def log_normal(z: Any, mean: Any, log_variance: Any) -> Any:
    return -0.5 * (math.log(2 * math.pi) + log_variance + (z - mean) ** 2 / log_variance.exp())


# The divergence


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        (0.0, 1.0, 0.0),
        (1.0, 1.0, 0.5),
        (-2.0, 1.0, 2.0),
        (0.0, math.e, (math.e - 2) / 2),
        (1.0, 0.25, 0.5 * (0.25 + math.log(4))),
    ],
)
def test_divergence_by_hand(mean: float, variance: float, expected: float) -> None:
    found = module.kl_to_standard(torch.tensor(mean), torch.tensor(variance).log())
    assert found.item() == pytest.approx(expected, abs=1e-6)


@torch.inference_mode()
def test_notes_share_the_divergence_of_their_span(tmp_path: Path) -> None:
    """With a decoder that doesn't listen: each value is the decoder's own log probability less the span's KL / (4 notes)."""
    model = deaf(scrambled(tmp_path))
    piece = noise(0, 2 * SPAN + 3)
    inputs, targets = tensors(model, piece)
    h, _ = model.network.decode(inputs, torch.zeros(1, len(piece.notes), model.latent))
    decoder = model.network.field_log_probs(h, targets)[0].double().numpy()
    kl = module.kl_to_standard(*posterior(model, piece)).sum(-1).numpy()
    assert kl.shape == (3,)
    assert (kl > 0.1).all()
    shares = np.repeat(kl / [4 * SPAN, 4 * SPAN, 4 * 3], [SPAN, SPAN, 3])[:, None]
    (scores,) = model.log_likelihood([piece])
    np.testing.assert_allclose(scores, decoder - shares, atol=1e-4)
    assert scores.sum() == pytest.approx(decoder.sum() - kl.sum(), abs=1e-3)


# The bound


@torch.inference_mode()
def test_bound_against_numerical_integration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One span and one dimension: the log probability and the bound are integrals over a line."""
    model = scrambled(tmp_path, latent=1)
    with torch.no_grad():
        model.network.encoder.out.weight.mul_(0.1)  # no posterior beyond the line
        model.network.encoder.out.bias.zero_()
    monkeypatch.setattr(module, "SAMPLES", 4000)
    line = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    width = (line[1] - line[0]).item()
    for seed in range(4):
        piece = noise(seed, SPAN - seed)
        (mean,), (log_variance,) = posterior(model, piece)
        conditional = given(model, piece, line[:, None, None])
        truth = torch.logsumexp(conditional + log_normal(line, torch.tensor(0.0), torch.tensor(0.0)), 0).item() + math.log(width)
        q = log_normal(line, mean, log_variance).exp()
        assert q.sum().item() * width == pytest.approx(1, abs=1e-6)
        bound = (q * conditional).sum().item() * width - module.kl_to_standard(mean, log_variance).item()
        (scores,) = model.log_likelihood([piece])
        spread = (q * conditional**2).sum().item() * width - ((q * conditional).sum().item() * width) ** 2
        assert scores.sum() == pytest.approx(bound, abs=5 * math.sqrt(spread / 4000) + 1e-3)
        assert bound < truth
        assert scores.sum() < truth


@torch.inference_mode()
def test_importance_sampling_comes_out_above_the_bound(tmp_path: Path) -> None:
    """The mean of 3000 importance weights (Burda et al. 2016) estimates the probability itself, here of three spans together."""
    model = scrambled(tmp_path)
    torch.manual_seed(0)
    for seed in range(4):
        piece = noise(seed, 3 * SPAN - 1)
        mean, log_variance = posterior(model, piece)
        z = mean + torch.randn(3000, *mean.shape, dtype=torch.float64) * (0.5 * log_variance).exp()
        prior = log_normal(z, torch.tensor(0.0), torch.tensor(0.0)).sum((1, 2))
        weights = given(model, piece, z) + prior - log_normal(z, mean, log_variance).sum((1, 2))
        estimate = torch.logsumexp(weights, 0).item() - math.log(3000)
        (scores,) = model.log_likelihood([piece])
        assert scores.sum() < estimate
        assert scores.sum() == pytest.approx(weights.mean().item(), abs=5 * weights.std().item() / math.sqrt(module.SAMPLES))


def test_scoring_is_the_same_however_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone or in company, a few spans at once or all: the same draws and the same scores."""
    model = scrambled(tmp_path)
    pieces = [noise(i, n) for i, n in enumerate([1, 7, 8, 9, 16, 61, 0])]
    together = model.log_likelihood(pieces)
    assert [len(t) for t in together] == [len(p.notes) for p in pieces]
    monkeypatch.setattr(batches, "SCORED_NOTES", 64)
    for piece, scores in zip(pieces, together, strict=True):
        np.testing.assert_allclose(model.log_likelihood([piece])[0], scores, atol=1e-4)


@torch.inference_mode()
def test_a_short_span_is_encoded_as_if_nothing_followed(tmp_path: Path) -> None:
    """What stands where the mask is false changes nothing."""
    network = scrambled(tmp_path).network
    notes = torch.randint(0, 64, (1, 2 * SPAN, 4))
    mask = torch.arange(2 * SPAN)[None] < SPAN + 3
    mean, log_variance = network.posterior(notes, mask)
    other = torch.where(mask[..., None], notes, 63 - notes)
    torch.testing.assert_close(network.posterior(other, mask), (mean, log_variance))
    torch.testing.assert_close(network.posterior(notes[:, : SPAN + 3], mask[:, : SPAN + 3]), (mean, log_variance))
    assert not torch.equal(network.posterior(other, torch.ones_like(mask))[0][:, 1], mean[:, 1])


@torch.inference_mode()
def test_the_decoder_sees_no_later_note(tmp_path: Path) -> None:
    network = scrambled(tmp_path).network
    inputs, z = torch.randint(0, 64, (1, 20, 4)), torch.randn(1, 20, 3)
    other = inputs.clone()
    other[:, 12:] = 63 - other[:, 12:]
    one, two = (network.decode(x, z)[0] for x in (inputs, other))
    assert torch.equal(one[:, :12], two[:, :12])
    assert not torch.equal(one[:, 12], two[:, 12])


# Generation


@torch.inference_mode()
@pytest.mark.parametrize("prompt", [0, 1, SPAN - 1, SPAN, 21])
def test_states_are_those_of_the_decoder(tmp_path: Path, prompt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posterior for the spans of the prompt, the last of them kept for the rest of its span, then the prior; one long pass."""
    model = scrambled(tmp_path)
    piece = noise(0, 40)
    inputs, targets = tensors(model, piece)
    draws: list[Any] = []
    randn = torch.randn

    def noted(*shape: int, **how: Any) -> Any:
        draws.append(randn(*shape, **how))
        return draws[-1]

    monkeypatch.setattr(torch, "randn", noted)
    rng = torch.Generator().manual_seed(0)
    notes = torch.cat([inputs, targets[:, -1:]], dim=1)
    found = torch.stack([h for _, h in model.states(model.network, notes, prompt, 40, rng)], dim=1)
    spans: list[Any] = []
    if prompt:
        mean, log_variance = posterior(model, Piece(piece.notes[:prompt], "prompt"))
        spans = list(mean.float() + draws[1][0] * (0.5 * log_variance.float()).exp())
    spans += [draw[0] for draw in draws[2 if prompt else 1 :]]
    assert len(spans) == 5
    expected, _ = model.network.decode(inputs, model.network.along(torch.stack(spans)[None], 40))
    torch.testing.assert_close(found, expected[:, prompt:], atol=1e-4, rtol=1e-4)


# Training


@pytest.mark.parametrize(("update", "weight"), [(0, 0.0), (100, 1.0), (200, 2.0), (900, 2.0)])
def test_the_weight_of_the_divergence_rises(update: int, weight: float) -> None:
    (found,) = Model(**TINY, beta=2.0, anneal=200).extra(update)
    assert found.item() == pytest.approx(weight)


def test_without_annealing_the_weight_is_there_at_once() -> None:
    assert Model(**TINY, anneal=0).extra(0)[0].item() == 1.0


@torch.inference_mode()
def test_loss_by_hand(tmp_path: Path) -> None:
    """With a decoder that doesn't listen nothing is random: its nats, and each dimension's KL, at least what is free.

    The second window has 5 notes: one span, and one that is all padding and costs nothing.
    """
    network = deaf(scrambled(tmp_path)).network
    targets, inputs = torch.randint(0, 64, (2, 2, 16, 4))
    mask = torch.arange(16) < torch.tensor([[16], [5]])
    mean, log_variance = network.posterior(targets, mask)
    kl = module.kl_to_standard(mean, log_variance).flatten(0, 1)[:3].sum(0)  # (Z,): of three spans
    h, _ = network.decode(inputs, torch.zeros(2, 16, 3))
    lost = -network.field_log_probs(h, targets)[mask].sum()
    for free_bits in (0.0, 0.5, 1000.0):
        network.free_nats = free_bits * math.log(2)
        paid = sum(max(k.item(), 3 * network.free_nats) for k in kl)
        loss = network(inputs, targets, mask, torch.tensor(0.7))
        assert loss.item() == pytest.approx((lost.item() + 0.7 * paid) / 21, rel=1e-5)


def test_notes_are_hidden_in_training_only(tmp_path: Path) -> None:
    network = scrambled(tmp_path, word_dropout=0.5, dropout=0.0).network
    inputs, z = torch.randint(0, 64, (1, 30, 4)), torch.zeros(1, 30, 3)
    with torch.no_grad():
        assert torch.equal(network.decode(inputs, z)[0], network.decode(inputs, z)[0])
        network.train()
        assert not torch.equal(network.decode(inputs, z)[0], network.decode(inputs, z)[0])


# The maximum mean discrepancy


def test_discrepancy_by_draws() -> None:
    """The closed form against the means of the kernel over draws."""
    torch.manual_seed(1)
    mean, variance = torch.randn(4, 3), 1.5 * torch.rand(4, 3)
    prior = torch.zeros(3), torch.ones(3)

    def kernel(one: Any, other: Any) -> float:
        x, y = (m + v.sqrt() * torch.randn(200_000, 3) for m, v in (one, other))
        return float(torch.exp(-(x - y).square().sum(-1) / 6).mean())

    spans = list(zip(mean, variance, strict=True))
    within = np.mean([kernel(a, b) for i, a in enumerate(spans) for j, b in enumerate(spans) if i != j])
    expected = within - 2 * np.mean([kernel(span, prior) for span in spans]) + kernel(prior, prior)
    assert abs(expected) > 0.01
    assert module.discrepancy(mean, variance).item() == pytest.approx(expected, abs=2e-3)
    padded = torch.cat([mean, mean + 9]), torch.cat([variance, variance])
    assert module.discrepancy(*padded, torch.arange(8) < 4).item() == pytest.approx(
        module.discrepancy(mean, variance).item(), abs=1e-6
    )


def test_discrepancy_looks_at_all_posteriors_together() -> None:
    """Narrow posteriors that cover the prior together are no discrepancy, although each has a large KL; one point for all is."""
    draws = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    narrow = torch.full_like(draws, 1e-4)
    assert abs(module.discrepancy(draws, narrow).item()) < 5e-3
    assert module.kl_to_standard(draws, narrow.log()).sum(-1).mean() > 7
    assert module.discrepancy(torch.zeros_like(draws), narrow).item() > 0.1
    assert module.discrepancy(torch.zeros_like(draws), torch.ones_like(draws)).item() == pytest.approx(0, abs=1e-6)


@torch.inference_mode()
def test_the_discrepancy_joins_the_loss_for_each_span(tmp_path: Path) -> None:
    model = scrambled(tmp_path, mmd=4.0, beta=0.0, anneal=0)
    targets, inputs = torch.randint(0, 64, (2, 2, 16, 4))
    mask = torch.arange(16) < torch.tensor([[16], [5]])
    network = deaf(model).network
    mean, log_variance = (x.flatten(0, 1)[:3] for x in network.posterior(targets, mask))
    without = network(inputs, targets, mask, torch.tensor(0.0)).item()
    beta, mmd = model.extra(0)
    assert (beta.item(), mmd.item()) == (0.0, 4.0)
    expected = without + 4.0 * 3 * module.discrepancy(mean, log_variance.exp()).item() / 21
    assert network(inputs, targets, mask, beta, mmd).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.training
def test_trained_by_the_discrepancy_latents_say_more_and_the_bound_is_still_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each span's KL is hardly limited then, and counts in the bound: it lies below the estimate by importance weights."""
    hidden = {"word_dropout": 0.9, "free_bits": 0.0, "anneal": 0, "latent": 2}
    model, run = fitted(tmp_path / "mmd", 10, beta=0.0, mmd=10.0, **hidden)
    plain, _ = fitted(tmp_path / "kl", 10, **hidden)
    assert model.facts()["kl_nats_per_span"] > 1.5 * plain.facts()["kl_nats_per_span"]
    assert run.history[-1]["validation_bits"] < run.history[0]["validation_bits"]
    piece = music(102, 2 * SPAN)
    model.network.eval()
    with torch.inference_mode():
        mean, log_variance = posterior(model, piece)
        torch.manual_seed(0)
        z = mean + torch.randn(3000, *mean.shape, dtype=torch.float64) * (0.5 * log_variance).exp()
        prior = log_normal(z, torch.tensor(0.0), torch.tensor(0.0)).sum((1, 2))
        weights = given(model, piece, z) + prior - log_normal(z, mean, log_variance).sum((1, 2))
    monkeypatch.setattr(module, "SAMPLES", 2000)
    (scores,) = model.log_likelihood([piece])
    assert scores.sum() < torch.logsumexp(weights, 0).item() - math.log(3000)
    assert scores.sum() == pytest.approx(weights.mean().item(), abs=5 * weights.std().item() / math.sqrt(module.SAMPLES))


@pytest.mark.training
def test_learns_and_uses_its_latent(tmp_path: Path) -> None:
    model, run = fitted(tmp_path, 12)
    assert run.history[-1]["validation_bits"] < 0.6 * run.history[0]["validation_bits"]
    best = min(run.history, key=lambda e: e["validation_bits"])
    scores, _ = model._bound(VALID, samples=1)
    assert -np.concatenate(scores).sum(1).mean() / np.log(2) == pytest.approx(best["validation_bits"], rel=1e-6)
    # One draw is an unbiased estimate of what eight estimate.
    several = -np.concatenate(model.log_likelihood(VALID)).sum(1).mean() / np.log(2)
    assert several == pytest.approx(best["validation_bits"], rel=0.05)
    facts = model.facts()
    assert facts["kl_nats_per_span"] == pytest.approx(best["kl"], rel=1e-5)
    assert facts["kl_nats_per_span"] > 0.05
    assert 0 <= facts["active_units"] <= model.latent


@pytest.mark.training
def test_what_the_latent_says_is_heard(tmp_path: Path) -> None:
    """Trained with the notes before mostly hidden, the decoder needs the latent: another piece's makes the music less likely."""
    model, _ = fitted(tmp_path, 30, word_dropout=0.9, free_bits=1.0)
    with torch.inference_mode():
        low, high = music(102, SPAN), music(104, SPAN)
        own, other = posterior(model, low)[0], posterior(model, high)[0]
        told = given(model, low, torch.stack([own, other]))
    assert told[0] > told[1] + 1


# Errors


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 20}, "window must be a multiple of span"),
        ({"span": 2}, "span at least 4"),
        ({"beta": -1.0}, "beta is -1.0, must be at least 0"),
        ({"mmd": -1.0}, "mmd is -1.0, must be at least 0"),
        ({"word_dropout": 1.0}, r"word_dropout is 1.0, must be in \[0, 1\)"),
        ({"latent": 0}, "vae: latent is 0, must be at least 1"),
        ({"window": 0}, "window is 0"),
        ({"dropout": 1.0}, r"dropout is 1.0, must be in \[0, 1\)"),
        ({"temperature": 0.0}, "must be above 0"),
    ],
)
def test_hyperparameters_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Model(**TINY | wrong)


def test_fit_comes_first() -> None:
    with pytest.raises(TrialError, match="vae: `fit` must come before"):
        Model(**TINY).log_likelihood(VALID)


# On a GPU


def test_recurrent_layers_stay_in_float32_under_autocast(tmp_path: Path) -> None:
    """CuDNN's would run in float16, without a scale on the loss: small gradients would become 0."""
    network = Model(**TINY).make_network()
    seen: list[torch.dtype] = []
    network.recurrent.register_forward_hook(lambda _, inputs, outputs: seen.extend([inputs[0].dtype, outputs[0].dtype]))
    notes = torch.zeros(2, 8, 4, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(notes, notes, torch.ones(2, 8, dtype=torch.bool), torch.tensor(1.0))
    torch.autograd.backward(loss)
    assert seen == [torch.float32, torch.float32]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.recurrent.parameters())
