"""Parts of a piece as MP3 files: played once, cut, faded, encoded by libsndfile.

The same notes and the same SoundFont give the same bytes with one version of the libraries.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.music.notes import Notes
from bench.sound.synthesizer import RATE, Synthesizer, in_a_thread
from bench.system.disk import write_file

#: Version of the sound: changes whenever the same notes sound different, so that older clips are made again.
RECIPE = 2

#: Fades, seconds: where music goes on behind the end of a cut, and where it went on before its beginning.
FADE_OUT, FADE_IN = 2.0, 0.05
#: Seconds that are played at once; where the cuts of a piece are further apart, each is played alone.
MOST_AT_ONCE = 600.0
#: Time for the last note to ring, seconds.
RING = 3.0
#: libsndfile's range of bit rates by sampling rate: its compression level 0 is the highest, 1 the lowest, kbit/s.
_BIT_RATES = {32_000: (320, 32), 24_000: (160, 8)}


@dataclass(frozen=True)
class Cut:
    """Part of a piece as an MP3 file.

    Parameters
    ----------
    path : Path
    start, seconds : float
        Where it begins in the piece, and its greatest length.
    kbits : int
        Kilobits a second.
    rate : {32000, 24000}
        Samples a second; a piano has next to nothing above half of it.
    """

    path: Path
    start: float
    seconds: float
    kbits: int = 64
    rate: int = 32_000

    def length(self, music: float) -> float:
        """Seconds of it that there are in a piece of `music` seconds: the last note may ring, what follows is left out."""
        return max(0.1, min(self.seconds, music + RING - self.start))


def render(notes: Notes, cuts: Sequence[Cut], synthesizer: Synthesizer) -> tuple[float, ...]:
    """Play a piece and write its cuts as mono MP3.

    Parameters
    ----------
    notes : Notes
        At least one.
    cuts : sequence of Cut
        Files appear complete, and all of them or none.
    synthesizer : Synthesizer

    Returns
    -------
    tuple of float
        Seconds of each file.

    Raises
    ------
    DataError
        If the SoundFont can't be played.
    OSError
        If a file can't be written.
    """
    music = float((notes.onset + notes.duration).max())
    lengths = [cut.length(music) for cut in cuts]
    start = min(float(notes.onset[0]), *(cut.start for cut in cuts))
    end = max(cut.start + length for cut, length in zip(cuts, lengths, strict=True))
    apart = end - start > MOST_AT_ONCE
    samples = None if apart else synthesizer.play(notes.shifted(-start), end - start)
    files: list[bytes] = []
    for cut, length in zip(cuts, lengths, strict=True):
        if samples is None:
            part = synthesizer.play(during(notes, cut.start, cut.start + length), length)
        else:
            first = round((cut.start - start) * RATE)
            part = samples[first : first + round(length * RATE)].copy()
        fade(part, FADE_IN if cut.start > 0 else 0.0, min(FADE_OUT, length / 2) if cut.start + length < music + RING else 0.0)
        files.append(mp3(part, cut.kbits, cut.rate))
    for cut, content in zip(cuts, files, strict=True):
        write_file(cut.path, content)
    return tuple(round(length, 3) for length in lengths)


def during(notes: Notes, start: float, end: float) -> Notes:
    """Take the notes that sound in a stretch of time, from its beginning; those that sound on are struck there again."""
    sounding = (notes.onset < end) & (notes.onset + notes.duration > start)
    onset = np.maximum(notes.onset[sounding], start)
    ends = np.minimum(notes.onset[sounding] + notes.duration[sounding], end)
    return Notes.from_columns(onset - start, ends - onset, notes.pitch[sounding], notes.velocity[sounding])


def fade(samples: NDArray[np.float32], fade_in: float, fade_out: float) -> None:
    """Fade the beginning and the end of samples in place, over so many seconds."""
    rising, falling = round(fade_in * RATE), round(fade_out * RATE)
    samples[:rising] *= np.linspace(0, 1, rising, dtype=np.float32)
    samples[len(samples) - falling :] *= np.linspace(1, 0, falling, dtype=np.float32)


def mp3(samples: NDArray[np.float32], kbits: int, rate: int) -> bytes:
    """Encode samples at a constant bit rate, kbit/s, and a sampling rate of {32000, 24000}."""
    import soundfile
    from scipy.signal import resample_poly

    highest, lowest = _BIT_RATES[rate]
    level = (highest - kbits) / (highest - lowest)
    out = io.BytesIO()
    resampled = resample_poly(samples, rate, RATE)
    how = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": level}
    in_a_thread(lambda: soundfile.write(out, resampled, rate, **how))
    return out.getvalue()
