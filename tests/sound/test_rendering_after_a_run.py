"""Sound at the end of a run: one line, never an error."""

import pytest

from bench.benchmark import render_after_run

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
    assert text.startswith(f"sound: 5 of 6 clips rendered by {SYNTHESIZER.description}; 1 failed: not a MIDI file")


def test_a_refusal_of_the_machine_costs_the_sound_only(run, monkeypatch):
    monkeypatch.setenv("BENCH_SOUNDFONT", "/proc/self/mem")  # its first byte can't be read: EIO
    assert messages(run)[0].startswith("no sound: Input/output error. When that is fixed")
