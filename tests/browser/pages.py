"""Runs of every kind that a report must stand: made with the store's own functions, as those of tests/report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import write_reports
from bench.storage.run_folder import RunFolder
from bench.storage.samples import PieceName
from tests.report.stored_run import Stored, both, done, example, many_pieces, moved

#: Markup, a link, a turn of the writing direction, a formula, control characters, and 300 characters without a space.
SCRIPT = "<script>document.title = 'broken'; window.broken = true</script><img src=x onerror='window.broken = true'>"
HOSTILE = (
    f"{SCRIPT} \u202egnp.exe\u202c שלום $x_1^2$ \u0007 ]]> --> </style></svg> {{{{ 7 * 7 }}}} http://evil.example/ " + "W" * 300
)


def write(folder: Path) -> Path:
    write_reports(folder)
    return folder / "report.html"


def ordinary(folder: Path) -> Path:
    """A model, one that failed in part, one untrained, three references; with MIDI."""
    path = example(folder)
    original = RunFolder(path).read_targets().targets[0].midi()
    for name, content in (("midi/target-000.mid", original), ("trials/lstm-0/midi/piece-000.mid", b"MThd\0\0\0\6\0\0\0\1\0\x60")):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return write(path)


def hostile(folder: Path) -> Path:
    """Every text that comes from outside is hostile."""
    stored = Stored(folder)
    stored.spec |= {"title": HOSTILE, "description": HOSTILE}
    stored.dataset |= {"title": HOSTILE, "license": HOSTILE, "remarks": [HOSTILE]}
    stored.dataset["skipped"] = [{"source": HOSTILE, "reason": HOSTILE}]
    stored.pieces = [PieceName(0, "a", HOSTILE, HOSTILE), PieceName(1, HOSTILE, "", "")]
    stored.add("lstm", 0, moved(1), bits=12.0)
    stored.add("gan", 0, None, error=HOSTILE)
    path = stored.close()
    (path / "midi").mkdir()
    (path / "midi/target-000.mid").write_bytes(b"MThd")
    (path / "trials/lstm-0/midi").mkdir()
    (path / "trials/lstm-0/midi/piece-000.mid").write_bytes(b"MThd")
    return write(path)


def nothing_finished(folder: Path) -> Path:
    stored = Stored(folder)
    stored.add("lstm", 0, None)
    stored.add("gan", 0, None, error="it crashed")
    return write(stored.close())


def no_model(folder: Path) -> Path:
    stored = Stored(folder, seeds=[0])
    stored.add("median", 0, both(57, 70), kind="reference")
    stored.add("real", 0, moved(12), kind="reference")
    return write(stored.close())


def one_model(folder: Path) -> Path:
    """One seed, one epoch."""
    stored = Stored(folder, seeds=[0], target=None, published=None)
    training: dict[str, Any] = {**done(0, 12.0)["training"], "epochs": 1}
    training["history"] = [{"epoch": 1, "seconds": 1.0, "loss": 9.0, "notes": 10, "learning_rate": 0.01, "validation_bits": 12.0}]
    stored.add("lstm", 0, moved(1), bits=12.0, training={**training, "best_epoch": 1, "stopped": "early"})
    return write(stored.close())


def several(folder: Path) -> Path:
    """Three models of two seeds on twelve pieces, of which two do not differ significantly."""
    stored = Stored(folder)
    stored.enlarge(12)
    for seed in (0, 1):
        many_pieces(stored, "lstm", lambda i: 2 + i % 2, seed=seed)
        many_pieces(stored, "gan", lambda i: 9 + i % 2, seed=seed)
        many_pieces(stored, "vae", lambda i: 9 + (i + 1) % 2, seed=seed)
        many_pieces(stored, "real", lambda i: 8, "reference", seed)
        many_pieces(stored, "median", lambda i: 30, "reference", seed)
    return write(stored.close())


#: By name, for tests that hold for all.
ALL = {f.__name__: f for f in (ordinary, hostile, nothing_finished, no_model, one_model, several)}
