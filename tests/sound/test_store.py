"""Clips in a run's folder."""

import json
import re

import numpy as np
import pytest

from bench.music.midi import midi_bytes, read_midi
from bench.music.notes import Notes
from bench.sound.after import render_after_run
from bench.sound.clips import Kept, kept, prompt_notes, render_run, slug, sources
from bench.sound.render import Failure, Rendered
from tests.report.stored_run import notes

from .made import FOUND, fake, needs_sound, run_with_midi


@pytest.fixture
def run(tmp_path):
    return run_with_midi(tmp_path / "run")


class TestSources:
    def test_originals_and_models_first_seed(self, run):
        found = [(s.piece, s.system, s.midi.relative_to(run).as_posix(), s.mp3.relative_to(run).as_posix()) for s in sources(run)]
        assert found == [
            (0, "original", "midi/target-000.mid", "sound/original/piece-000.mp3"),
            (0, "lstm", "trials/lstm-0/midi/piece-000.mid", "sound/lstm/piece-000.mp3"),
            (0, "gan", "trials/gan-0/midi/piece-000.mid", "sound/gan/piece-000.mp3"),
            (1, "original", "midi/target-001.mid", "sound/original/piece-001.mp3"),
            (1, "lstm", "trials/lstm-0/midi/piece-001.mid", "sound/lstm/piece-001.mp3"),
            (1, "gan", "trials/gan-0/midi/piece-001.mid", "sound/gan/piece-001.mp3"),
        ]

    def test_other_rows_if_asked_for(self, run):
        assert [s.system for s in sources(run, ["markov", "median"])][:3] == ["original", "median", "markov"]

    def test_nothing_if_no_model_is_done(self, run):
        assert sources(run, ["no such row"]) == []


class TestSlug:
    @pytest.mark.parametrize("name", ["lstm", "music-transformer", "lstm_2"])
    def test_a_plain_name_is_itself(self, name):
        assert slug(name) == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "..",
            "../../etc",
            "/etc/passwd",
            "LSTM",
            "original",
            "untrained lstm",
            "a" * 300,
            "\u202eevil",
            "-rf",
            "<b>",
            "音",
            "\ud800",
        ],
    )
    def test_any_other_is_safe(self, name):
        assert re.fullmatch(r"[a-z0-9-]{1,39}", slug(name))
        assert not slug(name).startswith("-")

    def test_names_stay_apart(self):
        names = ["lstm", "LSTM", "l stm", "l-stm", "l.stm", "original", "Original", "音", "楽"]
        assert len({slug(name) for name in names}) == len(names)


class TestPromptNotes:
    def test_they_are_found_in_a_file(self):
        prompt, rest = notes([40, 41]), notes([60, 62, 64, 66], start=1.0)
        read = read_midi(midi_bytes(Notes.concatenate([prompt, rest])))
        assert prompt_notes(read, prompt).tolist() == [True, True, False, False, False, False]

    def test_two_notes_on_one_key_at_once_are_one(self):
        prompt = Notes.from_columns([0.0, 0.0, 0.5], [0.25, 0.5, 0.25], [60, 60, 62], [80, 80, 80])
        assert prompt_notes(read_midi(midi_bytes(prompt)), prompt).all()

    def test_a_file_without_the_prompt(self):
        prompt = notes([40, 41])
        assert not prompt_notes(notes([40, 42, 43, 44]), prompt).any()
        assert not prompt_notes(prompt, prompt[:0]).any()
        assert prompt_notes(prompt[:0], prompt).shape == (0,)


class TestFailures:
    def test_the_reason_is_kept(self, run, tmp_path):
        renderer = fake(tmp_path, "echo 'no instruments' >&2; exit 3")
        made = render_run(run, renderer)
        assert {clip.result for clip in made} == {Failure("FluidSynth failed with exit code 3: no instruments")}
        assert kept(made[0].source) == "FluidSynth failed with exit code 3: no instruments"

    def test_after_one_that_hangs_nothing_is_tried(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr("bench.sound.clips.render", _stuck := Stuck())
        made = render_run(run, fake(tmp_path))
        assert _stuck.calls == 1
        assert made[0].result == Failure("FluidSynth took longer than 60 s", timed_out=True)
        assert {clip.result for clip in made[1:]} == {Failure("not tried, as FluidSynth took longer than 60 s")}

    def test_a_run_goes_on_without_programs(self, run, monkeypatch):
        monkeypatch.setenv("PATH", "")
        said = []
        render_after_run(run, said.append)
        assert len(said) == 1
        assert said[0]["text"].startswith("no sound: FFmpeg (ffmpeg) is not installed")
        assert "apt-get install" in said[0]["text"]
        assert not (run / "sound").exists()

    def test_a_run_goes_on_with_programs_that_fail(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr("bench.sound.after.find_renderer", lambda: fake(tmp_path, "exit 3"))
        said = []
        render_after_run(run, said.append)
        assert [event["text"] for event in said] == ["sound: 6 failed: FluidSynth failed with exit code 3: it said nothing"]

    def test_a_damaged_midi_file(self, run, tmp_path):
        (run / "midi" / "target-000.mid").write_bytes(b"MThd")
        made = render_run(run, fake(tmp_path))
        assert made[0].result.reason.startswith("not a MIDI file that can be parsed")

    @pytest.mark.parametrize("record", ["", "[]", "{}", '{"format": 2}', '{"format": 99}'])
    def test_a_damaged_record(self, run, record):
        source = sources(run)[0]
        source.folder.mkdir(parents=True)
        source.record.write_text(record)
        assert isinstance(kept(source), str)


class Stuck:
    """Stands for a program that takes a minute: what is tested is what happens then."""

    calls = 0

    def __call__(self, *_):
        self.calls += 1
        return Failure("FluidSynth took longer than 60 s", timed_out=True)


@needs_sound
class TestRealPrograms:
    def test_rendered_once(self, run):
        made = render_run(run, FOUND)
        assert all(isinstance(clip.result, Rendered) for clip in made)
        times = {clip.source.mp3: clip.source.mp3.stat().st_mtime_ns for clip in made}
        assert [clip.result for clip in render_run(run, FOUND)] == [None] * 6
        assert all(file.stat().st_mtime_ns == time for file, time in times.items())

    def test_again_gives_the_same_bytes(self, run):
        render_run(run, FOUND)
        before = {file: file.read_bytes() for file in (run / "sound").rglob("*.*")}
        assert len(before) == 6 * 3
        assert all(isinstance(clip.result, Rendered) for clip in render_run(run, FOUND, again=True))
        assert {file: file.read_bytes() for file in (run / "sound").rglob("*.*")} == before

    def test_other_notes_are_rendered_anew(self, run):
        render_run(run, FOUND)
        source = sources(run)[1]
        source.midi.write_bytes(midi_bytes(notes([50, 52, 54, 56])))
        assert kept(source) == "rendered from other notes: out of date"
        assert [clip.source for clip in render_run(run, FOUND) if clip.result] == [source]
        # Four notes without the prompt: 1.75 s and what rings, from the first note on.
        assert kept(source) == Kept(4.75, 0.0, 4.75)

    def test_the_excerpt_begins_before_the_prompt_ends(self, tmp_path):
        run = run_with_midi(tmp_path / "run")
        prompt = notes([40, 41])
        late = Notes.concatenate([prompt, notes([60, 62, 64, 66], start=30.0)])
        source = sources(run)[1]
        source.midi.write_bytes(midi_bytes(late))
        render_run(run, FOUND)
        assert kept(source) == Kept(pytest.approx(31.75 + 3), 26.0, pytest.approx(8.75))
        assert json.loads(source.record.read_text())["with"] == FOUND.words

    def test_what_is_said_after_a_run(self, run):
        said = []
        render_after_run(run, said.append)
        assert [event["text"] for event in said] == [f"sound: 6 of 6 clips rendered by {FOUND.words}"]
        render_after_run(run, said.append)
        assert len(said) == 1

    def test_no_note_is_a_reason(self, run):
        source = sources(run)[1]
        source.midi.write_bytes(midi_bytes(Notes.from_columns(*[np.empty(0)] * 4)))
        render_run(run, FOUND)
        assert kept(source) == "it holds no note"
