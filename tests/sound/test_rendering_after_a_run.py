"""Sound at the end of a run: one line, never an error."""

import os
import signal
from types import SimpleNamespace

import pytest
from symusic import Score

from bench.benchmark import render_after_run
from bench.errors import StoppedError
from bench.runner.processes import Signals

from .sample_run import SYNTHESIZER, run_with_midi


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_SOUNDFONT", raising=False)
    return run_with_midi(tmp_path / "run")


def messages(run):
    events = []
    render_after_run(run, events.append)
    assert all(event["event"] == "message" for event in events)
    return [event["text"] for event in events]


def test_clips_are_counted_once(run):
    assert messages(run) == [f"sound: 6 of 6 clips rendered by {SYNTHESIZER.description}"]
    assert messages(run) == []


def test_without_the_soundfont(run, monkeypatch):
    monkeypatch.setenv("BENCH_SOUNDFONT", "/no/font.sf2")
    assert messages(run)[0].startswith("no sound: The SoundFont /no/font.sf2 can't be read")
    assert not (run / "sound").exists()


def test_with_a_damaged_soundfont(run, tmp_path, monkeypatch):
    (tmp_path / "font.sf2").write_text("no SoundFont")
    monkeypatch.setenv("BENCH_SOUNDFONT", str(tmp_path / "font.sf2"))
    (text,) = messages(run)
    assert text.startswith(f"sound: 6 failed: {tmp_path / 'font.sf2'} can't be played")


def test_one_damaged_midi_file(run):
    (run / "midi" / "target-000.mid").write_bytes(b"MThd")
    (text,) = messages(run)
    assert text.startswith(f"sound: 5 of 6 clips rendered by {SYNTHESIZER.description}; 1 failed: its MIDI file is damaged")


def test_a_refusal_of_the_machine_costs_the_sound_only(run, monkeypatch):
    monkeypatch.setenv("BENCH_SOUNDFONT", "/proc/self/mem")  # its first byte can't be read: EIO
    assert messages(run)[0].startswith("no sound: Input/output error. When that is fixed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_is_no_damage_of_the_music(run, monkeypatch, number):
    parsed = []

    def parse(raw, ttype):
        parsed.append(raw)
        if len(parsed) == 2:
            os.kill(os.getpid(), number)
        return Score.from_midi(raw, ttype=ttype)

    monkeypatch.setattr("symusic.Score", SimpleNamespace(from_midi=parse))
    with Signals(), pytest.raises(StoppedError) as stopped:
        messages(run)
    assert (stopped.value.exit_code, len(parsed)) == (128 + number, 2)
    assert "Stopped" not in "".join(path.read_text() for path in run.rglob("*.json"))
