"""Samples for the report's page, to see and to hear: a group per piece, the original first.

Everything is read from the run's folder; nothing is rendered. What is not :class:`~markupsafe.Markup` may hold anything: the
page's template escapes it.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bench.errors import DataError
from bench.formatting import plural
from bench.music.midi import MOST_BYTES, read_midi
from bench.music.notes import Notes
from bench.report.contents import Report, piece_name
from bench.report.figures.pianoroll import Extent, describe, piano_roll
from bench.sound.clips import LONGEST, Source, is_damaged, prompt_notes, sources, stored_clip
from bench.system.disk import DamagedFileError, read_file

#: Sound in one page, bytes of base64: room for seven systems and three pieces. Further clips stay in the run's folder.
PAGE_BYTES = 2_500_000


@dataclass(frozen=True)
class Clip:
    """One sample, or the original.

    Parameters
    ----------
    system : str
        The row's name, or ``original``.
    original : bool
    roll : Markup
        An SVG element with its own label.
    about : str
        Caption: number of notes, length, what the player plays.
    audio : str or None
        The excerpt as a ``data:`` URI, if the page holds it.
    reason : str
        Why it doesn't; empty otherwise.
    mp3 : str
        Path of the longer MP3 below the run's folder; empty where there is none.
    midi, midi_name : str
        The MIDI file as a ``data:`` URI, empty where the page doesn't hold it, and a name to save it under.
    """

    system: str
    original: bool
    roll: Markup
    about: str
    audio: str | None
    reason: str
    mp3: str
    midi: str
    midi_name: str


@dataclass(frozen=True)
class ClipGroup:
    """One piece: the original, then every model's continuation of it."""

    title: str
    clips: tuple[Clip, ...]


def clips(report: Report, most: int = PAGE_BYTES) -> list[ClipGroup]:
    """Collect the first pieces of a run with their rolls, sound and MIDI.

    Parameters
    ----------
    report : Report
    most : int
        Bytes of sound and MIDI that the page may hold; earlier pieces come first.

    Returns
    -------
    list of ClipGroup
        Empty as long as no model has generated anything.
    """
    audible = sources(report.folder)
    groups = []
    for piece in sorted({source.piece for source in audible}):
        of_piece = [source for source in audible if source.piece == piece]
        if piece >= len(report.targets) or all(source.original for source in of_piece):
            continue
        group = _group(piece_name(report.targets[piece]), of_piece, report, most)
        most -= sum(_size(clip) for clip in group.clips)
        groups.append(group)
    return groups


def silent(groups: Sequence[ClipGroup]) -> bool:
    """Whether there are groups, and none has a clip to play."""
    return bool(groups) and not any(clip.audio or clip.mp3 for group in groups for clip in group.clips)


def file_name(*parts: object) -> str:
    """Name of a MIDI file that every operating system can save: ASCII letters and digits, short, without a path.

    Examples
    --------
    >>> file_name("lstm", "piece 0", "Für Elise")
    'lstm-piece-0-fur-elise.mid'
    """
    plain = (unicodedata.normalize("NFKD", str(part)).encode("ascii", "ignore").decode().lower() for part in parts)
    words = (re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:40].strip("-") for text in plain)
    return "-".join(word for word in words if word) + ".mid"


def _group(title: str, members: list[Source], report: Report, most: int) -> ClipGroup:
    pieces = [(source, damaged, _notes(source, damaged)) for source in members for damaged in [is_damaged(source)]]
    extent = Extent.around([notes for *_, notes in pieces], LONGEST)
    group = []
    for source, damaged, notes in pieces:
        clip = _clip(source, damaged, notes, title, extent, report, most)
        most -= _size(clip)
        group.append(clip)
    return ClipGroup(title, tuple(group))


def _clip(source: Source, damaged: bool, notes: Notes, title: str, extent: Extent, report: Report, most: int) -> Clip:
    prompt = prompt_notes(notes, report.targets[source.piece].prompt)
    stored = "its MIDI file is damaged" if damaged else stored_clip(source)
    played, audio, reason, mp3 = None, None, "", ""
    if isinstance(stored, str):
        reason = stored
    else:
        played = (stored.excerpt_start, stored.excerpt_start + stored.excerpt_seconds)
        mp3 = source.mp3.relative_to(report.folder).as_posix()
        sound = _content(source.excerpt, most)
        audio = _data("audio/mpeg", sound) if sound else None
        if audio is None or len(audio) > most:
            audio, reason = None, "left out, to keep this page small; it is in the run's folder"
    content = b"" if damaged else _content(source.midi, most - len(audio or ""))
    name = "the original" if source.original else source.system
    return Clip(
        system=source.system,
        original=source.original,
        roll=piano_roll(notes, prompt, extent, describe(name, notes, prompt), played),
        about=_about(notes, bool(prompt.any()), extent, played if audio else None),
        audio=audio,
        reason=reason,
        mp3=mp3,
        midi=_data("audio/midi", content) if content else "",
        midi_name=file_name(source.system, f"piece {source.piece}", title),
    )


def _about(notes: Notes, prompted: bool, extent: Extent, played: tuple[float, float] | None) -> str:
    if not len(notes):
        return "no note that can be read"
    words = [plural(len(notes), "note") + ("" if prompted else ", without the prompt")]
    words.append(f"{float((notes.onset + notes.duration).max() - notes.onset[0]):.0f} s")
    if notes.onset[-1] >= extent.end:
        words.append(f"drawn to {extent.end:.0f} s")
    if strays := int(extent.outside(notes).sum()):
        words.append(f"{strays} too high or low to show, on the edge")
    if played:
        words.append(f"player: {played[1] - played[0]:.0f} s from {played[0]:.0f} s on")
    return ", ".join(words)


def _notes(source: Source, damaged: bool) -> Notes:
    try:
        return Notes.concatenate([]) if damaged else read_midi(source.midi)
    except DataError:
        return Notes.concatenate([])


def _size(clip: Clip) -> int:
    return len(clip.audio or "") + len(clip.midi)


def _content(path: Path, most: int) -> bytes:
    """Read a file for the page; nothing of one that is larger than any is, or than what the page may still hold."""
    try:
        return read_file(path, min(MOST_BYTES, max(0, most) * 3 // 4))  # four characters of base64 are three bytes
    except DamagedFileError:
        return b""


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
