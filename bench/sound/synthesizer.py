"""Notes to sound samples: a SoundFont played by midirenderer (RustySynth), in this process and without programs of the system.

The SoundFont is TimGM6mb, which pretty_midi ships, or the one that ``$BENCH_SOUNDFONT`` names.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, DataError, refusal
from bench.music.midi import midi_bytes
from bench.music.notes import Notes

T = TypeVar("T")

#: Names another SoundFont than the one that pretty_midi ships.
VARIABLE = "BENCH_SOUNDFONT"

#: Samples a second, midirenderer's own rate.
RATE = 48_000

#: midirenderer is quiet, so that it can't clip. Times 4 (12 dB), a soft chord of four voices peaks near -10 dBFS and a dense
#: virtuoso piece near -2 dBFS. Fixed, never fitted to a clip: how loud a sample is played is part of what is compared.
GAIN = 4.0
#: Above the first level peaks are bent, so that they stay below the second: MP3 overshoots a little.
KNEE, CEILING = 0.7, 0.95

#: MIDI control changes: how much of a channel goes to the reverb and to the chorus.
_REVERB, _CHORUS = 91, 93

#: What every piano plays.
_TONE = Notes.from_columns([0.0], [0.5], [60], [100])


@dataclass(frozen=True)
class Synthesizer:
    """A SoundFont, read and ready to play.

    Parameters
    ----------
    soundfont : Path
    content : bytes
        What the file holds.
    """

    soundfont: Path
    content: bytes = field(repr=False)

    @property
    def description(self) -> str:
        """Name for people: ``midirenderer with TimGM6mb.sf2``."""
        return f"midirenderer with {self.soundfont.name}"

    def play(self, notes: Notes, seconds: float) -> NDArray[np.float32]:
        """Mono samples of notes on a dry piano, without reverb and chorus.

        Parameters
        ----------
        notes : Notes
            At least one.
        seconds : float
            Length of the result; notes that sound longer are cut, shorter music is followed by silence.

        Returns
        -------
        ndarray of float32, shape (seconds * RATE,)
            Between -1 and 1. The same notes give the same samples.

        Raises
        ------
        DataError
            If the SoundFont is damaged or has no piano.
        """
        import soundfile
        from midirenderer import render_wave_from

        count = round(seconds * RATE)
        try:
            wave = render_wave_from(self.content, _dry(notes, seconds))
        except BaseException as error:
            # What is damaged within may let the library panic, which is no Exception.
            if not (isinstance(error, RuntimeError) or type(error).__name__ == "PanicException"):
                raise
            raise DataError(f"{self.soundfont} can't be played ({error}); expected a SoundFont 2 file (.sf2).") from error
        stereo, _ = in_a_thread(lambda: soundfile.read(io.BytesIO(wave), frames=count, dtype="float32", always_2d=True))
        samples = np.zeros(count, np.float32)
        samples[: len(stereo)] = GAIN * stereo.mean(axis=1)
        # Notes of the lowest velocities are silence too, or too short ones.
        if not samples.any() and (notes is _TONE or not self.play(_TONE, 0.5).any()):
            raise DataError(f"{self.soundfont} plays silence; expected a SoundFont with a piano (program 0).")
        bend(samples)
        return samples


def in_a_thread(call: Callable[[], T]) -> T:
    """Let libsndfile read or write in a thread of its own, where no signal is handled.

    In the main thread Ctrl-C may be raised in a callback of it, which prints and drops it: a block of the sound is lost, and
    the command goes on.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def bend(samples: NDArray[np.float32]) -> None:
    """Bend peaks above :data:`KNEE` in place, so that they stay below :data:`CEILING`."""
    over = np.abs(samples) > KNEE
    room = CEILING - KNEE
    samples[over] = np.sign(samples[over]) * (KNEE + room * np.tanh((np.abs(samples[over]) - KNEE) / room))


def find_synthesizer(environment: Mapping[str, str] | None = None) -> Synthesizer:
    """Read the SoundFont that ``$BENCH_SOUNDFONT`` names, or else pretty_midi's.

    Parameters
    ----------
    environment : mapping, optional
        By default this process's.

    Raises
    ------
    DataError
        If the file can't be read.
    """
    import pretty_midi

    named = (os.environ if environment is None else environment).get(VARIABLE)
    path = Path(named).absolute() if named else Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
            raise OSError(None, "it is no file")
        return Synthesizer(path, path.read_bytes())
    except OSError as error:
        message = f"The SoundFont {path} can't be read ({error.strerror}); expected a General MIDI SoundFont (.sf2)."
        raise refusal(error, DataError(message, f"Set {VARIABLE} to one, or unset it.")) from error


def sound_fact(environment: Mapping[str, str] | None = None) -> str:
    """Line of ``bench doctor`` on sound: what plays, or why nothing does."""
    try:
        import midirenderer  # noqa: F401
        import soundfile

        synthesizer = find_synthesizer(environment)
    except (BenchError, ImportError, OSError) as error:  # OSError: no libsndfile for this platform
        return f"none (only reports need it): {' '.join(str(error).split())}"
    return f"{synthesizer.description}, MP3 by libsndfile {soundfile.__libsndfile_version__} ({synthesizer.soundfont})"


def _dry(notes: Notes, seconds: float) -> bytes:
    """MIDI file of the notes that lasts at least `seconds`, with reverb and chorus off."""
    from symusic import ControlChange, Score

    kept = notes[: int(np.searchsorted(notes.onset, seconds))]
    cut = Notes.from_columns(kept.onset, np.minimum(kept.duration, seconds - kept.onset), kept.pitch, kept.velocity)
    score: Any = Score.from_midi(midi_bytes(cut), ttype="Tick")
    # The synthesizer stops at the last event: the third one lets the last notes ring.
    end = round(seconds * score.ticks_per_quarter * 2)  # midi_bytes writes 120 quarter notes a minute
    for track in score.tracks:
        for tick, control in ((0, _REVERB), (0, _CHORUS), (end, _CHORUS)):
            track.controls.append(ControlChange(tick, control, 0))
    return bytes(score.dumps_midi())
