"""bench.music.smf: what the parser misreads is corrected or refused. Files are made by hand, by the standard alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import DataError
from bench.music import smf
from bench.music.midi import MOST_BYTES, read_midi
from bench.system.memory import memory_limited

from .test_midi import chunk, midi, off, on, program, tempo

NOTE = [(0, on(60, 64)), (480, off(60))]


def sysex(data: bytes, first: bytes = b"\xf0") -> bytes:
    return first + bytes([len(data)]) + data


@pytest.mark.parametrize("length", range(40))
@pytest.mark.parametrize("first", [b"\xf0", b"\xf7"])
def test_no_running_status_after_sysex(length: int, first: bytes) -> None:
    data = bytes(i % 128 for i in range(length)) + b"\xf7"
    notes = [(0, on(60, 64)), (480, bytes([60, 0]))]
    with pytest.raises(DataError, match="status byte is missing"):
        read_midi(midi([*notes, (0, sysex(data, first)), (0, bytes([62, 64])), (480, bytes([62, 0]))]))
    # With the status byte that the standard asks for, all notes are read.
    assert len(read_midi(midi([*notes, (0, sysex(data, first)), (0, on(62, 64)), (480, bytes([62, 0]))]))) == 2


@pytest.mark.parametrize("length", range(5))
def test_running_status_after_a_meta_event(length: int) -> None:
    """Against the standard, but common, and read rightly."""
    text = b"\xff\x01" + bytes([length]) + b"x" * length
    assert len(read_midi(midi([(0, on(60, 64)), (0, text), (480, bytes([60, 0]))]))) == 1


@pytest.mark.parametrize("data", [b"", b"\7", b"\7\xa1", b"\7\xa1\x20\0"])
def test_a_tempo_has_three_bytes(data: bytes) -> None:
    with pytest.raises(DataError, match=f"a tempo of {len(data)} bytes"):
        read_midi(midi([(0, b"\xff\x51" + bytes([len(data)]) + data), *NOTE]))


@pytest.mark.parametrize("length", [b"\x80\3", b"\x80\x80\3", b"\x80\x80\x80\3"])
def test_a_tempo_whose_length_has_leading_zeros(length: bytes) -> None:
    with pytest.raises(DataError, match="tempo whose length is written with leading zeros"):
        read_midi(midi([(0, b"\xff\x51" + length + b"\x0f\x42\x40"), *NOTE]))


def test_a_tempo_is_not_zero() -> None:
    with pytest.raises(DataError, match="a tempo of 0"):
        read_midi(midi([(0, tempo(0)), *NOTE]))


@pytest.mark.parametrize("form", [3, 255, 65535])
def test_formats_that_there_are_not_are_refused(form: int) -> None:
    raw = bytearray(midi(NOTE))
    raw[8:10] = form.to_bytes(2, "big")
    with pytest.raises(DataError, match=f"its header says MIDI format {form}, and there are only 0, 1 and 2$"):
        read_midi(bytes(raw))


@pytest.mark.parametrize("division", [0x8000, 0xE728, 0xE250, 0xFFFF])
def test_times_in_frames_are_refused(division: int) -> None:
    with pytest.raises(DataError, match=r"its times are frames of film \(SMPTE\), not parts of a quarter note"):
        read_midi(midi(NOTE, division=division))


def test_independent_sequences_are_refused() -> None:
    raw = bytearray(midi(NOTE, NOTE))
    raw[9] = 2
    with pytest.raises(DataError, match="format 2"):
        read_midi(bytes(raw))


@pytest.mark.parametrize("announced", [0, 1, 2, 4])
def test_no_track_is_lost_silently(announced: int) -> None:
    raw = bytearray(midi(NOTE, NOTE, NOTE))
    raw[11] = announced
    with pytest.raises(DataError, match=f"announces {announced} tracks, it holds 3"):
        read_midi(bytes(raw))


@pytest.mark.parametrize("single", [0xF6, 0xF8, 0xFA, 0xFE])
def test_messages_without_data_lose_no_notes(single: int) -> None:
    """A clock or active sensing in a file: the parser passed over all that followed in running status."""
    before, after = [(0, on(60, 64)), (10, on(60, 0))], [(0, on(62, 64)), (10, on(62, 0))]
    assert len(read_midi(midi([*before, (0, bytes([single])), *after]))) == 2
    for between in range(10):  # meta events, such as a marker or a tempo, behind which the parser goes on with running status
        running = [*before, (0, bytes([single])), *[(0, tempo(500_000))] * between, *((time, event[1:]) for time, event in after)]
        with pytest.raises(DataError, match="a status byte is missing"):
            read_midi(midi(running))


@pytest.mark.parametrize("first", [0xF1, 0xF2, 0xF3])
def test_messages_that_no_file_may_hold(first: int) -> None:
    with pytest.raises(DataError, match=f"begins with 0x{first:02X}"):
        read_midi(midi([*NOTE, (0, bytes([first, 1, 1][: 2 + (first == 0xF2)])), *NOTE]))
    with pytest.raises(DataError, match="an event begins with 0xF"):  # without its data
        read_midi(midi([*NOTE, (0, bytes([first])), *((delta, event[1:]) for delta, event in NOTE)]))


def test_bytes_that_only_look_like_events() -> None:
    """High bytes in times, texts and tempos: the file is read."""
    text = b"\xff\x01\x06\xf0\xf7\xff\x51\xf1\xf2"
    track = [(0, text), (0x3981, on(60, 64)), (0x3B80, off(60)), (0, tempo(0x07F0F1)), (0x3C05, on(62, 64)), (9, off(62))]
    assert len(read_midi(midi(track))) == 2


def test_only_drums() -> None:
    with pytest.raises(DataError, match="only drums"):
        read_midi(midi([(0, on(36, 64, 9)), (480, off(36, 9))]))


def test_programs_set_by_another_track() -> None:
    setup = [(0, program(40)), (0, program(0, 1)), (960, program(3))]
    track = [(0, on(60, 64)), (240, off(60)), (0, on(72, 64, 1)), (240, off(72, 1)), (480, on(64, 64)), (480, off(64))]
    raw = midi(setup, track)
    assert read_midi(raw).pitch.tolist() == [60, 72, 64]
    assert read_midi(raw, range(8)).pitch.tolist() == [72, 64]
    assert read_midi(raw, range(40, 48)).pitch.tolist() == [60]


def test_a_note_of_another_program_ends_no_other(tmp_path: Path) -> None:
    """The violin's note begins and ends while the piano's of that pitch sounds."""
    track = [(0, on(60, 64)), (240, on(60, 80)), (240, off(60)), (480, off(60))]
    raw = midi([(0, program(0)), (120, program(40))], track)
    assert read_midi(raw, range(8)).duration.tolist() == [0.5]
    assert read_midi(raw, range(40, 48)).duration.tolist() == [0.75]
    endless = midi([(0, program(0)), (120, program(40))], [(0, on(62, 64)), (240, on(62, 80)), *NOTE])
    assert len(read_midi(endless, range(8))) == 0


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([0, 40])), max_size=4),
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(60, 61), st.integers(1, 127)), min_size=1, max_size=8),
)
def test_programs_of_another_track_are_as_those_of_the_own(changes: list[tuple[int, int]], notes: list[tuple[int, ...]]) -> None:
    """Also where notes of one pitch overlap."""

    def track(*parts: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        events = sorted((event for part in parts for event in part), key=lambda event: event[0])
        ticks = [0, *(tick for tick, _ in events)]
        return [(240 * (tick - before), content) for before, (tick, content) in zip(ticks, events, strict=False)]

    setting = [(tick, program(number)) for tick, number in sorted(changes, key=lambda change: change[0])]
    ends = [(onset + length, off(pitch)) for onset, length, pitch, _ in notes]
    begins = [(onset, on(pitch, velocity)) for onset, _, pitch, velocity in notes]

    def read(*tracks: list[tuple[int, bytes]]) -> object:
        try:
            found = read_midi(midi(*tracks), range(8))
        except DataError:
            return None
        return sorted(
            zip(found.onset.tolist(), found.pitch.tolist(), found.duration.tolist(), found.velocity.tolist(), strict=True)
        )

    assert read(track(setting), track(ends, begins)) == read(track(setting, ends, begins))


@pytest.mark.parametrize(("port", "program_0", "program_40"), [(0, [], [50, 72]), (1, [72], [50])])
def test_a_port_has_channels_of_its_own(port: int, program_0: list[int], program_40: list[int]) -> None:
    first = [(0, b"\xff\x21\x01\0"), (0, program(40)), (0, on(50, 64)), (480, off(50))]
    second = [(0, bytes([0xFF, 0x21, 1, port])), (0, on(72, 64)), (480, off(72))]
    assert read_midi(midi(first, second), {0}).pitch.tolist() == program_0
    assert read_midi(midi(first, second), {40}).pitch.tolist() == program_40


def test_a_tracks_own_program_takes_precedence() -> None:
    """Sequencers that write every track on channel 1 mean each track's own instrument."""
    raw = midi([(0, program(40)), *NOTE], [(0, program(0)), (0, on(72, 64)), (480, off(72))])
    assert read_midi(raw, range(8)).pitch.tolist() == [72]
    assert read_midi(raw, range(40, 48)).pitch.tolist() == [60]


def test_durations_far_behind_a_slow_tempo() -> None:
    """A piece of 23 hours, then the fastest tempo: a tick is hardly longer than the resolution of the onsets."""
    wait = [(16383, b"\xff\x01\0")] * 10_000
    body = [event for i in range(64) for event in ((1, on(100 - i % 40, 64)), (1, off(100 - i % 40)))]
    notes = read_midi(midi([(0, tempo(0xFFFFFF)), *wait, (0, tempo(1)), *body], division=32767))
    assert len(notes) == 64
    assert notes.duration.tolist() == pytest.approx([1e-6 / 32767] * 64, rel=1e-9)


def test_a_file_of_four_gibibytes_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sparse.mid"
    with path.open("wb") as file:
        file.truncate(4 << 30)
    with pytest.raises(DataError, match="too large"):
        read_midi(path)
    with pytest.raises(DataError, match="not a file"):
        read_midi(Path("/dev/zero"))
    assert MOST_BYTES < 1 << 25


@pytest.mark.parametrize("pedal", [False, True])
@pytest.mark.parametrize(
    "raw",
    [
        midi([(0, b"\xf0" * 400_000)]),
        midi(*[[]] * 60_000, [(0, sysex(b"\xf7"))] * 20_000),
        midi(*[[(0, on(60, 64)), (0, program(1))]] * 20_000),
        midi(
            *[[(0, bytes([0xFF, 0x21, 1, i // 16])), (0, on(60, 64, i % 16)), (9, off(60, i % 16))] for i in range(2_048)],
            *[[(0, bytes([0xB0 | c, 64, 0])) for c in range(16)]] * 5_000,
        ),
    ],
    ids=["lengths without an end", "SysEx events behind many tracks", "programs in many tracks", "pedals of many instruments"],
)
def test_no_small_file_takes_long(raw: bytes, pedal: bool) -> None:
    """The time is proportional to the file's size, whatever it holds."""
    start = time.process_time()
    with contextlib.suppress(DataError):
        read_midi(raw, range(8), pedal=pedal)
    assert time.process_time() - start < 5


ENDS = [(0, off(pitch, channel)) for channel in range(16) for pitch in range(128)]


@pytest.mark.parametrize(
    ("tracks", "pedal"),
    [
        ([[(0, program(0))], NOTE, *[ENDS] * 256], False),
        ([[(0, program(0))], NOTE * 180_000], False),
        ([[(0, program(0)), (1, program(1))] * 250_000, NOTE], False),
        ([[(0, program(0)), *NOTE, *[(1, bytes([0xB0, 64, value])) for value in (0, 127)] * 180_000]], True),
    ],
    ids=["ends of notes that never begin", "notes", "changes of program", "a restless pedal"],
)
def test_no_small_file_takes_much_memory(tracks: list[list[tuple[int, bytes]]], pedal: bool) -> None:
    """Of 16 MiB, the first took 4.3 GB, for which a system ended the process that read it."""
    raw = midi(*tracks)
    assert len(raw) < 3 << 20
    with memory_limited(120 << 20):
        assert len(read_midi(raw, range(8), pedal=pedal)) > 0


def test_each_event_is_looked_at_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another track may set the programs of all sixteen channels, and each is set late."""
    late = [(0, bytes([0xB0, 7, 64]))] * 2_000
    raw = midi(*[[*late, *((0, message) for c in range(16) for message in (program(40, c), on(60, 64, c), off(60, c)))]] * 3)
    walked, walk = [], smf.events

    def counted(raw: bytes, span: smf.Span) -> Iterator[smf.Event]:
        for event in walk(raw, span):
            walked.append(event)
            yield event

    monkeypatch.setattr(smf, "events", counted)
    assert len(read_midi(raw, range(8))) == 0
    assert len(walked) <= 2 * 3 * (2_000 + 16 * 3 + 1)


@given(st.data())
def test_every_event_is_found(data: st.DataObject) -> None:
    """The event walk and the parser agree on files with any mixture of events."""
    notes = st.builds(lambda p: ((0, on(p, 64)), (30, off(p))), st.integers(0, 127))
    others = st.builds(lambda body: ((0, sysex(body)),), st.binary(max_size=9))
    texts = st.builds(lambda body: ((5, b"\xff\x01" + bytes([len(body)]) + body),), st.binary(max_size=9))
    track = [event for some in data.draw(st.lists(st.one_of(notes, others, texts), max_size=30)) for event in some]
    raw = midi(track)
    (span,) = smf.tracks(raw)
    assert [raw[event.at] for event in smf.events(raw, span)] == [message[0] for _, message in track] + [0xFF]
    assert len(read_midi(raw)) == sum(message[0] == 0x90 for _, message in track)


def quantity(value: int) -> bytes:
    """A quantity of any length, also one that is too long for a file."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def timed(events: list[tuple[int, bytes]], division: int = 480) -> bytes:
    """A file of one track with deltas of any size."""
    body = b"".join(quantity(delta) + message for delta, message in [*events, (0, b"\xff\x2f\0")])
    return chunk(b"MThd", b"\0\0\0\1" + division.to_bytes(2, "big")) + chunk(b"MTrk", body)


MARK = b"\xff\x01\0"
LONG = (1 << 28) - 1


@pytest.mark.parametrize(
    "gaps",
    [[LONG] * 8 + [8], [LONG] * 16 + [116], [(1 << 21) - 1] * 1025, [(1 << 14) - 1] * ((1 << 17) + 10)],
    ids=["2^31", "2^32", "three bytes", "two bytes"],
)
def test_more_ticks_than_the_parser_counts(gaps: list[int]) -> None:
    """They would wrap, and the notes behind them lie at the beginning, or be lost."""
    behind = [*((gap, MARK) for gap in gaps), (0, on(62, 64)), (10, off(62))]
    with pytest.raises(DataError, match="lasts 2\\^31 ticks or more"):
        read_midi(timed([(0, tempo(1)), (0, on(60, 64)), (10, off(60)), *behind]))


def test_the_last_tick_that_the_parser_counts() -> None:
    gaps = [(LONG, MARK)] * 8 + [((1 << 31) - 1 - 8 * LONG, off(60))]
    notes = read_midi(timed([(0, tempo(1)), (0, on(60, 64)), *gaps], 32767))
    assert notes.duration.tolist() == pytest.approx([((1 << 31) - 1) * 1e-6 / 32767])


def test_a_delta_of_five_bytes() -> None:
    with pytest.raises(DataError, match="not a MIDI file that can be parsed"):
        read_midi(timed([(0, on(60, 64)), (10, off(60)), (1 << 28, on(62, 64)), (10, off(62))]))
