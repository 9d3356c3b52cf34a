"""MIDI to MP3: with the real programs, and with ones that fail in every way we could think of."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from symusic import Note, Score, Tempo, Track

from bench.music.midi import midi_bytes
from bench.music.notes import Notes
from bench.sound.render import RING, Cut, Failure, Rendered, render, shortened
from bench.sound.synthesizer import DEBIAN, Renderer

from .made import CHORDS, FOUND, fake, needs_sound


def probed(file, entry="format=duration"):
    command = ["ffprobe", "-v", "error", "-show_entries", entry, "-of", "csv=p=0", file]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def volume(file, *options):
    """Mean and maximal volume, dB to full scale."""
    command = ["ffmpeg", "-nostdin", "-hide_banner", *options, "-i", file, "-af", "volumedetect", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return tuple(float(re.search(rf"{name}_volume: (\S+) dB", said)[1]) for name in ("mean", "max"))


@needs_sound
class TestRealPrograms:
    def test_length_and_sound(self, tmp_path):
        file = tmp_path / "a.mp3"
        assert render(midi_bytes(CHORDS), [Cut(file, 0.0, 60.0)], FOUND) == Rendered((5.5 + RING,))
        assert float(probed(file)) == pytest.approx(5.5 + RING, abs=0.1)
        assert probed(file, "stream=codec_name,sample_rate,channels") == "mp3,44100,1"
        mean, loudest = volume(file)
        assert mean > -45
        assert -30 < loudest < -0.5

    def test_what_is_played_softly_is_soft(self, tmp_path):
        file = tmp_path / "a.mp3"
        render(midi_bytes(CHORDS), [Cut(file, 0.0, 60.0)], FOUND)
        loud, soft = volume(file, "-t", "1.5")[0], volume(file, "-ss", "2", "-t", "1.5")[0]
        assert loud - soft > 8  # velocity 100 and 30

    def test_the_same_midi_gives_the_same_bytes(self, tmp_path):
        files = [tmp_path / "a.mp3", tmp_path / "b" / "c.mp3"]
        for file in files:
            render(midi_bytes(CHORDS), [Cut(file, 1.0, 3.0, 32, 24_000)], FOUND)
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_a_cut_begins_where_it_says_and_fades_out(self, tmp_path):
        file = tmp_path / "a.mp3"
        # From 0.5 s before the second chord to 0.5 s after the third.
        assert render(midi_bytes(CHORDS), [Cut(file, 1.5, 3.0, 32, 24_000)], FOUND) == Rendered((3.0,))
        assert float(probed(file)) == pytest.approx(3.0, abs=0.1)
        assert file.stat().st_size == pytest.approx(3 * 32_000 / 8, rel=0.1)
        assert volume(file, "-ss", "2.9")[1] < volume(file, "-ss", "2.5", "-t", "0.2")[1] - 6

    def test_several_cuts_at_once(self, tmp_path):
        cuts = [Cut(tmp_path / "long.mp3", 0.0, 60.0), Cut(tmp_path / "short.mp3", 2.0, 1.0)]
        assert render(midi_bytes(CHORDS), cuts, FOUND) == Rendered((5.5 + RING, 1.0))
        assert sorted(file.name for file in tmp_path.iterdir()) == ["long.mp3", "short.mp3"]

    def test_two_tracks_are_both_heard(self, tmp_path):
        score = Score(480)
        score.tempos.append(Tempo(0, 120))
        for start, pitch in ((0, 72), (960 * 2, 48)):  # melody in the first second, accompaniment in the third
            track = Track(program=0)
            track.notes.append(Note(start, 960, pitch, 90))
            score.tracks.append(track)
        file = tmp_path / "a.mp3"
        assert isinstance(render(score.dumps_midi(), [Cut(file, 0.0, 60.0)], FOUND), Rendered)
        assert volume(file, "-t", "0.9")[0] > -40
        assert volume(file, "-ss", "2", "-t", "0.9")[0] > -40

    def test_a_note_that_is_held_for_an_hour_is_cut(self, tmp_path):
        held = Notes.from_columns([0.0, 0.5], [3600.0, 0.5], [60, 64], [90, 90])
        began = time.monotonic()
        assert render(midi_bytes(held), [Cut(tmp_path / "a.mp3", 0.0, 4.0)], FOUND) == Rendered((4.0,))
        assert time.monotonic() - began < 20

    @pytest.mark.skipif(shutil.which("timidity") is None, reason=f"no timidity; {DEBIAN} timidity")
    def test_timidity_as_in_the_paper(self, tmp_path):
        renderer = Renderer("TiMidity", shutil.which("timidity"), FOUND.ffmpeg, FOUND.soundfont)
        files = [tmp_path / "a.mp3", tmp_path / "b.mp3"]
        for file in files:
            assert render(midi_bytes(CHORDS.shifted(1.0)), [Cut(file, 0.0, 60.0)], renderer) == Rendered((6.5 + RING,))
        assert files[0].read_bytes() == files[1].read_bytes()
        assert volume(files[0])[0] > -45
        assert volume(files[0], "-t", "0.8")[1] < -60  # silence before the first note is kept

    def test_a_soundfont_that_is_none(self, tmp_path):
        font = tmp_path / "font.sf2"
        font.write_text("no soundfont")
        result = render(
            midi_bytes(CHORDS), [Cut(tmp_path / "a.mp3", 0.0, 9.0)], Renderer("FluidSynth", FOUND.program, FOUND.ffmpeg, font)
        )
        assert isinstance(result, Failure)
        assert "FluidSynth" in result.reason
        assert not (tmp_path / "a.mp3").exists()


class TestFailures:
    """A reason, no file, no exception."""

    def fails(self, tmp_path, renderer, midi=None, timeout=20.0):
        before = set(tmp_path.iterdir())
        result = render(midi or midi_bytes(CHORDS), [Cut(tmp_path / "a.mp3", 0.0, 9.0)], renderer, timeout)
        assert isinstance(result, Failure)
        assert set(tmp_path.iterdir()) == before
        return result

    def test_a_program_that_hangs_ends_with_its_children(self, tmp_path):
        renderer = fake(tmp_path, f"sleep 300 & echo $! > {tmp_path}/child; wait")
        (tmp_path / "child").touch()
        began = time.monotonic()
        assert self.fails(tmp_path, renderer, timeout=1.0) == Failure("FluidSynth took longer than 1 s", timed_out=True)
        assert time.monotonic() - began < 60
        child = int((tmp_path / "child").read_text())
        assert _ended(child)

    def test_a_program_that_fails(self, tmp_path):
        renderer = fake(tmp_path, "echo first >&2; echo 'no \x1b[31msound card' >&2; exit 7")
        assert self.fails(tmp_path, renderer).reason == "FluidSynth failed with exit code 7: no \x1b[31msound card"

    def test_a_program_that_writes_nothing(self, tmp_path):
        assert self.fails(tmp_path, fake(tmp_path)).reason == "FluidSynth wrote no WAV file: it said nothing"

    def test_a_program_that_writes_garbage(self, tmp_path):
        assert self.fails(tmp_path, fake(tmp_path, "head -c 5000 /dev/urandom > out.wav")).reason.startswith(
            "FluidSynth wrote no WAV"
        )

    @pytest.mark.parametrize("size", [0, 10, 44])
    def test_a_wav_that_was_cut_off(self, tmp_path, size):
        _wav(tmp_path / "full.wav", 1000)
        assert "wrote" in self.fails(tmp_path, fake(tmp_path, f"head -c {size} {tmp_path}/full.wav > out.wav")).reason

    def test_silence(self, tmp_path):
        _wav(tmp_path / "full.wav", 0)
        assert self.fails(tmp_path, fake(tmp_path, f"cp {tmp_path}/full.wav out.wav")).reason == (
            "FluidSynth wrote silence; it may have no instruments (it used FluidSynth with font.sf2, FFmpeg)"
        )

    def test_an_ffmpeg_that_writes_garbage(self, tmp_path):
        _wav(tmp_path / "full.wav", 1000)
        renderer = fake(tmp_path, f"cp {tmp_path}/full.wav out.wav", "echo garbage > 0.mp3")
        assert self.fails(tmp_path, renderer).reason == "FFmpeg wrote no MP3: it said nothing"

    def test_a_program_that_was_removed(self, tmp_path):
        renderer = fake(tmp_path)
        (tmp_path / "synth").unlink()
        assert "No such file" in self.fails(tmp_path, renderer).reason

    @pytest.mark.parametrize("midi", [b"", b"MThd", b"<script>", b"\0" * 1000])
    def test_what_is_no_midi(self, tmp_path, midi):
        result = render(midi, [Cut(tmp_path / "a.mp3", 0.0, 9.0)], fake(tmp_path))
        assert isinstance(result, Failure)
        assert result.reason.startswith("the MIDI file can't be read")

    def test_no_note(self, tmp_path):
        empty = midi_bytes(Notes.from_columns([], [], [], []))
        assert self.fails(tmp_path, fake(tmp_path), empty).reason == "the MIDI file can't be read (it holds no note)"


class TestShortened:
    def test_what_is_short_is_left_as_it_is(self):
        midi = midi_bytes(CHORDS)
        assert shortened(midi, 60.0) == (midi, pytest.approx(5.5))

    def test_notes_end_where_it_is_cut(self):
        midi, length = shortened(midi_bytes(CHORDS), 4.5)
        assert length == pytest.approx(5.5)
        assert Score.from_midi(midi).to("Second").end() == pytest.approx(4.5, abs=0.01)
        assert Score.from_midi(midi).note_num() == 6

    def test_the_tempo_map_counts(self):
        score = Score(480)
        score.tempos.extend([Tempo(0, 120), Tempo(960, 60)])  # 1 s, then quarter notes of 1 s
        track = Track()
        track.notes.extend([Note(480 * i, 480, 60, 80) for i in range(8)])
        score.tracks.append(track)
        midi, length = shortened(score.dumps_midi(), 3.0)
        assert length == pytest.approx(7.0)
        assert Score.from_midi(midi).note_num() == 4  # two quarter notes in the first second, two in the next two


def _wav(file, height):
    import wave

    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(44_100)
        out.writeframes(np.full(4410, height, "<i2").tobytes())


def _ended(process):
    """Whether a process is gone, or only its name is left."""
    for _ in range(50):
        try:
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False
