"""Events from a worker: what a plug-in's values can break is dropped, everything that a worker sends is kept."""

import json
from typing import Any

import pytest

from bench.runner.events import parse_event

EPOCH: dict[str, Any] = {
    "event": "epoch", "epoch": 1, "epochs": 2, "in_epochs": False, "seconds": 1.5, "loss": 2.5, "notes": 100, "share": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    "event",
    [
        EPOCH,
        EPOCH | {"loss": float("nan"), "validation_bits": float("inf")},
        {"event": "message", "text": ""},
        {"event": "prepare", "task": "reading", "done": 0, "total": 0, "what": "a"},
        {"event": "error", "kind": "DataError", "message": "m", "hint": ""},
        {"event": "result", "corpus": "a"},
    ],
)
def test_an_event_that_a_worker_sends_is_kept(event: dict[str, Any]) -> None:
    assert json.dumps(parse_event(json.dumps(event).encode())) == json.dumps(event)


@pytest.mark.parametrize(
    "change",
    [
        {"share": 1e-320},
        {"share": "x"},
        {"seconds": float("inf")},
        {"notes": -1},
        {"epoch": True},
        {"loss": 10**400},
        {"event": "x"},
    ],
)
def test_an_event_with_another_value_is_dropped(change: dict[str, Any]) -> None:
    assert parse_event(json.dumps(EPOCH | change).encode()) is None


@pytest.mark.parametrize("line", [b"", b"null", b"{", b"\xff", b"[" * 100_000, b'{"event": []}', b'{"event": "error"}'])
def test_a_line_that_is_no_event_is_dropped(line: bytes) -> None:
    assert parse_event(line) is None
