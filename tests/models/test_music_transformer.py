"""The Music Transformer: skewing and attention against loops, its memory against the full pass, any length, repeatability."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench.api import Budget, Notes, Piece, PluginError, Run, TrialError  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402

from .pieces import music, noise  # noqa: E402

Model = load(find_plugins("model")["music-transformer"])
module = sys.modules[Model.__module__]
relative = sys.modules[module.RelativeBlock.__module__]
batches = sys.modules[module.scored_notes.__module__]
learner = sys.modules[module.Learner.__module__]
fields = sys.modules[learner.FieldNetwork.__module__]
SPAN, DISTANCE, LAYERS = 8, 5, 2
TINY = {
    "layers": LAYERS,
    "width": 16,
    "heads": 2,
    "window": 16,
    "span": SPAN,
    "distance": DISTANCE,
    "batch": 4,
    "dropout": 0.1,
    "learning_rate": 0.01,
}

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
        torch.nn.init.normal_(parameter, std=0.4 if parameter.ndim > 1 else 1.0)
    return model


def rows(model: Any, piece: Piece) -> Any:
    """The start symbol, then the piece's classes."""
    codes = torch.from_numpy(model.codec.encode(piece.notes)).long()
    return torch.cat([torch.tensor([model.codec.sizes]), codes])


# Relative attention


def test_skewing_by_hand() -> None:
    """Three notes; the tens digit is the query, the ones digit the distance. What lies above the diagonal means nothing."""
    by_distance = torch.tensor([[2.0, 1, 0], [12, 11, 10], [22, 21, 20]])
    found = relative.skew(by_distance)
    assert torch.tril(found).tolist() == [[0, 0, 0], [11, 10, 0], [22, 21, 20]]


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 6), (4, 4), (3, 7), (7, 7)])
def test_skewing_equals_a_loop(queries: int, keys: int) -> None:
    by_distance = torch.randn(2, 3, queries, keys)
    found = relative.skew(by_distance)
    for i in range(queries):
        query = keys - queries + i
        for j in range(query + 1):
            assert torch.equal(found[..., i, j], by_distance[..., i, keys - 1 - (query - j)])


def test_attention_equals_a_loop() -> None:
    """Softmax over the last SPAN notes of (q k + q r) / sqrt(d), where distances beyond DISTANCE - 1 share the last vector."""
    torch.manual_seed(0)
    block = relative.RelativeBlock(width=12, heads=3, dropout=0.0, distance=DISTANCE)
    torch.nn.init.normal_(block.distances)
    x = torch.randn(2, 13, 12)
    qk, v = block.project(x)
    q, k = qk[:, :, :3], qk[:, :, 3:]
    expected = torch.zeros(2, 3, 13, 4)
    for b in range(2):
        for h in range(3):
            for i in range(13):
                seen = range(max(0, i - SPAN + 1), i + 1)
                vectors = [k[b, j, h] + block.distances[h, DISTANCE - 1 - min(i - j, DISTANCE - 1)] for j in seen]
                weights = torch.stack([q[b, i, h] @ vector / math.sqrt(4) for vector in vectors]).softmax(0)
                expected[b, h, i] = sum(w * v[b, j, h] for w, j in zip(weights, seen, strict=True))
    for size in (13, SPAN, 3):
        bands = relative.banded(13, 13, SPAN, x.device, size)
        torch.testing.assert_close(block(x, bands), block.feed(x, expected))


@pytest.mark.parametrize(("length", "size"), [(13, 3), (16, 4), (16, SPAN), (40, 16), (7, 16)])
def test_attention_in_blocks_equals_attention_at_once(length: int, size: int) -> None:
    """Values and gradients, as on a GPU."""
    torch.manual_seed(0)
    block = relative.RelativeBlock(width=12, heads=3, dropout=0.0, distance=DISTANCE)
    torch.nn.init.normal_(block.distances)
    results = []
    for queries in (length, size):
        x = torch.randn(2, length, 12, generator=torch.Generator().manual_seed(1)).requires_grad_()
        block.zero_grad()
        y = block(x, relative.banded(length, length, SPAN, x.device, queries))
        torch.autograd.backward((y * torch.linspace(-1, 1, 12)).sum())
        results.append([y, x.grad, *(parameter.grad for parameter in block.parameters())])
    for once, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, once, atol=1e-6, rtol=1e-5)


def test_blocks_by_hand() -> None:
    """Five notes in blocks of two; each sees three notes, and a block's keys begin one note before the first that it sees."""
    bands = relative.banded(5, 5, 3, torch.device("cpu"), 2)
    assert [(b.queries, b.keys) for b in bands] == [
        (slice(0, 2), slice(0, 2)),
        (slice(2, 4), slice(0, 4)),
        (slice(4, 5), slice(1, 5)),
    ]
    assert (bands[2].allowed == 0).tolist() == [[False, True, True, True]]


def test_numbers_of_keys_in_blocks() -> None:
    """Of a window, and of a part of a piece that is scored with the notes before it in memory."""
    device, network = torch.device("cpu"), Model(**TINY | {"span": 256, "distance": 4}).make_network()
    memory = relative.Memory(network, 1)
    memory.room(256)
    first, at = memory.room(256)
    for queries, keys, numbers in ((512, 512, [128, 256, 384, 384]), (256, at + 256 - first, [383, 384])):
        assert [b.allowed.shape[1] for b in relative.banded(queries, keys, 256, device, 128)] == numbers


@pytest.mark.training
def test_training_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout, whose draws differ, a training in blocks takes the same course."""
    whole, _ = fitted(tmp_path / "whole", 1, dropout=0.0)
    plain = relative.banded
    monkeypatch.setattr(relative, "banded", lambda queries, keys, span, device, block: plain(queries, keys, span, device, 4))
    parts, _ = fitted(tmp_path / "parts", 1, dropout=0.0)
    for a, b in zip(whole.log_likelihood(VALID), parts.log_likelihood(VALID), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_distances_beyond_the_last_share_its_vector() -> None:
    block = relative.RelativeBlock(width=8, heads=2, dropout=0.0, distance=3)
    torch.nn.init.normal_(block.distances)
    at = [0, 0, 0, 0, 1, 2]  # from distance 5 down to 0; the largest of its own, 2, stands first
    assert torch.equal(block.vectors(5), block.distances[:, at])
    assert torch.equal(block.vectors(2), block.distances)
    assert torch.equal(block.vectors(0), block.distances[:, 2:])


def test_band_by_hand() -> None:
    """The last two of four notes; each sees itself and the note before."""
    seen = relative.band(2, 4, 2, torch.device("cpu")) == 0
    assert seen.tolist() == [[False, True, True, False], [False, False, True, True]]


# Likelihood


@pytest.mark.parametrize("length", [1, SPAN - 1, SPAN, SPAN + 1, 61])
def test_likelihood_in_chunks_equals_one_pass(tmp_path: Path, length: int) -> None:
    """Pieces are scored SPAN notes at a time, with a memory that moves: the same as the whole piece at once."""
    model = scrambled(tmp_path)
    piece = noise(0, length)
    both = rows(model, piece)[None]
    with torch.inference_mode():
        expected = model.network.log_probs(both[:, :-1], both[:, 1:])[0]
    np.testing.assert_allclose(model.log_likelihood([piece])[0], expected, atol=1e-4)


@pytest.mark.parametrize("prompt", [0, 1, SPAN - 1, SPAN, 37])
def test_cached_steps_equal_the_full_forward_pass(tmp_path: Path, prompt: int) -> None:
    """Each field's log probability on the way of generation is the likelihood's, however far the past has slid by."""
    model = scrambled(tmp_path)
    pieces = [noise(i, 61) for i in range(3)]
    expected = np.stack(model.log_likelihood(pieces))
    inputs = torch.stack([rows(model, piece) for piece in pieces])
    with torch.inference_mode():
        for i, h in model.states(model.network, inputs, prompt, 61, torch.Generator()):
            found = np.empty((3, 4))

            def true(logits: Any, field: int, i: int = i, found: Any = found) -> Any:
                target = inputs[:, i + 1, field]
                found[:, field] = logits.log_softmax(-1).gather(1, target[:, None])[:, 0]
                return target

            fields.draw(model.network, h, true)
            np.testing.assert_allclose(found, expected[:, i], atol=1e-4)


def test_memory_does_not_grow(tmp_path: Path) -> None:
    network = scrambled(tmp_path).network
    memory = relative.Memory(network, 1)
    with torch.inference_mode():
        for _ in range(100):
            network.step(torch.zeros(1, 4, dtype=torch.int64), memory)
    assert memory.keys.shape == (LAYERS, 1, 2, 2 * SPAN, 8)
    assert memory.end <= 2 * SPAN


@pytest.mark.parametrize("changed", [0, 10, 17, 44])
def test_a_note_reaches_those_after_it_and_no_further_than_the_layers_carry(tmp_path: Path, changed: int) -> None:
    model = scrambled(tmp_path)
    notes = noise(0, 60).notes
    pitch = notes.pitch.copy()
    pitch[changed] = 127 - pitch[changed]
    other = Notes(notes.onset, notes.duration, pitch, notes.velocity)
    before, after = model.log_likelihood([Piece(notes, "a"), Piece(other, "b")])
    differs = np.flatnonzero((before != after).any(axis=1))
    assert differs[0] == changed
    # It is first seen by the state after it, and then by SPAN - 1 notes more in each layer.
    last = changed + 1 + LAYERS * (SPAN - 1)
    assert differs[-1] == min(last, 59)


def test_only_the_distance_matters(tmp_path: Path) -> None:
    """With the same notes before it, a note has the same score wherever in the piece it stands."""
    model = scrambled(tmp_path)
    part = noise(1, 40).notes
    longer = Notes.concatenate([noise(2, 23).notes[:23], part.shifted(100.0)])
    alone, within = (model.log_likelihood([Piece(n, "x")])[0] for n in (part, longer))
    reach = LAYERS * (SPAN - 1) + 1
    np.testing.assert_allclose(within[23 + reach :], alone[reach:], atol=1e-4)


def test_likelihood_does_not_depend_on_the_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = scrambled(tmp_path)
    pieces = [noise(i, n) for i, n in enumerate([1, 15, 16, 17, 90, 0])]
    together = model.log_likelihood(pieces)
    assert [len(t) for t in together] == [len(p.notes) for p in pieces]
    monkeypatch.setattr(batches, "SCORED_NOTES", 32)
    for piece, scores in zip(pieces, together, strict=True):
        np.testing.assert_allclose(model.log_likelihood([piece])[0], scores, atol=1e-4)
    for apart, scores in zip(model.log_likelihood(pieces), together, strict=True):
        np.testing.assert_allclose(apart, scores, atol=1e-4)


def test_short_pieces_count_as_longer_ones() -> None:
    codes = [np.zeros((n, 4), np.int16) for n in (3, 1, 2, 9)]
    for shortest, expected in ((1, [[3], [1, 2, 0]]), (4, [[3], [2, 0], [1]])):
        batches = learner.padded(codes, (1, 1, 1, 1), torch.device("cpu"), 9, shortest)
        assert [rows for rows, _, _ in batches] == expected


# Generation


# Training


@pytest.mark.training
def test_learns(tmp_path: Path) -> None:
    model, run = fitted(tmp_path, 6)
    assert run.history[-1]["validation_bits"] < 0.6 * run.history[0]["validation_bits"]
    scores = np.concatenate(model.log_likelihood(VALID))
    best = min(e["validation_bits"] for e in run.history)
    assert -scores.sum(1).mean() / np.log(2) == pytest.approx(best, rel=1e-6)


def test_distance_vectors_have_no_weight_decay() -> None:
    network = Model(**TINY).make_network()
    _, rest = learner.decayed(network)
    assert all(any(p is block.distances for p in rest) for block in network.blocks)


# Errors


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 18, "heads": 4}, "no multiple"),
        ({"span": 0}, "span is 0, must be at least 1"),
        ({"distance": 0}, "distance is 0, must be at least 1"),
        ({"heads": 0}, "music-transformer: heads is 0, must be at least 1"),
        ({"layers": 0}, "layers is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"dropout": 2.0}, r"dropout is 2.0, must be in \[0, 1\)"),
        ({"temperature": 0.0}, "must be above 0"),
        ({"top_p": 1.5}, r"\(0, 1\]"),
    ],
)
def test_hyperparameters_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Model(**wrong)


def test_fit_comes_first() -> None:
    with pytest.raises(TrialError, match="music-transformer: `fit` must come before"):
        Model(**TINY).log_likelihood(VALID)
