"""Frames and counts of keys: conversion, counting, the likelihood by hand, continuation of prompts, figures on real music."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Budget, DataError, Notes, Piece, PluginError, Run
from bench.plugins.discovery import find_plugins, load

from .frames import TRAIN, VALID, fitted, frames, piece, walk

Model = load(find_plugins("model")["frame-counts"])
shared = sys.modules[sys.modules[Model.__module__].to_frames.__module__]
NOTHING = Notes.from_columns([], [], [], [])


def trained(order: int, train: list[Piece], valid: list[Piece], folder: Path) -> Any:
    model = Model(order)
    model.fit(train, valid, Run(0, Budget(1), folder))
    return model


@given(st.lists(st.sets(st.integers(21, 108), max_size=6), min_size=1, max_size=12))
def test_frames_to_notes_and_back(chords: list[set[int]]) -> None:
    chords = [{60}, *chords, {60}]  # a piece begins and ends with a sound
    music = piece(*map(sorted, chords))
    grid = shared.to_frames(music.notes)
    np.testing.assert_array_equal(grid, frames(music))
    assert shared.to_notes(grid) == music.notes


def test_notes_off_the_grid_and_longer_ones_and_keys_that_a_piano_lacks() -> None:
    notes = Notes.from_columns([7.0, 7.1, 7.4, 8.0], [1.4, 0.1, 0.2, 0.5], [60, 62, 64, 20], [64] * 4)
    grid = shared.to_frames(notes)
    # 60 sounds from 0 to 1.4 s, 62 begins in frame 0, 64 at 0.4 s in frame 1; 20 is below a piano's lowest key.
    assert [np.flatnonzero(frame).tolist() for frame in grid] == [[39, 41], [39, 43], [39]]
    assert shared.to_frames(NOTHING).shape == (0, 88)


def test_a_pass_has_every_frame_once_after_the_one_before() -> None:
    pieces = [walk(i, 5 + 7 * i) for i in range(4)]
    sequences = shared.Sequences(pieces, window=10, seed=1)
    seen = []
    batches = list(sequences.epoch(1, batch=3))
    assert len(batches) == sequences.updates(3) == -(-sum(-(-(5 + 7 * i) // 10) for i in range(4)) // 3)
    for inputs, targets, mask in batches:
        assert targets.shape[1] <= 10
        seen += [(a.tobytes(), b.tobytes()) for a, b in zip(inputs[mask > 0] > 0, targets[mask > 0] > 0, strict=True)]
        assert not targets[mask == 0].any()
    wanted = []
    for music in pieces:
        grid = frames(music)
        wanted += [(a.tobytes(), b.tobytes()) for a, b in zip([np.zeros(88, bool), *grid[:-1]], grid, strict=True)]
    assert sorted(seen) == sorted(wanted)
    assert sequences.notes == sum(len(music.notes) for music in pieces)
    again = shared.Sequences(pieces, window=10, seed=1).epoch(1, batch=3)
    assert all(np.array_equal(a, b) for one, other in zip(batches, again, strict=True) for a, b in zip(one, other, strict=True))


def test_the_likelihood_of_two_frames_by_hand() -> None:
    model = Model(1)
    model.odds[0], model.odds[1] = math.log(0.1 / 0.9), math.log(0.75 / 0.25)
    (nats,) = model.log_likelihood([piece([60, 64], [60, 67])])
    # 60 is held, 64 ends, 67 begins, and 85 other keys stay silent; the first frame isn't predicted.
    np.testing.assert_allclose(nats, [math.log(0.75 * 0.25 * 0.1 * 0.9**85)])


def test_counts_by_hand(tmp_path: Path) -> None:
    music = [piece([60], [60], [60, 62], [62])]
    markov = trained(1, music, music, tmp_path / "markov")
    independent = trained(0, music, music, tmp_path / "independent")
    share = (4 + 1) / (3 * 88 + 2)

    def p(sounds: int, of: int, model: Any = markov) -> float:
        k = model.pseudo_count
        return math.log((sounds + k * share) / (of - sounds + k * (1 - share)))

    # Of three frames after another: 60 sounds in two, each time held; 62 in two, once held.
    assert markov.odds[:, [39, 41]].tolist() == pytest.approx(np.array([[p(0, 0), p(1, 2)], [p(2, 3), p(1, 1)]]))
    assert independent.odds[:, [39, 41, 0]].tolist() == pytest.approx(np.array([[p(n, 3, independent) for n in (2, 2, 0)]] * 2))


def test_a_prompt_that_ends_within_a_chord_is_completed_from_above() -> None:
    model = Model(0)  # one half for each key
    prompt = piece([60], [48, 60, 72], start=3.25).notes[:3]
    (made,) = model.generate([prompt], 200, seed=1)
    first = made[: int((made.onset < 4).sum())]
    assert set(first.onset) == {3.75}
    assert 10 < len(first) < 40, "about half of the 48 keys above"
    assert first.pitch.min() > 60
    assert made.onset[len(first)] == 4.25
    assert np.bincount(((made.onset - 3.25) / 0.5).astype(int))[2] > 30, "about half of all 88"


def test_a_prompt_off_the_grid_is_not_overtaken() -> None:
    prompt = Notes.from_columns([1.0, 1.7], [0.5, 0.5], [60, 62], [64, 64])
    (made,) = Model(0).generate([prompt], 300, seed=0)
    assert made.onset[0] == 1.7
    assert made.onset[-1] % 0.5 == 0


def test_of_an_endless_prompt_the_end_is_heard() -> None:
    """A note after a day of silence took 180,000 steps."""
    prompt = Notes.from_columns([0.25, 90_000.25], [0.5, 0.5], [60, 62], [64, 64])
    model, steps = Model(0), []
    after = model._after
    model._after = lambda frame: steps.append(frame) or after(frame)
    (made,) = model.generate([prompt], 200, seed=0)
    assert len(steps) < 520
    assert made.onset[0] == 90_000.25
    assert made.pitch[0] > 62


def test_silence_ends() -> None:
    model = Model(1)
    model.odds[:] = -200.0
    model.odds[:, 50] = -100.0
    for made in model.generate([NOTHING, piece([60]).notes], 3, seed=0):
        assert made.pitch.tolist() == [71, 71, 71], "the likeliest key"
        assert set(np.diff(made.onset)) == {4.5}, "after eight silent frames"


def test_the_lowest_notes_of_the_last_frame() -> None:
    model = Model(0)
    model.odds[:] = 200.0
    (made,) = model.generate([NOTHING], 90, seed=0)
    assert made.pitch.tolist() == [*range(21, 109), 21, 22]
    assert sorted(set(made.onset)) == [0.0, 0.5]


def test_generation_draws_with_the_probabilities_of_the_model(tmp_path: Path) -> None:
    model = Model(1)
    model.odds[0], model.odds[1] = -4.0, 1.0
    (made,) = model.generate([NOTHING], 4000, seed=3)
    grid = shared.to_frames(made)
    held, begun = grid[1:][grid[:-1]].mean(), grid[1:][~grid[:-1]].mean()
    assert held == pytest.approx(1 / (1 + math.exp(-1)), abs=0.03)
    assert begun == pytest.approx(1 / (1 + math.exp(4)), abs=0.005)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="order is 2, must be 0 or 1"):
        Model(2)
    with pytest.raises(DataError, match="validation split has no piece of two frames"):
        trained(1, TRAIN, [piece([60])], tmp_path)


def test_smoothing_is_chosen_on_validation_pieces(tmp_path: Path) -> None:
    model = Model(1)
    run = fitted(model, tmp_path, 1)
    chosen = model.facts()["chosen_on_validation"]
    assert -np.concatenate(model.log_likelihood(VALID)).mean() == pytest.approx(run.history[0]["validation_loss"])
    assert chosen in sys.modules[Model.__module__].PSEUDO_COUNTS


@pytest.fixture(scope="module")
def chorales() -> Any:
    """The published file's splits."""
    dataset = load(find_plugins("dataset")["jsb"])()
    source = dataset.find([Path(p) for p in os.environ.get("BENCH_DATA", "").split(os.pathsep) if p])
    if source is None:
        pytest.skip("needs the JSB Chorales in $BENCH_DATA")
    return dataset.load(source, lambda *progress: None)


@pytest.mark.parametrize(("order", "nats"), [(0, 11.09), (1, 10.49)])
def test_figures_on_the_published_file(order: int, nats: float, chorales: Any, tmp_path: Path) -> None:
    parts = trained(order, chorales.train, chorales.validation, tmp_path).log_likelihood(chorales.test)
    assert len(parts) == 77
    assert sum(map(len, parts)) == 4648, "as in the published tables"
    assert -np.concatenate(parts).mean() == pytest.approx(nats, abs=0.005)


def test_counted_as_in_the_code_of_the_published_table(chorales: Any, tmp_path: Path) -> None:
    """Minus the trace of y log(p) + (1 - y) log(1 - p) over frames 2 to T of each piece, its sum over all frames."""
    model = trained(1, chorales.train, chorales.validation, tmp_path)
    total, count = 0.0, 0
    for music in chorales.test:
        grid = frames(music).astype(float)
        x, y = grid[:-1], grid[1:]
        p = 1 / (1 + np.exp(-np.where(x > 0, model.odds[1], model.odds[0])))
        total -= np.trace(y @ np.log(p).T + (1 - y) @ np.log(1 - p).T)
        count += len(p)
    assert -np.concatenate(model.log_likelihood(chorales.test)).mean() == pytest.approx(total / count)


def test_a_long_pause_or_chord_is_a_few_frames() -> None:
    notes = Notes.from_columns([0.0, 20_000.0, 20_001.0], [0.5, 0.5, 9_000.0], [60, 62, 64], [64] * 3)
    grid = shared.to_frames(notes)
    assert grid.any(1).tolist() == [True, *[False] * 32, True, False, *[True] * 32]
