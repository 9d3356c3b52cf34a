"""Which programs make the sound: FluidSynth with a SoundFont, else TiMidity (which the paper used); FFmpeg for MP3."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: Names the SoundFont to use, before those that are installed.
VARIABLE = "BENCH_SOUNDFONT"

#: Where distributions put General MIDI SoundFonts, the one that the image has first.
_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "/usr/share/sounds/sf3",
)
_NAMES = ("FluidR3_GM.sf2", "FluidR3_GM2-2.sf2", "default-GM.sf2", "default.sf2", "TimGM6mb.sf2", "default-GM.sf3")

#: What to install, for whoever reads a report or asks for sound.
DEBIAN = "apt-get install fluidsynth fluid-soundfont-gm ffmpeg"
MACOS = f"brew install fluid-synth ffmpeg, and set {VARIABLE} to a General MIDI SoundFont (a .sf2 file)"
INSTALL = f"Debian, Ubuntu: {DEBIAN}. macOS: {MACOS}."


@dataclass(frozen=True)
class Renderer:
    """The programs that are here.

    Parameters
    ----------
    synthesizer : {"FluidSynth", "TiMidity"}
    program : str
        Its executable.
    ffmpeg : str
        FFmpeg's.
    soundfont : Path, optional
        Always there for FluidSynth; TiMidity without one plays by its own configuration.
    """

    synthesizer: Literal["FluidSynth", "TiMidity"]
    program: str
    ffmpeg: str
    soundfont: Path | None = None

    @property
    def words(self) -> str:
        """For people: ``FluidSynth with FluidR3_GM.sf2, FFmpeg``."""
        instruments = self.soundfont.name if self.soundfont else "its own configuration"
        return f"{self.synthesizer} with {instruments}, FFmpeg"


@dataclass(frozen=True)
class Missing:
    """Why there is no sound here; :data:`INSTALL` mends it."""

    what: str


def find_renderer(environment: Mapping[str, str] | None = None) -> Renderer | Missing:
    """The programs, as ``$PATH`` and ``$BENCH_SOUNDFONT`` have them.

    Parameters
    ----------
    environment : mapping, optional
        By default this process's.
    """
    environment = os.environ if environment is None else environment
    path = environment.get("PATH", "")
    ffmpeg, fluidsynth, timidity = (shutil.which(name, path=path) for name in ("ffmpeg", "fluidsynth", "timidity"))
    named = environment.get(VARIABLE, "")
    if named and not Path(named).is_file():
        return Missing(f"${VARIABLE} names {named}, which is no file")
    if ffmpeg is None:
        others = "" if fluidsynth or timidity else ", nor is FluidSynth or TiMidity"
        return Missing(f"FFmpeg (ffmpeg) is not installed{others}")
    soundfont = Path(named).absolute() if named else _installed()
    if fluidsynth and soundfont:
        return Renderer("FluidSynth", fluidsynth, ffmpeg, soundfont)
    if timidity:
        return Renderer("TiMidity", timidity, ffmpeg, Path(named).absolute() if named else None)
    if fluidsynth:
        return Missing("FluidSynth is installed, but no SoundFont was found for it")
    return Missing("neither FluidSynth (fluidsynth) nor TiMidity (timidity) is installed")


def sound_fact(environment: Mapping[str, str] | None = None) -> str:
    """One line for ``bench doctor``: what plays, or what to install."""
    found = find_renderer(environment)
    if isinstance(found, Renderer):
        return f"{found.words} ({found.program})"
    return f"none (only reports need it): {found.what}. {INSTALL}"


def _installed() -> Path | None:
    there = (Path(folder) / name for folder in _FOLDERS for name in _NAMES)
    return next((file for file in there if file.is_file()), None)
