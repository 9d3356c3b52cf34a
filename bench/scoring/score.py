"""Score a run: from stored outcomes and samples to a table. Nothing is trained or generated, and only the run folder is read.

A metric is computed for each (system, seed, piece, sample). It is averaged over samples first, then over the seeds of a piece,
then over pieces, so that a piece counts once whatever the number of seeds. The standard deviation between seeds is that of the
means over pieces. Values of a complete trial (bits per note, cost) are averaged over seeds. Failed trials are not averaged: their
row shows that they failed. A trial whose stored data can't be scored is a failed one, whatever they are.
"""

from __future__ import annotations

import contextlib
import errno
import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bench.errors import BenchError, DataError, machine_error
from bench.metrics import (
    HEADLINE,
    METRICS,
    Undefined,
    Value,
    copying,
    cost,
    harmony,
    likelihood,
    prediction,
    skill,
    spread,
    table2,
)
from bench.metrics.metric import MOST, is_senseless, mean
from bench.metrics.sample_scores import Comparison, SampleScores
from bench.music.harmony.form import layout
from bench.scoring.chord_plans import StoredPlans
from bench.scoring.crossed import Values
from bench.scoring.folds import unite
from bench.scoring.table import KIND_ORDER, MEDIAN, WEIGHTED, Cell, Row, StageScore, Table, TrialScore, mark_classes
from bench.specs.trials import Trial
from bench.storage.outcome import Done, Failed, Failure, Originality, Stage
from bench.storage.records import RunRecord
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Samples, Target, incomplete, unite_samples
from bench.storage.stored import first_problem
from bench.system.memory import is_own_process, memory_shared

#: What a trial's data may raise beyond the errors that are foreseen. The test suite makes it empty: of trials of its own, such an
#: exception is a mistake in this code, to be seen with its traceback.
UNFORESEEN: tuple[type[Exception], ...] = (Exception,)


@dataclass(frozen=True)
class Yardsticks:
    """What all trials are scored against: the spec's target, the entropy of the music's source if known, the chord plans."""

    target: float | None
    entropy: Mapping[str, float] | None
    plans: StoredPlans


def score_run(folder: Path) -> Table:
    """Score the run in `folder`, from stored files only.

    Raises
    ------
    DataError
        If the folder holds no run, or its targets are missing or damaged.
    MachineError
        If it takes more memory than others can spare.
    """
    with memory_shared(f"scoring {folder}"):
        return _score_run(RunFolder(folder))


def _score_run(run: RunFolder) -> Table:
    record = run.read()
    yardsticks = Yardsticks(record.spec.get("target"), record.dataset.entropy, read_plans(run))
    targets = run.read_targets().targets
    trials = [_guarded(run, trial, keys, targets, yardsticks) for trial, keys in planned_trials(record)]
    trials.sort(key=lambda t: (KIND_ORDER.index(t.trial.kind), t.trial.seed))
    systems = dict.fromkeys(t.trial.system for t in trials)
    rows = [score_row([t for t in trials if t.trial.system == system]) for system in systems]
    return Table(mark_classes(with_skill(rows)))


def read_plans(run: RunFolder) -> StoredPlans:
    """Read the chord plans that the run's constrained trials followed."""
    constrained = [(trial, keys) for trial, keys in planned_trials(run.read()) if trial.harmony]
    outcomes: list[tuple[Trial, Done | Failed | None]] = []
    for trial, keys in constrained:
        memory = () if is_own_process() else (MemoryError,)
        with contextlib.suppress(DataError, *memory, *UNFORESEEN):  # reported where the trial is scored
            outcomes.append((trial, _outcome(run, keys)))
    return StoredPlans(outcomes)


def planned_trials(record: RunRecord) -> list[tuple[Trial, dict[int, str]]]:
    """List the trials of a run in the order of the table's rows, each with its key by fold (0 without folds).

    Raises
    ------
    DataError
        If one is damaged.
    """
    planned: dict[tuple[str, int], tuple[Trial, dict[int, str]]] = {}
    try:
        for entry in record.trials:
            trial = Trial.model_validate(entry.trial)
            all_folds = trial.model_copy(update={"fold": None})
            planned.setdefault((trial.system, trial.seed), (all_folds, {}))[1][trial.fold or 0] = entry.key
        return list(planned.values())
    except ValidationError as error:
        raise DataError(
            f"run.json is damaged: trials: {first_problem(error)}.", "Remove it; the same command makes it again."
        ) from error


def score_row(trials: Sequence[TrialScore]) -> Row:
    """Average the completed trials of one system into a row; the others are only counted."""
    done = [t for t in trials if t.status == "done"]
    measured = [name for name in METRICS if name not in skill.OF]
    cells = {name: _cell(name, done) if done else Cell(None, reason="no trial was finished") for name in measured}
    cells |= dict.fromkeys(skill.OF, Cell(None, reason="there is no median row to compare with"))
    first = trials[0].trial
    return Row(first.system, first.kind, tuple(trials), cells)


def with_skill(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Add to each row its skill: each distance relative to that of the median row."""
    median = next((row for row in rows if row.system == MEDIAN and row.kind == "reference"), None)
    return tuple(rows) if median is None else tuple(replace(row, cells={**row.cells, **_skill(row, median)}) for row in rows)


def _skill(row: Row, median: Row) -> dict[str, Cell]:
    cells = {}
    for name, distance in skill.OF.items():
        ours, constant = row.cells[distance], median.cells[distance]
        scored = {seed: skill.by_piece(values, constant.by_piece) for seed, values in ours.by_seed.items()}
        by_seed = {seed: skills for seed, (skills, _) in scored.items() if skills}
        if by_seed and constant.value:
            weights = {piece: weight for _, weighed in scored.values() for piece, weight in weighed.items()}
            means = Values(by_seed, weights).by_piece
            total = math.fsum(v * weights[p] for p, v in means.items()) / math.fsum(weights[p] for p in means)
            spread = None if ours.seed_sd is None else ours.seed_sd / constant.value
            seed_means = {seed: 1 - value / constant.value for seed, value in ours.seed_means.items()}
            cells[name] = replace(ours, value=total, seed_sd=spread, pieces=len(means), seed_means=seed_means, by_seed=by_seed)
            cells[name] = replace(cells[name], weights=weights)
        else:
            cells[name] = Cell(None, reason=ours.reason or constant.reason or "the median row has no distance")
    return cells


def standard_deviation(values: Sequence[float]) -> float | None:
    """Compute the standard deviation with divisor n - 1; None for fewer than two values.

    Examples
    --------
    >>> standard_deviation([1.0, 3.0, 5.0])
    2.0
    """
    if len(values) < 2:
        return None
    centre = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def _cell(name: str, done: Sequence[TrialScore]) -> Cell:
    """Average one metric over the completed seeds of a system."""
    if any(name not in t.values for t in done):
        raise AssertionError(
            f"the metric {name!r} has no value: its module is missing from ON_SAMPLES or ON_SETS in bench/metrics/__init__.py, "
            "or the module's function does not return it"
        )
    values = [t.values[name] for t in done]
    per_seed = [v for v in values if not isinstance(v, Undefined)]
    if not per_seed:
        return Cell(None, reason=next(v.reason for v in values if isinstance(v, Undefined)))
    if METRICS[name].every_seed and len(per_seed) < len(values):
        # The mean over the other seeds alone would make a model that seldom reaches the target look fast, and leave out what one
        # finds impossible.
        reason = next(v.reason for v in values if isinstance(v, Undefined))
        missing = f"{len(values) - len(per_seed)} of {len(values)} seeds"
        return Cell(None, seeds=len(per_seed), reason=f"{reason} ({missing})")
    seed_means = {t.trial.seed: v for t in done if not isinstance(v := t.values[name], Undefined)}
    spread = standard_deviation(per_seed)
    by_seed = {t.trial.seed: defined for t in done if (defined := _defined(t.by_piece.get(name, {})))}
    if not by_seed:
        return Cell(math.fsum(per_seed) / len(per_seed), spread, len(per_seed), seed_means=seed_means)
    weights = {piece: t.notes[piece] for t in done for piece in t.notes} if name in WEIGHTED else None
    means = Values(by_seed, weights).by_piece
    total = math.fsum(v * (weights[p] if weights else 1.0) for p, v in means.items())
    total /= math.fsum(weights[p] for p in means) if weights else len(means)
    drawn = done[0].trial.pretrained
    return Cell(total, spread, len(per_seed), len(means), seed_means=seed_means, by_seed=by_seed, weights=weights, drawn=drawn)


def _defined(values: Mapping[int, Value]) -> dict[int, float]:
    return {piece: value for piece, value in values.items() if not isinstance(value, Undefined)}


def _outcome(run: RunFolder, keys: Mapping[int, str]) -> Done | Failed | None:
    """Read the outcome of a trial; with folds, that of the first that failed, None if one has not ended, else all combined."""
    outcomes = [run.outcome(key) for key in keys.values()]
    if list(keys) == [0]:
        return outcomes[0]
    for fold, outcome in zip(keys, outcomes, strict=True):
        if isinstance(outcome, Failed):
            error = outcome.error.model_copy(update={"message": f"fold {fold}: {outcome.error.reason}"})
            return outcome.model_copy(update={"error": error})
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    if len(done) < len(keys):
        return None
    samples = []
    for fold, outcome in zip(keys, done, strict=True):
        try:
            samples.append(run.samples(outcome.key))
        except DataError as error:
            failure = Failure(kind="DataError", message=f"fold {fold}: its samples can't be scored: {error}")
            return Failed(key=outcome.key, status="failed", error=failure, trial=outcome.trial)
    return unite(done, list(keys), unite_samples(samples))


def _guarded(
    run: RunFolder, trial: Trial, folds: Mapping[int, str], targets: Sequence[Target], yardsticks: Yardsticks
) -> TrialScore:
    """Score a trial; what its data raise costs its row alone, with the exception's place, as it may be a mistake in this code."""
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):  # a number that comes of it would be no result
            return _score_trial(run, trial, folds, targets, yardsticks)
    except (BenchError, MemoryError):
        raise
    except UNFORESEEN as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        place = f"{Path(last.filename).name}, line {last.lineno}"
        return TrialScore(tuple(folds.values()), trial, None, f"could not be scored: {type(error).__name__}: {error} ({place})")


def _score_trial(
    run: RunFolder, trial: Trial, folds: Mapping[int, str], targets: Sequence[Target], yardsticks: Yardsticks
) -> TrialScore:
    keys = tuple(folds.values())
    outcome: Done | Failed | None = None
    try:
        outcome = _outcome(run, folds)
        if outcome is None:
            return TrialScore(keys, trial)
        if isinstance(outcome, Failed):
            return TrialScore(keys, trial, outcome, outcome.error.reason)
        samples = run.samples(*keys)
        # An external system may lack pieces: they are left out, and its row shows how many it has.
        present = {i: t for i, t in enumerate(targets) if i not in outcome.absent}
        if not present:
            raise DataError("it has none of the run's pieces")
        measured = _score_samples(run, keys, samples, trial, present)
        by_piece = {**measured.by_piece, **_score_copying(samples, trial, present, outcome.originality)}
        by_piece |= _score_harmony(samples, trial, present, yardsticks.plans)
        bits, notes = _score_likelihood(samples, outcome)
        stages = _score_stages(run, keys, outcome.stages, present, trial.protocol.seconds)
        stages += _score_whole(trial, outcome, samples, present)
    except (OSError, DataError, MemoryError) as error:
        if is_own_process():  # it lacks all of its memory: a row less would be no result
            if isinstance(error, MemoryError):
                raise
            if isinstance(error, OSError) and error.errno == errno.ENOMEM:
                raise MemoryError from error
        reason = machine_error(error).message if isinstance(error, MemoryError) else error
        return TrialScore(keys, trial, outcome, f"its samples can't be scored: {reason}")
    values = {
        **{name: mean(pieces.values()) for name, pieces in by_piece.items()},
        **measured.of_set,
        **likelihood.evaluate(outcome.likelihood, yardsticks.entropy),
        **prediction.evaluate(outcome.prediction),
        **cost.evaluate(outcome, yardsticks.target, trains=trial.kind == "model" and not trial.pretrained),
    }
    if not trial.velocity:
        values = _without_velocity(values)
        by_piece = {name: pieces for name, pieces in by_piece.items() if not METRICS[name].of_velocity}
        stages = tuple(replace(stage, values=_without_velocity(stage.values)) for stage in stages)
    wrong = {name for name, value in values.items() if is_senseless(value)}
    wrong |= {name for name, pieces in bits.items() if any(map(is_senseless, pieces.values()))}
    if wrong:
        return TrialScore(keys, trial, outcome, f"its outcome holds what is no finite number in {', '.join(sorted(wrong))}")
    return TrialScore(keys, trial, outcome, "", values, {**by_piece, **bits}, notes, stages)


def _without_velocity(values: Mapping[str, Value]) -> dict[str, Value]:
    """Leave undefined what is of the velocities of a model that has none: they are what its plug-in filled in."""
    return {name: Undefined("the model has no velocity") if METRICS[name].of_velocity else v for name, v in values.items()}


def _score_likelihood(samples: Samples, outcome: Done) -> tuple[dict[str, dict[int, Value]], dict[int, float]]:
    """Compute the bits or nats of each held-out piece, and count its notes or predictions, the weights of their means."""
    counts = samples.likelihood_notes
    if counts is None:
        return {}, {}
    if counts.size and not (counts.min() >= 1 and counts.max() <= MOST):
        raise DataError("the number of notes of a likelihood is not above 0")
    nats = likelihood.by_piece(samples) | prediction.by_piece(samples, outcome.prediction)
    return nats, dict(zip(likelihood.numbers(samples), counts.tolist(), strict=True))


def _score_stages(
    run: RunFolder, keys: Sequence[str], stages: Sequence[Stage], targets: Mapping[int, Target], seconds: float | None
) -> tuple[StageScore, ...]:
    """Score each stage; one whose file is gone or damaged is left out, as the trial's own result doesn't depend on it."""
    scores = []
    for stage in stages:
        with contextlib.suppress(DataError):
            scores.append(_score_stage(run, keys, stage, targets, seconds))
    return tuple(scores)


def _score_stage(
    run: RunFolder, keys: Sequence[str], stage: Stage, targets: Mapping[int, Target], seconds: float | None
) -> StageScore:
    """Score the first sample of each piece, and the likelihoods, at a share of the budget."""
    return _score_first(run.samples(*keys, stage=stage.share), stage, targets, seconds)


def _score_whole(trial: Trial, outcome: Done, samples: Samples, targets: Mapping[int, Target]) -> tuple[StageScore, ...]:
    """Score the whole of a budget that models share as the stages are scored: by the first sample of each piece."""
    spent = outcome.training
    if trial.budget.compute is None or spent.updates is None or spent.stopped not in ("budget", "early"):
        return ()
    whole = Stage(share=1.0, updates=spent.updates, notes=spent.notes or 0, seconds=spent.seconds or 0.0)
    return (_score_first(samples, whole, targets, trial.protocol.seconds),)


def _score_first(samples: Samples, stage: Stage, targets: Mapping[int, Target], seconds: float | None) -> StageScore:
    scored: dict[str, list[Value]] = {}
    for piece, target in targets.items():
        generated = samples.notes.get((piece, 0))
        if generated is None:
            raise DataError(f"piece {piece} ({target.piece.id}) has no sample at {stage.share:.4g} of the budget")
        values = table2.evaluate(generated, target.target, seconds) | spread.order_free(generated, target.target)
        for name, value in values.items():
            scored.setdefault(name, []).append(value)
    kept = (*HEADLINE, *(METRICS[name].order_free for name in HEADLINE))
    means = {name: mean(scored[name]) for name in kept if name in scored}
    predicted = likelihood.evaluate(likelihood.summarize(samples, "exact"))
    means |= {name: predicted[name] for name in ("bits_per_note", "bits_pitch")}
    if any(map(is_senseless, means.values())):
        raise DataError(f"it holds what is no finite number at {stage.share:.4g} of the budget")
    return StageScore(stage.share, stage.updates, stage.notes, stage.seconds, means)


def _score_samples(
    run: RunFolder, keys: Sequence[str], samples: Samples, trial: Trial, targets: Mapping[int, Target]
) -> SampleScores:
    """Take the scores that the trial stored, or compute them; every piece must have all its samples of the protocol's length.

    Those of folds are always computed, as a fold has a part of the samples only.
    """
    protocol = trial.protocol
    if problem := incomplete(samples, {i: t.piece.id for i, t in targets.items()}, protocol.samples, protocol.notes):
        raise DataError(problem)
    comparison = Comparison(run.targets, targets, protocol.samples, protocol.seconds)
    stored = comparison.read(run.trial_dir(keys[0])) if len(keys) == 1 else None
    return stored or comparison.measure(samples)


def _score_copying(
    samples: Samples, trial: Trial, targets: Mapping[int, Target], copied: Originality | None
) -> dict[str, dict[int, Value]]:
    """Take the stored overlap with the training music, if any, by piece, mean over samples."""
    order = {key: i for i, key in enumerate(sorted(samples.notes))}
    scored: dict[str, dict[int, Value]] = {}
    for piece in targets:
        each = [copying.evaluate(copied, order[piece, sample], piece) for sample in range(trial.protocol.samples)]
        for name in each[0]:
            scored.setdefault(name, {})[piece] = mean(values[name] for values in each)
    return scored


def _score_harmony(
    samples: Samples, trial: Trial, targets: Mapping[int, Target], plans: StoredPlans
) -> dict[str, dict[int, Value]]:
    """Compute the harmony metrics by piece, mean over samples: the share of notes that fit the run's chord plan.

    Only a constrained row has sections. For any other row the plan's chords follow each other in one key: measured by sections
    that it doesn't have, it would look worse than it is.
    """
    pieces, protocol = plans.of(trial), trial.protocol
    where = None if trial.harmony is None else layout(trial.harmony.form, protocol.notes)
    scored: dict[str, dict[int, Value]] = {}
    for piece in targets:
        plan = Undefined(pieces) if isinstance(pieces, str) else pieces.plan(piece)
        measured = [harmony.evaluate(samples.notes[piece, sample], plan, where) for sample in range(protocol.samples)]
        for name in measured[0]:
            scored.setdefault(name, {})[piece] = mean(m[name] for m in measured)
    return scored
