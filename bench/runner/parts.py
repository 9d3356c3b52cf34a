"""What one training of a trial made, and all of a trial's put together; with folds, each is kept on its own when it has ended.

A trial with folds is one training, one generation and one likelihood a fold, in one process. A finished fold is two files in the
trial's folder, ``folds/fold-01.h5`` and, last, ``folds/fold-01.json``: a trial that is killed goes on with the next. What is put
together is always what was read back, so a trial that was cut off ends in the same bytes as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.api import FIELDS
from bench.errors import DataError
from bench.music.notes import Notes
from bench.runner.training import rate
from bench.storage.files import FORMAT, plain, read_json, write_json
from bench.storage.samples import Samples, read_samples, write_samples

#: Of a training's summary, what an outcome states as the mean over the folds.
_MEANS = ("seconds", "epochs", "notes", "best_epoch", "best_validation_bits")


@dataclass(frozen=True)
class Part:
    """One training's samples and what is recorded of it.

    Parameters
    ----------
    samples : Samples
        Keys and held-out pieces counted as in the whole run.
    record : mapping
        ``training``, ``generation``, ``likelihood`` (its kind, or None), ``facts``, ``peak_bytes``, ``remarks``.
    """

    samples: Samples
    record: Mapping[str, Any]


#: Folder of the finished folds, in the trial's.
PARTS = "folds"


def part_name(fold: int) -> str:
    """Of a fold's files and of its checkpoint's folder."""
    return f"fold-{fold:02}"


def write_part(folder: Path, key: str, fold: int, part: Part) -> None:
    """Keep a finished fold in the trial's folder; its JSON comes last and says that all is there."""
    write_samples(folder / PARTS / f"{part_name(fold)}.h5", part.samples)
    record = {"format": FORMAT, "key": key, "fold": fold, **part.record}
    write_json(folder / PARTS / f"{part_name(fold)}.json", record)


def read_part(folder: Path, key: str, fold: int) -> Part | None:
    """A finished fold; None where there is none, it is damaged, or it is another trial's."""
    path = folder / PARTS / f"{part_name(fold)}.json"
    try:
        record = read_json(path) if path.exists() else {}
        if record.get("key") != key or record.get("fold") != fold:
            return None
        return Part(read_samples(path.with_suffix(".h5")), record)
    except DataError:
        return None


def joined(parts: Sequence[Part]) -> Part:
    """The folds of a trial as one; a single part without a fold as it is.

    Times, epochs and what else belongs to a training are means over the folds, peak memory is the largest, speeds are over all
    notes of all folds. ``training.folds`` keeps each fold's own figures, and each epoch in ``training.history`` names its fold.
    """
    records = [part.record for part in parts]
    if len(parts) == 1 and "fold" not in records[0]:
        return parts[0]
    return Part(
        _samples([part.samples for part in parts]),
        {
            "training": _training(records),
            "generation": _generation([r["generation"] for r in records]),
            "likelihood": next((r["likelihood"] for r in records if r["likelihood"]), None),
            "facts": _facts([r["facts"] for r in records]),
            "peak_bytes": max(r["peak_bytes"] for r in records),
            "remarks": list(dict.fromkeys(text for r in records for text in r["remarks"])),
        },
    )


def likelihood_in_words(samples: Samples, kind: str | None) -> dict[str, Any] | None:
    """What an outcome says of the stored likelihood: bits per note over all notes of all held-out pieces, total and by field."""
    if kind is None or samples.likelihood_sum is None or samples.likelihood_notes is None:
        return None
    notes = int(samples.likelihood_notes.sum())
    bits = -samples.likelihood_sum.sum(0) / notes / math.log(2)  # (4,)
    by_field = dict(zip(FIELDS, bits.tolist(), strict=True))
    pieces = len(samples.likelihood_notes)
    return {"kind": kind, "pieces": pieces, "notes": notes, "bits_per_note": float(bits.sum()), "by_field": by_field}


def _samples(parts: Sequence[Samples]) -> Samples:
    notes: dict[tuple[int, int], Notes] = {}
    for part in parts:
        notes |= part.notes
    sums = [p.likelihood_sum for p in parts if p.likelihood_sum is not None]
    counts = [p.likelihood_notes for p in parts if p.likelihood_notes is not None]
    index = [p.likelihood_piece for p in parts if p.likelihood_piece is not None]
    if not sums:
        return Samples(notes)
    pieces = np.concatenate(index)
    order = np.argsort(pieces)
    return Samples(notes, np.concatenate(sums)[order], np.concatenate(counts)[order], pieces[order])


def _training(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    numbers = [r["fold"] for r in records]
    trainings = [r["training"] for r in records]
    stops = list(dict.fromkeys(t["stopped"] for t in trainings))
    return {
        **{name: _mean([t[name] for t in trainings]) for name in _MEANS},
        "notes_per_second": rate(sum(t["notes"] for t in trainings), sum(t["seconds"] for t in trainings)),
        "stopped": stops[0] if len(stops) == 1 else "mixed",
        "resumed": sum(t["resumed"] for t in trainings),
        "folds": [
            {"fold": number, **{name: value for name, value in t.items() if name != "history"}}
            for number, t in zip(numbers, trainings, strict=True)
        ],
        "history": [{"fold": number, **epoch} for number, t in zip(numbers, trainings, strict=True) for epoch in t["history"]],
    }


def _generation(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seconds, notes = math.fsum(p["seconds"] for p in parts), sum(p["notes"] for p in parts)
    compiled = [p["compile_seconds"] for p in parts if p["compile_seconds"] is not None]
    return {
        "seconds": seconds,
        "notes": notes,
        "notes_per_second": rate(notes, seconds),
        "compile_seconds": math.fsum(compiled) if compiled else None,
    }


def _facts(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all folds agree on, the mean number of parameters, the most GPU memory; the rest by fold."""
    facts: dict[str, Any] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part.get(name) for part in parts]
        if all(value == values[0] for value in values):
            facts[name] = values[0]
        elif name == "parameters":
            facts[name] = _mean(values)
        elif name == "peak_gpu_bytes":
            facts[name] = max(value for value in values if value is not None)
        else:
            facts.setdefault("by_fold", {})[name] = values
    return dict(plain(facts))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
