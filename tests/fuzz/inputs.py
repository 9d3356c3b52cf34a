"""Inputs for the readers: files drawn from a grammar or taken from the corpus, most of them then damaged.

Every choice comes from the random generator that is passed in, so a target's name, a seed and a number name an input.
"""

from __future__ import annotations

import copy
import io
import json
import string
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

#: Draws one input.
Make = Callable[[Random], bytes]

#: Numbers at which something changes, or a type of a fixed size ends.
EDGES = (0, 1, -1, 2, 3, 127, 128, 255, 2**31 - 1, 2**31, 2**53, -(2**63), 2**63, 2**64, 10**30, 10**400)

#: What a value drawn from the types of JSON can't be.
TOKENS = (b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b'"\\ud800"', b"[" * 3000, b'{"a":' * 3000, b"0x1f", b"-", b"\0", b"\xff")

_CHARACTERS = string.printable + "\0\x1b\x7fé²٣☃\u2028\ufeff𝄞\ud800"


def damaged(rng: Random, data: bytes, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """Change none to three places of an input: overwrite, insert, delete, repeat, or end there."""
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 3))):
        at, size = rng.randint(0, len(data)), rng.choice((1, 1, 2, 4, 16, 100))
        token = rng.choice(tokens) if rng.random() < 0.3 else rng.randbytes(rng.choice((1, 1, 2, 4)))
        end, part = data[at:], data[at : at + size]
        change = rng.choice(("put", "insert", "delete", "repeat", "move", "cut"))
        if change == "put":
            end = token + end[len(token) :]
        elif change == "insert":
            end = token + end
        elif change == "delete":
            end = end[size:]
        elif change == "repeat":
            end = part * rng.choice((1, 10, 300)) + end
        elif change == "move":
            place = rng.randint(0, len(end))
            end = end[:place] + part + end[place:]
        elif rng.random() < 0.3:
            end = b""
        data = data[:at] + end
    return data


def text(rng: Random, parts: Sequence[str], most: int = 12, strange: float = 0.1) -> str:
    """Join some parts, now and then one of them many times in a row; a share `strange` are a few characters of any kind."""
    chosen = []
    for _ in range(rng.randint(0, most)):
        part = rng.choice(parts) if rng.random() >= strange else "".join(rng.choices(_CHARACTERS, k=rng.randint(0, 3)))
        chosen.append(part * rng.choice((1, 1, 1, 1, 1, 1, 1, 1, 3, 300)))
    return "".join(chosen)


def words(*parts: str, most: int = 12) -> Make:
    """Texts made of the tokens of a language."""
    return lambda rng: text(rng, parts, most).encode("utf-8", "surrogatepass")


# MIDI


def vlq(number: int) -> bytes:
    """Encode a variable-length quantity."""
    out = [number & 127]
    while number := number >> 7:
        out.append(number & 127 | 128)
    return bytes(reversed(out))


def _sized(head: bytes, data: bytes) -> bytes:
    return head + vlq(len(data)) + data


#: Microseconds of a quarter note, in three bytes: usual ones, the slowest and the fastest.
_TEMPOS = (b"\x07\xa1\x20", b"\x07\xa1\x20", b"\x0f\x42\x40", b"\xff\xff\xff", b"\0\0\1")


def _event(rng: Random, wild: bool) -> bytes:
    """Draw an event: of a voice, a tempo, another meta event, a SysEx; if it may break the file, also any bytes."""
    kind = rng.random() if wild else rng.random() * 0.97
    if kind < 0.7:
        status = rng.choice((0x80, 0x80, 0x90, 0x90, 0x90, 0xA0, 0xB0, 0xE0)) | rng.choice((0, 0, 0, 1, 9))
        event = bytes([status, rng.choice((60, 60, 60, 61, 0, rng.randrange(128))), rng.choice((0, 64, 127))])
        return event[1:] if wild and rng.random() < 0.1 else event  # running status
    if kind < 0.75:
        return bytes([rng.choice((0xC0, 0xC9, 0xD0)), rng.randrange(128)])
    if kind < 0.9:
        strange = (b"\0\0\0", b"", b"\1", b"\1\2\3\4", rng.randbytes(3))
        return _sized(b"\xff\x51", rng.choice(strange if wild and rng.random() < 0.3 else _TEMPOS))
    if kind < 0.97:
        heads = (b"\xff\x58", b"\xff\x59", b"\xff\x54", b"\xff\x03", b"\xff\x21", b"\xff\x7f", b"\xf0", b"\xf7")
        head = rng.choice((*heads, b"\xff\x2f") if wild else heads)
        return _sized(head, rng.randbytes(rng.randint(0, 6)))
    return rng.randbytes(rng.randint(1, 3))


def _track(rng: Random, wild: bool) -> bytes:
    # Notes and gaps of hours, too: where float64 no longer tells ticks apart, and where sums of ticks leave 32 bits.
    deltas = rng.choice(((0, 0, 1, 120, 480, rng.randrange(2**14)), (0, 1, 480, 2**20), (0, 1, 1, 2**24), (0, 1, 2**28 - 1)))
    body = bytes.fromhex("00903c40 8360803c40") if rng.random() < 0.5 else b""
    body += b"".join(vlq(rng.choice(deltas)) + _event(rng, wild) for _ in range(rng.randint(0, 24)))
    body += b"" if wild and rng.random() < 0.1 else b"\0\xff\x2f\0"
    size = rng.choice((0, len(body) + 1, 2**32 - 1)) if wild and rng.random() < 0.1 else len(body)
    return (b"XFIH" if wild and rng.random() < 0.05 else b"MTrk") + size.to_bytes(4, "big") + body


def midi(rng: Random) -> bytes:
    """Draw a standard MIDI file with every kind of event; two of five are wild, and may break the standard anywhere.

    The others keep to it, so that what lies behind the refusals is reached as well.
    """
    wild = rng.random() < 0.4
    tracks = [_track(rng, wild) for _ in range(rng.randint(1, 3))]
    count = rng.choice((0, 2**16 - 1)) if wild and rng.random() < 0.2 else len(tracks)
    division = rng.choice((480, 480, 1, 96, 0, 2**15 - 1, 0xE728, 0xFFFF) if wild else (480, 480, 1, 96, 2**15 - 1))
    numbers = rng.choice((0, 1, 1, 2, 3) if wild else (1,)), count, division
    head = rng.choice((8, 0)) if wild and rng.random() < 0.1 else 6
    return b"MThd" + head.to_bytes(4, "big") + b"".join(n.to_bytes(2, "big") for n in numbers) + b"".join(tracks)


# JSON


def value(rng: Random, depth: int = 2) -> Any:
    """Draw any value of JSON."""
    kind = rng.randrange(8 if depth else 6)
    if kind < 2:
        return rng.choice((None, True, False, "", "..", "/", "\ud800", "\0", "a"))
    if kind < 4:
        return rng.choice(EDGES)
    if kind == 4:
        return rng.choice((0.5, -1.5, 1e308, 5e-324, float("nan"), float("inf"), -0.0, 2.0))
    if kind == 5:
        return "".join(rng.choices(_CHARACTERS, k=rng.randint(0, 5)))
    inner = [value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return inner if kind == 6 else {text(rng, "abc", 2): item for item in inner}


def places(root: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List the paths to all values in a value but itself."""
    items = list(root.items() if isinstance(root, dict) else enumerate(root) if isinstance(root, list) else ())
    return [place for key, item in items for place in ((*at, key), *places(item, (*at, key)))]


def _alike(rng: Random, old: Any) -> Any:
    """Draw a value of the same type that a reader may accept."""
    match old:
        case bool():
            return rng.random() < 0.5
        case int():
            return rng.choice((old, old + 1, 1, 2, 3, 10**6))
        case float():
            return rng.choice((old, old / 2, 0.0, 1.0, 1e-9, 1e9))
        case str():
            return rng.choice((old, old, old + "x", "a", "é\n"))
        case list():
            return rng.choice((old, old[:1], old + old[:1]))
    return copy.deepcopy(old)


def changed(rng: Random, template: Any) -> Any:
    """Change none to three of a record's values: one like it or any other, another key, or none."""
    root = copy.deepcopy(template)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        if not (found := places(root)):
            break
        *above, key = rng.choice(found)
        around = root
        for part in above:
            around = around[part]
        change = rng.random()
        if change < 0.5:
            around[key] = _alike(rng, around[key])
        elif change < 0.8:
            around[key] = value(rng)
        elif change < 0.9:
            del around[key]
        elif isinstance(around, dict):
            around["".join(rng.choices(_CHARACTERS, k=rng.randint(0, 3)))] = around.pop(key)
        else:
            around += around
    return root


def record(*templates: Any) -> Make:
    """Records in JSON, with other values."""
    return lambda rng: json.dumps(changed(rng, rng.choice(templates))).encode()


# Tables, archives, folders


def table(header: str, row: Sequence[str], *cells: str) -> Make:
    """Tables in CSV: a header, and rows; half of these are `row`, the others of any cells, quoted and not."""
    parts = (*row, *cells, '"', '""', "\0", "\r")

    def make(rng: Random) -> bytes:
        rows = [
            ",".join(row if rng.random() < 0.5 else [text(rng, parts, 2) for _ in range(rng.choice((5, 5, 5, 0, 7)))])
            for _ in range(rng.randint(0, 4))
        ]
        return "\n".join([header, *rows]).encode("utf-8", "surrogatepass")

    return make


_NAMES = ("in/a.mid", "in/b/c.mid", "in/b/d.mid", "in//a", "in\\a", "in/\n", "in/é")
_STRANGE_NAMES = (
    *("in/", "in/../x", "../x", "/x", "in/a.mid/b", "in/.", "in/checksums.json", "a", "in/" + "n" * 300, "in/\ud800"),
    *_NAMES,
)


def archive(rng: Random) -> bytes:
    """Draw a zip file; half of them perhaps with names that point elsewhere, links, or a name that is a file and a folder."""
    out, wild = io.BytesIO(), rng.random() < 0.5
    with warnings.catch_warnings(action="ignore", category=UserWarning), zipfile.ZipFile(out, "w") as file:  # of repeated names
        for _ in range(rng.randint(0 if wild else 1, 4)):
            info = zipfile.ZipInfo(rng.choice(_STRANGE_NAMES if wild else _NAMES).encode("utf-8", "replace").decode())
            info.external_attr = rng.choice((0, 0o644 << 16, 0o120777 << 16, 0x10) if wild else (0, 0o644 << 16))
            info.compress_type = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            file.writestr(info, rng.choice((b"", b"MThd", b"\0" * 5000)))
    return out.getvalue()


def folder(names: Sequence[str], content: Make, good: Mapping[str, bytes]) -> Make:
    """Folders of files, as JSON: their contents by name, each byte a character; half of the folders also hold `good`."""

    def make(rng: Random) -> bytes:
        files = {rng.choice(names): content(rng).decode("latin-1") for _ in range(rng.randint(0, 4))}
        if rng.random() < 0.5:
            files |= {name: data.decode("latin-1") for name, data in good.items()}
        return json.dumps(files).encode()

    return make
