"""The Transformer: its cache and windows against the full forward pass, its likelihood by hand, repeatability, checkpoints."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import save  # noqa: E402

from bench.api import Budget, DataError, Notes, Piece, PluginError, Run, TrialError, write_sealed  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402

from .pieces import interrupted, noise, scale  # noqa: E402

Model = load(find_plugins("model")["transformer"])
module = sys.modules[Model.__module__]
rotary = sys.modules[module.WindowedLearner.__module__]
batches = sys.modules[rotary.scored_notes.__module__]
learner = sys.modules[rotary.Learner.__module__]
fields = sys.modules[learner.FieldNetwork.__module__]
shared = rotary._torch
TINY = {"layers": 2, "width": 16, "heads": 2, "window": 16, "batch": 4, "dropout": 0.1, "learning_rate": 0.01}


TRAIN = [scale(i, 70) for i in range(6)]
VALID = [scale(100, 40), scale(101, 50)]


def fitted(folder: Path, epochs: int, seed: int = 0, patience: int | None = None, **params: Any) -> tuple[Any, Run]:
    run = Run(seed, Budget(epochs, patience), folder, threads=1)
    model = Model(**TINY | params)
    model.fit(TRAIN, VALID, run)
    return model, run


def scrambled(folder: Path, **params: Any) -> Any:
    """A model with large random weights everywhere: every part of it matters, which at the initial weights isn't so."""
    model, _ = fitted(folder, 0, **params)
    torch.manual_seed(7)
    model.network.eval()
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.4 if parameter.ndim > 1 else 1.0)
    return model


def weights(model: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(t, other[name]) for name, t in one.items())


# Likelihood


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("prompt", [0, 5, 16, 37])
def test_cached_steps_equal_the_full_forward_pass(tmp_path: Path, positions: str, prompt: int) -> None:
    """Each field's log probability on the way of generation, past the window too, is the likelihood's."""
    model = scrambled(tmp_path, positions=positions)
    pieces = [noise(i, 61) for i in range(3)]
    expected = np.stack(model.log_likelihood(pieces))
    codes = torch.from_numpy(np.stack([model.codec.encode(p.notes) for p in pieces])).long()
    inputs = torch.cat([torch.tensor(model.codec.sizes).expand(3, 1, 4), codes], dim=1)
    with torch.inference_mode():
        for i, h in model.states(model.network, inputs, prompt, 61, torch.Generator()):
            found = np.empty((3, 4))

            def true(logits: Any, field: int, i: int = i, found: Any = found) -> Any:
                target = codes[:, i, field]
                found[:, field] = logits.log_softmax(-1).gather(1, target[:, None])[:, 0]
                return target

            fields.draw(model.network, h, true)
            np.testing.assert_allclose(found, expected[:, i], atol=1e-4)


def test_each_note_is_given_at_least_half_a_window(tmp_path: Path) -> None:
    """A note's score is the network's on the first window that holds it, as the class says."""
    model = scrambled(tmp_path)
    piece = noise(0, 45)
    scores = model.log_likelihood([piece])[0]
    codes = torch.from_numpy(model.codec.encode(piece.notes)).long()
    rows = torch.cat([torch.tensor([model.codec.sizes]), codes])
    first_of_window = {0: 0, 15: 0, 16: 8, 23: 8, 24: 16, 31: 16, 32: 24, 39: 24, 40: 32, 44: 32}
    for note, start in first_of_window.items():
        with torch.inference_mode():
            expected = model.network.log_probs(rows[None, start : note + 1], rows[None, start + 1 : note + 2])[0, -1]
        np.testing.assert_allclose(scores[note], expected, atol=1e-5)


def test_likelihood_by_hand(tmp_path: Path) -> None:
    """Heads that are nothing but their biases: the log probability is the bias less the logarithm of a sum."""
    model = scrambled(tmp_path)
    for head in model.network.heads:
        torch.nn.utils.parametrize.remove_parametrizations(head, "weight")
        torch.nn.init.zeros_(head.weight)
    piece = noise(0, 40)
    codes = model.codec.encode(piece.notes)
    biases = [head.bias.detach().numpy().astype(float) for head in model.network.heads]
    expected = np.stack([b[codes[:, f]] - np.log(np.exp(b).sum()) for f, b in enumerate(biases)], axis=1)
    np.testing.assert_allclose(model.log_likelihood([piece])[0], expected, atol=1e-5)


@pytest.mark.parametrize("field", range(4))
def test_probabilities_of_each_field_sum_to_one(tmp_path: Path, field: int) -> None:
    model = scrambled(tmp_path)
    n = model.codec.sizes[field]
    inputs = torch.randint(0, 64, (1, 5, 4)).expand(n, 5, 4)
    targets = torch.randint(0, 64, (1, 5, 4)).repeat(n, 1, 1)
    targets[:, 2, field] = torch.arange(n)
    model.network.eval()
    with torch.inference_mode():
        assert model.network.log_probs(inputs, targets)[:, 2, field].exp().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("changed", [0, 10, 17, 44])
def test_a_later_note_changes_no_earlier_likelihood(tmp_path: Path, changed: int) -> None:
    model = scrambled(tmp_path)
    notes = noise(0, 50).notes
    pitch, velocity = notes.pitch.copy(), notes.velocity.copy()
    pitch[changed], velocity[changed] = 127 - pitch[changed], 128 - velocity[changed]
    before, after = model.log_likelihood([Piece(notes, "a"), Piece(Notes(notes.onset, notes.duration, pitch, velocity), "b")])
    np.testing.assert_array_equal(before[:changed], after[:changed])
    assert (before[changed:] != after[changed:]).any(axis=1).sum() > 1, "the note itself and those that see it"


def test_within_a_note_fields_condition_on_those_before(tmp_path: Path) -> None:
    """Another velocity changes the time and the duration of the same note, not its pitch."""
    model = scrambled(tmp_path)
    notes = noise(0, 20).notes
    velocity = notes.velocity.copy()
    velocity[-1] = 128 - velocity[-1]
    before, after = model.log_likelihood(
        [Piece(notes, "a"), Piece(Notes(notes.onset, notes.duration, notes.pitch, velocity), "b")]
    )
    assert (before[-1] == after[-1]).tolist() == [True, False, False, False]


def test_likelihood_does_not_depend_on_the_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = scrambled(tmp_path)
    pieces = [noise(i, n) for i, n in enumerate([1, 15, 16, 17, 24, 25, 90, 0])]
    together = model.log_likelihood(pieces)
    assert [len(t) for t in together] == [len(p.notes) for p in pieces]
    monkeypatch.setattr(batches, "SCORED_NOTES", 32)
    for piece, scores in zip(pieces, together, strict=True):
        np.testing.assert_allclose(model.log_likelihood([piece])[0], scores, atol=1e-5)


# Generation


def test_prompt_is_read(tmp_path: Path) -> None:
    """The same seed after two prompts gives two continuations; after one prompt twice, the rows still differ by their noise."""
    model = scrambled(tmp_path)
    a, b = noise(0, 30).notes, noise(1, 30).notes
    assert model.generate([a], 20, seed=0)[0].pitch.tolist() != model.generate([b], 20, seed=0)[0].pitch.tolist()
    one, other = model.generate([a, a], 20, seed=0)
    assert one != other


def test_sampler_draws_from_the_distribution() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    logits = torch.log(torch.tensor(p)).expand(100_000, 4)

    def shares(temperature: float, top_p: float, log_weights: Any = None) -> Any:
        sampler = fields.Sampler(torch.Generator().manual_seed(0), temperature, top_p)
        return torch.bincount(sampler(logits, log_weights), minlength=4).numpy() / 100_000

    np.testing.assert_allclose(shares(1, 1), p, atol=0.006)
    np.testing.assert_allclose(shares(0.5, 1), p**2 / (p**2).sum(), atol=0.006)
    np.testing.assert_allclose(shares(1, 0.7), [0.625, 0.375, 0, 0], atol=0.006)
    np.testing.assert_array_equal(shares(1, 1e-9), [1, 0, 0, 0])
    weights = torch.tensor([-np.inf, 0, np.log(2), 0])
    np.testing.assert_allclose(shares(1, 1, weights), [0, 0.3 / 0.65, 0.3 / 0.65, 0.05 / 0.65], atol=0.006)
    # Before the temperature, which scales them too: (0.3, 2 x 0.15, 0.05) squared. And before top_p.
    np.testing.assert_allclose(shares(0.5, 1, weights), np.array([0, 0.09, 0.09, 0.0025]) / 0.1825, atol=0.006)
    np.testing.assert_allclose(shares(1, 0.9, weights), [0, 0.5, 0.5, 0], atol=0.006)


# Training


def test_no_epochs_leave_the_initial_network(tmp_path: Path) -> None:
    first, run = fitted(tmp_path / "a", 0)
    assert same(weights(first), weights(fitted(tmp_path / "b", 0)[0]))
    assert not same(weights(first), weights(fitted(tmp_path / "c", 0, seed=1)[0]))
    assert run.history == []
    assert [len(m) for m in first.generate([VALID[0].notes], 20, seed=0)] == [20]


@pytest.mark.training
def test_learns(tmp_path: Path) -> None:
    _, run = fitted(tmp_path, 6)
    assert run.history[-1]["validation_bits"] < 0.6 * run.history[0]["validation_bits"]


@pytest.mark.training
def test_resumes_after_a_kill_as_if_never_killed(tmp_path: Path) -> None:
    """Killed after epoch 3 was logged and before its checkpoint: epoch 3 is trained again, dropout and all."""
    straight, whole = fitted(tmp_path / "straight", 4)
    folder = tmp_path / "killed"
    interrupted(Model(**TINY), TRAIN, VALID, folder, 4, at=3)
    resumed, rest = fitted(folder, 4)
    assert same(weights(straight), weights(resumed))
    keys = ("epoch", "loss", "validation_bits", "learning_rate")
    assert [[e[k] for k in keys] for e in rest.history] == [[e[k] for k in keys] for e in whole.history]
    done, _ = fitted(folder, 4)  # nothing left to do
    assert same(weights(straight), weights(done))


@pytest.mark.training
def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    fitted(tmp_path / "a", 2, weight_decay=0.0)
    model, run = fitted(tmp_path / "a", 2)
    assert same(weights(model), weights(fitted(tmp_path / "b", 2)[0]))
    assert [e["epoch"] for e in run.history] == [1, 2]


@pytest.mark.training
def test_stops_early_with_the_best_weights(tmp_path: Path) -> None:
    """A rate so high that training turns bad: the weights kept are those of the best epoch, in the file too."""
    model, run = fitted(tmp_path, 30, patience=2, learning_rate=0.2, clip=100.0)
    bits = [e["validation_bits"] for e in run.history]
    assert len(bits) == int(np.argmin(bits)) + 3 < 30
    scores = np.concatenate(model.log_likelihood(VALID))
    assert -scores.sum(1).mean() / np.log(2) == pytest.approx(min(bits), rel=1e-6)
    with safe_open(tmp_path / "best.safetensors", "pt") as best:  # without a header, for other programs
        assert same(weights(model), {name: best.get_tensor(name) for name in best.keys()})  # noqa: SIM118 (no mapping)
        assert json.loads(best.metadata()["scalars"])["epoch"] == int(np.argmin(bits)) + 1


@pytest.mark.training
def test_clock_stops_after_the_epoch_that_crosses_it(tmp_path: Path) -> None:
    run = Run(0, Budget(5, max_seconds=1e-6), tmp_path, threads=1)
    Model(**TINY).fit(TRAIN, VALID, run)
    assert [e["epoch"] for e in run.history] == [1]


@pytest.mark.training
def test_the_model_has_the_average_of_the_weights_of_all_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    average = shared.average

    def recording(mean: Any, network: Any, weight: float) -> None:
        seen.append({name: tensor.clone() for name, tensor in network.named_parameters()})
        average(mean, network, weight)

    monkeypatch.setattr(shared, "average", recording)
    model, _ = fitted(tmp_path, 2)
    shares = np.diff((np.arange(len(seen) + 1) / len(seen)) ** (shared._training.EXPONENT + 1))
    assert len(seen) == 16
    for name, tensor in model.network.named_parameters():
        expected = sum(float(share) * weights[name] for share, weights in zip(shares, seen, strict=True))
        torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.training
def test_a_diverged_training_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="transformer: the training diverged in epoch 1"):
        fitted(tmp_path, 2, learning_rate=1e30, clip=1e30)
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.training
def test_notes_trained_on_are_those_of_the_windows(tmp_path: Path) -> None:
    """Six pieces of 10 notes in batches of 4: the second batch is filled up by two pieces drawn again."""
    run = Run(0, Budget(1), tmp_path, threads=1)
    Model(**TINY).fit([scale(i, 10) for i in range(6)], VALID, run)
    assert run.history[0]["notes"] == 80


def test_look_up_tables_have_no_weight_decay() -> None:
    model = Model(**TINY, positions="learned")
    network = model.make_network()
    names = {id(p): name for name, p in network.named_parameters()}
    decayed, rest = ([names[id(p)] for p in group] for group in learner.decayed(network))
    assert sorted(decayed + rest) == sorted(names.values())
    assert not any(name.startswith(("embed", "given", "place")) for name in decayed)
    assert all(network.get_parameter(name).ndim == 2 for name in decayed)
    assert {"place", "norm.weight", "hidden.bias"} <= set(rest)
    assert {"blocks.0.qkv.weight", "hidden.weight"} <= set(decayed)


# Precision and compilation


def test_the_stream_is_float32_under_autocast(tmp_path: Path) -> None:
    """Tables and residual stream stay in float32; only the products are in bfloat16."""
    network = scrambled(tmp_path, positions="learned").network
    inputs = torch.randint(0, 60, (2, 16, 4))
    with torch.inference_mode():
        exact = network.placed(inputs, slice(16))
        with torch.autocast("cpu", torch.bfloat16):
            x = network.placed(inputs, slice(16))
            assert torch.equal(x, exact)
            for block in network.blocks:
                assert block.qkv(block.norm1(x)).dtype == torch.bfloat16
                x, _, _ = block(x, None)
                assert x.dtype == torch.float32


def test_scores_are_never_autocast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = scrambled(tmp_path)
    expected = model.log_likelihood(VALID)
    monkeypatch.setattr(shared, "autocast", lambda device: torch.autocast("cpu", torch.bfloat16))
    for scores, other in zip(expected, model.log_likelihood(VALID), strict=True):
        np.testing.assert_array_equal(scores, other)


def test_rotation_in_real_arithmetic_equals_the_complex_product() -> None:
    """As on a GPU; values and gradients."""
    rotation = rotary.rotation_table(40, 8)
    torch.testing.assert_close(rotation[:, 0, :, 1], torch.outer(torch.arange(40.0), 10 ** -torch.arange(4.0)).sin())
    results = []
    for turned in (rotary.turned_complex, rotary.turned_real):
        pairs = torch.randn(2, 40, 6, 4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = turned(pairs, rotation)
        torch.autograd.backward((y * torch.linspace(-1, 1, 4)[:, None]).sum())
        results.append((y, pairs.grad))
    for exact, real in zip(*results, strict=True):
        torch.testing.assert_close(real, exact, atol=1e-6, rtol=1e-6)


@pytest.mark.training
def test_training_runs_what_the_probe_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One graph, made before the clock starts: no epoch compiles again, whatever was validated between them."""
    graphs: list[Any] = []
    probed: list[int] = []
    compiled = shared.compiled

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    def counted(*arguments: Any) -> Any:
        found = compiled(*arguments, backend=backend)
        probed.append(len(graphs))
        return found

    monkeypatch.setattr(shared, "compiled", counted)
    torch.compiler.reset()
    model, run = fitted(tmp_path, 2)
    assert model.facts()["compiled"] == "yes"
    assert len(run.history) == 2
    assert probed == [1]
    assert len(graphs) == 1


@pytest.mark.training
def test_a_compiler_that_fails_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C compiler here")

    plain, _ = fitted(tmp_path / "plain", 1)
    compiled = shared.compiled
    monkeypatch.setattr(shared, "compiled", lambda *arguments: compiled(*arguments, backend=backend))
    torch.compiler.reset()
    model, _ = fitted(tmp_path / "failed", 1)
    assert model.facts()["compiled"].startswith("no: ")
    assert "no C compiler here" in model.facts()["compiled"]
    assert same(weights(model), weights(plain))


# Errors


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"positions": "sine"}, "not 'rotary' or 'learned'"),
        ({"width": 18, "heads": 4}, "no multiple"),
        ({"window": 15}, "must be even"),
        ({"heads": 0}, "transformer: heads is 0, must be at least 1"),
        ({"width": -8}, "width is -8"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, must be above 0"),
        ({"warmup": -1}, "warmup is -1, must be at least 0"),
        ({"transpose": -1}, "transpose is -1, must be at least 0"),
        ({"temperature": 0.0}, "must be above 0"),
        ({"top_p": 1.5}, r"must be above 0|\(0, 1\]"),
    ],
)
def test_hyperparameters_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Model(**wrong)


def test_checkpoint_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"not a checkpoint at all")
    with pytest.raises(TrialError, match=r"(?s)not a readable checkpoint.*Delete it"):
        fitted(tmp_path, 1)
    write_sealed(path, save({"a": torch.zeros(1)}, metadata={"format": "99"}))
    with pytest.raises(TrialError, match="format '99'"):
        fitted(tmp_path, 1)


def test_nothing_to_learn_or_choose_by(tmp_path: Path) -> None:
    run = Run(0, Budget(1), tmp_path, threads=1)
    with pytest.raises(DataError, match="no notes"):
        Model(**TINY).fit([], VALID, run)
    with pytest.raises(DataError, match="no notes"):
        Model(**TINY).fit(TRAIN, [], run)
    with pytest.raises(TrialError, match="`fit` must come before"):
        Model(**TINY).generate([VALID[0].notes], 1, seed=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    run = Run(0, Budget(0), tmp_path, device="cuda")
    with pytest.raises(TrialError, match="sees none"):
        Model(**TINY).fit(TRAIN, VALID, run)


def test_facts_of_a_cpu_run(tmp_path: Path) -> None:
    facts = fitted(tmp_path, 0)[0].facts()
    assert facts["precision"] == "float32"
    assert facts["peak_gpu_bytes"] is None
    assert facts["compiled"].startswith("no: ")
    assert facts["parameters"] == sum(p.numel() for p in fitted(tmp_path, 0)[0].network.parameters())


# What the PyTorch models share


def test_checkpoint_holds_every_kind_of_value(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.safetensors"
    assert shared.load_checkpoint(path) is None
    tied = torch.arange(6.0).view(2, 3)
    shared.save_checkpoint(path, {"a": tied, "b": tied.t(), "c": torch.tensor(3)}, {"best": float("inf"), "name": "é"})
    tensors, scalars = shared.load_checkpoint(path)
    assert torch.equal(tensors["b"], tied.t())
    assert tensors["c"].item() == 3
    assert scalars == {"best": float("inf"), "name": "é"}
    assert [f.name for f in path.parent.iterdir()] == ["a.safetensors"]


def test_the_header_of_a_checkpoint_is_measured_before_it_is_read(tmp_path: Path) -> None:
    """29 kB, packed, of a run of others took 780 MiB; the library's own limit is asked only afterwards."""
    header = b'{"x":[' + b"[]," * (1 << 24) + b"[]]}"
    write_sealed(path := tmp_path / "a.safetensors", len(header).to_bytes(8, "little") + header)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TrialError, match=r"its header has .* bytes, and may have 16,777,216 at most"):
        shared.load_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
