"""What a run stores, as frozen types: ``run.json`` and each trial's ``outcome.json``. Parsed once, when they are read.

A key that a type doesn't name is kept in `RunRecord` and ignored elsewhere, so that a file from another version of the same
format still reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

#: JSON keeps 2 and 2.0 apart, and so do the reports.
Number = int | float

#: One epoch: ``epoch``, ``seconds``, ``notes``, ``loss`` and whatever else the model logged.
Epoch = Mapping[str, Any]


class Stored(BaseModel):
    """A value read from disk; nothing changes after validation."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Training(Stored):
    """One training, or the mean of a trial's folds.

    Parameters
    ----------
    seconds, epochs, notes : number or None
        Wall clock, passes over the music, notes trained on; None for a system that was trained elsewhere.
    stopped : str or None
        ``epochs``, ``early``, ``clock``, ``untrained``; ``mixed`` where folds differ.
    resumed : int
        How often it resumed from a checkpoint.
    fold : int or None
        Which fold, counted from 1.
    folds : tuple of Training
        Each fold's own figures, without its history.
    history : tuple of mapping
        One entry an epoch; with folds each entry names its fold.
    """

    seconds: Number | None = None
    epochs: Number | None = None
    notes: Number | None = None
    notes_per_second: Number | None = None
    best_epoch: Number | None = None
    best_validation_bits: Number | None = None
    stopped: str | None = None
    resumed: int | None = 0
    fold: int | None = None
    folds: tuple[Training, ...] = ()
    history: tuple[Epoch, ...] = ()


class Generation(Stored):
    """What generating took; None where it was not measured."""

    seconds: Number | None = None
    notes: int = 0
    notes_per_second: Number | None = None
    compile_seconds: Number | None = None


class Likelihood(Stored):
    """Bits per note over all notes of all held-out pieces, in all and by field; `kind` is ``exact`` or ``bound``."""

    kind: str
    pieces: int
    notes: int
    bits_per_note: float
    by_field: Mapping[str, float]


class Copying(Stored):
    """What samples or targets, in their order, share with other music.

    Parameters
    ----------
    longest_training_run, longest_prompt_run : tuple of int or None
        Notes; None where there is no prompt.
    known_patterns : tuple of float or None
        Share of known patterns, 0 to 1; None where there are too few notes.
    """

    longest_training_run: tuple[int, ...]
    longest_prompt_run: tuple[int | None, ...]
    known_patterns: tuple[float | None, ...]


class Originality(Stored):
    """What the samples share with the training music, and what the held-out targets themselves share with it."""

    samples: Copying
    targets: Copying


class ChordPlans(Stored):
    """The chord plans that a constrained trial followed: distinct plans, and which of them each of its pieces had."""

    key_from: str
    plans: tuple[Mapping[str, Any], ...]
    plan_of_piece: tuple[int, ...]


class SpeedReference(Stored):
    """Seconds that the fixed work of :mod:`bench.system.speed` took before and after a training."""

    before: float
    after: float


class Memory(Stored):
    """Peak memory, bytes; None where it was not measured."""

    peak_bytes: int | None = None
    peak_gpu_bytes: int | None = None


class Failure(Stored):
    """Why a trial failed.

    Parameters
    ----------
    kind, message, hint : str
        As of the exception; of a worker that died, ``Timeout``, ``Killed`` or ``Died``.
    phase : str or None
        What the worker was doing.
    had_checkpoint : bool
        Whether its training resumed from a checkpoint.
    epochs : int
        Epochs that it trained before it failed.
    transient : bool
        Whether the machine was to blame: memory or a disk that was full.
    stderr_tail : str
    """

    kind: str = ""
    message: str = ""
    hint: str = ""
    phase: str | None = None
    had_checkpoint: bool = False
    epochs: int = 0
    transient: bool = False
    stderr_tail: str = ""

    @property
    def reason(self) -> str:
        """In one line, for a table."""
        return self.message or self.kind or "it left no reason"

    @property
    def blames_checkpoint(self) -> bool:
        """Whether training may have failed because of the checkpoint that it resumed from, so that it must not resume again.

        Not if it got further than the checkpoint, nor if the machine was to blame: hours of training would be lost for a full
        disk.
        """
        return self.phase == "fit" and self.had_checkpoint and not self.epochs and not self.transient


class PromptUse(Stored):
    """Of an externally generated row: how many files began with their prompt, and whether any was odd."""

    model_config = ConfigDict(frozen=True, extra="allow")

    odd: int = 0


class _Outcome(Stored):
    """What every outcome says.

    Parameters
    ----------
    key : str
        The trial's.
    trial : mapping
        A :class:`bench.specs.trials.Trial` as stored.
    memory : Memory
    provenance : mapping
        What the worker ran on: versions, ``cpu``, ``device``, ``threads``.
    """

    key: str
    trial: Mapping[str, Any] = {}
    remarks: tuple[str, ...] = ()
    memory: Memory
    provenance: Mapping[str, Any] = {}
    wall_seconds: Number | None = None


class Done(_Outcome):
    """A trial that ended well.

    Parameters
    ----------
    yardstick : SpeedReference or None
        Models only.
    facts : mapping
        What the model states of itself.
    pieces : tuple of int or None
        Which of the run's targets it continued, ascending; None for all, and then what it stores by piece counts as they do.
    absent : tuple of int
        Of an externally generated row: pieces that it did not continue.
    """

    status: Literal["done"]
    training: Training
    generation: Generation
    likelihood: Likelihood | None
    facts: Mapping[str, Any]
    yardstick: SpeedReference | None = None
    originality: Originality | None = None
    harmony: ChordPlans | None = None
    pieces: tuple[int, ...] | None = None
    absent: tuple[int, ...] = ()
    prompt: PromptUse | None = None


class Failed(_Outcome):
    """A trial that failed."""

    status: Literal["failed"]
    error: Failure
    memory: Memory = Memory()


Outcome = Annotated[Done | Failed, Field(discriminator="status")]
OUTCOME: TypeAdapter[Done | Failed] = TypeAdapter(Outcome)


class Prepared(Stored):
    """The music of a run.

    Parameters
    ----------
    corpus : str
        File of the parsed corpus.
    source : str or None
        Folder that the dataset was found in.
    corpus_key : str
        Identity of the parsed corpus, by the code that read it and the files.
    pieces, notes : mapping of str to int
        By split: ``train``, ``validation``, ``test``.
    skipped : tuple of mapping
        Files left out: ``source`` and ``reason``.
    folds : mapping, optional
        See :func:`bench.runner.folds.facts`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    title: str
    license: str
    corpus: str = ""
    cached: bool = False
    source: str | None = None
    corpus_key: str | None = None
    pieces: Mapping[str, int] = {}
    notes: Mapping[str, int] = {}
    skipped: tuple[Mapping[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    entropy: Mapping[str, float] | None = None
    folds: Mapping[str, Any] | None = None


class Machine(Stored):
    """The machine that a run was started on."""

    platform: str | None = None
    cpu: str | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    gpus: tuple[Any, ...] = ()


class Interpreter(Stored):
    """A framework's Python and the packages in it, or the `error` that asking for them gave."""

    path: str = ""
    python: str | None = None
    packages: Mapping[str, str] = {}
    error: str | None = None


class Provenance(Stored):
    """What a run was started with."""

    bench: str | None = None
    git: str | None = None
    machine: Machine = Machine()
    interpreters: Mapping[str, Interpreter] = {}


class PlannedTrial(Stored):
    """A trial of a run: its key, and the trial as stored."""

    key: str
    trial: Mapping[str, Any]


class RunRecord(Stored):
    """``run.json``.

    Parameters
    ----------
    format : int
    spec : mapping
        The resolved spec, see :class:`bench.specs.schema.Spec`.
    started, finished : str or None
        UTC, ISO 8601; `finished` is None until every trial has ended.
    scale, why : str
        The scale and why it was chosen.
    call : mapping
        What the run was asked for, for the command that repeats it.
    dataset : Prepared
    plugins : mapping of str to str
        Source digest of each model plug-in.
    headers : mapping of str to mapping
        What each model plug-in declares.
    trials : tuple of PlannedTrial
        In the order of the table's rows.
    provenance : Provenance
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    format: int
    spec: Mapping[str, Any]
    started: str | None = None
    finished: str | None = None
    scale: str
    why: str = ""
    call: Mapping[str, Any]
    dataset: Prepared
    plugins: Mapping[str, str] = {}
    headers: Mapping[str, Mapping[str, Any]] = {}
    trials: tuple[PlannedTrial, ...]
    provenance: Provenance

    def change(self, **fields: Any) -> RunRecord:
        """Copy with other values in some fields."""
        return self.model_copy(update=fields)


def first_problem(error: ValidationError) -> str:
    """Where the first of pydantic's complaints is, and what it is: ``dataset.title: this is missing``."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = "this is missing" if problem["type"].startswith("missing") else problem["msg"]
    return ": ".join(filter(None, [".".join(map(str, problem["loc"])), f"{message[:1].lower()}{message[1:]}"]))
