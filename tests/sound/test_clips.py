"""Clips in a run's folder."""

import json
import re
import tracemalloc

import numpy as np
import pytest

from bench.music.midi import midi_bytes, read_midi
from bench.music.notes import Notes
from bench.sound.clips import StoredClip, prompt_notes, render_run, slug, sources, stored_clip
from bench.sound.render import RECIPE
from bench.storage.files import FORMAT, write_json
from bench.system.disk import file_digest
from tests.report.stored_run import notes
from tests.storage.sealed import edited_json

from .sample_run import SYNTHESIZER, damaged, run_with_midi  # noqa: F401


@pytest.fixture
def run(tmp_path):
    return run_with_midi(tmp_path / "run")


class TestSources:
    def test_originals_and_models_first_seed(self, run):
        listed = [
            (s.piece, s.system, s.midi.relative_to(run).as_posix(), s.mp3.relative_to(run).as_posix()) for s in sources(run)
        ]
        assert listed == [
            (0, "original", "midi/target-000.mid", "sound/original/piece-000.mp3"),
            (0, "lstm", "trials/lstm-0/midi/piece-000.mid", "sound/lstm/piece-000.mp3"),
            (0, "gan", "trials/gan-0/midi/piece-000.mid", "sound/gan/piece-000.mp3"),
            (1, "original", "midi/target-001.mid", "sound/original/piece-001.mp3"),
            (1, "lstm", "trials/lstm-0/midi/piece-001.mid", "sound/lstm/piece-001.mp3"),
            (1, "gan", "trials/gan-0/midi/piece-001.mid", "sound/gan/piece-001.mp3"),
        ]

    def test_other_rows_if_asked_for(self, run):
        assert [s.system for s in sources(run, ["ngram", "median"])][:3] == ["original", "median", "ngram"]

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

    def test_long_prompts_are_not_compared_note_by_note(self):
        each = np.ones(100_000)
        many = Notes.from_columns(each.cumsum() / 2, each / 4, 40 + each % 2, 80 * each)
        tracemalloc.start()
        assert prompt_notes(many, many).all()
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
        tracemalloc.stop()

    def test_a_file_without_the_prompt(self):
        prompt = notes([40, 41])
        assert not prompt_notes(notes([40, 42, 43, 44]), prompt).any()
        assert not prompt_notes(prompt, prompt[:0]).any()
        assert prompt_notes(prompt[:0], prompt).shape == (0,)


class TestFailures:
    def test_a_clip_that_is_made_again_in_vain_stays(self, run, damaged):  # noqa: F811
        before = {outcome.source: stored_clip(outcome.source) for outcome in render_run(run, SYNTHESIZER)}
        assert all(outcome.error for outcome in render_run(run, damaged, again=True))
        assert {source: stored_clip(source) for source in before} == before
        assert not any(isinstance(clip, str) for clip in before.values())

    def test_the_reason_is_kept(self, run, damaged):  # noqa: F811
        outcomes = render_run(run, damaged)
        assert len(outcomes) == 6
        for outcome in outcomes:
            assert outcome.error.startswith(f"{damaged.soundfont} can't be played")
            assert (outcome.rendered, stored_clip(outcome.source)) == (False, outcome.error)

    def test_midi_of_a_piece_that_is_not_held_out_is_left_alone(self, run):
        (run / "midi" / "target-999.mid").write_bytes((run / "midi" / "target-000.mid").read_bytes())
        assert len(render_run(run, SYNTHESIZER)) == 6

    def test_one_damaged_midi_file_costs_one_clip(self, run):
        (run / "midi" / "target-000.mid").write_bytes(b"MThd")
        outcomes = render_run(run, SYNTHESIZER)
        assert outcomes[0].error == "its MIDI file is damaged"
        assert all(outcome.rendered for outcome in outcomes[1:])

    def test_a_folder_that_cannot_be_written_costs_its_clips(self, run, monkeypatch):
        def full(notes, cuts, synthesizer):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("bench.sound.clips.render", full)
        assert {outcome.error for outcome in render_run(run, SYNTHESIZER)} == {"[Errno 28] No space left on device"}

    @pytest.mark.parametrize("record", ["", "[]", "{}", '{"format": 2}', '{"format": 99}'])
    def test_a_damaged_record(self, run, record):
        source = sources(run)[0]
        source.folder.mkdir(parents=True)
        source.record.write_text(record)
        assert isinstance(stored_clip(source), str)


class TestRendering:
    def test_rendered_once(self, run):
        outcomes = render_run(run, SYNTHESIZER)
        assert all(outcome.rendered for outcome in outcomes)
        times = {outcome.source.mp3: outcome.source.mp3.stat().st_mtime_ns for outcome in outcomes}
        assert not any(outcome.rendered or outcome.error for outcome in render_run(run, SYNTHESIZER))
        assert all(file.stat().st_mtime_ns == time for file, time in times.items())

    def test_again_gives_the_same_bytes(self, run):
        render_run(run, SYNTHESIZER)
        before = {file: file.read_bytes() for file in (run / "sound").rglob("*.*")}
        assert len(before) == 6 * 3
        assert all(outcome.rendered for outcome in render_run(run, SYNTHESIZER, again=True))
        assert {file: file.read_bytes() for file in (run / "sound").rglob("*.*")} == before

    def test_a_clip_of_an_older_recipe_is_rendered_anew(self, run):
        render_run(run, SYNTHESIZER)
        source = sources(run)[1]
        with edited_json(source.record) as record:
            record["recipe"] = 1
        assert str(stored_clip(source)).startswith("out of date")
        assert [outcome.source for outcome in render_run(run, SYNTHESIZER) if outcome.rendered] == [source]

    @pytest.mark.parametrize("name", ["seconds", "excerpt_start", "excerpt_seconds"])
    @pytest.mark.parametrize("value", ["nan", "inf", "1.0", True, None, -5, 1e308, 10**400], ids=lambda v: str(v)[:5])
    def test_a_record_of_no_time_is_damaged(self, run, name, value):
        """Its checksum is right: a run that was received may hold anything."""
        source = sources(run)[0]
        source.folder.mkdir(parents=True)
        for file in (source.mp3, source.excerpt):
            file.write_bytes(b"sound")
        sound = file_digest(source.mp3)
        times = {"seconds": 4.0, "excerpt_start": 0.0, "excerpt_seconds": 4.0}
        record = {"format": FORMAT, "recipe": RECIPE, "midi": file_digest(source.midi), "digests": [sound, sound], **times}
        write_json(source.record, record)
        assert stored_clip(source) == StoredClip(**times)
        write_json(source.record, record | {name: value})
        assert stored_clip(source) == "damaged"

    def test_other_notes_are_rendered_anew(self, run):
        render_run(run, SYNTHESIZER)
        source = sources(run)[1]
        source.midi.write_bytes(midi_bytes(notes([50, 52, 54, 56])))
        assert stored_clip(source) == "out of date: rendered from other notes, or by an older version"
        assert [outcome.source for outcome in render_run(run, SYNTHESIZER) if outcome.rendered] == [source]
        # Four notes without the prompt: 1.75 s and what rings, from the first note on.
        assert stored_clip(source) == StoredClip(4.75, 0.0, 4.75)

    def test_a_clip_of_notes_that_are_not_the_run_s_is_not_played(self, run):
        """An earlier version rendered what was in the file."""
        render_run(run, SYNTHESIZER)
        source = sources(run)[0]
        source.midi.write_bytes(midi_bytes(notes([50, 52, 54, 56])))
        with edited_json(source.record) as record:
            record["midi"] = file_digest(source.midi)
        assert stored_clip(source) == "its MIDI file is damaged"

    def test_the_excerpt_begins_before_the_prompt_ends(self, tmp_path):
        run = run_with_midi(tmp_path / "run")
        prompt = notes([40, 41])
        late = Notes.concatenate([prompt, notes([60, 62, 64, 66], start=30.0)])
        source = sources(run)[1]
        source.midi.write_bytes(midi_bytes(late))
        render_run(run, SYNTHESIZER)
        assert stored_clip(source) == StoredClip(pytest.approx(31.75 + 3), 26.0, pytest.approx(8.75))
        assert json.loads(source.record.read_text())["with"] == SYNTHESIZER.description

    def test_no_note_is_a_reason(self, run):
        source = sources(run)[1]
        source.midi.write_bytes(midi_bytes(Notes.from_columns(*[np.empty(0)] * 4)))
        render_run(run, SYNTHESIZER)
        assert stored_clip(source) == "it holds no note"
