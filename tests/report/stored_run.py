"""A small stored run, made with the store's own functions: the generator of the golden reports.

``python tests/report/stored_run.py`` writes ``golden/`` again; read the difference before you commit it.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.music.notes import Notes
from bench.report import REPORTS, Report, build_report, write_reports
from bench.report.html import report_html
from bench.scoring.score import score_run
from bench.storage.files import FORMAT, write_json
from bench.storage.run_folder import RunFolder
from bench.storage.samples import PieceName, Samples, Target, Targets, write_samples, write_targets

GOLDEN = Path(__file__).parent / "golden"
FILES = ("report.md", "report.csv", "trials.csv", "differences.csv", "columns.csv")
NOTES = 4
FIELDS = ("pitch", "velocity", "time", "duration")


def notes(pitch: Sequence[int], velocity: Sequence[int] = (80, 80, 80, 80), start: float = 0.0) -> Notes:
    n = len(pitch)
    return Notes.from_columns(start + np.arange(n) * 0.5, np.full(n, 0.25), pitch, velocity[:n])


#: Two held-out pieces. Distances below are to these.
REAL = (notes([60, 62, 64, 66], (70, 80, 90, 100)), notes([50, 50, 54, 54], (60, 60, 60, 60)))

HEADERS = {
    "lstm": {"FEATURES": "recurrent", "PROMPT": True, "LIKELIHOOD": "exact"},
    "gan": {"FEATURES": "adversarial; takes no prompt", "PROMPT": False, "LIKELIHOOD": None},
    "median": {"FEATURES": "one note repeated", "PROMPT": True, "LIKELIHOOD": None, "ROLE": "reference"},
    "ngram": {"FEATURES": "counts of short contexts", "PROMPT": True, "LIKELIHOOD": "exact", "ROLE": "reference"},
    "real": {"FEATURES": "another real piece", "PROMPT": True, "LIKELIHOOD": None, "ROLE": "reference"},
}


class Stored:
    """A run's folder under construction."""

    def __init__(self, folder: Path, **spec: Any) -> None:
        self.run = RunFolder(folder)
        self.scale = "cpu"
        self.trials: list[dict[str, Any]] = []
        self.dataset: dict[str, Any] = {
            "title": "Four notes",
            "license": "public domain",
            "corpus_key": "feedc0ffee",
            "pieces": {"train": 12, "validation": 3, "test": 5},
            "notes": {"train": 1200, "validation": 300, "test": 500},
            "too_short": 3,
            "remarks": ["velocities are rendered, not played"],
            "skipped": [{"source": f"bad{i}.mid", "reason": "not a MIDI file"} for i in range(22)]
            + [{"source": "short.mid", "reason": "fewer notes than needed"}],
        }
        self.call: dict[str, Any] = {"spec": "table2", "data": [], "plugins": []}
        self.pieces = [PieceName(0, "a", "Minuet", "Bach"), PieceName(3, "b", "", "")]
        self.real = list(REAL)
        self.spec = {
            "name": "table2",
            "title": "Table 2 on four notes",
            "dataset": {"name": "four", "options": {"limit": 5}},
            "protocol": {"prompt": 2, "notes": NOTES, "pieces": 2, "samples": 1, "seconds": None},
            "seeds": [0, 1],
            "target": 12.0,
            "published": "mon2025",
            **spec,
        }

    def add(
        self,
        system: str,
        seed: int,
        made: Mapping[tuple[int, int], Notes] | None,
        *,
        kind: str = "model",
        params: Mapping[str, Any] | None = None,
        bits: float | None = None,
        error: str = "",
        model: str = "",
        cell_of: str = "",
        key: str = "",
        pretrained: bool = False,
        **outcome: Any,
    ) -> str:
        """A trial with its outcome and samples; None as samples and no error: it has not run."""
        model = model or system.removeprefix("untrained ")
        key = key or f"{system}-{seed}".replace(" ", "-")
        trial = {
            "system": system,
            "kind": kind,
            "cell_of": cell_of,
            "model": model,
            "params": dict(params or {}),
            "dataset": self.spec["dataset"],
            "protocol": self.spec["protocol"],
            "budget": self.budget(kind),
            "seed": seed,
            "pretrained": pretrained,
        }
        self.trials.append({"key": key, "trial": trial})
        if made is None and not error:
            return key
        folder = self.run.trial_dir(key)
        folder.mkdir(parents=True)
        shared = {"format": FORMAT, "key": key, "trial": trial, "provenance": {"device": "Test CPU", "threads": 2}}
        if error:
            write_json(folder / "outcome.json", {**shared, "status": "failed", "error": {"kind": "Died", "message": error}})
            return key
        write_samples(folder / "samples.npz", Samples(dict(made or {})))
        write_json(folder / "outcome.json", {**shared, "status": "done", "error": None, **done(seed, bits), **outcome})
        return key

    def budget(self, kind: str) -> dict[str, Any]:
        """The budget of a trial: the spec's, if models share one."""
        compute = (self.spec.get("budget") or {}).get("compute") if kind == "model" else None
        limits = {"compute": compute} if compute else {"epochs": 3 if kind == "model" else 0}
        return {**limits, "patience": 2, "max_seconds": None, "timeout": 60.0}

    def enlarge(self, pieces: int) -> None:
        """More held-out pieces, each the first one transposed."""
        self.pieces = [PieceName(i, f"piece {i}") for i in range(pieces)]
        self.real = [notes([50 + i, 52 + i, 54 + i, 56 + i]) for i in range(pieces)]

    def close(self) -> Path:
        """Write run.json and targets.npz; the folder."""
        provenance = {
            "bench": "0.1.0",
            "git": "0123abc",
            "machine": {"cpu": "Test CPU", "cores": 2, "memory_bytes": 8 * 2**30, "gpus": [], "platform": "Linux"},
            "interpreters": {"numpy": {"python": "3.11.7", "packages": {"numpy": "2.0"}}},
        }
        record = self.run.create(
            self.spec,
            provenance,
            scale=self.scale,
            call=self.call,
            dataset=self.dataset,
            headers=HEADERS,
            trials=self.trials,
        )
        prompt = notes([40 + i % 2 for i in range(self.spec["protocol"]["prompt"])])
        targets = tuple(Target(name, prompt, real) for name, real in zip(self.pieces, self.real, strict=True))
        write_targets(self.run.targets, Targets(targets, test_pieces=5, usable=len(targets)))
        self.run.write(record.change(started="2025-01-02T03:04:05Z", finished="2025-01-02T03:14:05Z"))
        return self.run.path


def done(seed: int, bits: float | None) -> dict[str, Any]:
    """What a worker stores of a trial that ended well."""
    history = [
        {"epoch": e, "seconds": 30.0 * e, "loss": 9.0 + seed / 64, "notes": 1000, "validation_bits": 14.0 - e} for e in (1, 2)
    ]
    fields = None if bits is None else dict.fromkeys(FIELDS, bits / 4)
    return {
        "training": {
            "seconds": 60.0 + seed,
            "epochs": 2,
            "notes": 2000,
            "notes_per_second": 2000 / 60,
            "best_epoch": 2,
            "best_validation_bits": 12.0,
            "stopped": "budget",
            "resumed": 0,
            "history": history,
        },
        "generation": {"seconds": 0.5, "notes": 8, "notes_per_second": 16.0},
        "likelihood": None
        if bits is None
        else {"kind": "exact", "pieces": 5, "notes": 500, "bits_per_note": bits, "by_field": fields},
        "memory": {"peak_bytes": 300 * 2**20, "peak_gpu_bytes": None},
        "facts": {"parameters": 123456},
    }


def both(pitch: int, velocity: int) -> dict[tuple[int, int], Notes]:
    """One note repeated, for both pieces."""
    return {(piece, 0): notes([pitch] * NOTES, [velocity] * NOTES) for piece in (0, 1)}


def moved(by: int) -> dict[tuple[int, int], Notes]:
    """The real notes, `by` semitones up: a pitch distance of `by` to each piece."""
    return {(i, 0): Notes.from_columns(r.onset, r.duration, r.pitch + by, r.velocity) for i, r in enumerate(REAL)}


def many_pieces(
    run: Stored,
    system: str,
    by: Callable[[int], int],
    kind: str = "model",
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    pretrained: bool = False,
    **outcome: Any,
) -> None:
    """A row on twelve pieces (:meth:`Stored.enlarge`), `by(piece)` semitones off."""
    generated = {}
    for i in range(12):
        real = run.real[i]
        generated[i, 0] = Notes.from_columns(real.onset, real.duration, real.pitch + by(i), real.velocity)
    run.add(system, seed, generated, kind=kind, params=params, pretrained=pretrained, **outcome)


def example(folder: Path) -> Path:
    """The run of the golden reports: a model, one that failed in part, one untrained, three references."""
    stored = Stored(folder)
    # As the runner plans them: references first.
    for seed in (0, 1):
        stored.add("real", seed, moved(12), kind="reference")
        stored.add("median", seed, both(57, 70), kind="reference")
        stored.add("ngram", seed, moved(9), kind="reference", bits=20.0)
    stored.add("untrained lstm", 0, moved(30), kind="untrained", bits=25.0)
    stored.add("lstm", 0, moved(8), bits=15.0)
    stored.add("lstm", 1, moved(10), bits=16.0)
    stored.add("gan", 0, moved(7), facts={"parameters": 2000, "precision": "float32"})
    stored.add("gan", 1, None, error="out of memory; peak was 900 MiB")
    return stored.close()


def built(folder: Path) -> Report:
    return build_report(folder, score_run(folder))


def page(folder: Path) -> str:
    return report_html(built(folder))


def written(folder: Path) -> dict[str, str]:
    """The reports but report.html: that is test_html.py's subject, and its figures take a second."""
    report = built(folder)
    return {name: text(report) for name, text in REPORTS.items() if name != "report.html"}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for path in write_reports(example(Path(temporary) / "table2-cpu")).files:
            if path.name not in FILES:  # report.html is looked at by tests/browser instead
                continue
            (GOLDEN / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8", newline="")
