"""Reading of MIDI files (symusic) and writing (pretty_midi)."""

from __future__ import annotations

import contextlib
import heapq
import io
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError, MachineError
from bench.music import smf
from bench.music.folders import LINKED, folders
from bench.music.notes import LONGEST, Notes
from bench.music.pedal import CONTROLLER, sustained

#: Ticks of a quarter note in written files.
RESOLUTION = 480

#: Ticks that a written file may last: what a delta time of four bytes, the longest, can hold.
MOST_TICKS = 1 << 28

#: Microseconds of a quarter note in a file without a tempo: 120 quarter notes a minute, by the MIDI standard.
DEFAULT_TEMPO = 500_000


#: Seconds up to which different ticks are different numbers, however fast the tempo.
DISTINCT = 1e4

#: Tempos that symusic sorts by their ticks without changing the order of those at one tick; of more it may.
SORTED_STABLY = 16

#: Bytes of a file at most; a MIDI file of an hour has far fewer.
MOST_BYTES = 16 << 20


def midi_content(path: Path) -> bytes:
    """Read the content of a file that should be MIDI.

    Raises
    ------
    OSError
        If it can't be read.
    DataError
        If it isn't a file, or is larger than 16 MiB, which is known before it is read.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise DataError("not a file")
        if facts.st_size > MOST_BYTES:
            raise DataError(f"too large for a MIDI file ({facts.st_size >> 20:,} MiB; at most {MOST_BYTES >> 20} MiB are read)")
        return path.read_bytes()
    except OSError as error:
        note_refusal(path, error)
        raise


def note_refusal(path: Path | str, error: Exception | None) -> None:
    """Collect, for :func:`refused_reads`, what another process could not read."""
    if _refused is not None and isinstance(error, OSError):
        _refused.setdefault(str(path), error)


def walk(root: Path, closed: list[OSError]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through a folder and those below, as :func:`os.walk`; `closed` receives the error of each that can't be entered."""

    def refuse(error: OSError) -> None:
        closed.append(error)
        if error.strerror != LINKED:  # by us, not by the machine
            note_refusal(os.fsdecode(error.filename), error)

    return folders(root, refuse)


@contextlib.contextmanager
def refused_reads() -> Iterator[dict[str, OSError]]:
    """Collect what :func:`midi_content` can't read and :func:`walk` can't enter, and why, by path.

    A plug-in leaves it out, as it should; whether it was the file or the machine, only a second reading tells.
    """
    global _refused
    _refused = {}
    try:
        yield _refused
    finally:
        _refused = None


_refused: dict[str, OSError] | None = None


def read_midi(
    source: Path | bytes,
    programs: Container[int] | None = None,
    names: Container[str] | None = None,
    pedal: bool = False,
) -> Notes:
    """Read the notes of a MIDI file: all pitched tracks merged, drums removed.

    Parameters
    ----------
    source : Path or bytes
        A file, or its content.
    programs : container of int, optional
        Keep only notes of these General MIDI programs (from 0); None keeps every pitched track. Where a track sets no program for
        a channel, those that other tracks set for it apply.
    names : container of str, optional
        Keep only tracks of these names, here in lower case; in the file, case and spaces around a name are ignored.
    pedal : bool
        Whether the sustain pedal lengthens the notes of its instrument, see :mod:`bench.music.pedal`.

    Returns
    -------
    Notes
        May be empty. Notes without a length or with velocity 0 are dropped.

    Raises
    ------
    DataError
        If it can't be read or parsed, is larger than 16 MiB, has only drums, or a note begins or lasts too long for
        :class:`Notes`.
    MemoryError
        If the machine lacks memory for it; a file that asks for more than a gigabyte is damaged.

    Examples
    --------
    >>> notes = Notes.from_columns(onset=[0.0, 0.5], duration=[0.5, 0.5], pitch=[60, 64], velocity=[80, 80])
    >>> read_midi(midi_bytes(notes)) == notes
    True
    """
    try:
        raw = source if isinstance(source, bytes) else midi_content(source)
        return (_apart or parse)(raw, programs, names, pedal)
    except MachineError as error:
        raise error if isinstance(source, bytes) else refused(source, error) from error
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})") from error
    except MemoryError as error:
        if not _has_memory():
            raise
        raise smf.damaged(type(error).__name__) from error
    except RecursionError as error:
        raise smf.damaged(type(error).__name__) from error


def refused(path: Path, error: MachineError) -> MachineError:
    """Name the file that the machine refused to read: one that asks for too much may be why."""
    return MachineError(error.message, f"It was reading {path}, which another folder may hold if it is at fault. {error.hint}")


def _has_memory() -> bool:
    """Whether this process may have a gigabyte, more than any sound file of 16 MiB needs."""
    try:
        bytearray(1 << 30)
    except MemoryError:
        return False
    return True


#: Reads instead of :func:`parse` within a time limit, or in a process that may die, see :mod:`bench.music.isolation`.
_apart: Callable[[bytes, Container[int] | None, Container[str] | None, bool], Notes] | None = None


def parse(raw: bytes, programs: Container[int] | None = None, names: Container[str] | None = None, pedal: bool = False) -> Notes:
    """Read the notes in the content of a MIDI file, in this process; see :func:`read_midi`."""
    content = smf.checked(raw)
    if programs is not None and (silenced := smf.silenced(content, programs)) is not None:
        content, programs = silenced, None
    score = _score(content)
    if len(score.tracks) and all(track.is_drum for track in score.tracks):
        raise DataError("it has only drums")

    def choose(tracks: Any) -> list[Any]:
        pitched = [t for t in tracks if not t.is_drum and len(t.notes)]
        if names is not None:
            pitched = [t for t in pitched if t.name.strip().casefold() in names]
        return [t for t in pitched if programs is None or t.program in programs]

    if pedal:
        return notes_of(score, _held(content, score.tracks, choose), content)
    return notes_of(score, [t.notes.numpy() for t in choose(score.tracks)], content)


def notes_of(score: Any, tracks: list[dict[str, NDArray[Any]]], content: bytes | None = None) -> Notes:
    """Merge columns of tracks, in ticks of a symusic score, into notes in seconds by its tempo map.

    Parameters
    ----------
    score : symusic.Score
    tracks : list of dict
    content : bytes, optional
        The file that it was read from, which says in which order tempos of one tick are; by default the score does.

    Raises
    ------
    DataError
        If the score has negative times or no time base, or a note begins or lasts too long for :class:`Notes`.
    """
    if not tracks:
        return Notes.from_columns([], [], [], [])
    time, duration, pitch, velocity = (_joined([t[name] for t in tracks]) for name in ("time", "duration", "pitch", "velocity"))
    # Nearly every file is clean and sorted: check first, since a mask or a sort costs as much as parsing.
    if duration.min() <= 0 or velocity.min() <= 0 or pitch.min() < 0:
        keep = (duration > 0) & (velocity > 0) & (pitch >= 0)
        time, duration, pitch, velocity = time[keep], duration[keep], pitch[keep], velocity[keep]
    order = (time.astype(np.int64) << 7) | pitch
    if (order[1:] < order[:-1]).any():
        by = np.argsort(order, kind="stable")
        time, duration, pitch, velocity = time[by], duration[by], pitch[by], velocity[by]
    if score.ticks_per_quarter <= 0 or (len(time) and time[0] < 0):
        raise DataError("not a MIDI file that can be used (it has negative times or no time base)")
    onset, length = _seconds(score, time, duration, content)
    if len(onset) and (end := max(onset[-1], length.max())) > DISTINCT:
        if end >= LONGEST:
            raise DataError(f"it has a note that begins after, or lasts, {LONGEST:,.0f} s or more")
        return Notes.from_columns(onset, length, pitch, velocity)
    # Valid by construction, so not checked again: ticks are at least 0, and seconds never fall as ticks rise.
    return Notes._checked(onset, length, pitch.view(np.uint8), velocity.view(np.uint8))


def _held(content: bytes, tracks: Any, choose: Callable[[Any], list[Any]]) -> list[dict[str, NDArray[Any]]]:
    """Columns of the notes of the chosen tracks, as long as the pedal of their instrument holds them."""
    if not smf.may_control(content):
        return [track.notes.numpy() for track in choose(tracks)]
    if len(tracks) == 1 and smf.one_keyboard(content) and len((own := _pedal(tracks[0]))[0]):  # as most performances are stored
        return _sustained(choose(tracks), *own)
    found = []
    for played, pedal in _instruments(content):
        kept = set(map(id, choose(played)))  # the others strike its keys too
        found += [columns for track, columns in zip(played, _sustained(played, *pedal), strict=True) if id(track) in kept]
    return found


def _pedal(track: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    events = track.controls.numpy()
    ours = events["number"] == CONTROLLER
    return events["time"][ours].astype(np.int64), events["value"][ours].astype(np.int64)


def _instruments(content: bytes) -> Iterator[tuple[list[Any], tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Yield the tracks of each instrument, and the events of its pedal, in whichever track they are.

    An instrument is a channel of a port. Where tracks on one set different programs, each program is one: many programs write
    every track on channel 1. A track without a program plays the first that another sets for its channel.
    """
    parts = list(smf.parts(content, CONTROLLER))
    first: dict[tuple[int, int], int] = {}
    for part in parts:
        if part.program is not None:
            first.setdefault((part.port, part.channel), part.program)
    instruments, silent = defaultdict(list), defaultdict(list)
    for part in parts:
        if part.plays:
            program = first.get((part.port, part.channel)) if part.program is None else part.program
            instruments[part.port, part.channel, program].append(part)
        else:
            silent[part.port, part.channel].append(part)
    for (port, channel, _), own in instruments.items():
        pedals = own + silent[port, channel]  # a track without notes says what all of its channel do
        tracks = [track for part in own for track in _score(part.content).tracks if len(track.notes)]
        time, value = (np.concatenate([getattr(part, name) for part in pedals]) for name in ("time", "value"))
        yield tracks, (time, value)


def _sustained(tracks: list[Any], time: NDArray[np.int64], value: NDArray[np.int64]) -> list[dict[str, NDArray[Any]]]:
    """Columns of the notes of a channel's tracks, as long as its pedal holds them, given the ticks and values of its events."""
    columns = [track.notes.numpy() for track in tracks]
    if not columns:
        return []
    start, length, pitch = (_joined([each[name] for each in columns]).astype(np.int64) for name in ("time", "duration", "pitch"))
    end = start + length
    last = max(int(end.max()), int(time.max(initial=0)))
    held = (sustained(start, end, pitch, time, value, last) - start).astype(np.int32)
    parts = np.split(held, np.cumsum([len(each["time"]) for each in columns[:-1]]))
    return [{**each, "duration": part} for each, part in zip(columns, parts, strict=True)]


def _score(raw: bytes) -> Any:
    from symusic import Score

    try:
        # Ticks parse a quarter faster than symusic's seconds, and seconds computed from them are exact, not float32.
        return Score.from_midi(raw, ttype="Tick")
    except MemoryError:
        raise
    except Exception as error:  # symusic raises RuntimeError, ValueError and others, depending on the damage
        why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise smf.damaged(why) from error


def _joined(columns: list[NDArray[Any]]) -> NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _seconds(
    score: Any, time: NDArray[Any], duration: NDArray[Any], content: bytes | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert ticks to onset and length in seconds by the file's tempo map. The shortest length is above 0 at any onset."""
    tempos = score.tempos.numpy()
    at, per_quarter = tempos["time"], tempos["mspq"].astype(np.float64)
    if len(at) and per_quarter.min() <= 0:
        raise smf.damaged("a tempo of 0 microseconds per quarter note")
    if len(at) <= 1 and (len(at) == 0 or at[0] == 0):
        tick = (per_quarter[0] if len(at) else DEFAULT_TEMPO) * 1e-6 / score.ticks_per_quarter
        return time * tick, duration * tick
    if content is not None and len(at) > SORTED_STABLY and ((at[1:] == at[:-1]) & (per_quarter[1:] != per_quarter[:-1])).any():
        at, per_quarter = np.array(list(smf.tempos(content)), np.float64).T
    order = np.argsort(at, kind="stable")
    at, per_quarter = at[order].astype(np.int64), per_quarter[order]
    if at[0] > 0:
        at, per_quarter = np.concatenate([[0], at]), np.concatenate([[DEFAULT_TEMPO], per_quarter])
    tick = per_quarter * 1e-6 / score.ticks_per_quarter
    since = np.concatenate([[0.0], np.cumsum(np.diff(at) * tick[:-1])])
    start = time.astype(np.int64)
    end = start + duration
    # Of several tempos at one tick the last applies, as in a sequencer.
    i, j = (np.searchsorted(at, ticks, side="right") - 1 for ticks in (start, end))
    following = np.minimum(i + 1, len(at) - 1)
    # From differences of ticks: those of seconds cancel to 0 where a note is short and its onset is large.
    across = (at[following] - start) * tick[i] + (since[j] - since[following]) + (end - at[j]) * tick[j]
    return since[i] + (start - at[i]) * tick[i], np.where(i == j, duration * tick[i], across)


def midi_bytes(notes: Notes, tempo: float = 120.0) -> bytes:
    """Write notes as a MIDI file of a piano; see :func:`tracks_bytes`."""
    return tracks_bytes({"": notes}, tempo)


def tracks_bytes(tracks: Mapping[str, Notes], tempo: float = 120.0) -> bytes:
    """Write a MIDI file of piano tracks with a tempo.

    Onsets are rounded to ticks of ``60 / tempo / 480`` seconds, about 1 ms at the default; a note lasts at least a tick. On one
    channel MIDI can't tell apart notes of one pitch that overlap: the later ones are written to further tracks and channels.

    Parameters
    ----------
    tracks : mapping of str to Notes
        By track name.
    tempo : float
        Quarter notes a minute.

    Raises
    ------
    DataError
        If a note ends after 2^28 ticks, the longest distance of two events in a file; at the default none can.
    """
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(resolution=RESOLUTION, initial_tempo=tempo)
    tick = 60.0 / tempo / RESOLUTION
    for name, notes in tracks.items():
        layers = [pretty_midi.Instrument(program=0, name=name)]
        for layer, start, end, pitch, velocity in _layered(notes, tick):
            if layer == len(layers):
                layers.append(pretty_midi.Instrument(program=0, name=name))
            layers[layer].notes.append(pretty_midi.Note(velocity, pitch, start * tick, end * tick))
        midi.instruments += layers
    out = io.BytesIO()
    midi.write(out)
    return out.getvalue()


def _layered(notes: Notes, tick: float) -> Iterator[tuple[int, int, int, int, int]]:
    """Layer, start and end tick, pitch and velocity of each note; notes of a layer that have one pitch don't overlap.

    Each note has the first layer that is free. More than a file may have are left out.
    """
    start = np.rint(notes.onset / tick).astype(np.int64)
    end = np.maximum(np.rint((notes.onset + notes.duration) / tick).astype(np.int64), start + 1)
    if len(end) and end.max() >= MOST_TICKS:
        raise DataError(f"A note ends at {end.max() * tick:,.0f} s; a MIDI file at this tempo holds {MOST_TICKS * tick:,.0f} s.")
    columns = (column.tolist() for column in (start, end, notes.pitch, notes.velocity))
    held: dict[int, list[tuple[int, int]]] = defaultdict(list)  # by pitch: end and layer of what sounds, the next to end first
    free: dict[int, list[int]] = defaultdict(list)  # by pitch: layers that sounded, the first one first
    for a, b, pitch, velocity in zip(*columns, strict=True):
        while held[pitch] and held[pitch][0][0] <= a:
            heapq.heappush(free[pitch], heapq.heappop(held[pitch])[1])
        layer = heapq.heappop(free[pitch]) if free[pitch] else len(held[pitch])
        if layer < smf.MOST_INSTRUMENTS:
            heapq.heappush(held[pitch], (b, layer))
            yield layer, a, b, pitch, velocity
