"""The row `ngram`: its rule by hand, its probabilities by enumeration, and what it may and may not see."""

from __future__ import annotations

import doctest
import importlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.api import FIELDS, NoteCodec
from bench.plugins.discovery import find_plugins, load

PACKAGE = load(find_plugins("model")["ngram"]).__module__.rsplit(".", 1)[0]
ngram: Any = importlib.import_module(f"{PACKAGE}._ngram")
contexts: Any = importlib.import_module(f"{PACKAGE}._contexts")

#: Few classes, so that enumeration is quick.
SMALL = NoteCodec(time_classes=8, duration_classes=5)

note = st.tuples(st.integers(0, 127), st.integers(60, 66), st.integers(0, 7), st.integers(0, 4))
piece = st.lists(note, min_size=1, max_size=30).map(lambda x: np.array(x, np.int16))


def music(seed: int, n: int = 200) -> NDArray[np.int64]:
    """Four voices in parallel that move at random."""
    rng = np.random.default_rng(seed)
    base = 50 + np.cumsum(rng.integers(-2, 3, n // 4)).clip(-10, 10)
    pitch = (base[:, None] + [0, 4, 7, 12]).ravel()
    time = np.tile([7, 0, 0, 0], n // 4)
    return np.stack([pitch, rng.integers(60, 70, len(pitch)), time, rng.integers(0, 5, len(pitch))], axis=1)


def transposed(codes: NDArray[np.int64], semitones: int) -> NDArray[np.int64]:
    return codes + np.array([semitones, 0, 0, 0])


def fitted() -> Any:
    return ngram.Ngram.fit(SMALL, [music(s) for s in range(5)], [music(s) for s in range(5, 8)])


MODEL = fitted()


def test_the_examples() -> None:
    assert doctest.testmod(ngram).failed == 0
    assert doctest.testmod(ngram).attempted > 3


def test_two_levels_by_hand() -> None:
    """Velocities 1 1 2 after velocity 7, then 1 after 8: with d = .5 and s = 1 at both levels."""
    any_context = ngram.Counts.of(np.zeros(4, np.uint64), np.array([1, 1, 2, 1]), 4)
    before = ngram.Counts.of(np.array([7, 7, 7, 8], np.uint64), np.array([1, 1, 2, 1]), 4)
    x = np.array([0, 1, 2, 3])
    p = ngram.interpolate(np.full(4, 1 / 4), any_context.of_symbols(np.zeros(4, np.uint64), x), 0.5, 1.0)
    # 3 times 1, once 2, two different: (max(n - .5, 0) + (.5 * 2 + 1) / 4) / (4 + 1).
    np.testing.assert_allclose(p, [0.1, 0.6, 0.2, 0.1])
    after_7 = ngram.interpolate(p, before.of_symbols(np.full(4, 7, np.uint64), x), 0.5, 1.0)
    np.testing.assert_allclose(after_7, [0.2 / 4, (1.5 + 1.2) / 4, (0.5 + 0.4) / 4, 0.2 / 4])
    after_9 = ngram.interpolate(p, before.of_symbols(np.full(4, 9, np.uint64), x), 0.5, 1.0)
    np.testing.assert_allclose(after_9, p)  # never seen


def test_all_symbols_of_a_context_at_once_are_each_symbol_by_itself() -> None:
    rng = np.random.default_rng(0)
    counts = ngram.Counts.of(rng.integers(0, 9, 300).astype(np.uint64), rng.integers(0, 6, 300), 6)
    asked = np.arange(12, dtype=np.uint64)  # 9 to 11 were never seen
    times, total, kinds = counts.of_all(asked)
    for symbol in range(6):
        for one, every in zip(
            counts.of_symbols(asked, np.full(12, symbol)), (times[:, symbol], total[:, 0], kinds[:, 0]), strict=True
        ):
            np.testing.assert_array_equal(one, every)
    assert times.sum() == 300


@settings(max_examples=25)
@given(piece)
def test_probabilities_of_a_notes_classes_sum_to_1(codes: NDArray[np.int16]) -> None:
    """By enumeration of the likelihood itself: the last note with each class of one field in turn."""
    for f, size in enumerate(SMALL.sizes):
        variants = np.repeat(codes[None], size, axis=0)
        variants[:, -1, f] = np.arange(size)
        view = contexts.View.of(SMALL, list(variants))
        p = np.exp(MODEL.fields[f].nats(view)).reshape(size, -1)[:, -1]
        assert p.min() > 0
        assert p.sum() == pytest.approx(1, abs=1e-9)


@settings(max_examples=25)
@given(piece)
def test_draws_have_the_probabilities_of_the_likelihood(codes: NDArray[np.int16]) -> None:
    past = np.array([contexts.window(codes[:-1])])
    nats = MODEL.nats(codes)[-1]
    for f, field in enumerate(MODEL.fields):
        p = field.probabilities(contexts.View(SMALL, past, codes[-1:].astype(np.int64)))
        assert p.sum() == pytest.approx(1, abs=1e-9)
        assert math.log(p[0, codes[-1, f]]) == pytest.approx(nats[f], abs=1e-9)


@settings(max_examples=25)
@given(piece, note, st.integers(0, 3))
def test_no_field_sees_what_comes_after_it(codes: NDArray[np.int16], other: tuple[int, ...], f: int) -> None:
    """Changing a note from one of its fields on leaves all before it as probable."""
    changed = codes.copy()
    changed[-1, f:] = other[f:]
    before, after = MODEL.nats(codes), MODEL.nats(changed)
    np.testing.assert_array_equal(before[:-1], after[:-1])
    np.testing.assert_array_equal(before[-1, :f], after[-1, :f])


def test_a_view_of_pieces_is_the_window_of_each_note() -> None:
    pieces = [music(0, 20), music(1, 4), music(2, 12)]
    view = contexts.View.of(SMALL, pieces)
    expected = [contexts.window(codes[:i]) for codes in pieces for i in range(len(codes))]
    np.testing.assert_array_equal(view.past, expected)
    np.testing.assert_array_equal(view.now, np.concatenate(pieces))


def test_a_view_by_hand() -> None:
    # A chord of C4 (7 = a new chord) and E4 at the same time; then G3, of which the pitch is to be predicted.
    codes = np.array([[60, 70, 0, 4], [64, 71, 0, 0], [55, 72, 7, 2]])
    view = contexts.View.of(NoteCodec(8, 5), [codes])
    assert view.last.tolist() == [60, 60, 64]
    assert view.interval.tolist() == [0, 4, -9]
    assert [column[2] for column in view.intervals(1, 2, 3)] == [0, -4, -999]
    assert [column[2] for column in view.chord(3)] == [-999, -4, 0]
    assert view.classes(2)[2] == 1 << 0 | 1 << 8  # E, and the C a minor sixth above it
    assert view.nearest(1)[2] == 70  # C4 is nearest to G3
    assert view.mean(1, 2, 1)[2] == 70


def test_transposed_music_is_as_probable() -> None:
    """Learned in one key, known in another: what contexts see of a pitch is the interval and the octave."""
    tune = np.array([[60 + i, 64, 7, 2] for i in (0, 4, 7, 5, 2, 6)] * 20)
    model = ngram.Ngram.fit(SMALL, [tune], [transposed(tune, 2)])
    assert not {"note", "register"} & model.chosen["pitch"].keys()
    np.testing.assert_allclose(np.exp(model.nats(transposed(tune, 4))[8:, 0]), 1, atol=0.1)


def test_draws_stay_where_the_music_is() -> None:
    drawn = MODEL.draw([music(s)[:20] for s in range(20, 30)], 300, np.random.default_rng(0))[..., 0]
    lowest, highest = (f([f(music(s)[:, 0]) for s in range(5)]) for f in (min, max))
    assert np.mean((drawn >= lowest) & (drawn <= highest)) > 0.97
    # The last notes are as far from the middle as the first.
    assert drawn[:, -100:].std() < 1.3 * drawn[:, :100].std()


def test_contexts_are_chosen_by_the_validation_pieces() -> None:
    rng = np.random.default_rng(0)
    noise = [np.stack([rng.integers(0, size, 4000) for size in SMALL.sizes], axis=1) for _ in range(4)]
    of_noise = ngram.Ngram.fit(SMALL, noise[:2], noise[2:]).chosen
    assert [list(of_noise[name]) for name in FIELDS[1:]] == [["any"]] * 3
    assert len(MODEL.chosen["pitch"]) > 1  # the parallel voices follow from each other


def test_without_validation_pieces_only_classes_are_counted() -> None:
    model = ngram.Ngram.fit(SMALL, [music(0)], [])
    assert model.chosen == {name: {"any": [0.7, 8.0]} for name in FIELDS}
    (drawn,) = model.draw([music(1)[:5]], 20, np.random.default_rng(0))
    assert drawn.shape == (20, 4)


def test_draws_follow_the_probabilities() -> None:
    prompt = music(9)[:40]
    past = np.array([contexts.window(prompt)])
    p = MODEL.fields[0].probabilities(contexts.View(SMALL, past, np.zeros((1, 4), np.int64)))[0]
    drawn = MODEL.draw([prompt] * 4000, 1, np.random.default_rng(0))[:, 0, 0]
    shares = np.bincount(drawn, minlength=128) / 4000
    np.testing.assert_allclose(shares, p, atol=0.035)  # more than four standard errors of a share of one half
    assert p.max() > 0.1
