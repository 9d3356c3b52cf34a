"""What the training loops share: windows, schedule, early stopping."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api import DataError, NoteCodec, Notes, Piece, TrialError
from bench.plugins.discovery import find_plugins, load

CODEC = NoteCodec()


@pytest.fixture(scope="module")
def training():
    """The sibling module of the shipped models, imported as they import it."""
    import sys

    model = load(find_plugins("model")["references"])
    package = model.__module__.rpartition(".")[0]
    __import__(f"{package}._training")
    return sys.modules[f"{package}._training"]


def piece(length, offset=0):
    at = np.arange(length)
    return Piece(Notes.from_columns(at * 0.25 + 1.0, np.full(length, 0.2), 40 + (at + offset) % 40, 1 + at % 100), f"p{offset}")


PIECES = [piece(50), piece(7, 3), piece(33, 11)]


def test_targets_are_the_pieces_own_notes_and_inputs_those_before(training):
    windows = training.Windows(PIECES, CODEC, window=10, seed=1)
    whole = [CODEC.encode(p.notes) for p in PIECES]
    for inputs, targets, mask in windows.epoch(1, 4):
        assert inputs.shape == targets.shape == (4, 10, 4)
        for x, y, m in zip(inputs, targets, mask, strict=True):
            n = m.sum()
            places = [(c, i) for c in whole for i in range(len(c) - n + 1) if np.array_equal(c[i : i + n], y[:n])]
            assert places, "a window that is no excerpt of any piece"
            codes, i = places[0]
            assert np.array_equal(x[1:n], y[: n - 1])
            assert np.array_equal(x[0], codes[i - 1]) if i else x[0].tolist() == [128, 128, 64, 64]


def test_an_epoch_covers_the_notes_about_once(training):
    windows = training.Windows(PIECES, CODEC, window=10)
    masks = [m for _, _, m in windows.epoch(1, 5)]
    assert windows.count() == 5 + 1 + 4
    assert sum(m.sum() for m in masks) == 5 * 10 + 7 + 4 * 10


def test_the_ends_of_a_piece_are_trained_in_every_second_epoch(training):
    length, window, epochs = 205, 10, 400
    whole = Piece(
        Notes.from_columns(np.arange(length), np.ones(length), np.arange(length) % 128, 1 + np.arange(length) // 128), "x"
    )
    windows = training.Windows([whole], CODEC, window=window)
    covered = np.zeros(length)
    for epoch in range(epochs):
        for _, targets, mask in windows.epoch(epoch, windows.count()):
            note = targets[..., 0] + 128 * (targets[..., 1].astype(int) - 1)  # the velocity counts the pitch's rounds
            covered += np.bincount(note[mask], minlength=length)
    covered /= epochs
    assert 0.45 < covered[0] < 0.65
    assert 0.45 < covered[-1] < 0.65
    assert covered[1:-1].max() < 1.6
    assert np.all(np.abs(covered[window:-window] - 1) < 0.15)


def test_splits_without_notes_are_refused(training):
    empty = Piece(Notes.from_columns([], [], [], []), "empty")
    training.check_splits("lstm", PIECES, PIECES)
    with pytest.raises(DataError, match="lstm: the training split has no notes"):
        training.check_splits("lstm", [], PIECES)
    with pytest.raises(DataError, match="lstm: the validation split has no notes"):
        training.check_splits("lstm", PIECES, [empty])


def test_a_diverged_training_is_refused(training):
    training.check_finite("lstm", 3, loss=1.0, validation_bits=2.0)
    with pytest.raises(TrialError, match="lstm: the training diverged in epoch 3: validation bits is nan"):
        training.check_finite("lstm", 3, loss=1.0, validation_bits=float("nan"))


def test_the_same_seed_and_epoch_repeat_and_others_differ(training):
    def first(seed, epoch):
        return next(training.Windows(PIECES, CODEC, window=10, transpose=3, stretch=0.1, seed=seed).epoch(epoch, 8))[1]

    assert np.array_equal(first(1, 2), first(1, 2))
    assert not np.array_equal(first(1, 2), first(1, 3))
    assert not np.array_equal(first(1, 2), first(2, 2))


@settings(max_examples=25)
@given(seed=st.integers(0, 200))
def test_transposition_keeps_intervals_and_range(training, seed):
    high = Piece(Notes.from_columns([0.0, 1.0, 2.0], [1, 1, 1], [0, 120, 127], [9, 9, 9]), "edge")
    windows = training.Windows([high], CODEC, window=5, transpose=12, seed=seed)
    _, targets, mask = next(windows.epoch(1, 2))
    for y, m in zip(targets, mask, strict=True):
        assert y[m][:, 0].tolist() == [0, 120, 127]


def test_cosine_schedule(training):
    rate = [training.cosine(s, 110, 1.0, warmup=10, floor=0.1) for s in range(110)]
    assert rate[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rate[10] == 1.0
    assert rate[60] == pytest.approx(0.1 + 0.9 * 0.5)
    assert training.cosine(110, 110, 1.0, warmup=10, floor=0.1) == pytest.approx(0.1)
    assert training.cosine(500, 110, 1.0, warmup=10, floor=0.1) == pytest.approx(0.1)


def test_early_stopping(training):
    stop = training.EarlyStopping(patience=2)
    assert [stop.improved(e, v) for e, v in enumerate([3.0, 2.0, 2.0, float("nan")], 1)] == [True, True, False, False]
    assert (stop.best, stop.best_epoch) == (2.0, 2)
    assert [stop.exhausted(e) for e in (2, 3, 4)] == [False, False, True]
    assert not training.EarlyStopping(patience=None).exhausted(10**6)
