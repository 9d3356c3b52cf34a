"""The scored table of a run: cells of rows, and the trials they are means of."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from bench.metrics import HEADLINE, METRICS, Value, likelihood, prediction
from bench.music.codec import NoteCodec
from bench.music.harmony.settings import Harmony
from bench.scoring.crossed import Interval, Over, Values, rerun_interval, seeds_interval
from bench.specs.trials import EXTERNAL, Trial
from bench.storage.outcome import Done, Failed, Likelihood, Prediction, united_classes

#: Systems of the row that skill is relative to, of the row of other real music, and of the target through the codec.
MEDIAN, REAL, CODEC = "median", "real", "codec"


#: Metrics that are means over a piece's notes or predictions: each piece weighs as many.
WEIGHTED = likelihood.BY_PIECE | set(prediction.BY_UNIT.values())

#: The metric that depends on the spec's `target`, in validation bits.
TO_TARGET = "seconds_to_target"

#: Between texts of a trial's environment that differ from fold to fold.
SEVERAL = "; "

#: Order of the rows: the systems under test, then those for comparison.
KIND_ORDER = ("model", "untrained", "reference")


class Machine(NamedTuple):
    """What the times of a trial depend on: times of one kind of machine say nothing of another's.

    Parameters
    ----------
    processor : str
        Empty where it is not known.
    threads : int
        0 where that is not known.
    gpu : str
        Empty on a processor.
    """

    processor: str
    threads: int
    gpu: str


def _machines(trial: TrialScore) -> Iterator[Machine]:
    """Kind of machine of a trial; several where its folds differ."""
    ran = trial.result.provenance
    processors, threads = (str(ran.get(name) or "").split(SEVERAL) for name in ("cpu", "threads"))
    gpus = str(ran.get("device") or "an unknown GPU").split(SEVERAL) if trial.trial.device == "cuda" else [""]
    for processor, number, gpu in itertools.islice(itertools.product(processors, threads, gpus), MOST_MACHINES):
        yield Machine(processor, int(number or 0), gpu)


#: Most kinds of machine of a trial that are told apart.
MOST_MACHINES = 1000

Status = Literal["done", "partly done", "partly failed", "failed", "not run"]


#: Different pitches of a piece up to which its pitches may be the true ones by chance.
FEW_PITCHES = 3


@dataclass(frozen=True)
class Cell:
    """One value of a row.

    Parameters
    ----------
    value : float or None
        Mean; None if it is undefined, for the given `reason`.
    seed_sd : float or None
        Standard deviation (divisor n - 1) of the seeds' means; None with fewer than two seeds.
    seeds, pieces : int
        Numbers of seeds and pieces in the mean; `pieces` is 0 for a value of complete trials.
    reason : str
    seed_means : mapping of int to float
        Value of each training seed: the mean over its pieces, or that of its complete trial.
    by_seed : mapping of int to mapping of int to float
        Training seed to piece to mean over samples, on which the mean, the intervals and the tests are based; empty for a value
        of complete trials.
    weights : mapping of int to float or None
        Weight of each piece in the mean; None for equal weights.
    drawn : bool
        Whether its seeds draw samples of one model, which was trained elsewhere: see :class:`bench.scoring.crossed.Values`.
    """

    value: float | None
    seed_sd: float | None = None
    seeds: int = 0
    pieces: int = 0
    reason: str = ""
    seed_means: Mapping[int, float] = field(default_factory=dict, repr=False)
    by_seed: Mapping[int, Mapping[int, float]] = field(default_factory=dict, repr=False)
    weights: Mapping[int, float] | None = field(default=None, repr=False)
    drawn: bool = False

    def columns(self, name: str) -> dict[str, float | None]:
        """Return mean, standard deviation between seeds and interval, as the columns of ``report.csv``."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (None, None)
        return {name: self.value, f"{name}_seed_sd": self.seed_sd, f"{name}_low": low, f"{name}_high": high}

    @cached_property
    def values(self) -> Values:
        """Values by seed and piece with their weights, as the tests take them."""
        return Values(self.by_seed, self.weights, self.drawn)

    @property
    def by_piece(self) -> Mapping[int, float]:
        """Mean of each piece over its seeds; empty for a value of complete trials."""
        return self.values.by_piece

    @property
    def interval(self) -> Interval | None:
        """95 % confidence interval of the method's mean: over other trainings and other pieces, as :attr:`over` says."""
        return self._interval[0]

    @property
    def over(self) -> Over:
        """What the interval includes: pieces alone with one seed, seeds alone for a value of complete trials."""
        return self._interval[1]

    @cached_property
    def _interval(self) -> tuple[Interval | None, Over]:
        if self.by_seed:
            return self.values.interval()
        return seeds_interval(list(self.seed_means.values())), "seeds"

    @cached_property
    def rerun(self) -> Interval | None:
        """Range in which the mean of the same command with as many other seeds falls in 95 %, on the same pieces."""
        return rerun_interval(list(self.seed_means.values()))


@dataclass(frozen=True)
class StageScore:
    """A trial's numbers at a share of its budget.

    Parameters
    ----------
    share : float
        Of the budget, above 0 and at most 1.
    updates, notes, seconds : number
        Of the training until then.
    values : mapping of str to Value
        The two distances and their order-free counterparts, by the first sample of each piece; bits per note and of the pitch.
    """

    share: float
    updates: float
    notes: float
    seconds: float
    values: Mapping[str, Value]


@dataclass(frozen=True)
class TrialScore:
    """One trial's numbers.

    Parameters
    ----------
    keys : tuple of str
        Name of its folder; with folds, that of each fold in order.
    trial : Trial
        The trial; with folds, the one that stands for all folds of a seed, which are scored together.
    outcome : Done, Failed or None
        Content of ``outcome.json``; None for a trial that has not ended.
    error : str
        Reason of the failure; empty if there was none.
    values : dict
        Value of the complete trial by metric: bits per note, cost, and means over pieces.
    by_piece : dict
        By metric, then by index of the piece: mean over the piece's samples.
    notes : dict
        Number of notes by held-out piece, the weights of its bits per note; empty without a likelihood.
    stages : tuple of StageScore
        Results at shares of the budget, ascending. The whole, share 1, is the last where models share a budget.
    """

    keys: tuple[str, ...]
    trial: Trial
    outcome: Done | Failed | None = None
    error: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    by_piece: Mapping[str, Mapping[int, Value]] = field(default_factory=dict)
    notes: Mapping[int, float] = field(default_factory=dict)
    stages: tuple[StageScore, ...] = ()

    @property
    def key(self) -> str:
        """Key of the folder to examine: the first, or that of the fold that failed."""
        return self.outcome.key if isinstance(self.outcome, Failed) else self.keys[0]

    @property
    def result(self) -> Done:
        """Outcome of a completed trial."""
        assert isinstance(self.outcome, Done), f"{self.key} has not ended well"
        return self.outcome

    @property
    def status(self) -> Status:
        """Status: ``done``, ``failed`` or ``not run``."""
        if self.error:
            return "failed"
        return "not run" if self.outcome is None else "done"

    @property
    def exceeded(self) -> float:
        """Share of a budget in updates, notes or seconds that its training took if it went on beyond it; else 0."""
        return 0.0 if self.trial.budget.compute is None else self.result.training.exceeded


@dataclass(frozen=True)
class Row:
    """One system: its trials, one per seed, and their means.

    Parameters
    ----------
    system, kind : str
    trials : tuple of TrialScore
    cells : mapping of str to Cell
    other_classes : bool
        Whether its bits are over other classes than the table's, as :func:`mark_classes` finds.
    """

    system: str
    kind: str
    trials: tuple[TrialScore, ...]
    cells: Mapping[str, Cell]
    other_classes: bool = False

    @property
    def model(self) -> str:
        """Name of the plug-in."""
        return self.trials[0].trial.model

    @property
    def params(self) -> Mapping[str, Any]:
        """Hyperparameters of the plug-in that differ from its defaults."""
        return self.trials[0].trial.params

    @property
    def harmony(self) -> Harmony | None:
        """Harmonic constraint of the row."""
        return self.trials[0].trial.harmony

    @property
    def done(self) -> tuple[TrialScore, ...]:
        """Completed trials, over which the cells are averaged."""
        return tuple(t for t in self.trials if t.status == "done")

    @property
    def machines(self) -> frozenset[Machine]:
        """Kinds of machine that completed trials ran on, and all of their folds."""
        return frozenset(machine for trial in self.done for machine in _machines(trial))

    @property
    def processors(self) -> frozenset[str]:
        """Kinds of processor that completed trials ran on, as far as known."""
        return frozenset(machine.processor for machine in self.machines if machine.processor)

    @property
    def threads(self) -> frozenset[int]:
        """Numbers of threads of completed trials, as far as known."""
        return frozenset(machine.threads for machine in self.machines if machine.threads)

    @property
    def status(self) -> Status:
        """Status of all trials together."""
        states = {t.status for t in self.trials}
        if states == {"done"}:
            return "done"
        if "failed" in states:
            return "partly failed" if "done" in states else "failed"
        return "partly done" if "done" in states else "not run"

    @property
    def likelihood_kind(self) -> str:
        """Kind of its likelihood: ``exact``, ``bound``, or empty."""
        return _kind(t.result.likelihood for t in self.done)

    @property
    def prediction_kind(self) -> str:
        """The same of what it predicts in other units than notes."""
        return _kind(t.result.prediction for t in self.done)

    def bounded(self, metric: str) -> bool:
        """Whether its value of `metric` is an upper bound of the true one."""
        kinds = {"likelihood": self.likelihood_kind, "prediction": self.prediction_kind}
        return kinds.get(METRICS[metric].group) == "bound"

    @property
    def classes(self) -> tuple[int, ...]:
        """Time and duration classes of its likelihood: what its trials stored, else what its hyperparameters say.

        Where they differ, as of a vocabulary that a model makes of its training music, all of them: no other row has these.
        """
        codec = NoteCodec()
        time, duration = (self.params.get(name, getattr(codec, name)) for name in ("time_classes", "duration_classes"))
        return united_classes([t.result.classes or (time, duration) for t in self.done]) or (time, duration)

    @property
    def validates_bits(self) -> bool:
        """Whether a training logged validation bits."""
        return any("validation_bits" in entry for t in self.done for entry in t.result.training.history)

    def incomparable(self, metric: str) -> bool:
        """Whether its value of `metric` can't be compared with other rows': bits over other classes, or the time to some."""
        return self.other_classes and by_classes(metric)

    @property
    def pieces(self) -> int:
        """Largest number of pieces that a distance of this row is averaged over."""
        return max((c.pieces for name, c in self.cells.items() if name not in WEIGHTED), default=0)

    @property
    def beyond_budget(self) -> bool:
        """Whether a training went on beyond a budget in updates, notes or seconds."""
        return any(t.exceeded for t in self.done)

    @property
    def ignores_budget(self) -> bool:
        """Whether a training wasn't held to the budget that models have in common."""
        return self.kind == "model" and any(
            t.trial.budget.compute is not None and t.result.training.stopped is not None and not t.result.training.held_to_budget
            for t in self.done
        )

    @property
    def pretrained(self) -> bool:
        """Whether its model was trained elsewhere, perhaps on the test pieces."""
        return self.trials[0].trial.pretrained

    @property
    def external(self) -> bool:
        """Whether it is files that another system made, of whose training nothing is known."""
        return self.model == EXTERNAL

    @property
    def without_velocity(self) -> bool:
        """Whether its notes have no velocity of their own, so that no column measures it."""
        return not self.trials[0].trial.velocity

    @property
    def is_target(self) -> bool:
        """Whether more than half of its pieces are the true continuation, note by note: it was given what it should predict.

        By pitches alone, as many systems have few velocities or none; of :data:`FEW_PITCHES` by velocities as well. References
        are what they are said to be: of music of one note repeated the median row is no leak.
        """
        pitch, velocity, pitches = (self.cells[name].by_piece for name in (*HEADLINE, "unique_pitches"))
        few = {piece for piece in pitch if pitches.get(piece, 0) <= FEW_PITCHES}
        same = [p for p, distance in pitch.items() if distance == 0 and (p not in few or velocity.get(p, 0) == 0)]
        return self.kind != "reference" and len(same) > len(pitch) / 2

    @property
    def absent(self) -> frozenset[int]:
        """Pieces that an external system did not continue; its means are over the others."""
        return frozenset(piece for t in self.done for piece in t.result.absent)

    @property
    def coverage(self) -> str:
        """Text like ``12 of 16 pieces``; empty if none is missing."""
        return f"{self.pieces} of {self.pieces + len(self.absent)} pieces" if self.absent else ""


def _kind(stored: Iterable[Likelihood | Prediction | None]) -> str:
    kinds = {part.kind for part in stored if part}
    return "bound" if "bound" in kinds else "".join(kinds)


def by_classes(metric: str) -> bool:
    """Whether a metric depends on the classes of a row's likelihood, as fewer of them cost fewer bits whatever was learned."""
    return METRICS[metric].group == "likelihood" or metric == TO_TARGET


def mark_classes(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the rows with bits over other classes than the reference rows' or, where these have none, than most rows'."""
    having = [row for row in rows if row.likelihood_kind or row.validates_bits]
    among = [row for row in having if row.kind == "reference"] or having
    usual = Counter(row.classes for row in among).most_common(1)
    return tuple(replace(row, other_classes=row.classes != usual[0][0]) if row in having else row for row in rows)


@dataclass(frozen=True)
class Table:
    """All rows of a run: models, then untrained models, then references, each in the spec's order."""

    rows: tuple[Row, ...]

    def __getitem__(self, system: str) -> Row:
        return {row.system: row for row in self.rows}[system]

    def find(self, system: str) -> Row | None:
        """Find the row of that name, or None."""
        return next((row for row in self.rows if row.system == system), None)

    def records(self) -> list[dict[str, Any]]:
        """Return one flat dict per row, as in ``report.csv``; None for an undefined value."""
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
