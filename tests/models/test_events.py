"""Performance events: against another implementation, round trips, segments, counts by hand, continuation of prompts."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Budget, DataError, Notes, Piece, PluginError, Run
from bench.plugins.discovery import find_plugins, load

Model = load(find_plugins("model")["event-counts"])
events = sys.modules[sys.modules[Model.__module__].segmented.__module__]
FULL, PIANO = events.Vocabulary(128), events.Vocabulary(88)
NOTHING = Notes.from_columns([], [], [], [])

Row = tuple[int, int, int, int]  # start and end in steps of 10 ms, pitch, velocity


def notes(*rows: Row, by: float = 0.0) -> Notes:
    start, end, pitch, velocity = np.array(rows, np.int64).reshape(-1, 4).T
    return Notes.from_columns(start / 100 + by, (end - start) / 100, pitch, velocity)


def words(rows: list[Row]) -> list[tuple[str, int]]:
    """Events as the papers describe them, in words: at each step keys go up, then down, each in the order of the notes."""
    rows = sorted(rows, key=lambda row: (row[0], row[2]))
    text, level, now = [], None, rows[0][0]
    for step in sorted({row[0] for row in rows} | {row[1] for row in rows}):
        while step > now:
            text.append(("shift", min(step - now, 100)))
            now += text[-1][1]
        text += [("up", row[2]) for row in rows if row[1] == step]
        for row in rows:
            if row[0] == step:
                if level != (row[3] - 1) // 4:
                    level = (row[3] - 1) // 4
                    text.append(("velocity", level))
                text.append(("down", row[2]))
    return text


def spelt(codes: np.ndarray, keys: int = 128, low: int = 0) -> list[tuple[str, int]]:
    kinds = [("down", low, keys), ("up", low, keys), ("shift", 1, 100), ("velocity", 0, 32)]
    table = [(kind, first + i) for kind, first, number in kinds for i in range(number)]
    return [table[code] for code in codes]


def played(text: list[tuple[str, int]]) -> list[tuple[int, int, int, int]]:
    """Notes from events in words: of one key the first that sounds ends first, and the last event ends all."""
    now, level, sounding, result = 0, 0, dict[int, list[tuple[int, int]]](), []
    for kind, value in [*text, *(("up", key) for key in range(128) for _ in text)]:
        if kind == "shift":
            now += value
        elif kind == "velocity":
            level = value
        elif kind == "down":
            sounding.setdefault(value, []).append((now, level))
        elif sounding.get(value):
            start, loud = sounding[value].pop(0)
            result += [(start, now, value, 1 + 4 * loud)] if now > start else []
    return sorted(result)


def rows_of(music: Notes) -> list[tuple[int, int, int, int]]:
    ends = music.onset + music.duration
    columns = np.rint(music.onset * 100), np.rint(ends * 100), music.pitch, music.velocity
    return sorted(zip(*(column.astype(int).tolist() for column in columns), strict=True))


row = st.tuples(st.integers(0, 400), st.integers(1, 300), st.integers(58, 62) | st.integers(0, 127), st.integers(1, 127)).map(
    lambda r: (r[0], r[0] + r[1], r[2], r[3])
)
music = st.lists(row, min_size=1, max_size=20)


@given(music, st.sampled_from([0, 3, 1234]))
def test_as_the_papers_describe_them(rows: list[Row], by: int) -> None:
    codes, first = FULL.encode(notes(*rows, by=by / 100))
    assert spelt(codes) == words(rows)
    assert first == by + min(row[0] for row in rows)
    held = [row for row in rows if 21 <= row[2] <= 108]
    if held:
        assert spelt(PIANO.encode(notes(*rows))[0], 88, 21) == words(held)
    else:
        assert len(PIANO.encode(notes(*rows))[0]) == 0


@given(music)
def test_to_notes_and_back(rows: list[Row]) -> None:
    codes, first = FULL.encode(notes(*rows))
    back = FULL.decode(codes, first)
    assert rows_of(back) == [(a + first, b + first, p, v) for a, b, p, v in played(words(rows))]
    again, _ = FULL.encode(back)
    if all(a[1] <= b[0] or b[1] <= a[0] or a[2] != b[2] for i, a in enumerate(rows) for b in rows[:i]):
        assert rows_of(back) == sorted((a, b, p, 1 + (v - 1) // 4 * 4) for a, b, p, v in rows)
        assert again.tolist() == codes.tolist()


@given(st.lists(st.integers(0, 387), max_size=60))
def test_any_events_are_music(codes: list[int]) -> None:
    """What a network may draw: keys that go up without sounding, notes without a length, notes that never end."""
    text = spelt(np.array(codes, int))
    first = next((i for i, word in enumerate(text) if word[0] == "velocity"), len(text))
    codes = codes[first:]  # until the first velocity each reader has a default of its own
    assert rows_of(FULL.decode(np.array(codes, np.int16))) == played(spelt(np.array(codes, int)))


def test_the_end_of_a_note_on_half_a_step() -> None:
    """0.165 s is 16.5 steps, and the sum of onset and duration lies below it."""
    onset, duration = 0.149, 0.016
    assert onset + duration < 0.165
    codes, _ = FULL.encode(Notes.from_columns([onset], [duration], [60], [64]))
    assert spelt(codes)[2:] == [("shift", 2), ("up", 60)]


def test_numbers_of_events() -> None:
    assert (FULL.size, PIANO.size) == (388, 308)
    with pytest.raises(PluginError, match="keys is 100"):
        Model(keys=100)


def walk(seed: int, n: int = 120) -> Piece:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.choice([0.0, 0.1, 0.25], n))
    pitch = 60 + np.clip(np.cumsum(rng.integers(-2, 3, n)), -20, 20)
    return Piece(Notes.from_columns(onset, rng.choice([0.1, 0.3, 0.7], n), pitch, 60 + 8 * (np.arange(n) % 3)), f"walk {seed}")


def test_a_pass_covers_each_piece_in_segments() -> None:
    pieces = [walk(i, 30 + 40 * i) for i in range(4)]
    segments = events.Segments(pieces, FULL, window=64, augment=False, seed=1)
    encoded = [FULL.encode(piece.notes)[0] for piece in pieces]
    batches = list(segments.epoch(1, batch=3))
    assert len(batches) == segments.updates(3)
    number = 0
    for inputs, targets, mask in batches:
        for given_, wanted, held in zip(inputs, targets, mask > 0, strict=True):
            number += 1
            text = wanted[held].tobytes()
            assert any(text in whole.tobytes() for whole in encoded)
            assert given_[held].tolist() == [388, *wanted[held][:-1]]
            assert not wanted[~held].any()
    assert number == sum(math.ceil(len(whole) / 64) for whole in encoded)
    again = events.Segments(pieces, FULL, window=64, augment=False, seed=1).epoch(1, batch=3)
    assert all(np.array_equal(a, b) for one, other in zip(batches, again, strict=True) for a, b in zip(one, other, strict=True))


def test_augmented_segments_keep_the_music() -> None:
    low = Piece(notes((0, 50, 1, 64), (50, 100, 127, 64)), "from the lowest key but one to the highest")
    middle = Piece(notes((0, 40, 60, 64), (40, 80, 67, 64)), "a fifth")
    intervals, moves, lengths = set(), Counter[int](), set()
    segments = events.Segments([low, middle], FULL, window=64, seed=0)
    for epoch in range(80):
        ((_, targets, _),) = segments.epoch(epoch, batch=2)
        for wanted in targets:
            text = spelt(wanted[: np.flatnonzero(wanted)[-1] + 1])
            down = [value for kind, value in text if kind == "down"]
            assert down == [value for kind, value in text if kind == "up"]
            intervals.add(down[1] - down[0])
            if down[1] - down[0] == 7:
                moves[down[0] - 60] += 1
                lengths.add(sum(value for kind, value in text if kind == "shift"))
            else:
                assert down in ([0, 126], [1, 127]), "only as far as the keys reach"
    assert intervals == {7, 126}
    assert set(moves) == {-3, -2, -1, 0, 1, 2, 3}
    assert lengths == {76, 78, 80, 82, 84}


def trained(order: int, pieces: list[Piece], folder: Path, **options: Any) -> Any:
    model = Model(order, **options)
    model.fit(pieces, pieces, Run(0, Budget(1), folder))
    return model


def test_counts_by_hand(tmp_path: Path) -> None:
    pieces = [Piece(notes((0, 10, 60, 64), (10, 20, 60, 64)), "two notes")]
    # velocity, down, shift, up, down, shift, up
    unigram, bigram = (trained(order, pieces, tmp_path / str(order), window=4) for order in (0, 1))
    share = {"velocity": 2 / 395, "other": 3 / 395}
    (nats,) = unigram.log_likelihood(pieces)
    np.testing.assert_allclose(np.exp(nats), [share["velocity"]] + [share["other"]] * 6)
    k = bigram.pseudo_count
    (nats,) = bigram.log_likelihood(pieces)
    other, velocity = k * share["other"], k * share["velocity"]
    # Of two segments one begins with the velocity, the other with the key that goes down: nothing follows the first key up.
    start = [(1 + velocity) / (2 + k), (1 + other) / (2 + k)]
    after = [(1 + other) / (1 + k), (2 + other) / (2 + k)]
    np.testing.assert_allclose(np.exp(nats), [start[0], after[0], after[1], after[1], start[1], after[1], after[1]])


def test_probabilities_sum_to_one_and_bigrams_beat_single_events(tmp_path: Path) -> None:
    train = [walk(i) for i in range(6)]
    nats = []
    for order in (0, 1):
        model = trained(order, train, tmp_path / str(order))
        np.testing.assert_allclose(np.exp(model.log_p).sum(1), 1)
        nats.append(-np.concatenate(model.log_likelihood([walk(9)])).mean())
    assert nats[1] < nats[0] - 0.5 < math.log(388) - 1


def test_every_event_is_predicted_once() -> None:
    pieces = [walk(1), walk(2, 7)]
    parts = Model(keys=88, window=50).log_likelihood(pieces)
    assert [len(part) for part in parts] == [len(PIANO.encode(piece.notes)[0]) for piece in pieces]
    np.testing.assert_allclose(parts[0], -math.log(308))


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the training split has no note"):
        trained(1, [Piece(notes(), "empty")], tmp_path)


def test_notes_that_the_vocabulary_lacks_are_refused(tmp_path: Path) -> None:
    """Left out of the likelihood but not of the notes that it is divided by, they made it look better."""
    low = Piece(notes((0, 10, 60, 64), (10, 20, 5, 64), (20, 30, 5, 64)), "key switches")
    with pytest.raises(DataError, match="'key switches' has 2 notes outside of the MIDI pitches 21 to 108"):
        trained(1, [walk(1), low], tmp_path, keys=88)
    with pytest.raises(DataError, match="'key switches' has 2 notes outside"):
        Model(keys=88).log_likelihood([low])
    assert len(Model(keys=128).log_likelihood([low])[0]) == len(FULL.encode(low.notes)[0])


def certain(*codes: int) -> Any:
    """Draws these events one after the other, whatever it hears."""
    rest = iter(codes)

    def predict(heard: np.ndarray) -> np.ndarray:
        odds = np.full((len(heard), FULL.size), -1e6)
        odds[:, next(rest)] = 1e6
        return odds

    return predict


DOWN, UP, SHIFT = 0, 128, 255  # the event of a pitch, and of a number of steps


def continue_(predict: Any, *prompts: Notes, n: int = 2) -> list[Notes]:
    made: list[Notes] = events.continued(predict, FULL, prompts, n, 0, most=100)
    return made


def test_a_prompt_is_heard_up_to_its_last_key() -> None:
    prompt = notes((0, 300, 50, 64), (20, 60, 60, 64), by=7.004)
    # Heard: velocity, 50 down, 20 steps, 60 down. Then both go up when the model says so, and a note of one step begins.
    heard = [0] * 4
    drawn = [SHIFT + 10, UP + 60, UP + 50, DOWN + 70, SHIFT + 5, DOWN + 72, UP + 70, SHIFT + 1, UP + 72]
    (made,) = continue_(certain(*heard, *drawn), prompt)
    assert made.onset.tolist() == pytest.approx([7.30, 7.35])
    assert made.duration.tolist() == pytest.approx([0.05, 0.01])
    assert made.velocity.tolist() == [61, 61], "the prompt's class"


def test_no_note_comes_before_the_prompts_last_though_the_grid_lies_below() -> None:
    prompt = notes((0, 50, 50, 64), by=7.004)
    (made,) = continue_(certain(0, 0, DOWN + 60, DOWN + 64, SHIFT + 3, UP + 60, UP + 64), prompt)
    assert made.onset.tolist() == [7.004, 7.004]


def test_only_what_sounds_goes_up_and_no_earlier_than_a_step_later() -> None:
    def predict(heard: np.ndarray) -> np.ndarray:
        odds = np.full((len(heard), FULL.size), -1e6)
        odds[:, UP : UP + 128] = 1e6  # if it could it would end all keys for ever
        odds[:, DOWN + 60], odds[:, SHIFT + 1] = -1e5, -2e5
        odds[heard == DOWN + 60, DOWN + 60] = -3e5
        return odds

    (made,) = continue_(predict, NOTHING, n=3)
    assert made.pitch.tolist() == [60, 60, 60]
    assert made.duration.tolist() == pytest.approx([0.01] * 3)


@pytest.mark.parametrize("shift", [1, 100])
def test_silence_ends(shift: int) -> None:
    def predict(heard: np.ndarray) -> np.ndarray:
        odds = np.full((len(heard), FULL.size), -1e6)
        odds[:, SHIFT + shift], odds[:, DOWN + 71] = 1e6, -1e5
        return odds

    for made in continue_(predict, NOTHING, notes((0, 10, 60, 64))):
        assert made.pitch.tolist() == [71, 71], "the likeliest key"
        apart = min(8.0, 1.28 * shift)
        assert np.diff(made.onset).tolist() == pytest.approx([apart])
        assert made.duration[-1] == pytest.approx(events.MOST_TAIL * shift / 100, rel=0.15), "ended in the end"


def test_of_an_endless_prompt_the_end_is_heard() -> None:
    prompt = notes((25, 75, 60, 64), (2_000_000, 2_000_050, 62, 64))
    model, steps = Model(window=64), []

    def predict(heard: np.ndarray) -> np.ndarray:
        steps.append(heard)
        return model.log_p[heard]

    (made,) = events.continued(predict, FULL, [prompt], 3, 0, most=64)
    assert len(steps) < 64 + 3 * events.MOST_IDLE + events.MOST_TAIL
    assert made.onset[0] >= 20_000.0
