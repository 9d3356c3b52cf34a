"""Events that a worker may send: what each must hold, so that the displays need not look.

A plug-in's values reach a worker's events; an event that is none of these is dropped, and costs nothing but itself.
"""

from __future__ import annotations

import json
from typing import Any

_NUMBER, _SHARE = (int, float), (int, float, type(None))

#: Types of the fields that an event of each kind must have.
FIELDS: dict[str, dict[str, Any]] = {
    "fit": {"epochs": int},
    "epoch": {"epoch": int, "epochs": int, "in_epochs": bool, "seconds": _NUMBER, "loss": _NUMBER, "notes": _NUMBER},
    "generate": {"sample": int, "samples": int, "pieces": int},
    "likelihood": {"pieces": int},
    "message": {"text": str},
    "prepare": {"task": str, "done": int, "total": int, "what": str},
    "error": {"message": str, "kind": str, "hint": str},
    "result": {},
}

#: Fields that an event may lack.
_OPTIONAL = {"share": _SHARE, "validation_bits": _SHARE}

#: Beyond it a number is a slip, and breaks a display's arithmetic.
_MOST = 1e15


def parse_event(line: bytes) -> dict[str, Any] | None:
    """Parse a worker's line; None for anything but an event with its fields, whose counts and shares are within bounds."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str) or event["event"] not in FIELDS:
        return None
    required = FIELDS[event["event"]]
    types = {**required, **({name: kind for name, kind in _OPTIONAL.items() if name in event} if required else {})}
    return event if all(_fits(name, event.get(name), kind) for name, kind in types.items()) else None


def _fits(name: str, value: Any, kind: Any) -> bool:
    """Whether a field has its type; a loss may be anything that float() made, a count isn't negative, a share isn't tiny."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return False
    if value is None or isinstance(value, str | bool):
        return True
    if name in ("loss", "validation_bits"):
        return isinstance(value, float) or abs(value) < _MOST
    return 0 <= value < _MOST and (name != "share" or value == 0 or value > 1 / _MOST)
