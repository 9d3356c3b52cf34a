"""Stored outcomes and samples to numbers. Nothing is trained or generated here, and nothing but the run folder is read.

A value is measured on each (system, seed, piece, sample). Samples are averaged first, then the seeds of a piece, then pieces, so
that a piece counts once whatever the number of seeds. The SD between seeds of the mean over pieces stands beside. What belongs to
a whole trial (bits per note, cost) is averaged over seeds. A trial that failed adds to no number: its row says that it failed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench.errors import DataError
from bench.metrics import METRICS, Undefined, Value, copying, cost, evaluate_sample, evaluate_set, harmony, likelihood, skill
from bench.music.harmony.settings import Harmony
from bench.scoring.chord_plans import StoredPlans
from bench.scoring.folds import unite
from bench.scoring.stats import Interval, bootstrap_mean
from bench.specs.trials import Trial
from bench.storage.records import Done, Failed, Originality, RunRecord, first_problem
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Samples, Target, read_targets

#: The row that skill is measured against, and that of other real music.
MEDIAN, REAL = "median", "real"

#: The order of rows: what is compared, then what it is compared with.
KIND_ORDER = ("model", "untrained", "reference")

Status = Literal["done", "partly done", "partly failed", "failed", "not run"]


@dataclass(frozen=True)
class Cell:
    """One number of a row.

    Parameters
    ----------
    value : float or None
        Mean; None where it is undefined, and `reason` says why.
    seed_sd : float or None
        Standard deviation (divisor n - 1) of the seeds' means; None with fewer than two seeds.
    seeds, pieces : int
        How many the mean is over; `pieces` is 0 for what belongs to a whole trial.
    reason : str
    by_piece : mapping of int to float
        Mean over the seeds of each piece, which the mean, the interval and the tests are over; empty for a whole trial's.
    weights : mapping of int to float or None
        Of each piece in the mean; None where all count alike.
    """

    value: float | None
    seed_sd: float | None = None
    seeds: int = 0
    pieces: int = 0
    reason: str = ""
    by_piece: Mapping[int, float] = field(default_factory=dict, repr=False)
    weights: Mapping[int, float] | None = field(default=None, repr=False)

    def columns(self, name: str) -> dict[str, float | None]:
        """Mean, SD between seeds and interval, as the columns of ``report.csv``."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (None, None)
        return {name: self.value, f"{name}_seed_sd": self.seed_sd, f"{name}_low": low, f"{name}_high": high}

    @cached_property
    def interval(self) -> Interval | None:
        """95 %, by bootstrap over pieces; None for what belongs to a whole trial."""
        pieces = sorted(self.by_piece)
        weights = None if self.weights is None else [self.weights[p] for p in pieces]
        return bootstrap_mean([self.by_piece[p] for p in pieces], weights)


@dataclass(frozen=True)
class TrialScore:
    """One trial's numbers.

    Parameters
    ----------
    keys : tuple of str
        Name of its folder; with folds that of each fold, in their order.
    trial : Trial
        With folds, without its fold: all folds of a seed are scored as one.
    outcome : Done, Failed or None
        What ``outcome.json`` holds; None for a trial that has not ended.
    error : str
        Why it failed; empty when done.
    values : dict
        Of the whole trial: bits per note, cost, and the mean over pieces of what is measured on pieces.
    by_piece : dict
        Metric to piece index to the mean over that piece's samples.
    notes : dict
        Held-out piece to its number of notes, by which its bits per note are weighted; empty without a likelihood.
    """

    keys: tuple[str, ...]
    trial: Trial
    outcome: Done | Failed | None = None
    error: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    by_piece: Mapping[str, Mapping[int, Value]] = field(default_factory=dict)
    notes: Mapping[int, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The folder to look into: the first, or that of the fold that failed."""
        return self.outcome.key if isinstance(self.outcome, Failed) else self.keys[0]

    @property
    def result(self) -> Done:
        """The outcome of a trial that ended well."""
        assert isinstance(self.outcome, Done), f"{self.key} has not ended well"
        return self.outcome

    @property
    def status(self) -> Status:
        """``done``, ``failed`` or ``not run``."""
        if self.error:
            return "failed"
        return "not run" if self.outcome is None else "done"


@dataclass(frozen=True)
class Row:
    """One system: its trials, one a seed, and their means."""

    system: str
    kind: str
    trials: tuple[TrialScore, ...]
    cells: Mapping[str, Cell]

    @property
    def model(self) -> str:
        """The plug-in."""
        return self.trials[0].trial.model

    @property
    def params(self) -> Mapping[str, Any]:
        """The plug-in's hyperparameters, where they differ from its defaults."""
        return self.trials[0].trial.params

    @property
    def harmony(self) -> Harmony | None:
        """Its harmonic constraint."""
        return self.trials[0].trial.harmony

    @property
    def done(self) -> tuple[TrialScore, ...]:
        """The trials that the cells are over."""
        return tuple(t for t in self.trials if t.status == "done")

    @property
    def status(self) -> Status:
        """Of all trials together."""
        states = {t.status for t in self.trials}
        if states == {"done"}:
            return "done"
        if "failed" in states:
            return "partly failed" if "done" in states else "failed"
        return "partly done" if "done" in states else "not run"

    @property
    def pieces(self) -> int:
        """Pieces that any distance of this row is over."""
        return max((c.pieces for name, c in self.cells.items() if name not in likelihood.BY_PIECE), default=0)

    @property
    def absent(self) -> frozenset[int]:
        """Pieces that another system did not continue; its means are over the others."""
        return frozenset(piece for t in self.done for piece in t.result.absent)

    @property
    def coverage(self) -> str:
        """``12 of 16 pieces``; empty where none is missing."""
        return f"{self.pieces} of {self.pieces + len(self.absent)} pieces" if self.absent else ""


@dataclass(frozen=True)
class Table:
    """All rows of a run: models, then the same untrained, then references, each in the spec's order."""

    rows: tuple[Row, ...]

    def __getitem__(self, system: str) -> Row:
        return {row.system: row for row in self.rows}[system]

    def find(self, system: str) -> Row | None:
        """The row of that name, or None."""
        return next((row for row in self.rows if row.system == system), None)

    def records(self) -> list[dict[str, Any]]:
        """One flat dict a row, as in ``report.csv``: None where a value is undefined."""
        return [
            {
                "system": row.system,
                "kind": row.kind,
                "status": row.status,
                "seeds": len(row.done),
                "pieces": row.pieces,
                **{column: number for name, cell in row.cells.items() for column, number in cell.columns(name).items()},
            }
            for row in self.rows
        ]


@dataclass(frozen=True)
class Known:
    """What a trial is scored by besides itself: the spec's target, its music's entropy if known, and the plans of chords."""

    target: float | None
    entropy: Mapping[str, float] | None
    plans: StoredPlans


def score_run(folder: Path) -> Table:
    """Every row of the run in `folder`, from stored files only.

    Raises
    ------
    DataError
        If the folder holds no run, or its targets are gone or damaged.
    """
    run = RunFolder(folder)
    record = run.read()
    known = Known(record.spec.get("target"), record.dataset.entropy, read_plans(run))
    targets = read_targets(run.targets)
    trials = [_score_trial(run, trial, keys, targets, known) for trial, keys in planned_trials(record)]
    trials.sort(key=lambda t: (KIND_ORDER.index(t.trial.kind), t.trial.seed))
    systems = dict.fromkeys(t.trial.system for t in trials)
    return Table(with_skill([score_row([t for t in trials if t.trial.system == system]) for system in systems]))


def read_plans(run: RunFolder) -> StoredPlans:
    """The plans that the run's constrained trials followed."""
    constrained = [(trial, keys) for trial, keys in planned_trials(run.read()) if trial.harmony]
    outcomes: list[tuple[Trial, Done | Failed | None]] = []
    for trial, keys in constrained:
        with contextlib.suppress(DataError):  # reported where the trial is scored
            outcomes.append((trial, _outcome(run, keys)))
    return StoredPlans(outcomes)


def planned_trials(record: RunRecord) -> list[tuple[Trial, dict[int, str]]]:
    """The trials of a run, in the order of the table's rows, each with its folder's name by fold (0 without folds).

    Raises
    ------
    DataError
        If one is damaged.
    """
    planned: dict[tuple[str, int], tuple[Trial, dict[int, str]]] = {}
    try:
        for entry in record.trials:
            trial = Trial.model_validate(entry.trial)
            whole = trial.model_copy(update={"fold": None})
            planned.setdefault((trial.system, trial.seed), (whole, {}))[1][trial.fold or 0] = entry.key
        return list(planned.values())
    except ValidationError as error:
        raise DataError(
            f"run.json is damaged: trials: {first_problem(error)}.", "Remove it; the same command makes it again."
        ) from error


def score_row(trials: Sequence[TrialScore]) -> Row:
    """The row of one system's trials: those that are done are averaged, the others only counted."""
    done = [t for t in trials if t.status == "done"]
    measured = [name for name in METRICS if name not in skill.OF]
    cells = {name: _cell(name, done) if done else Cell(None, reason="no trial was finished") for name in measured}
    cells |= dict.fromkeys(skill.OF, Cell(None, reason="there is no median row to compare with"))
    first = trials[0].trial
    return Row(first.system, first.kind, tuple(trials), cells)


def with_skill(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, with what each distance is against that of the median row."""
    median = next((row for row in rows if row.system == MEDIAN and row.kind == "reference"), None)
    return tuple(rows) if median is None else tuple(replace(row, cells={**row.cells, **_skill(row, median)}) for row in rows)


def _skill(row: Row, median: Row) -> dict[str, Cell]:
    cells = {}
    for name, distance in skill.OF.items():
        ours, constant = row.cells[distance], median.cells[distance]
        known, weights = skill.by_piece(ours.by_piece, constant.by_piece)
        if known and constant.value:
            spread = None if ours.seed_sd is None else ours.seed_sd / constant.value
            total = math.fsum(known[p] * weights[p] for p in known) / math.fsum(weights.values())
            cells[name] = Cell(total, spread, ours.seeds, len(known), by_piece=known, weights=weights)
        else:
            cells[name] = Cell(None, reason=ours.reason or constant.reason or "the median row has no distance")
    return cells


def mean(values: Iterable[Value]) -> Value:
    """Mean of those that are defined; if none is, the first one's reason."""
    given = list(values)
    known = [v for v in given if not isinstance(v, Undefined)]
    if known:
        return math.fsum(known) / len(known)
    return next((v for v in given if isinstance(v, Undefined)), Undefined("nothing was measured"))


def standard_deviation(values: Sequence[float]) -> float | None:
    """With divisor n - 1; None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def _cell(name: str, done: Sequence[TrialScore]) -> Cell:
    """One cell from the seeds of a system."""
    values = [t.values[name] for t in done]
    per_seed = [v for v in values if not isinstance(v, Undefined)]
    if not per_seed:
        return Cell(None, reason=next(v.reason for v in values if isinstance(v, Undefined)))
    if METRICS[name].every_seed and len(per_seed) < len(values):
        # The mean of those that have one would make a model that seldom reaches a target look quick.
        reason = next(v.reason for v in values if isinstance(v, Undefined))
        missing = f"{len(values) - len(per_seed)} of {len(values)} seeds"
        return Cell(None, seeds=len(per_seed), reason=f"{reason} ({missing})")
    by_piece = [t.by_piece.get(name, {}) for t in done]
    pieces = sorted({piece for seed in by_piece for piece in seed})
    means = {piece: mean(seed[piece] for seed in by_piece if piece in seed) for piece in pieces}
    known = {piece: v for piece, v in means.items() if not isinstance(v, Undefined)}
    spread = standard_deviation(per_seed)
    if not known:
        return Cell(math.fsum(per_seed) / len(per_seed), spread, len(per_seed))
    if name in likelihood.BY_PIECE:
        weights = {piece: t.notes[piece] for t in done for piece in t.notes}
        total = math.fsum(known[p] * weights[p] for p in known) / math.fsum(weights[p] for p in known)
        return Cell(total, spread, len(per_seed), len(known), by_piece=known, weights=weights)
    return Cell(math.fsum(known.values()) / len(known), spread, len(per_seed), len(known), by_piece=known)


def _outcome(run: RunFolder, keys: Mapping[int, str]) -> Done | Failed | None:
    """The outcome of a trial; with folds, that of the first that failed, None if one has not ended, else all as one.

    Raises
    ------
    DataError
        If the samples of a fold are missing or damaged.
    """
    outcomes = [run.outcome(key) for key in keys.values()]
    if list(keys) == [0]:
        return outcomes[0]
    for fold, outcome in zip(keys, outcomes, strict=True):
        if isinstance(outcome, Failed):
            error = outcome.error.model_copy(update={"message": f"fold {fold}: {outcome.error.reason}"})
            return outcome.model_copy(update={"error": error})
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    return unite(done, list(keys), run.samples(*keys.values())) if len(done) == len(keys) else None


def _score_trial(run: RunFolder, trial: Trial, folds: Mapping[int, str], targets: Sequence[Target], known: Known) -> TrialScore:
    keys = tuple(folds.values())
    outcome: Done | Failed | None = None
    try:
        outcome = _outcome(run, folds)
        if outcome is None:
            return TrialScore(keys, trial)
        if isinstance(outcome, Failed):
            return TrialScore(keys, trial, outcome, outcome.error.reason)
        samples = run.samples(*keys)
        # An external system may lack pieces; they are left out, and its row says how many it has.
        present = {i: t for i, t in enumerate(targets) if i not in outcome.absent}
        by_piece = _score_pieces(samples, trial, present, outcome.originality)
        by_piece |= _score_harmony(samples, trial, present, known.plans)
    except (OSError, DataError) as error:
        return TrialScore(keys, trial, outcome, f"its samples can't be scored: {error}")
    bits = likelihood.by_piece(samples)
    values = {
        **{name: mean(pieces.values()) for name, pieces in by_piece.items()},
        **evaluate_set([samples.notes[k] for k in sorted(samples.notes)], [t.target for t in present.values()]),
        **likelihood.evaluate(outcome.likelihood, known.entropy),
        **cost.evaluate(outcome, known.target, trains=trial.kind == "model"),
    }
    wrong = sorted(name for name, value in values.items() if not isinstance(value, Undefined) and not math.isfinite(value))
    if wrong:
        return TrialScore(keys, trial, outcome, f"its outcome holds what is no finite number in {', '.join(wrong)}")
    counts = samples.likelihood_notes
    notes = {} if counts is None else dict(zip(likelihood.numbers(samples), counts.tolist(), strict=True))
    return TrialScore(keys, trial, outcome, "", values, {**by_piece, **bits}, notes)


def _score_pieces(
    samples: Samples, trial: Trial, targets: Mapping[int, Target], copied: Originality | None
) -> dict[str, dict[int, Value]]:
    """Metric to piece to mean over samples. Every piece must have all its samples, each of the length asked for.

    `copied` is what the outcome stored of originality, if it did.
    """
    protocol, order = trial.protocol, {key: i for i, key in enumerate(sorted(samples.notes))}
    scored: dict[str, dict[int, Value]] = {}
    for piece, target in targets.items():
        measured = []
        for sample in range(protocol.samples):
            generated = samples.notes.get((piece, sample))
            found = -1 if generated is None else len(generated)
            if generated is None or found != protocol.notes:
                raise DataError(
                    f"sample {sample} of piece {piece} ({target.piece.id}) "
                    + ("is missing" if generated is None else f"has {found} notes, not {protocol.notes}")
                )
            originals = copying.evaluate(copied, order[piece, sample], piece)
            measured.append(evaluate_sample(generated, target.target, protocol.seconds) | originals)
        for name in measured[0]:
            scored.setdefault(name, {})[piece] = mean(m[name] for m in measured)
    return scored


def _score_harmony(
    samples: Samples, trial: Trial, targets: Mapping[int, Target], plans: StoredPlans
) -> dict[str, dict[int, Value]]:
    """Metric to piece to mean over samples: how many notes fit the run's plan of chords.

    Only a constrained row has sections. In any other row the plan goes on from chord to chord, in its own key: measured by
    sections that it doesn't have, it would look worse than it is.
    """
    found, protocol = plans.of(trial), trial.protocol
    where = None if isinstance(found, str) or trial.harmony is None else found.layout(protocol.notes)
    scored: dict[str, dict[int, Value]] = {}
    for piece in targets:
        plan = Undefined(found) if isinstance(found, str) else found.plans[piece]
        measured = [harmony.evaluate(samples.notes[piece, sample], plan, where) for sample in range(protocol.samples)]
        for name in measured[0]:
            scored.setdefault(name, {})[piece] = mean(m[name] for m in measured)
    return scored
