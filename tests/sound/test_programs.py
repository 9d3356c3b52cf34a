from pathlib import Path

import pytest

from bench.sound.synthesizer import Missing, Renderer, find_renderer, sound_fact

from .made import program


@pytest.fixture
def bin_(tmp_path):
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def having(folder, *names, **more):
    for name in names:
        program(folder, name, "exit 0")
    return find_renderer({"PATH": str(folder), **more})


def test_nothing_is_installed(bin_):
    assert having(bin_) == Missing("FFmpeg (ffmpeg) is not installed, nor is FluidSynth or TiMidity")


def test_an_empty_path():
    assert isinstance(find_renderer({"PATH": ""}), Missing)
    assert isinstance(find_renderer({}), Missing)


def test_only_ffmpeg(bin_):
    assert having(bin_, "ffmpeg") == Missing("neither FluidSynth (fluidsynth) nor TiMidity (timidity) is installed")


def test_only_a_synthesizer(bin_):
    assert having(bin_, "timidity") == Missing("FFmpeg (ffmpeg) is not installed")


def test_fluidsynth_comes_first_with_the_named_soundfont(bin_, tmp_path):
    font = tmp_path / "my font.sf2"
    font.touch()
    found = having(bin_, "ffmpeg", "timidity", "fluidsynth", BENCH_SOUNDFONT=str(font))
    assert found == Renderer("FluidSynth", str(bin_ / "fluidsynth"), str(bin_ / "ffmpeg"), font)
    assert found.words == "FluidSynth with my font.sf2, FFmpeg"


def test_timidity_needs_no_soundfont(bin_):
    found = having(bin_, "ffmpeg", "timidity")
    assert found == Renderer("TiMidity", str(bin_ / "timidity"), str(bin_ / "ffmpeg"), None)


def test_fluidsynth_without_a_soundfont(bin_, monkeypatch):
    monkeypatch.setattr("bench.sound.synthesizer._FOLDERS", (str(bin_),))
    assert having(bin_, "ffmpeg", "fluidsynth") == Missing("FluidSynth is installed, but no SoundFont was found for it")
    assert isinstance(having(bin_, "timidity", "fluidsynth"), Renderer)


def test_a_named_soundfont_that_is_not_there(bin_):
    assert having(bin_, "ffmpeg", "fluidsynth", BENCH_SOUNDFONT="/no/font.sf2") == Missing(
        "$BENCH_SOUNDFONT names /no/font.sf2, which is no file"
    )


def test_the_doctor_says_what_to_install():
    said = sound_fact({"PATH": ""})
    assert "apt-get install fluidsynth fluid-soundfont-gm ffmpeg" in said
    assert "brew install fluid-synth ffmpeg" in said


def test_the_doctor_says_what_plays(bin_):
    for name in ("ffmpeg", "timidity"):
        program(bin_, name, "exit 0")
    assert sound_fact({"PATH": str(bin_)}) == f"TiMidity with its own configuration, FFmpeg ({Path(bin_) / 'timidity'})"
