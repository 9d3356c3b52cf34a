"""Frozen types of a trial's ``outcome.json``, validated when it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from bench.api import FIELDS
from bench.config import MOST_STAGES
from bench.storage.records import MOST_TRIALS
from bench.storage.stored import Stored

#: Facts of a model that reports compute with.
COUNTS = ("parameters", "peak_gpu_bytes", "flops_per_note")


def _bounded(value: int | float) -> int | float:
    if (isinstance(value, int) and abs(value) > 10**15) or (isinstance(value, float) and 1e15 < abs(value) < math.inf):
        raise ValueError("it is beyond 10^15")
    return value


#: JSON distinguishes 2 from 2.0, and so do the reports. What is not finite is refused where it is scored.
Number = Annotated[int | float, AfterValidator(_bounded)]

#: How many of something.
Count = Annotated[int, Field(ge=0, le=10**15)]

#: Number of a fold.
FoldNumber = Annotated[int, Field(ge=1, le=10**15)]

#: Paths of a trial's results in its folder, and how many there may be.
MOST_RESULTS = 1024
RESULT = re.compile(r"samples\.npz|(stages|midi)/[\w-][\w.-]*")

#: One evaluation: ``epoch`` (its number, from 1), ``seconds``, ``notes``, ``loss`` and whatever else the model logged.
Epoch = Mapping[str, Any]


#: Greatest part of a budget, see :attr:`Training.share`, that a training takes which is held to it.
MOST_SHARE = 1.1


class Training(Stored):
    """One training, or the mean over a trial's folds.

    Parameters
    ----------
    seconds, core_seconds, epochs, notes, updates : number or None
        Wall clock, processor time, passes over the music, notes trained on, updates of the weights; None where unknown, as for
        a system that was trained elsewhere. Processor time of a training that resumed on another machine is in seconds of the
        last one.
    joules : number or None
        Energy of the GPU; None without one, beside other trials on it, and after a kill.
    best_epoch : number or None
        Number of the evaluation whose weights were kept, counted from 1.
    stopped : str or None
        Why training ended: its ``budget`` was used, ``early``, ``clock``, ``untrained``; ``mixed`` where folds differ.
    resumed : int
        How often it resumed from a checkpoint.
    share : number or None
        Part of a budget in updates, notes or seconds that training used: as logged or, where that is more, as counted, without
        the update and the evaluation that end behind the budget's end. With folds, the most of any; None where one logged none.
    fold : int or None
        Number of the fold, from 1.
    folds : tuple of Training
        Each fold's own figures, without its history.
    history : tuple of mapping
        One entry per evaluation; with folds, each entry names its fold.
    """

    seconds: Number | None = None
    epochs: Number | None = None
    notes: Number | None = None
    updates: Number | None = None
    core_seconds: Number | None = None
    notes_per_second: Number | None = None
    joules: Number | None = None
    best_epoch: Number | None = None
    best_validation_bits: Number | None = None
    stopped: Literal["budget", "early", "clock", "untrained", "mixed"] | None = None
    resumed: Count | None = 0
    share: Number | None = None
    fold: FoldNumber | None = None
    folds: tuple[Training, ...] = Field(default=(), max_length=MOST_TRIALS)
    history: tuple[Epoch, ...] = ()

    @field_validator("folds")
    @classmethod
    def _each_fold_once(cls, folds: tuple[Training, ...]) -> tuple[Training, ...]:
        if len({training.fold for training in folds} - {None}) < len(folds):
            raise ValueError("a fold is there twice, or has no number")
        return folds

    @property
    def exceeded(self) -> float:
        """Share of a common budget that it took if it went on beyond it, see :data:`MOST_SHARE`; else 0.

        Where no share is stored, as by earlier versions, it is the one that was logged last.
        """
        share = max((end or 0.0 for end in self._ends.values()), default=0.0) if self.share is None else self.share
        return share if share > MOST_SHARE else 0.0

    @property
    def held_to_budget(self) -> bool:
        """Whether it knew of a budget in updates, notes or seconds, and ended there."""
        return bool(self._ends) and None not in self._ends.values() and not self.exceeded

    @property
    def _ends(self) -> dict[int | None, float | None]:
        """Share of the budget that the training, or that of each fold, logged last."""
        return {entry.get("fold"): entry.get("share") for entry in self.history}

    @field_validator("history")
    @classmethod
    def _evaluations(cls, history: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
        for entry in history:
            # Exactly int: a bool is one too.
            if any(type(number) is not int or number < 1 for number in (entry.get("epoch"), entry.get("fold", 1))):
                raise ValueError("an evaluation has no number, or no fold")
            for value in entry.values():
                if not isinstance(value, int | float | None):
                    raise ValueError("an evaluation holds what is no number")
                _bounded(value or 0)
        return history


class Stage(Stored):
    """A result at a share of the budget: samples and likelihoods in a file of their own.

    Parameters
    ----------
    share : float
        Of the budget, above 0; 1 is its end.
    updates, notes, seconds : number
        Of the training until then; with folds, means over them.
    """

    share: Annotated[float, Field(gt=0, le=1)]
    updates: Number
    notes: Number
    seconds: Number


class Generation(Stored):
    """Cost of generating; None where it was not measured."""

    seconds: Number | None = None
    notes: Count = 0
    notes_per_second: Number | None = None
    compile_seconds: Number | None = None


class Likelihood(Stored):
    """Bits per note over all notes of all held-out pieces, total and by field; `kind` is ``exact`` or ``bound``."""

    kind: Literal["exact", "bound"]
    pieces: Count
    notes: Count
    bits_per_note: float
    by_field: Mapping[str, float]

    @field_validator("by_field")
    @classmethod
    def _every_field(cls, by_field: Mapping[str, float]) -> Mapping[str, float]:
        if set(by_field) != set(FIELDS):
            raise ValueError(f"expected the fields {', '.join(FIELDS)}")
        return by_field


class Prediction(Stored):
    """Predictions of a model whose units aren't notes, over all held-out pieces.

    Parameters
    ----------
    unit : {"frame", "event"}
    pieces, predictions : int
    nats : float
        Sum of -ln of their probabilities.
    notes : int
        Notes of the pieces.
    seconds : float
        Duration of the pieces.
    kind : {"exact", "bound"}
        Whether the probabilities are the model's, or lower bounds of these.
    """

    unit: Literal["frame", "event"]
    pieces: Count
    predictions: Annotated[int, Field(ge=1, le=10**15)]
    nats: Number
    notes: Annotated[int, Field(ge=1, le=10**15)]
    seconds: Number
    kind: Literal["exact", "bound"] = "exact"


class Copying(Stored):
    """Overlap of samples or targets, in their order, with other music.

    Parameters
    ----------
    longest_training_run, longest_prompt_run : tuple of int or None
        Longest run of notes that also occurs in the training music or in the prompt; None without a prompt.
    known_patterns : tuple of float or None
        Share of patterns that also occur in the training music, 0 to 1; None if there are too few notes.
    """

    longest_training_run: tuple[Annotated[int, Field(ge=0, le=10**9)], ...]
    longest_prompt_run: tuple[Annotated[int, Field(ge=0, le=10**9)] | None, ...]
    known_patterns: tuple[float | None, ...]

    @model_validator(mode="after")
    def _columns_of_one_length(self) -> Self:
        if not len(self.longest_training_run) == len(self.longest_prompt_run) == len(self.known_patterns):
            raise ValueError("its columns differ in length")
        return self

    def rows(self) -> list[tuple[Any, ...]]:
        """One tuple per sample or target, in the order of the fields."""
        return list(zip(self.longest_training_run, self.longest_prompt_run, self.known_patterns, strict=True))

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[Any]]) -> Copying:
        """Collect what :meth:`rows` gives."""
        runs, prompts, patterns = zip(*rows, strict=True) if (rows := list(rows)) else ((), (), ())
        return cls(longest_training_run=runs, longest_prompt_run=prompts, known_patterns=patterns)


class Originality(Stored):
    """Overlap of the samples with the training music, and that of the held-out targets for comparison."""

    samples: Copying
    targets: Copying


class ChordPlans(Stored):
    """Chord plans that a constrained trial followed: the distinct plans, and the index of each piece's plan."""

    key_from: str
    plans: tuple[Mapping[str, Any], ...]
    plan_of_piece: tuple[int, ...]

    @model_validator(mode="after")
    def _plans_exist(self) -> Self:
        if not all(0 <= plan < len(self.plans) for plan in self.plan_of_piece):
            raise ValueError("a piece has a plan that is not there")
        return self


class SpeedReference(Stored):
    """Seconds that the fixed workload of :mod:`bench.system.speed` took before and after a training.

    `core` is the mean of both in seconds of processor time.
    """

    before: float = Field(gt=0, lt=1e9)
    after: float = Field(gt=0, lt=1e9)
    core: float | None = Field(None, gt=0, lt=1e9)


class Memory(Stored):
    """Peak memory, bytes; None where it was not measured."""

    peak_bytes: Number | None = None
    peak_gpu_bytes: Number | None = None


class Failure(Stored):
    """Why a trial failed.

    Parameters
    ----------
    kind, message, hint : str
        Those of the exception; the kind of a worker that died is ``Timeout``, ``Killed`` or ``Died``.
    phase : str or None
        Phase of the trial in which it failed.
    had_checkpoint : bool
        Whether its training resumed from a checkpoint.
    epochs : int
        Epochs that it trained before it failed.
    transient : bool
        Whether the cause was the machine: memory or disk was full.
    stderr_tail : str
    """

    kind: str = ""
    message: str = ""
    hint: str = ""
    phase: str | None = None
    had_checkpoint: bool = False
    epochs: Count = 0
    transient: bool = False
    stderr_tail: str = ""

    @property
    def reason(self) -> str:
        """One-line reason, for a table."""
        return self.message or self.kind or "it left no reason"

    @property
    def blames_checkpoint(self) -> bool:
        """Whether training may have failed because of the checkpoint that it resumed from, so that it must not resume again.

        False if it trained an epoch beyond the checkpoint, or if the machine was the cause: a full disk must not cost hours of
        training.
        """
        return self.phase == "fit" and self.had_checkpoint and not self.epochs and not self.transient


class PromptUse(Stored):
    """Prompts of an externally generated row: how its files treat them, and how many files are odd."""

    model_config = ConfigDict(frozen=True, extra="allow")

    odd: Count = 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


#: Whether a value of a worker's environment is what its name says; whatever isn't listed is a text.
_PROVENANCE: Mapping[str, Callable[[Any], bool]] = {
    "threads": lambda value: type(value) is int and 0 < value <= 10**6,
    "shares_gpu": lambda value: isinstance(value, bool),
}


class _Outcome(Stored):
    """Fields of every outcome.

    Parameters
    ----------
    key : str
        Key of the trial.
    trial : mapping
        A :class:`bench.specs.trials.Trial` as stored.
    memory : Memory
    provenance : mapping
        Environment of the worker: texts (versions, ``cpu``, ``device``), a number of ``threads``, whether it `shares_gpu`.
    """

    key: str
    trial: Mapping[str, Any] = {}
    remarks: tuple[str, ...] = ()
    memory: Memory
    provenance: Mapping[str, Any] = {}
    wall_seconds: Number | None = None

    @field_validator("provenance")
    @classmethod
    def _of_their_types(cls, provenance: Mapping[str, Any]) -> Mapping[str, Any]:
        for name, value in provenance.items():
            known = _PROVENANCE.get(name, _is_text)
            if value is not None and not known(value):
                raise ValueError(f"{name} is not of its type")
        return provenance


def united_classes(parts: Iterable[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Unite the classes of trials or folds: those of all, or one after another where they differ; None if none says any.

    >>> united_classes([(64, 64), None, (64, 64)]), united_classes([(64, 64), (16, 16)])
    ((64, 64), (16, 16, 64, 64))
    """
    return tuple(number for part in sorted({part for part in parts if part}) for number in part) or None


class Done(_Outcome):
    """Outcome of a completed trial.

    Parameters
    ----------
    yardstick : SpeedReference or None
        Models only.
    facts : mapping
        Facts that the model reports about itself.
    stages : tuple of Stage
        Results at shares of the budget, ascending; without that of the whole, which is the trial's own.
    pieces : tuple of int or None
        Indices of the run's targets that it continued, ascending; None for all of them.
    absent : tuple of int
        Pieces that an external system did not continue.
    digests : mapping of str to str
        SHA-256 of each file that the trial wrote, by its path in the trial's folder.
    classes : tuple of int or None
        Classes of time and duration that its bits are over, if the model says so.
    held_out : str
        Digest of the targets that it continued (:func:`bench.storage.samples.targets_digest`): those of the run may change before
        a queue starts it; empty if that isn't known.
    features : str
        Text of an external system's row in the report's last column; a plug-in declares it in its header.
    """

    status: Literal["done"]
    training: Training
    generation: Generation
    likelihood: Likelihood | None
    prediction: Prediction | None = None
    facts: Mapping[str, Any]
    yardstick: SpeedReference | None = None
    originality: Originality | None = None
    harmony: ChordPlans | None = None
    stages: Annotated[tuple[Stage, ...], Field(max_length=MOST_STAGES)] = ()
    pieces: tuple[int, ...] | None = None
    absent: tuple[int, ...] = ()
    prompt: PromptUse | None = None
    digests: Mapping[str, str] = {}
    classes: Annotated[tuple[Count, ...], Field(min_length=2)] | None = None
    held_out: str = ""
    features: str = ""

    @field_validator("stages")
    @classmethod
    def _each_stage_once(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if len({stage.share for stage in stages}) < len(stages):
            raise ValueError("a stage is there twice")
        return stages

    @field_validator("digests")
    @classmethod
    def _inside_the_folder(cls, digests: Mapping[str, str]) -> Mapping[str, str]:
        if len(digests) > MOST_RESULTS:
            raise ValueError(f"it has {len(digests):,} files, and may have {MOST_RESULTS:,}")
        for name in digests:
            if not RESULT.fullmatch(name):
                raise ValueError(f"{name!r} is no file of a trial")
        return digests

    @field_validator("facts")
    @classmethod
    def _counts_are_numbers(cls, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in COUNTS:
            if not isinstance(facts.get(name, 0), int | float | None):
                raise ValueError(f"{name} is not a number")
            _bounded(facts.get(name) or 0)
        return facts


class Failed(_Outcome):
    """Outcome of a failed trial."""

    status: Literal["failed"]
    error: Failure
    memory: Memory = Memory()


Outcome = Annotated[Done | Failed, Field(discriminator="status")]


OUTCOME: TypeAdapter[Done | Failed] = TypeAdapter(Outcome)
