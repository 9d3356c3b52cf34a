"""Events from a child process: JSON lines on a pipe that the code of a plug-in may write to as well.

Whatever is written there costs its own task at most. Each turn reads a limited part, so that the loop over all children still
checks timeouts and Ctrl-C; lines have a limited length, a task a limited total; and only events with the fields that a worker
sends are passed on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Event = dict[str, Any]

#: Bytes read in one turn.
TURN = 1 << 16

#: Turns after the end of a process: the largest pipe that a user may make holds as much.
LAST_TURNS = 17


def _text(value: Any) -> bool:
    return isinstance(value, str)


#: Of finite numbers the greatest that can be computed with. It is the greatest ratio, too, so that none becomes 0.
MOST = 1e15


def _number(value: Any) -> bool:
    """Whether it can be computed with; NaN and infinity, which a loss may be, can."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not MOST < abs(value) < math.inf


def _amount(value: Any) -> bool:
    return _number(value) and 0 <= value < math.inf


def _some(value: Any) -> bool:
    return _amount(value) and value >= 1 / MOST


#: Fields that each event must have.
_FIELDS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "fit": {"epochs": _amount},
    "epoch": {
        "epoch": _some,
        "epochs": _some,
        "in_epochs": lambda value: isinstance(value, bool),
        "seconds": _amount,
        "loss": _number,
        "notes": _amount,
    },
    "generate": {"sample": _amount, "samples": _amount, "pieces": _amount},
    "likelihood": {"pieces": _amount},
    "message": {"text": _text},
    "prepare": {"task": _text, "done": _amount, "total": _amount, "what": _text},
    "begun": {},
    "ended": {"seconds": _amount},
    "error": {"kind": _text, "message": _text, "hint": _text},
    "result": {},
}

#: Fields that an evaluation may have, and that the displays compute with.
_OPTIONAL: Mapping[str, Callable[[Any], bool]] = {
    "share": lambda value: _some(value) and value <= 1,
    "validation_bits": _number,
}


def parse_event(line: bytes) -> Event | None:
    """Parse a line; None if it is no event of a worker."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(kind := event.get("event"), str) or kind not in _FIELDS:
        return None
    fields = all(name in event and check(event[name]) for name, check in _FIELDS[kind].items())
    return event if fields and all(check(event[name]) for name, check in _OPTIONAL.items() if name in event) else None


class EventReader:
    """Reader of one child's pipe.

    Parameters
    ----------
    pipe : int
        File descriptor; it is made non-blocking.
    most : int
        Bytes that the child may send in all.
    longest : int
        Bytes of the longest line; longer ones are dropped.
    """

    def __init__(self, pipe: int, most: int, longest: int) -> None:
        os.set_blocking(pipe, False)
        self.pipe, self.most, self.longest = pipe, most, longest
        self.received = 0
        #: Whether the other end was closed.
        self.closed = False
        self._line = bytearray()
        self._too_long = False

    @property
    def flooded(self) -> bool:
        """Whether more than `most` bytes came."""
        return self.received > self.most

    def events(self, turns: int = 1) -> Iterator[Event]:
        """Yield the events in the next part of what was sent."""
        for _ in range(turns):
            if self.flooded or not (chunk := self._read()):
                return
            for line in self._lines(chunk):
                if (event := parse_event(line)) is not None:
                    yield event

    def _read(self) -> bytes:
        try:
            chunk = os.read(self.pipe, TURN)
        except BlockingIOError:
            return b""
        self.closed = self.closed or not chunk
        self.received += len(chunk)
        return chunk

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        first, *more = chunk.split(b"\n")
        self._extend(first)
        for part in more:
            if not self._too_long:
                yield bytes(self._line)
            self._line.clear()
            self._too_long = False
            self._extend(part)

    def _extend(self, part: bytes) -> None:
        self._too_long = self._too_long or len(self._line) + len(part) > self.longest
        if self._too_long:
            self._line.clear()
        else:
            self._line += part
