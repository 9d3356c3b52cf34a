"""The little of MusicXML that the chorales need: notes by part, ties merged, fermatas, metre. Standard library only.

music21 itself takes about 40 times as long for the same notes, and keeps its parses as pickles in the temporary folder.
Repeats are not played out: the second time would be a verbatim copy. Grace notes have no time of their own and are left out.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: Ticks of a quarter note: divides all note values in use, so that onsets in different parts compare exactly.
QUARTER = 10080

#: Bytes of a compressed score at most, unpacked; the largest of Bach's has 1.4 MB.
MOST_BYTES = 20_000_000

#: What the parsers of XML, zip files and numbers raise at a file that is damaged or something else.
_DAMAGE = (
    ET.ParseError,
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    LookupError,
    RuntimeError,
    EOFError,
    TypeError,
    StopIteration,
)

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@dataclass
class ScoreNote:
    """A note as written."""

    onset: int
    """Ticks from the beginning."""
    duration: int
    """Ticks, ties merged."""
    pitch: int
    """MIDI note number."""
    fermata: bool = False


@dataclass
class Bar:
    """A bar: where it begins and where in the metre that is (an upbeat does not begin at 0). All in ticks."""

    start: int
    phase: int
    length: int
    beat: int


@dataclass
class Part:
    """One voice."""

    name: str
    notes: list[ScoreNote] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)


def read_musicxml(path: Path) -> list[Part]:
    """Parts of a MusicXML file (``.xml``, ``.musicxml`` or compressed ``.mxl``), top voice first.

    Raises
    ------
    ValueError
        If it isn't such a file or a part can't be read.
    """
    try:
        root = ET.fromstring(_text(path))
        names = {e.get("id"): e.findtext("part-name", "") for e in root.iter("score-part")}
        return [_part(e, names.get(e.get("id"), "")) for e in root.iter("part")]
    except _DAMAGE as error:
        raise ValueError(f"not MusicXML that can be read ({error})") from error


def _text(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".mxl":
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        inside = next(n for n in archive.namelist() if n.endswith(("xml", "musicxml")) and not n.startswith("META-INF"))
        if archive.getinfo(inside).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it isn't compressed as MusicXML is")
        with archive.open(inside) as file:
            text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES} bytes")
    return text


def _part(element: ET.Element, name: str) -> Part:
    part = Part(name)
    start, divisions, length, beat = 0, 1, 4 * QUARTER, QUARTER
    tied: dict[int, ScoreNote] = {}
    for measure in element.iterfind("measure"):
        divisions = int(measure.findtext("attributes/divisions", divisions))
        if (beats := measure.findtext("attributes/time/beats")) is not None:
            beat = 4 * QUARTER // int(measure.findtext("attributes/time/beat-type", "4"))
            length = beat * sum(map(int, beats.split("+")))
        if length <= 0 or beat <= 0 or divisions <= 0:
            raise ValueError("a bar has no length, or a quarter no divisions")
        notes = list(_measure(measure, start, divisions, tied))
        end = max((e for _, e in notes), default=start)
        if end < start:
            raise ValueError("a bar ends before it begins")
        part.notes += [note for note, _ in notes if note is not None]
        part.bars.append(Bar(start, _phase(part.bars, end - start, start, length), length, beat))
        start = end
    return part


def _phase(before: list[Bar], filled: int, start: int, length: int) -> int:
    """Position in the metre at which a bar begins. An upbeat ends its bar; a bar split by a repeat sign goes on."""
    if filled >= length:
        return 0
    if not before:
        return length - filled
    last = before[-1].phase + start - before[-1].start
    return last if last > 0 and last + filled <= length else 0


def _measure(
    measure: ET.Element, start: int, divisions: int, tied: dict[int, ScoreNote]
) -> Iterator[tuple[ScoreNote | None, int]]:
    """Yield each note of a measure with the end of what it fills; None for rests and continued ties."""
    at = last = start
    for element in measure:
        if element.tag not in ("note", "backup", "forward") or element.find("grace") is not None:
            continue
        ticks = round(int(element.findtext("duration", "0")) * QUARTER / divisions)
        if element.tag != "note":
            at += ticks if element.tag == "forward" else -ticks
            yield None, at
            continue
        if element.find("chord") is not None:
            at = last
        last, at = at, at + ticks
        yield _note(element, last, ticks, tied), at


def _note(element: ET.Element, onset: int, ticks: int, tied: dict[int, ScoreNote]) -> ScoreNote | None:
    pitch = element.find("pitch")
    if pitch is None or ticks == 0:
        return None
    number = 12 * (int(pitch.findtext("octave", "")) + 1) + _STEPS[pitch.findtext("step", "")]
    number += round(float(pitch.findtext("alter", "0")))
    if onset < 0 or ticks < 0 or not 0 <= number <= 127:
        raise ValueError(f"a note has pitch {number}, or begins or ends before it can")
    ties = {e.get("type") for e in element.iterfind("tie")}
    fermata = element.find("notations/fermata") is not None
    open_note = tied.pop(number, None) if "stop" in ties else None
    if open_note is not None and open_note.onset + open_note.duration == onset:
        note = open_note
        note.duration += ticks
        note.fermata |= fermata
    else:
        open_note, note = None, ScoreNote(onset, ticks, number, fermata)
    if "start" in ties:
        tied[number] = note
    return None if open_note is not None else note
