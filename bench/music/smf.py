"""Structure of Standard MIDI Files: what the parser would misread without an error is corrected or refused beforehand.

The lengths of the chunks are checked first. Then the content is searched for bytes that could begin an event which the parser
misreads; only a file that has one is examined event by event. Few have, so that this costs a few per cent of the parsing.

Source: The Complete MIDI 1.0 Detailed Specification, MIDI Manufacturers Association, 1996: Standard MIDI Files 1.0.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError

HEADER = 14

#: First bytes of events. Those of a channel's are in the upper four bits, the channel in the lower ones.
NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE = 0x8, 0x9, 0xB, 0xC
SYSEX, ESCAPE, META = 0xF0, 0xF7, 0xFF
TRACK_NAME, PORT, TEMPO, END_OF_TRACK = 0x03, 0x21, 0x51, 0x2F

#: Messages that are not allowed in files, and whose data the parser passes over wrongly.
COMMON = (0xF1, 0xF2, 0xF3)

#: Messages without data that are not allowed in files either, such as a clock or active sensing; careless recorders write them.
#: The parser takes what follows in running status for more of them, and loses it.
SINGLE = frozenset({0xF6, *range(0xF8, 0xFF)})

#: Meta events in a row behind which running status is looked for, before all events are read for it.
_MOST_META = 8

#: Data bytes of a channel's event, by the upper four bits.
SIZES = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}

#: Bit of the header's division that makes its ticks parts of a frame, not of a quarter note.
SMPTE = 0x8000

#: Ticks that the parser can count.
MOST_TICKS = 1 << 31

#: Instruments, each a program on a channel of a track, for which the parser makes a track of its own.
MOST_INSTRUMENTS = 4096

#: Bytes that the parser may take for names: it copies that of a track for each of its instruments.
MOST_NAMES = 64 << 20

#: The first eight bytes of every file.
BEGINNING = b"MThd\0\0\0\6"

Span = tuple[int, int]


class Event(NamedTuple):
    """An event of a track.

    Parameters
    ----------
    at : int
        Position in the file of its first byte, or of its data where that is left out.
    tick : int
        From the beginning of the track.
    status : int
        Its first byte, also where the file leaves it out.
    kind : int
        Type of a meta event, else 0.
    data : int
        Position of its first data byte in the file.
    size : int
        Number of its data bytes.
    """

    at: int
    tick: int
    status: int
    kind: int
    data: int
    size: int


def damaged(why: str) -> DataError:
    """Make the error for a file that can't be parsed, and the reason."""
    return DataError(f"not a MIDI file that can be parsed ({why})")


def checked(raw: bytes) -> bytes:
    """Return a file's content as the parser reads it rightly.

    Escape events (0xF7), whose length the parser doesn't know, become SysEx events, which it skips.

    Raises
    ------
    DataError
        If there is no header of format 0 to 2 with ticks of a quarter note, or another number of tracks than it says, they are
        independent sequences (format 2), a status byte is missing after a SysEx event, a tempo doesn't have three bytes or its
        length isn't written as one, an event that would be misread is not allowed in files, or there are more ticks than the
        parser can count, or more instruments, or longer names of these, than it has memory for.
    """
    spans = tracks(raw)
    if not (_doubtful(raw, spans) or _may_overflow(raw) or _may_be_an_orchestra(raw, spans) or _LONG_NAME.search(raw)):
        return raw
    content, names = bytearray(raw), Counter[int]()
    instruments, programmed = set[tuple[int, int, int | None]](), set[tuple[int, int]]()
    for track, span in enumerate(spans):
        for event in events(raw, span):
            if event.status >> 4 in (NOTE_ON, PROGRAM_CHANGE):
                part = track, event.status & 0xF
                if event.status >> 4 == PROGRAM_CHANGE:
                    programmed.add(part)
                    instruments.add((*part, raw[event.data]))
                elif part not in programmed:  # it has a program without a change to it
                    instruments.add((*part, None))
                if len(instruments) > MOST_INSTRUMENTS:
                    raise DataError(f"it has more than {MOST_INSTRUMENTS:,} instruments")
            if event.kind == TRACK_NAME:
                names[track] = max(names[track], event.size)
            if event.kind == TEMPO and event.size != 3:
                raise damaged(f"a tempo of {event.size} bytes, not 3")
            if event.kind == TEMPO and raw[event.at + 2] != 3:  # the parser takes that byte for the length
                raise DataError("it has a tempo whose length is written with leading zeros")
            if event.tick >= MOST_TICKS:
                raise DataError("it lasts 2^31 ticks or more")
            if event.status == ESCAPE:
                content[event.at] = SYSEX
    if sum(names[track] for track, _, _ in instruments) > MOST_NAMES:
        raise DataError(f"it has names of {max(names.values()):,} bytes for {len(instruments):,} instruments")
    return bytes(content)


def tracks(raw: bytes) -> list[Span]:
    """Locate the events of each track: first byte, and the one after the last.

    Raises
    ------
    DataError
        If there is no header of format 0 to 2 with ticks of a quarter note, or another number of tracks than it says, or they are
        independent sequences (format 2).
    """
    if len(raw) < HEADER or not raw.startswith(BEGINNING):
        raise damaged("it does not begin with a MIDI header")
    form, announced, division = struct.unpack_from(">HHH", raw, 8)
    if form > 2:
        raise DataError(f"its header says MIDI format {form}, and there are only 0, 1 and 2")
    if division & SMPTE:
        raise DataError("its times are frames of film (SMPTE), not parts of a quarter note, so they have no tempo")
    spans, at = [], HEADER
    while at + 8 <= len(raw):
        kind, size = struct.unpack_from(">4sI", raw, at)
        if kind == b"MTrk":
            spans.append((at + 8, at + 8 + size))
        at += 8 + size
    if len(spans) != announced:
        raise damaged(f"its header announces {announced} tracks, it holds {len(spans)}")
    if form == 2 and len(spans) > 1:
        raise DataError(f"it holds {len(spans)} independent sequences (MIDI format 2), which have no common time")
    if spans and spans[-1][1] > len(raw):
        raise damaged("it ends within a track")
    return spans


def events(raw: bytes, span: Span) -> Iterator[Event]:
    """Iterate over a track's events, up to its end-of-track event or its end.

    Raises
    ------
    DataError
        If an event is incomplete, not allowed in a file, or has no status byte and none that it could repeat.
    """
    at, end = span
    tick = running = kind = 0
    try:
        while at < end and kind != END_OF_TRACK:
            delta, at = (raw[at], at + 1) if raw[at] < 0x80 else _quantity(raw, at)
            tick += delta
            first, status, kind = at, raw[at], 0
            if status < 0x80:
                status = running
            else:
                at += 1
            if status == META:
                kind, at = raw[at], at + 1
            if status in (META, SYSEX, ESCAPE):
                # By the standard meta events end a running status too, but many programs go on with it, and so does the parser.
                running = running if status == META else 0
                size, at = _quantity(raw, at)
            elif status >> 4 in SIZES:
                running, size = status, SIZES[status >> 4]
            elif status in SINGLE:
                running = size = 0
            else:
                raise damaged(f"an event begins with 0x{status:02X}" if status else "a status byte is missing")
            if at + size > end:
                raise IndexError
            yield Event(first, tick, status, kind, at, size)
            at += size
    except IndexError:
        raise damaged("an event is incomplete") from None


def _quantity(raw: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length, four bytes at most, and return it with the position after it.

    Raises
    ------
    IndexError
        If it has more bytes, or the file ends.
    """
    value = 0
    for i in range(at, at + 4):
        value = value << 7 | raw[i] & 0x7F
        if raw[i] < 0x80:
            return value, i + 1
    raise IndexError


def _doubtful(raw: bytes, spans: Sequence[Span]) -> bool:
    """Whether a file may hold an event that the parser misreads.

    Each byte that could begin one is taken for its beginning. Most are a part of a number or a text, which what follows shows.
    """
    if any(
        raw[at + 1 : at + 2] == b"\x51" and raw[at + 2 : at + 3] != b"\3" for at in _positions(raw, b"\xff", HEADER, len(raw))
    ):
        return True
    return any(
        _misread(raw, at)
        for first in (SYSEX, ESCAPE, *COMMON, *SINGLE)
        for span in spans
        for at in _positions(raw, bytes([first]), *span)
        if raw.rfind(b"\xff\x51\x03", at - 5, at) < 0  # no byte of a tempo
    )


def _may_be_an_orchestra(raw: bytes, spans: Sequence[Span]) -> bool:
    """Whether there may be too many instruments: by the channels of all tracks, and bytes that could change a program."""
    changes = int(np.count_nonzero(np.frombuffer(raw, np.uint8) >> 4 == PROGRAM_CHANGE))
    return 16 * len(spans) + changes > MOST_INSTRUMENTS


#: What may begin a name of 16 KiB or more: shorter ones are no burden, however many instruments have them.
_LONG_NAME = re.compile(rb"\xff\x03[\x80-\xff][\x80-\xff]")


def _may_overflow(raw: bytes) -> bool:
    """Whether a delta time may be longer than the parser reads, or a track's sum up to more ticks than it can count.

    A delta of four bytes ends a row of three that are at least 0x80, one of three a row of two, one of two a single one. All such
    rows in the file are taken for deltas, which can only add to the sum.
    """
    values = np.frombuffer(raw, np.uint8)
    high = values >= 0x80
    two = high[1:] & high[:-1]
    three = two[1:] & two[:-1]
    if (three[1:] & three[:-1]).any():
        return True
    most = (np.count_nonzero(three) << 28) + (np.count_nonzero(two) << 21) + (len(raw) << 6)
    if most + (len(raw) << 13) < MOST_TICKS:  # every other byte begins a delta of two bytes: true of nearly all files
        return False
    short = int(((values[:-1] & 0x7F) + 1)[high[:-1] & ~high[1:]].sum(dtype=np.int64)) << 7
    return bool(most + short >= MOST_TICKS)


def _positions(raw: bytes, part: bytes, start: int = HEADER, end: int | None = None) -> Iterator[int]:
    at = raw.find(part, start, end)
    while at >= 0:
        yield at
        at = raw.find(part, at + 1, end)


def _misread(raw: bytes, at: int) -> bool:
    """Whether the parser would misread what follows the event at a position, or that event itself."""
    if raw[at] in (ESCAPE, *COMMON):
        return True
    try:
        size, at = (0, at + 1) if raw[at] in SINGLE else _quantity(raw, at + 1)
        for _ in range(_MOST_META):
            _, at = _quantity(raw, at + size)
            if raw[at] != META:
                return raw[at] < 0x80  # running status
            size, at = _quantity(raw, at + 2)
    except IndexError:
        pass
    return True


def silenced(raw: bytes, programs: Container[int]) -> bytes | None:
    """Silence the notes of other programs, if a track plays on a channel whose program only another track sets.

    The parser knows only the program changes of a note's own track. A track's own changes take precedence here too: programs that
    write every track on channel 1 mean each track's own instrument. Each port has channels of its own.

    Parameters
    ----------
    raw : bytes
        As from :func:`checked`.
    programs : container of int
        General MIDI programs to keep, from 0.

    Returns
    -------
    bytes or None
        The content with beginnings and ends of all notes of other programs as ends of a pitch that nothing plays; None if every
        track sets its own.
    """
    spans = tracks(raw)
    if len(spans) < 2 or not _may_share(raw, spans):
        return None
    struck, changes = _struck(raw, spans)
    if not len(changes.when):
        return None
    own = _applying(struck.when, changes.when, changes.program)
    shared = _applying(struck.when & _ANY_TRACK, changes.when & _ANY_TRACK, changes.program)
    if ((own >= 0) | (shared < 0)).all():
        return None
    program = np.where(own >= 0, own, np.maximum(shared, 0))
    mute = ~np.array([number in programs for number in range(256)])[program]
    content = np.frombuffer(raw, np.uint8).copy()
    # A velocity of 0 alone would end another note of that pitch, and so would the end that is left.
    pitch = _idle(struck, content[struck.begin])[mute]
    begin, end = struck.begin[mute], struck.end[mute]
    content[begin], content[begin + 1] = pitch, 0
    content[end[end > 0]] = pitch[end > 0]
    return content.tobytes()


#: Bits of a tick, and of a channel with its port, in a number that orders events by track, channel and tick.
_TICK, _CHANNEL = 31, 12

#: What such a number has for events of any track.
_ANY_TRACK = (1 << _TICK + _CHANNEL) - 1


class _Struck(NamedTuple):
    """Notes: of each its track, channel and tick in one number, and where its data begin, and those of its end, if it has one."""

    when: NDArray[np.int64]
    begin: NDArray[np.uint32]
    end: NDArray[np.uint32]


class _Changes(NamedTuple):
    """Changes of program, in the order of the file; `when` as of notes."""

    when: NDArray[np.int64]
    program: NDArray[np.uint8]


def _struck(raw: bytes, spans: Sequence[Span]) -> tuple[_Struck, _Changes]:
    """Find notes and changes of program. Three bytes of a file may be one of them, so each takes hardly more."""
    when, begin, end, after = array("q"), array("I"), array("I"), array("I")
    change, program = array("q"), bytearray()
    # By track, channel without its port, and pitch: the note that ends next, and the last one. Each names the one after it.
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for track, span in enumerate(spans):
        port = 0
        for event in events(raw, span):
            kind, channel = event.status >> 4, event.status & 0xF
            now = (track << 8 | port) << 4 | channel
            if event.kind == PORT and event.size:
                port = raw[event.data]
            elif kind == PROGRAM_CHANGE:
                change.append(now << _TICK | event.tick)
                program.append(raw[event.data])
            elif kind in (NOTE_ON, NOTE_OFF):
                key = (track << 4 | channel) << 8 | raw[event.data]
                if kind == NOTE_ON and raw[event.data + 1]:
                    number = len(begin)
                    if key in first:
                        after[last[key]] = number
                    else:
                        first[key] = number
                    last[key] = number
                    when.append(now << _TICK | event.tick)
                    begin.append(event.data)
                    end.append(0)
                    after.append(0)
                elif key in first:  # the first one ends, as for the parser
                    number = first.pop(key)
                    end[number] = event.data
                    if after[number]:
                        first[key] = after[number]
    return _Struck(np.array(when), np.array(begin), np.array(end)), _Changes(np.array(change), np.frombuffer(program, np.uint8))


def _applying(notes: NDArray[np.int64], changes: NDArray[np.int64], program: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Find the program of each note: 0 before the first change on its channel, -1 where there is none."""
    order = np.argsort(changes, kind="stable")  # of several at one tick the last applies
    changes = changes[order]
    at = np.searchsorted(changes, notes, side="right") - 1
    set_before = (at >= 0) & (changes[at] >> _TICK == notes >> _TICK)
    set_at_all = np.isin(notes >> _TICK, np.unique(changes >> _TICK))
    return np.where(set_before, program[order][at].astype(np.int16), np.where(set_at_all, 0, -1).astype(np.int16))


def _idle(struck: _Struck, pitch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Find for each note the lowest pitch that its track never plays on its channel; its own where it plays all."""
    _, part = np.unique(struck.when >> _TICK + _CHANNEL << 4 | struck.when >> _TICK & 0xF, return_inverse=True)
    played = np.zeros((part.max() + 1, 256), np.bool_)
    played[part, pitch] = True
    played[:, 128] = False  # no pitch
    lowest = played[:, :129].argmin(1).astype(np.uint8)[part]
    return np.where(lowest < 128, lowest, pitch)


def tempos(raw: bytes) -> Iterator[tuple[int, int]]:
    """Iterate over ticks and microseconds of a quarter note of all tempos, in the order of the file."""
    for span in tracks(raw):
        for event in events(raw, span):
            if event.kind == TEMPO:
                yield event.tick, int.from_bytes(raw[event.data : event.data + event.size], "big")


def may_control(raw: bytes) -> bool:
    """Whether a track may have events of a controller: any byte counts that could begin one."""
    return bool((np.frombuffer(raw, np.uint8) >> 4 == CONTROL_CHANGE).any())


def one_keyboard(raw: bytes) -> bool:
    """Whether only one track may have events of a controller, and none before it sets its last program.

    Any byte counts that could begin such an event. The parser loses those that come after a change of program if nothing is
    played after it.
    """
    values = np.frombuffer(raw, np.uint8) >> 4
    control = [start + np.flatnonzero(values[start:end] == CONTROL_CHANGE)[:1] for start, end in tracks(raw)]
    first = np.concatenate([np.zeros(0, np.int64), *control])
    return len(first) == 1 and not (values[first[0] :] == PROGRAM_CHANGE).any()


class Part(NamedTuple):
    """What one track does on one channel.

    Parameters
    ----------
    content : bytes
        A file of its notes and programs alone, with the track's name. Times are ticks of the whole file.
    port, channel : int
        Each port has channels of its own.
    program : int or None
        The first one that the track sets for the channel.
    plays : bool
        Whether it has notes, silenced ones included.
    time, value : ndarray of int64, shape (m,)
        Ticks and values of a controller's events.
    """

    content: bytes
    port: int
    channel: int
    program: int | None
    plays: bool
    time: NDArray[np.int64]
    value: NDArray[np.int64]


def parts(raw: bytes, controller: int) -> Iterator[Part]:
    """Take a file apart, as the parser doesn't say which channel a note is on, and drops events of a controller without notes.

    Parameters
    ----------
    raw : bytes
        As from :func:`checked`.
    controller : int
        Number of the controller whose events are wanted.
    """
    for span in tracks(raw):
        name, port = b"", 0
        gathered: dict[int, _Gathered] = defaultdict(_Gathered)
        for event in events(raw, span):
            if event.kind == TRACK_NAME:  # the last one counts, as for the parser
                name = raw[event.data : event.data + event.size]
            elif event.kind == PORT and event.size:
                port = raw[event.data]
            elif event.status < SYSEX:
                gathered[event.status & 0xF].take(raw, event, controller)
        for channel, own in sorted(gathered.items()):
            played = bytes(own.played)
            content = b"".join((_delta(0), bytes([META, TRACK_NAME]), _delta(len(name)), name, played, b"\0\xff\x2f\0"))
            header = BEGINNING + struct.pack(">HH", 1, 1) + raw[12:HEADER] + b"MTrk" + struct.pack(">I", len(content))
            time, value = np.array(own.controls).reshape(-1, 2).T
            yield Part(header + content, port, channel, own.program, own.plays, time, value)


class _Gathered:
    """The events of a channel in a track."""

    def __init__(self) -> None:
        self.played = bytearray()
        self.controls = array("q")  # ticks and values in turn
        self.program: int | None = None
        self.plays = False
        self._tick = 0

    def take(self, raw: bytes, event: Event, controller: int) -> None:
        kind = event.status >> 4
        if kind == CONTROL_CHANGE:
            if raw[event.data] == controller:
                self.controls.extend((event.tick, raw[event.data + 1]))
            return
        if kind == PROGRAM_CHANGE and self.program is None:
            self.program = raw[event.data]
        elif kind not in (NOTE_OFF, NOTE_ON, PROGRAM_CHANGE):
            return
        self.plays |= kind == NOTE_ON
        self.played += _delta(event.tick - self._tick)
        self.played.append(event.status)
        self.played += raw[event.data : event.data + event.size]
        self._tick = event.tick


def _delta(value: int) -> bytes:
    """Encode a delta time as a number of variable length; one of more than four bytes with empty texts in between."""
    if value >> 28:
        return b"\xff\xff\xff\x7f\xff\x01\0" + _delta(value - (1 << 28) + 1)
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def _may_share(raw: bytes, spans: Sequence[Span]) -> bool:
    """Whether a track may have notes on a channel for which only another track sets a program."""
    # Any byte counts that could begin such an event. Of two tracks that share a channel one isn't the longest.
    shorter = sorted(spans, key=lambda span: span[1] - span[0])[:-1]
    first = {byte for start, end in shorter for byte in set(raw[start:end])}
    foreign: dict[int, set[int]] = defaultdict(set)  # by track, channels for which another one may set a program
    for channel in {byte & 0xF for byte in first if byte >> 4 in (PROGRAM_CHANGE, NOTE_ON)}:
        setting, playing = (
            [number for number, span in enumerate(spans) if raw.find(kind << 4 | channel, *span) >= 0]
            for kind in (PROGRAM_CHANGE, NOTE_ON)
        )
        for number in playing:
            if any(other != number for other in setting[:2]):
                foreign[number].add(channel)
    return any(not _begin_with_program(raw, spans[number], channels) for number, channels in foreign.items())


def _begin_with_program(raw: bytes, span: Span, channels: set[int]) -> bool:
    """Whether a track sets the program of each of these channels before it plays on it."""
    waiting = set(channels)
    for event in events(raw, span):
        if event.status & 0xF in waiting and event.status >> 4 in (NOTE_ON, PROGRAM_CHANGE):
            if event.status >> 4 == NOTE_ON:
                return False
            waiting.discard(event.status & 0xF)
            if not waiting:
                break
    return True
