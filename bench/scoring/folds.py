"""Cross-validation: the outcomes of all folds of one training seed, combined into one.

Each fold is a trial of its own. Times, epochs and other figures of a training are means over the folds, peak memory is the
maximum, speeds are over all notes of all folds. ``training.folds`` keeps each fold's own figures, and each epoch in
``training.history`` names its fold. What of the environment differs between folds, as on several machines, is joined to a text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bench.metrics.likelihood import summarize
from bench.scoring.table import SEVERAL
from bench.storage.outcome import (
    ChordPlans,
    Copying,
    Done,
    Generation,
    Memory,
    Number,
    Originality,
    Prediction,
    SpeedReference,
    Stage,
    Training,
    united_classes,
)
from bench.storage.samples import Samples


def unite(outcomes: Sequence[Done], folds: Sequence[int], samples: Samples) -> Done:
    """Combine the outcomes of all folds of a trial.

    Parameters
    ----------
    outcomes : sequence of Done
        One per fold.
    folds : sequence of int
        Numbers of the folds, in the same order.
    samples : Samples
        Samples of all folds.
    """
    first = outcomes[0]
    return first.model_copy(
        update={
            "training": _training([o.training for o in outcomes], folds),
            "generation": _generation([o.generation for o in outcomes]),
            "likelihood": summarize(samples, _kind({o.likelihood.kind for o in outcomes if o.likelihood})),
            "classes": united_classes(o.classes for o in outcomes),
            "prediction": _prediction([o.prediction for o in outcomes]),
            "facts": _facts([o.facts for o in outcomes]),
            "yardstick": _speed([o.yardstick for o in outcomes if o.yardstick]),
            "originality": _originality(outcomes),
            "harmony": _harmony(outcomes),
            "stages": _stages([o.stages for o in outcomes]),
            "pieces": None,
            "memory": Memory(
                peak_bytes=max((o.memory.peak_bytes for o in outcomes if o.memory.peak_bytes), default=None),
                peak_gpu_bytes=max((o.memory.peak_gpu_bytes for o in outcomes if o.memory.peak_gpu_bytes), default=None),
            ),
            "remarks": tuple(dict.fromkeys(text for o in outcomes for text in o.remarks)),
            "provenance": _provenance([o.provenance for o in outcomes]),
            "wall_seconds": math.fsum(o.wall_seconds or 0.0 for o in outcomes),
        }
    )


def _kind(kinds: set[Literal["exact", "bound"]]) -> Literal["exact", "bound"] | None:
    return "bound" if "bound" in kinds else next(iter(kinds), None)


def _provenance(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    united: dict[str, Any] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if part.get(name) is not None]
        if len(set(values)) > 1 and not all(isinstance(value, bool) for value in values):
            united[name] = SEVERAL.join(sorted(map(str, set(values))))
        else:
            united[name] = max(values, default=None)
    return united


def _training(trainings: Sequence[Training], folds: Sequence[int]) -> Training:
    stops = list(dict.fromkeys(t.stopped for t in trainings))
    return Training(
        seconds=_mean([t.seconds for t in trainings]),
        epochs=_mean([t.epochs for t in trainings]),
        notes=_mean([t.notes for t in trainings]),
        updates=_mean([t.updates for t in trainings]),
        core_seconds=_mean([t.core_seconds for t in trainings]),
        joules=_mean([t.joules for t in trainings]),
        best_epoch=_mean([t.best_epoch for t in trainings]),
        best_validation_bits=_mean([t.best_validation_bits for t in trainings]),
        notes_per_second=_rate(sum(t.notes or 0 for t in trainings), math.fsum(t.seconds or 0.0 for t in trainings)),
        stopped=stops[0] if len(stops) == 1 else "mixed",
        resumed=sum(t.resumed or 0 for t in trainings),
        share=None if any(t.share is None for t in trainings) else max(t.share or 0.0 for t in trainings),
        folds=tuple(t.model_copy(update={"fold": fold, "history": ()}) for fold, t in zip(folds, trainings, strict=True)),
        history=tuple({"fold": fold, **epoch} for fold, t in zip(folds, trainings, strict=True) for epoch in t.history),
    )


def _stages(parts: Sequence[Sequence[Stage]]) -> tuple[Stage, ...]:
    """Combine the stages that every fold has: means over the folds."""
    by_share = [{stage.share: stage for stage in part} for part in parts]
    shared = sorted(set.intersection(*(set(stages) for stages in by_share)))
    return tuple(
        Stage(
            share=share,
            updates=_mean([stages[share].updates for stages in by_share]) or 0,
            notes=_mean([stages[share].notes for stages in by_share]) or 0,
            seconds=_mean([stages[share].seconds for stages in by_share]) or 0,
        )
        for share in shared
    )


def _prediction(found: Sequence[Prediction | None]) -> Prediction | None:
    parts = [part for part in found if part is not None]
    if not parts or len(parts) < len(found):
        return None
    sums = {name: sum(getattr(part, name) for part in parts) for name in ("pieces", "predictions", "nats", "notes", "seconds")}
    return Prediction(unit=parts[0].unit, kind="bound" if any(part.kind == "bound" for part in parts) else "exact", **sums)


def _generation(parts: Sequence[Generation]) -> Generation:
    seconds, notes = math.fsum(p.seconds or 0.0 for p in parts), sum(p.notes for p in parts)
    compiled = [p.compile_seconds for p in parts if p.compile_seconds is not None]
    return Generation(
        seconds=seconds,
        notes=notes,
        notes_per_second=_rate(notes, seconds),
        compile_seconds=math.fsum(compiled) if compiled else None,
    )


def _facts(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine facts: values equal in all folds, the mean number of parameters, the maximum GPU memory; the rest by fold.

    A fold lists its own alone: names of one, for each of all, would grow with their square.
    """
    facts: dict[str, Any] = {}
    given: dict[str, list[tuple[int, Any]]] = {}
    for fold, part in enumerate(parts):
        for name, value in part.items():
            given.setdefault(name, []).append((fold, value))
    by_fold: list[dict[str, Any]] = [{} for _ in parts]
    for name, values in given.items():
        if len(values) == len(parts) and all(value == values[0][1] for _, value in values):
            facts[name] = values[0][1]
        elif name == "parameters":
            facts[name] = _mean([part.get(name) for part in parts])
        elif name == "peak_gpu_bytes":
            facts[name] = max((value for _, value in values if value is not None), default=None)
        else:
            for fold, value in values:
                by_fold[fold][name] = value
    return facts | ({"by_fold": by_fold} if any(by_fold) else {})


def _speed(parts: Sequence[SpeedReference]) -> SpeedReference | None:
    if not parts:
        return None
    before, after = (math.fsum(values) / len(parts) for values in zip(*((p.before, p.after) for p in parts), strict=True))
    return SpeedReference(before=before, after=after, core=_mean([p.core for p in parts]))


def _originality(outcomes: Sequence[Done]) -> Originality | None:
    """Combine the folds' overlaps by sample and by target, in the order of all pieces."""
    samples: dict[tuple[int, int], tuple[Any, ...]] = {}
    targets: dict[tuple[int, int], tuple[Any, ...]] = {}
    for outcome in outcomes:
        stored, pieces = outcome.originality, outcome.pieces
        if stored is None or not pieces:
            return None
        each = len(stored.samples.known_patterns) // len(pieces)
        samples |= zip(((piece, i) for piece in pieces for i in range(each)), stored.samples.rows(), strict=True)
        targets |= zip(((piece, 0) for piece in pieces), stored.targets.rows(), strict=True)
    return Originality(
        samples=Copying.of_rows(samples[key] for key in sorted(samples)),
        targets=Copying.of_rows(targets[key] for key in sorted(targets)),
    )


def _harmony(outcomes: Sequence[Done]) -> ChordPlans | None:
    """Combine the folds' chord plans, in the order of all pieces."""
    plan_of: dict[int, str] = {}
    plans: dict[str, Mapping[str, Any]] = {}  # by their text, so that one is found among many at once
    sources: dict[str, None] = {}
    for outcome in outcomes:
        if outcome.harmony is None or outcome.pieces is None:
            return None
        sources[outcome.harmony.key_from] = None
        texts = [json.dumps(plan, sort_keys=True) for plan in outcome.harmony.plans]  # once each, however many pieces have it
        plans |= dict(zip(texts, outcome.harmony.plans, strict=True))
        plan_of |= {piece: texts[i] for piece, i in zip(outcome.pieces, outcome.harmony.plan_of_piece, strict=True)}
    of_pieces = [plan_of[piece] for piece in sorted(plan_of)]
    place = {text: i for i, text in enumerate(dict.fromkeys(of_pieces))}
    return ChordPlans(
        key_from=", ".join(sources),
        plans=tuple(plans[text] for text in place),
        plan_of_piece=tuple(place[text] for text in of_pieces),
    )


def _rate(notes: Number, seconds: float) -> float | None:
    return notes / seconds if notes and seconds > 0 else None


def _mean(values: Sequence[Number | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return math.fsum(numbers) / len(numbers) if numbers else None
