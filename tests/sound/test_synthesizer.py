"""Notes to samples, and the SoundFont behind them."""

from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError
from bench.music.notes import Notes
from bench.sound.synthesizer import RATE, Synthesizer, find_synthesizer, sound_fact

from .sample_run import CHORDS, SYNTHESIZER

#: With one byte changed among the presets: the library that plays it panics.
PANICS = SYNTHESIZER.content[:5_806_671] + bytes([241]) + SYNTHESIZER.content[5_806_672:]


def decibels(samples, start=0.0, end=None):
    """Peak and RMS of a stretch, dB to full scale."""
    part = samples[round(start * RATE) : None if end is None else round(end * RATE)].astype(float)
    return tuple(20 * np.log10(max(level, 1e-9)) for level in (np.abs(part).max(), np.sqrt((part**2).mean())))


class TestPlay:
    def test_levels(self):
        samples = SYNTHESIZER.play(CHORDS, 8.5)
        assert samples.shape == (8.5 * RATE,)
        peak, rms = decibels(samples)
        assert -14 < peak < -6
        assert -36 < rms < -26

    def test_a_soft_chord_of_four_voices_has_headroom(self):
        chord = Notes.from_columns([0] * 4, [2] * 4, [48, 55, 64, 72], [80] * 4)
        assert decibels(SYNTHESIZER.play(chord, 3.0))[0] == pytest.approx(-10, abs=1)

    def test_the_loudest_music_stays_below_full_scale(self):
        cluster = Notes.from_columns(np.repeat(np.arange(8) * 0.25, 60), [4] * 480, list(range(30, 90)) * 8, [127] * 480)
        peak, rms = decibels(SYNTHESIZER.play(cluster, 4.0))
        assert -1.5 < peak < -0.4
        assert rms < -3

    def test_what_is_played_softly_is_soft(self):
        samples = SYNTHESIZER.play(CHORDS, 6.0)
        assert decibels(samples, 0, 1.5)[1] - decibels(samples, 2, 3.5)[1] > 8  # velocity 100 and 30

    def test_every_note_sounds_at_its_time_and_only_then(self):
        two = Notes.from_columns([1, 4], [0.5, 0.5], [72, 48], [90, 90])
        samples = SYNTHESIZER.play(two, 6.0)
        assert decibels(samples, 0, 0.99)[0] < -90
        assert decibels(samples, 1, 1.5)[1] > -40
        assert decibels(samples, 3, 3.99)[0] < -60
        assert decibels(samples, 4, 4.5)[1] > -40

    def test_the_pitch_is_right(self):
        a4 = Notes.from_columns([0], [2], [69], [90])
        spectrum = np.abs(np.fft.rfft(SYNTHESIZER.play(a4, 2.0)))
        assert spectrum.argmax() / 2 == pytest.approx(440, abs=1.5)

    def test_the_last_note_rings(self):
        one = Notes.from_columns([0], [1], [48], [90])
        assert decibels(SYNTHESIZER.play(one, 4.0), 1.0, 1.2)[0] > -50

    def test_a_note_that_is_held_for_an_hour_is_cut(self):
        held = Notes.from_columns([0.0, 0.5, 700.0], [3600.0, 0.5, 1.0], [60, 64, 60], [90, 90, 90])
        assert len(SYNTHESIZER.play(held, 4.0)) == 4 * RATE

    def test_the_same_notes_give_the_same_samples(self):
        assert np.array_equal(SYNTHESIZER.play(CHORDS, 6.0), SYNTHESIZER.play(CHORDS, 6.0))

    @pytest.mark.parametrize(
        "content",
        [b"", b"no SoundFont", SYNTHESIZER.content[:3_000_000], PANICS],
        ids=["empty", "text", "cut off", "one byte is another"],
    )
    def test_a_damaged_soundfont(self, content):
        with pytest.raises(DataError, match=r"^my\.sf2 can't be played \(.+\); expected a SoundFont 2 file \(\.sf2\)\.$"):
            Synthesizer(Path("my.sf2"), content).play(CHORDS, 6.0)

    def test_a_soundfont_without_sound(self):
        start = SYNTHESIZER.content.index(b"smpl") + 8
        end = SYNTHESIZER.content.index(b"LIST", start)
        silent = SYNTHESIZER.content[:start] + bytes(end - start) + SYNTHESIZER.content[end:]
        with pytest.raises(DataError, match=r"my\.sf2 plays silence; expected a SoundFont with a piano"):
            Synthesizer(Path("my.sf2"), silent).play(CHORDS, 6.0)

    def test_notes_that_nobody_hears_are_silence(self):
        """One piece of velocity 1 made a listening test impossible, and the SoundFont was blamed."""
        faint = Notes.from_columns([0.0, 0.5], [0.4, 0.4], [60, 62], [1, 1])
        assert not SYNTHESIZER.play(faint, 2.0).any()


class TestFind:
    def test_the_shipped_soundfont(self):
        assert SYNTHESIZER.description == "midirenderer with TimGM6mb.sf2"
        assert SYNTHESIZER.soundfont.parent.name == "pretty_midi"

    def test_a_named_soundfont(self, tmp_path):
        file = tmp_path / "my font.sf2"
        file.write_bytes(SYNTHESIZER.content)
        named = find_synthesizer({"BENCH_SOUNDFONT": str(file)})
        assert (named.soundfont, named.content) == (file, SYNTHESIZER.content)

    @pytest.mark.parametrize(("path", "why"), [("/no/font.sf2", "No such file or directory"), ("/tmp", "Is a directory")])
    def test_a_named_soundfont_that_is_not_there(self, path, why):
        with pytest.raises(DataError) as caught:
            find_synthesizer({"BENCH_SOUNDFONT": path})
        assert caught.value.message == (f"The SoundFont {path} can't be read ({why}); expected a General MIDI SoundFont (.sf2).")


class TestDoctor:
    def test_what_plays(self):
        assert sound_fact({}).startswith("midirenderer with TimGM6mb.sf2, MP3 by libsndfile 1.")

    def test_what_is_wrong(self):
        assert sound_fact({"BENCH_SOUNDFONT": "/no/font.sf2"}) == (
            "none (only reports need it): The SoundFont /no/font.sf2 can't be read (No such file or directory); "
            "expected a General MIDI SoundFont (.sf2). Set BENCH_SOUNDFONT to one, or unset it."
        )
