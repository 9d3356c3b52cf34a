"""The sustain pedal: by hand, against a walk through the events one by one, and in files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic import Score

from bench.errors import DataError
from bench.music.isolation import isolated
from bench.music.midi import read_midi
from bench.music.pedal import sustained
from bench.music.smf import parts

from .test_midi import chunk, midi, off, on, program, tempo

Row = tuple[int, int, int]


def ends(notes: list[Row], events: list[tuple[int, int]]) -> list[int]:
    start, end, pitch = np.array(notes, np.int64).reshape(-1, 3).T
    time, value = np.array(events, np.int64).reshape(-1, 2).T
    return sustained(start, end, pitch, time, value, max([*end, *time])).tolist()


def walked(notes: list[Row], events: list[tuple[int, int]]) -> list[int]:
    """The same by a walk: at each tick the pedal goes down, then up; then keys go down, then up."""
    actions = [(at, value < 64, "pedal", i) for i, (at, value) in enumerate(events)]
    actions += [(start, 2, "down", i) for i, (start, _, _) in enumerate(notes)]
    actions += [(end, 3, "up", i) for i, (_, end, _) in enumerate(notes)]
    result = [end for _, end, _ in notes]
    down, active, at = False, list[int](), 0
    for at, kind, what, i in sorted(actions, key=lambda action: action[:2]):
        if what == "pedal":
            down = kind == 0
            if not down:
                for held in [j for j in active if notes[j][1] < at]:
                    result[held] = at
                    active.remove(held)
        elif what == "down":
            for struck in [j for j in active if down and notes[j][2] == notes[i][2]]:
                result[struck] = at
                active.remove(struck)
            active.append(i)
        elif not down and i in active:
            active.remove(i)
    for held in active:
        result[held] = at
    return result


def test_by_hand() -> None:
    pedal = [(10, 127), (100, 0)]
    assert ends([(0, 20, 60)], pedal) == [100], "until the pedal rises"
    assert ends([(0, 5, 60)], pedal) == [5], "released before it goes down"
    assert ends([(0, 200, 60)], pedal) == [200], "held for longer"
    assert ends([(0, 20, 60), (50, 60, 60), (55, 70, 64)], pedal) == [50, 100, 100], "until the key is struck again"
    assert ends([(20, 90, 60), (50, 60, 60)], pedal) == [50, 100], "which ends one that is still held"
    assert ends([(20, 30, 60), (20, 40, 60)], pedal) == [20, 100], "of two at one tick one remains"
    assert ends([(0, 20, 60), (30, 60, 62)], [(10, 64)]) == [60, 60], "down until the end"
    assert ends([(0, 20, 60)], [(10, 64), (15, 63)]) == [20], "64 is down, 63 is up"
    assert ends([(0, 20, 60)], []) == [20]


times = st.integers(0, 30)
played = st.lists(
    st.tuples(times, st.integers(1, 12), st.integers(60, 62)).map(lambda n: (n[0], n[0] + n[1], n[2])), min_size=1, max_size=14
)


@given(played, st.lists(st.tuples(times, st.sampled_from([0, 63, 64, 127])), max_size=10))
def test_as_a_walk_through_the_events(notes: list[Row], events: list[tuple[int, int]]) -> None:
    notes = sorted(notes, key=lambda note: (note[0], note[2]))
    assert ends(notes, events) == walked(notes, events)


def pedal(value: int, channel: int = 0) -> bytes:
    return bytes([0xB0 | channel, 64, value])


def test_in_a_file() -> None:
    strings = [(0, program(48, 1)), (0, on(70, 50, 1)), (480, off(70, 1))]
    track = [(0, tempo(1_000_000)), (0, on(60, 64)), (240, pedal(127)), (240, off(60)), (0, on(62, 64)), (480, off(62))]
    raw = midi([*track, (480, pedal(0)), (480, tempo(500_000))], strings)
    assert read_midi(raw).duration.tolist() == pytest.approx([1.0, 1.0, 1.0])
    held = read_midi(raw, pedal=True)
    assert held.pitch.tolist() == [60, 70, 62]
    assert held.duration.tolist() == pytest.approx([3.0, 1.0, 2.0]), "the pedal of one channel holds no other"
    with isolated():
        assert read_midi(raw, pedal=True) == held


def test_a_note_struck_twice_at_one_tick_counts_once() -> None:
    raw = midi([(0, pedal(100)), (0, on(60, 64)), (0, on(60, 70)), (480, off(60)), (480, off(60))])
    assert len(read_midi(raw)) == 2
    assert len(read_midi(raw, pedal=True)) == 1


RIGHT, LEFT = ([(0, on(pitch, 64)), (120, off(pitch)), (120, on(pitch + 2, 64)), (120, off(pitch + 2))] for pitch in (72, 48))
DOWN = [(10, pedal(127)), (1900, pedal(0))]
MERGED = [*((0, on(pitch, 64)) for pitch in (72, 48)), (10, pedal(127)), *((d, off(p)) for d, p in ((110, 72), (0, 48)))]
ONE = [*MERGED, (120, on(74, 64)), (0, on(50, 64)), (120, off(74)), (0, off(50)), (1550, pedal(0))]


@pytest.mark.parametrize(
    "tracks",
    [
        ([RIGHT[0], (10, pedal(127)), (110, off(72)), *RIGHT[2:], (1550, pedal(0))], LEFT),
        (RIGHT, LEFT, DOWN),
        (DOWN, RIGHT, [(0, program(0)), *LEFT]),
        ([*ONE[:2], (120, off(72)), *ONE[4:-1]], DOWN),
        ([*ONE[:2], (0, program(1)), *ONE[2:]],),
        ([*ONE[:6], (0, program(1)), *ONE[6:]],),
    ],
    ids=["hands", "alone", "first", "beside one", "program at once", "program later"],
)
def test_a_pedal_is_the_channels(tracks: tuple[list[tuple[int, bytes]], ...]) -> None:
    """Whichever track it is in, and also after the channel changed its program."""
    assert read_midi(midi(*tracks), pedal=True) == read_midi(midi(ONE), pedal=True)
    assert read_midi(midi(ONE), pedal=True).duration.tolist() == pytest.approx([1910 / 960] * 2 + [1670 / 960] * 2)
    assert read_midi(midi(*tracks)).duration.tolist() == pytest.approx([0.125] * 4)


def test_a_key_that_another_track_of_the_channel_strikes_again() -> None:
    right = [(0, on(60, 64)), (120, off(60)), (2000, pedal(0))]
    left = [(0, pedal(127)), (480, on(60, 64)), (120, off(60))]
    assert read_midi(midi(right, left), pedal=True).duration.tolist() == pytest.approx([0.5, (2120 - 480) / 960])


def voice(channel: int, number: int | None, pressed: bool) -> list[tuple[int, bytes]]:
    """Two short notes from tick 0 and 240, and a pedal from 10 to 1200."""
    events = [] if number is None else [(0, program(number, channel))]
    events += [(0, on(72, 64, channel)), (10, pedal(127 * pressed, channel)), (110, off(72, channel))]
    return [*events, (120, on(74, 64, channel)), (120, off(74, channel)), (840, pedal(0, channel))]


def durations(*tracks: list[tuple[int, bytes]], programs: range | None = None) -> list[int]:
    """Lengths in ticks, sorted."""
    return sorted((read_midi(midi(*tracks), programs, pedal=True).duration * 960).round().astype(int).tolist())


#: The notes of a voice alone; their lengths, and those under its pedal.
KEYS = [(0, on(72, 64)), (120, off(72)), (120, on(74, 64)), (120, off(74))]
SHORT, LONG = [120, 120], [960, 1200]


@pytest.mark.parametrize("apart", [False, True])
def test_two_voices_in_unison_with_the_same_pedal_keep_all_notes(apart: bool) -> None:
    """As a digital piano writes its layers, each on a channel of its own."""
    one, other = voice(0, 0, True), voice(1, 48, True)
    merged = [event for (delta, first), (_, second) in zip(one, other, strict=True) for event in ((delta, first), (0, second))]
    assert durations(*([one, other] if apart else [merged])) == sorted(LONG * 2)


def test_each_port_has_channels_of_its_own() -> None:
    second: list[tuple[int, bytes]] = [(0, b"\xff\x21\x01\x01")]
    assert durations([(0, b"\xff\x21\x01\0"), *voice(0, 0, True)], second + voice(0, 0, False)) == SHORT + LONG
    assert durations(second + KEYS, second + DOWN) == [1670, 1910], "the pedal's track names its port too"
    assert durations(second + KEYS, DOWN) == SHORT


def test_tracks_of_one_channel_with_programs_of_their_own_are_instruments() -> None:
    violin, piano = voice(0, 40, False), voice(0, 0, True)
    assert durations(violin, piano) == SHORT + LONG
    assert durations(violin, piano, programs=range(8)) == LONG
    assert durations(violin, piano, programs=range(40, 48)) == SHORT
    assert durations([(0, program(40)), *KEYS], piano, DOWN, programs=range(40, 48)) == [1670, 1910], "its track plays nothing"


def test_a_key_that_a_track_that_is_not_read_strikes_again() -> None:
    right: list[tuple[int, bytes]] = [(0, b"\xff\x03\x05right"), *KEYS[:2], (1900, pedal(0))]
    left: list[tuple[int, bytes]] = [(0, pedal(127)), (480, on(72, 64)), (120, off(72))]
    assert read_midi(midi(right, left), names=("right",), pedal=True).duration.tolist() == [0.5]


def test_a_pedal_pressed_before_the_program_is_set() -> None:
    assert durations([(0, pedal(127)), (0, program(4)), *KEYS, (840, pedal(0)), (0, pedal(127)), (10, pedal(0))]) == LONG


def test_a_pedal_released_after_the_program_was_changed() -> None:
    """The parser loses what comes after the change, as nothing is played then."""
    assert durations([*KEYS[:3], (10, pedal(127)), (110, off(74)), (10, program(4)), (830, pedal(0)), (50, pedal(0))]) == [
        120,
        960,
    ]


def test_a_track_without_a_program_plays_what_another_sets_for_its_channel() -> None:
    hand: list[tuple[int, bytes]] = [(0, on(48, 64)), (120, off(48))]
    assert durations(hand, voice(0, 0, True), voice(0, 40, False)) == sorted([*SHORT, *LONG, 1200])


def test_of_one_track_with_a_pedal_only_what_is_asked_for_is_read() -> None:
    track = [(0, b"\xff\x03\x05right"), *voice(0, 4, True)]
    assert len(read_midi(midi(track), names=("right",), pedal=True)) == 2
    assert len(read_midi(midi(track), names=("left",), pedal=True)) == 0
    assert len(read_midi(midi(track), range(8, 16), pedal=True)) == 0


@pytest.mark.parametrize("ticks", [0, 127, 128, (1 << 28) - 1, 1 << 28, 3 << 28])
def test_a_channel_that_pauses_for_longer_than_a_delta_can_say(ticks: int) -> None:
    waits = [b"\xff\xff\xff\x7f" + on(80, 0, 1)] * (ticks // ((1 << 28) - 1))
    rest = ticks % ((1 << 28) - 1)
    digits = bytes([0x80 | rest >> 21, 0x80 | rest >> 14 & 0x7F, 0x80 | rest >> 7 & 0x7F, rest & 0x7F])
    body = b"".join([*waits, digits, on(60, 64), b"\x60", off(60), b"\0\xff\x2f\0"])
    raw = midi()[:10] + b"\0\1" + midi()[12:] + chunk(b"MTrk", body)
    (part,) = [part for part in parts(raw, 64) if part.channel == 0]
    (track,) = Score.from_midi(part.content, ttype="Tick").tracks
    assert [(note.time, note.duration, note.pitch, note.velocity) for note in track.notes] == [(ticks, 96, 60, 64)]


channels = st.integers(0, 2) | st.just(9)
messages = st.one_of(
    st.builds(on, st.integers(60, 62), st.integers(0, 3), channels),
    st.builds(off, st.integers(60, 62), channels),
    st.builds(program, st.sampled_from([0, 40]), channels),
    st.sampled_from([b"\xff\x03\x01a", b"\xff\x03\x01b", b"\xff\x21\x01\x01", b"\xb0\x07\x40", b"\xe1\0\x40", b"\xff\x01\0"]),
)
files = st.lists(st.lists(st.tuples(st.integers(0, 300), messages), max_size=20), min_size=1, max_size=3)


@given(files, st.sampled_from([None, range(8)]), st.sampled_from([None, ("a",)]))
def test_without_a_pedal_nothing_changes(
    tracks: list[list[tuple[int, bytes]]], programs: range | None, names: tuple[str, ...] | None
) -> None:
    """Each note is found again in the part of its track and channel, under its program and name."""
    found: list[Sequence[object]] = []
    for extend in (False, True):
        try:
            notes = read_midi(midi(*tracks), programs, names, pedal=extend)
            columns = (notes.onset, notes.duration, notes.pitch, notes.velocity)
            found.append(sorted(zip(*(column.tolist() for column in columns), strict=True)))
        except DataError as error:  # only drums
            found.append([str(error)])
    assert found[0] == found[1]


@pytest.mark.parametrize("channel", [0, 1])
def test_of_two_channels_in_unison_each_has_its_own_pedal(channel: int) -> None:
    pressed, released = pedal(127, channel), pedal(0, channel)
    both = [[(0, on(72, 64, c)), *([(10, pressed)] if c == channel else [(10, on(30, 0, c))]), (110, off(72, c))] for c in (0, 1)]
    both[channel].append((800, released))
    found = read_midi(midi(*both), pedal=True)
    assert sorted(found.duration.tolist()) == pytest.approx([0.125, 920 / 960])
