"""bench.music.midi: MIDI to Notes and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import DataError, MachineError
from bench.music.codec import NoteCodec
from bench.music.isolation import Reader, death, isolated
from bench.music.midi import midi_bytes, read_midi
from bench.music.notes import LONGEST, Notes, check_columns
from bench.music.reading import Selection, read_midi_file
from bench.music.smf import MOST_INSTRUMENTS
from bench.runner.prepare import write_midi

TICK = 60 / 120 / 480


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "big") + body


def midi(*tracks: list[tuple[int, bytes]], division: int = 480) -> bytes:
    """A file from (delta below 16384, message) lists, by the standard alone: no library under test writes it."""
    head = chunk(b"MThd", (1).to_bytes(2, "big") + len(tracks).to_bytes(2, "big") + division.to_bytes(2, "big"))
    out = [head]
    for track in tracks:
        body = b"".join(bytes([0x80 | d >> 7, d & 0x7F]) + m for d, m in [*track, (0, b"\xff\x2f\x00")])
        out.append(chunk(b"MTrk", body))
    return b"".join(out)


def tempo(micros: int) -> bytes:
    return b"\xff\x51\x03" + micros.to_bytes(3, "big")


def on(pitch: int, velocity: int, channel: int = 0) -> bytes:
    return bytes([0x90 | channel, pitch, velocity])


def off(pitch: int, channel: int = 0) -> bytes:
    return bytes([0x80 | channel, pitch, 0])


def program(number: int, channel: int = 0) -> bytes:
    return bytes([0xC0 | channel, number])


def test_hand_made_file() -> None:
    notes = read_midi(midi([(0, on(60, 64)), (480, off(60)), (240, on(67, 1)), (0, on(62, 127)), (960, off(62)), (0, off(67))]))
    assert notes.onset.tolist() == [0.0, 0.75, 0.75]
    assert notes.duration.tolist() == [0.5, 1.0, 1.0]
    assert notes.pitch.tolist() == [60, 62, 67]
    assert notes.velocity.tolist() == [64, 127, 1]
    assert notes.onset.dtype == np.float64


def test_tempo_changes() -> None:
    track = [(0, tempo(500_000)), (480, on(60, 64)), (240, tempo(1_000_000)), (240, off(60)), (480, on(61, 64)), (480, off(61))]
    notes = read_midi(midi(track))
    assert notes.onset.tolist() == pytest.approx([0.5, 2.25], abs=1e-12)
    assert notes.duration.tolist() == pytest.approx([0.75, 1.0], abs=1e-12)


@pytest.mark.parametrize("number", [3, 16, 17, 23, 24, 60, 300])
@pytest.mark.parametrize("tracks", [1, 3])
def test_of_many_tempos_at_one_tick_the_last_applies_too(number: int, tracks: int) -> None:
    """The parser sorts tempos by their ticks, and where they are many changes the order of those at one tick."""
    rng = np.random.default_rng(number)
    wrong = 0
    for _ in range(20):
        ticks = np.sort(rng.integers(0, max(2, number // 2), number)) * 10
        micros = rng.integers(100_000, 2_000_000, number)
        track = rng.integers(0, tracks, number)
        music = [
            [(int(gap), tempo(int(m))) for gap, m in zip(np.diff(ticks[track == i], prepend=0), micros[track == i], strict=True)]
            for i in range(tracks)
        ]
        last = int(ticks[-1])
        order = np.lexsort((np.arange(number), track, ticks))
        lasting = np.full(last, 500_000.0)
        for tick, m in zip(ticks[order], micros[order], strict=True):
            lasting[tick:] = m
        notes = read_midi(midi(*music, [(last, on(60, 64)), (480, off(60))]))
        wrong += notes.onset[0] != pytest.approx(lasting.sum() * 1e-6 / 480)
    assert wrong == 0


def test_before_the_first_tempo_120_holds() -> None:
    notes = read_midi(midi([(0, on(60, 64)), (480, off(60)), (0, tempo(1_000_000)), (0, on(61, 64)), (480, off(61))]))
    assert notes.onset.tolist() == pytest.approx([0.0, 0.5])
    assert notes.duration.tolist() == pytest.approx([0.5, 1.0])


def test_drums_are_removed() -> None:
    track = [(0, on(60, 64)), (0, on(36, 100, channel=9)), (480, off(60)), (0, off(36, channel=9))]
    assert read_midi(midi(track)).pitch.tolist() == [60]


def test_programs() -> None:
    violin = [(0, program(40)), (0, on(70, 64)), (480, off(70))]
    harpsichord = [(0, program(6, 1)), (0, on(50, 64, 1)), (480, off(50, 1))]
    both = midi(violin, harpsichord)
    assert read_midi(both).pitch.tolist() == [50, 70]
    assert read_midi(both, range(8)).pitch.tolist() == [50]
    assert len(read_midi(both, range(56, 64))) == 0


def test_names_of_tracks() -> None:
    def track(name: bytes, pitch: int, *more: tuple[int, bytes]) -> list[tuple[int, bytes]]:
        return [*more, (0, b"\xff\x03" + bytes([len(name)]) + name), (0, on(pitch, 64)), (480, off(pitch))]

    raw = midi(track(b"MELODY", 70, (0, tempo(1_000_000))), track(b" Bridge ", 60), track(b"\xff\xfe", 50), track(b"", 40))
    assert read_midi(raw).pitch.tolist() == [40, 50, 60, 70]
    assert read_midi(raw, names=("bridge", "melody")).pitch.tolist() == [60, 70]
    assert read_midi(raw, names=("bridge",)).duration.tolist() == [1.0], "the tempo of another track applies"
    assert len(read_midi(raw, names=("piano",))) == len(read_midi(raw, names=())) == 0
    assert len(read_midi(raw, range(40, 48), ("melody",))) == 0
    with isolated():
        assert read_midi(raw, names=("bridge", "melody")).pitch.tolist() == [60, 70]


@pytest.mark.parametrize(
    "read",
    [
        "from bench.music.isolation import isolated\nfrom bench.music.midi import read_midi\n"
        "def read(path):\n    with isolated():\n        return [read_midi(path)]\n",
        "from bench.music.reading import Selection\nfrom bench.runner.reading import PooledReading\n"
        "def read(path):\n    return [r.notes for r in PooledReading(path.parent / 'parts', 2, 0)([path], Selection())]\n",
    ],
    ids=["score", "corpus"],
)
def test_a_reader_imports_nothing_from_the_current_folder(tmp_path: Path, read: str) -> None:
    """Which may be full of what others made, as for `bench score`."""
    (tmp_path / "here").mkdir()
    for name in ("signal", "socket", "pickle"):
        (tmp_path / "here" / f"{name}.py").write_text("open('ran', 'w')\n")
    (tmp_path / "note.mid").write_bytes(midi([(0, on(60, 64)), (480, off(60))]))
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys\nfrom pathlib import Path\n{read}if __name__ == '__main__':\n    print(*map(len, read(Path(sys.argv[1]))))\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [sys.executable, program, tmp_path / "note.mid"], cwd=tmp_path / "here", env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
    assert not (tmp_path / "here" / "ran").exists()


def test_tracks_are_merged_in_order() -> None:
    merged = read_midi(
        midi([(480, on(60, 64)), (480, off(60))], [(0, on(72, 64, 1)), (480, off(72, 1)), (0, on(40, 5, 1)), (9, off(40, 1))])
    )
    assert merged.pitch.tolist() == [72, 40, 60]
    assert merged.onset.tolist() == [0.0, 0.5, 0.5]


def test_one_key_struck_while_it_is_down() -> None:
    notes = read_midi(midi([(0, on(60, 50)), (240, on(60, 70)), (240, off(60)), (480, off(60))]))
    assert notes.onset.tolist() == [0.0, 0.25]
    assert notes.velocity.tolist() == [50, 70]
    assert sorted((notes.onset + notes.duration).tolist()) == pytest.approx([0.5, 1.0])


def test_no_length_and_empty() -> None:
    assert len(read_midi(midi([(0, on(60, 64)), (0, off(60))]))) == 0
    assert len(read_midi(midi([]))) == 0


@pytest.mark.parametrize(
    "raw", [b"", b"MThd", b"<!DOCTYPE html><html></html>", b"RIFF" + bytes(60), midi([(0, on(60, 64))])[:20]]
)
def test_garbage_is_a_data_error(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a MIDI file"):
        read_midi(raw)
    path = tmp_path / "garbage.mid"
    path.write_bytes(raw)
    with pytest.raises(DataError, match="not a MIDI file"):
        read_midi(path)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_are_notes_or_a_data_error(junk: bytes, at: int) -> None:
    whole = midi([(0, tempo(500_000)), (10, on(60, 64)), (480, off(60)), (5, on(64, 3)), (7, off(64))])
    for raw in (junk, whole[:at] + junk + whole[at:], whole[:at] + junk[:9] + whole[at + 9 :]):
        try:
            notes = read_midi(raw)
        except DataError:
            continue
        check_columns(notes.onset, notes.duration, notes.pitch, notes.velocity)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_midi(tmp_path / "nowhere.mid")


@st.composite
def playable(draw: st.DrawFn) -> Notes:
    """Notes that a keyboard can hold: no key struck within 3 ticks of its last strike or while it is down."""
    rows = []
    for pitch in draw(st.lists(st.integers(0, 127), unique=True, max_size=6)):
        at = draw(st.floats(0, 5))
        for _ in range(draw(st.integers(1, 6))):
            length = draw(st.floats(3 * TICK, 3))
            rows.append((at, length, pitch, draw(st.integers(1, 127))))
            at += length + draw(st.floats(3 * TICK, 2))
    return Notes.from_columns(*(np.array(c) for c in zip(*rows, strict=True))) if rows else Notes.from_columns([], [], [], [])


def by_key(notes: Notes) -> np.ndarray:
    return np.lexsort((notes.onset, notes.pitch))


@given(playable())
def test_round_trip_within_a_tick(notes: Notes) -> None:
    back = read_midi(midi_bytes(notes))
    assert len(back) == len(notes)
    a, b = by_key(notes), by_key(back)
    assert np.array_equal(notes.pitch[a], back.pitch[b])
    assert np.array_equal(notes.velocity[a], back.velocity[b])
    np.testing.assert_allclose(back.onset[b], notes.onset[a], atol=TICK)
    np.testing.assert_allclose(back.duration[b], notes.duration[a], atol=TICK * 1.01)


def in_ticks(notes: Notes) -> list[tuple[int, int, int, int]]:
    """Onset, pitch, velocity and length of each note as a file holds them, in a file's order."""
    rows = []
    for onset, length, pitch, velocity in zip(notes.onset, notes.duration, notes.pitch, notes.velocity, strict=True):
        start = round(onset / TICK)
        rows.append((start, int(pitch), int(velocity), max(round((onset + length) / TICK) - start, 1)))
    return sorted(rows, key=lambda row: row[:2])


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(1e-5, 2), st.integers(60, 62), st.integers(1, 127)), max_size=60))
def test_notes_of_one_pitch_that_overlap_are_all_kept(rows: list[tuple[float, float, int, int]]) -> None:
    notes = Notes.from_columns(*(np.array(c) for c in zip(*rows, strict=True))) if rows else Notes.from_columns([], [], [], [])
    assert in_ticks(read_midi(midi_bytes(notes))) == in_ticks(notes)


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 127), st.integers(0, 63), st.integers(0, 63)), max_size=40))
def test_what_the_shared_codec_decodes_keeps_its_order(codes: list[tuple[int, int, int, int]]) -> None:
    notes = NoteCodec().decode(np.array(codes, np.int64).reshape(-1, 4))
    back = read_midi(midi_bytes(notes))
    assert back.pitch.tolist() == notes.pitch.tolist()
    assert back.velocity.tolist() == notes.velocity.tolist()
    np.testing.assert_allclose(back.onset, notes.onset, atol=TICK)
    np.testing.assert_allclose(back.duration, notes.duration, atol=TICK * 1.01)


def test_forty_equal_notes() -> None:
    notes = Notes.from_columns([0.5] * 40, np.arange(1, 41) / 10, [60] * 40, range(1, 41))
    assert in_ticks(read_midi(midi_bytes(notes))) == in_ticks(notes)


def test_of_more_notes_of_one_pitch_than_a_file_may_have_at_once_the_first_are_written() -> None:
    """400,000 are 12 kB in a run folder of others, and took half an hour; of 5,000 the file was refused."""
    n = 400_000
    notes = Notes.from_columns(np.zeros(n), np.ones(n), np.full(n, 60), np.full(n, 80))
    before = time.process_time()
    back = read_midi(midi_bytes(notes))
    assert len(back) == MOST_INSTRUMENTS
    assert time.process_time() - before < 60


def test_tempo() -> None:
    notes = Notes.from_columns([0.0, 0.5], [0.4, 0.4], [60, 62], [64, 65])
    back = read_midi(midi_bytes(notes, tempo=90))
    np.testing.assert_allclose(back.onset, notes.onset, atol=60 / 90 / 480)


def test_write_midi(tmp_path: Path) -> None:
    notes = Notes.from_columns([0.0, 0.5, 1.0], [0.4, 0.4, 0.4], [60, 62, 64], [64, 65, 66])
    write_midi(tmp_path / "deep" / "x.mid", notes[:2], notes[2:])
    assert read_midi(tmp_path / "deep" / "x.mid").pitch.tolist() == [60, 62, 64]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.mid"]


@pytest.mark.parametrize(("ticks", "holds"), [(16383 * 3, True), (16383 * 8, False)])
def test_a_note_that_lasts_too_long(ticks: int, holds: bool) -> None:
    """Its onset is small: the length is checked too."""
    gaps = [(16383, b"\xff\x01\0")] * (ticks // 16383)
    raw = midi([(0, tempo(1_000_000)), (0, on(60, 64)), *gaps, (0, off(60))], division=1)
    if holds:
        check_columns(*(getattr(read_midi(raw), name) for name in ("onset", "duration", "pitch", "velocity")))
    else:
        with pytest.raises(DataError, match="begins after, or lasts, 100,000 s or more"):
            read_midi(raw)


def test_the_longest_times_are_read_back() -> None:
    last = LONGEST - 1
    notes = read_midi(midi_bytes(Notes.from_columns([0.0, last], [last, last], [60, 62], [80, 80])))
    assert (notes.onset.tolist(), notes.duration.tolist()) == (pytest.approx([0.0, last]), pytest.approx([last, last]))


def test_a_tempo_at_which_no_file_holds_the_notes() -> None:
    with pytest.raises(DataError, match="ends at 90,000 s; a MIDI file at this tempo holds 5,592 s"):
        midi_bytes(Notes.from_columns([0.0], [9e4], [60], [80]), tempo=6000)


def test_an_endless_orchestra_is_refused() -> None:
    def ensemble(tracks: int) -> bytes:
        track = [e for p in range(128) for c in range(16) for e in ((0, program(p, c)), (0, on(60, 64, c)), (10, off(60, c)))]
        return midi(*[track] * tracks)

    assert len(read_midi(ensemble(2))) == 2 * 128 * 15  # channel 10 has drums
    with pytest.raises(DataError, match="more than 4,096 instruments"):
        read_midi(ensemble(3))


def test_an_endless_orchestra_without_changes_of_program_is_refused() -> None:
    """The parser takes 5.6 KB for each channel of each track that plays: a file of 9 MB had a million."""
    track = [e for channel in range(16) for e in ((0, on(60, 64, channel)), (10, off(60, channel)))]
    assert len(read_midi(midi(*[track] * 256))) == 256 * 15
    with pytest.raises(DataError, match="more than 4,096 instruments"):
        read_midi(midi(*[track] * 257))


def test_a_long_name_of_many_instruments_is_refused() -> None:
    """The parser copies it for each: 1.4 MB took all memory of a small machine, and no command could read the folder any more."""

    def named(size: int, instruments: int) -> bytes:
        length = bytes([size >> 21 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size & 0x7F])
        places = [(p, c) for p in range(128) for c in range(9)][:instruments]
        notes = [e for p, c in places for e in ((0, program(p, c)), (0, on(60, 64, c)), (10, off(60, c)))]
        return midi([(0, b"\xff\x03" + length + b"n" * size), *notes])

    assert len(read_midi(named(1 << 20, 64))) == 64
    with pytest.raises(DataError, match="names of 1,048,576 bytes for 65 instruments"):
        read_midi(named(1 << 20, 65))
    with pytest.raises(DataError, match="names of 65,536 bytes for 1,025 instruments"):
        read_midi(named(1 << 16, 1025))


def test_what_was_read_as_the_machine_refused_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system ends whatever reads one file, only its name tells which to take away."""

    def killed(*_: object) -> Notes:
        raise death(-signal.SIGKILL)

    monkeypatch.setattr("bench.music.midi._apart", killed)
    place = tmp_path / "huge.mid"
    place.write_bytes(midi([(0, on(60, 64)), (480, off(60))]))
    for read in (lambda: read_midi(place), lambda: read_midi_file(place, Selection())):
        with pytest.raises(MachineError, match="Out of memory") as refused:
            read()
        assert refused.value.hint.startswith(f"It was reading {place}, ")


def test_ctrl_c_in_a_terminal_is_not_the_readers() -> None:
    """Its traceback stood beside the sentence of the command that was stopped."""
    reader, content = Reader(), midi([(0, on(60, 64)), (480, off(60))])
    assert len(reader.read(content)) == 1
    assert reader._child is not None
    process = reader._child[0]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert len(reader.read(content)) == 1
    reader.close()
    assert process.exitcode == 0
