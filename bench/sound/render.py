"""One MIDI file to MP3: MIDI to WAV by FluidSynth or TiMidity, WAV to MP3 by FFmpeg, as in the paper's Appendix A.

The same MIDI and the same programs give the same bytes: no reverb, no chorus, a fixed rate, no metadata, no user's configuration.
The gain is fixed too, never set by the clip: how loud a sample is played is part of what is compared. Programs work in a folder
of their own on names of ours, so that no title reaches a command line; each has a time limit, and what goes wrong is a
:class:`Failure` with its reason, never an exception.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.music.midi import DEFAULT_TEMPO
from bench.sound.synthesizer import Renderer
from bench.storage.files import atomic

#: Changes whenever the same MIDI would sound otherwise.
RECIPE = 1

#: Samples a second of the synthesizer's sound.
RATE = 44_100
#: FluidSynth's own gain is below what dense music needs; with FFmpeg's it puts one chord of four voices near -9 dBFS.
GAIN = "0.6"
FILTER_GAIN = "7dB"

#: Longest wait for one program, seconds.
TIMEOUT = 60.0
#: Fades, seconds: where music goes on behind the end of a cut, and where it went on before its beginning.
FADE_OUT, FADE_IN = 2.0, 0.05
#: A synthesizer lets the last note ring; so much of it is kept, seconds.
RING = 3.0


@dataclass(frozen=True)
class Cut:
    """A part of the sound as an MP3 file.

    Parameters
    ----------
    path : Path
    start, seconds : float
        From where in the MIDI file, and how long at most.
    kbits : int
        Kilobits a second.
    rate : int
        Samples a second.
    """

    path: Path
    start: float
    seconds: float
    kbits: int = 64
    rate: int = RATE

    @property
    def end(self) -> float:
        """Where it ends in the MIDI file, seconds."""
        return self.start + self.seconds


@dataclass(frozen=True)
class Rendered:
    """It worked; how long each file plays, seconds, in the order of the cuts."""

    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Failure:
    """Why there is no sound.

    Parameters
    ----------
    reason : str
    timed_out : bool
        Whether a program took longer than it may: the next file would wait as long.
    """

    reason: str
    timed_out: bool = False


def render(midi: bytes, cuts: Sequence[Cut], renderer: Renderer, timeout: float = TIMEOUT) -> Rendered | Failure:
    """Render a MIDI file, all its tracks, and write its cuts as mono MP3.

    Parameters
    ----------
    midi : bytes
        The file's content.
    cuts : sequence of Cut
        What to write. Files appear whole, and all of them or none.
    renderer : Renderer
    timeout : float
        Seconds, for each program.
    """
    try:
        short, music = shortened(midi, max(cut.end for cut in cuts))
    except Exception as error:  # a damaged file: symusic raises errors of several kinds
        return Failure(f"the MIDI file can't be read ({_line(str(error))})")
    try:
        with tempfile.TemporaryDirectory(prefix="bench-sound-") as name:
            place = Path(name)
            (place / "in.mid").write_bytes(short)
            return (
                _call(_synthesize(renderer, place), place, timeout, renderer.synthesizer)
                or _heard(place / "out.wav", renderer)
                or _encode(place, cuts, music, renderer, timeout)
            )
    except OSError as error:
        return Failure(f"{error.filename or 'a temporary file'}: {error.strerror or error}")


def shortened(midi: bytes, seconds: float) -> tuple[bytes, float]:
    """The same MIDI file if it ends before `seconds`, else cut there; and how long the whole is, in seconds.

    Without it one note that is held for an hour would be rendered for an hour.
    """
    from symusic import Score

    score: Any = Score.from_midi(midi, ttype="Tick")
    if not any(len(track.notes) for track in score.tracks):
        raise ValueError("it holds no note")
    length = float(score.to("Second").end())
    if length <= seconds:
        return midi, length
    last = max(1, _tick_at(score, seconds))
    short = score.clip(0, last, clip_end=False)
    for track in short.tracks:
        for note in track.notes:
            note.duration = min(note.duration, last - note.time)
    return bytes(short.dumps_midi()), length


def _tick_at(score: Any, seconds: float) -> int:
    """The tick at a time, by the file's tempo map."""
    tick, now, length = 0, 0.0, DEFAULT_TEMPO * 1e-6 / score.ticks_per_quarter
    for tempo in sorted(score.tempos, key=lambda tempo: tempo.time):
        reached = now + (tempo.time - tick) * length
        if reached >= seconds:
            break
        tick, now, length = tempo.time, reached, max(tempo.mspq, 1) * 1e-6 / score.ticks_per_quarter
    return tick + int((seconds - now) / length)


def _synthesize(renderer: Renderer, place: Path) -> list[str]:
    if renderer.synthesizer == "FluidSynth":
        (place / "empty.conf").touch()  # read in place of the user's, which may load other instruments
        options = ["-n", "-i", "-q", "-f", "empty.conf", "-R", "0", "-C", "0", "-r", str(RATE), "-g", GAIN]
        # Without a default a SoundFont that can't be read is an error, not another instrument.
        options += ["-o", "synth.default-soundfont="]
        # Only the samples of instruments that play are loaded: half the time.
        options += ["-o", "synth.dynamic-sample-loading=1", "-T", "wav", "-O", "s16", "-F", "out.wav"]
        return [renderer.program, *options, str(renderer.soundfont), "in.mid"]
    options = ["-Ow", "-s", str(RATE), "--preserve-silence", "-EFreverb=d", "-EFchorus=d", "-o", "out.wav"]
    if renderer.soundfont:
        options += ["-x", f'soundfont "{renderer.soundfont}"']
    return [renderer.program, *options, "in.mid"]


def _call(command: Sequence[str], place: Path, timeout: float, name: str) -> Failure | None:
    """Run a program in `place`; None if it ended well. Whatever happens, it has ended, and so have its children."""
    home = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")}
    said = place / "said.txt"
    with said.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=place,
            env={**home, "HOME": str(place), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return Failure(f"{name} took longer than {timeout:g} s", timed_out=True)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, of a group that has ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code:
        return Failure(f"{name} failed with exit code {code}: {_last(said)}")
    return None


def _heard(sound: Path, renderer: Renderer) -> Failure | None:
    """None if a WAV file holds sound."""
    try:
        with wave.open(str(sound)) as file:
            frames = file.readframes(file.getnframes())
            width = file.getsampwidth()
    except (OSError, EOFError, wave.Error, ValueError, MemoryError):
        return Failure(f"{renderer.synthesizer} wrote no WAV file: {_last(sound.with_name('said.txt'))}")
    samples = np.frombuffer(frames[: len(frames) // 2 * 2], "<i2")
    if width != 2 or not len(samples) or max(-int(samples.min()), int(samples.max())) <= 1:
        return Failure(f"{renderer.synthesizer} wrote silence; it may have no instruments (it used {renderer.words})")
    return None


def _encode(place: Path, cuts: Sequence[Cut], music: float, renderer: Renderer, timeout: float) -> Rendered | Failure:
    """Write the cuts in `place`, then, when all are there, where they belong."""
    lengths = [max(0.1, min(cut.seconds, music + RING - cut.start)) for cut in cuts]
    command = [renderer.ffmpeg, "-nostdin", "-hide_banner", "-v", "error", "-y", "-i", "out.wav"]
    for number, (cut, length) in enumerate(zip(cuts, lengths, strict=True)):
        command += ["-map", "0:a:0", "-map_metadata", "-1", "-af", _filters(cut, length, music), "-ac", "1"]
        command += ["-ar", str(cut.rate), "-c:a", "libmp3lame", "-b:a", f"{cut.kbits}k", "-threads", "1"]
        command += ["-fflags", "+bitexact", "-flags:a", "+bitexact", "-id3v2_version", "0", "-f", "mp3", f"{number}.mp3"]
    failure = _call(command, place, timeout, "FFmpeg")
    if failure is not None:
        return failure
    written = [place / f"{number}.mp3" for number in range(len(cuts))]
    if not all(map(_is_mp3, written)):
        return Failure(f"FFmpeg wrote no MP3: {_last(place / 'said.txt')}")
    for cut, file in zip(cuts, written, strict=True):
        with atomic(cut.path) as temporary:
            shutil.copyfile(file, temporary)
    return Rendered(tuple(round(length, 3) for length in lengths))


def _filters(cut: Cut, length: float, music: float) -> str:
    """FFmpeg's filters for a cut: the part, louder but never over the limit, faded where the music is cut through."""
    chain = [f"atrim=start={cut.start:.3f}:duration={length:.3f}", "asetpts=PTS-STARTPTS"]
    # A synthesizer stops when its last voice has: the pad keeps all clips at the length that is told.
    chain += [f"volume={FILTER_GAIN}", "alimiter=limit=0.9:level=false", f"apad=whole_dur={length:.3f}"]
    if cut.start > 0:
        chain.append(f"afade=t=in:d={FADE_IN}")
    if cut.start + length < music + RING:
        fade = min(FADE_OUT, length / 2)
        chain.append(f"afade=t=out:st={length - fade:.3f}:d={fade:.3f}")
    return ",".join(chain)


def _is_mp3(file: Path) -> bool:
    """Whether a file begins with an MP3 frame: eleven bits set."""
    try:
        head = file.read_bytes()[:2]
    except OSError:
        return False
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0


def _last(said: Path) -> str:
    """The last line of what a program said."""
    try:
        lines = [line for line in said.read_bytes()[-2000:].decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return _line(lines[-1]) if lines else "it said nothing"


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
