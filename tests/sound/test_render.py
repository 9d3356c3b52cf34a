"""Cuts of a piece as MP3 files."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from bench.errors import DataError
from bench.music.notes import Notes
from bench.sound.render import RING, Cut, render

from .sample_run import CHORDS, SYNTHESIZER, damaged  # noqa: F401


def rms(file, start, end):
    samples, rate = soundfile.read(file)
    return 20 * np.log10(max(1e-9, np.sqrt((samples[round(start * rate) : round(end * rate)] ** 2).mean())))


def test_length_format_and_level(tmp_path):
    file = tmp_path / "a.mp3"
    assert render(CHORDS, [Cut(file, 0.0, 60.0)], SYNTHESIZER) == (5.5 + RING,)
    about = soundfile.info(file)
    assert (about.format, about.subtype, about.samplerate, about.channels) == ("MP3", "MPEG_LAYER_III", 32_000, 1)
    assert about.duration == pytest.approx(5.5 + RING, abs=0.1)
    assert file.stat().st_size == pytest.approx(8.5 * 64_000 / 8, rel=0.1)
    samples, _ = soundfile.read(file)
    assert 0.1 < np.abs(samples).max() < 1
    assert rms(file, 0, 8.5) > -36


def test_the_same_notes_give_the_same_bytes(tmp_path):
    files = [tmp_path / "a.mp3", tmp_path / "b" / "c.mp3"]
    for file in files:
        render(CHORDS, [Cut(file, 1.0, 3.0, 32, 24_000)], SYNTHESIZER)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_cut_begins_where_it_says_and_fades_out(tmp_path):
    file = tmp_path / "a.mp3"
    # From 0.5 s before the third chord to 1 s after its beginning, faded for 0.75 s; the second chord rings before it.
    assert render(CHORDS, [Cut(file, 3.5, 1.5, 32, 24_000)], SYNTHESIZER) == (1.5,)
    assert soundfile.info(file).duration == pytest.approx(1.5, abs=0.1)
    assert file.stat().st_size == pytest.approx(1.5 * 32_000 / 8, rel=0.1)
    assert rms(file, 0.55, 0.7) > rms(file, 0.2, 0.45) + 10
    assert rms(file, 1.4, 1.5) < rms(file, 0.8, 0.9) - 10


def test_several_cuts_at_once(tmp_path):
    cuts = [Cut(tmp_path / "long.mp3", 0.0, 60.0), Cut(tmp_path / "short.mp3", 2.0, 1.0)]
    assert render(CHORDS, cuts, SYNTHESIZER) == (5.5 + RING, 1.0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["long.mp3", "short.mp3"]
    # The soft chord, in both at its place.
    assert rms(cuts[1].path, 0.1, 0.4) == pytest.approx(rms(cuts[0].path, 2.1, 2.4), abs=1)


def test_leading_silence_is_not_played(tmp_path):
    late = CHORDS.shifted(3600.0)
    assert render(late, [Cut(tmp_path / "a.mp3", 3599.5, 60.0)], SYNTHESIZER) == (6.0 + RING,)


def test_long_music_is_cut(tmp_path):
    long = Notes.from_columns(np.arange(100), [1.5] * 100, [60, 64] * 50, [80] * 100)
    assert render(long, [Cut(tmp_path / "a.mp3", 0.0, 4.0)], SYNTHESIZER) == (4.0,)


def test_a_failure_leaves_no_file(tmp_path, damaged):  # noqa: F811
    with pytest.raises(DataError, match="can't be played"):
        render(CHORDS, [Cut(tmp_path / "a.mp3", 0.0, 9.0)], damaged)
    assert list(tmp_path.iterdir()) == []


def test_of_hours_of_silence_nothing_is_played(tmp_path):
    later = CHORDS.shifted(80_000.0)
    music = Notes.concatenate([CHORDS, later])
    cuts = [Cut(tmp_path / "a.mp3", 0.0, 60.0), Cut(tmp_path / "b.mp3", 79_999.0, 15.0, 32, 24_000)]
    assert render(music, cuts, SYNTHESIZER) == (60.0, 9.5)
    assert rms(tmp_path / "a.mp3", 0, 5) > -40
    assert rms(tmp_path / "b.mp3", 1, 6) > -40
    alone = [Cut(tmp_path / "c.mp3", 0.0, 60.0)]
    render(CHORDS, alone, SYNTHESIZER)
    assert rms(tmp_path / "c.mp3", 0.1, 5) == pytest.approx(rms(tmp_path / "a.mp3", 0.1, 5), abs=0.5)


INTERRUPTED = """
import os, signal, threading
import numpy as np
from bench.sound.render import mp3

samples = 0.3 * np.sin(np.arange(240_000) * 0.05).astype(np.float32)
whole = mp3(samples, 32, 24_000)
for number in range(30):
    timer = threading.Timer(number * 0.003, os.kill, [os.getpid(), signal.SIGINT])
    try:
        timer.start()
        made = mp3(samples, 32, 24_000)
        timer.join()
        while True:  # until it comes
            pass
    except KeyboardInterrupt:
        continue
"""


def test_an_interrupt_while_a_clip_is_encoded_is_not_lost() -> None:
    """In a callback of the encoder it was printed and dropped: exit code 0, and a clip with a hole in it."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
