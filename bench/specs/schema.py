"""Schema of a spec: :class:`Spec` and its parts."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from bench.config import MOST_NOTES_OF_A_PIECE, MOST_STAGES, Frozen, as_tuple
from bench.metrics.thresholds import parse
from bench.music.harmony.settings import Harmony
from bench.specs.layers import overlay
from bench.system.paths import NAME

Scale = Literal["smoke", "cpu", "gpu"]
SCALES: tuple[Scale, ...] = get_args(Scale)

#: What is said and stored of a run at scale smoke where that is the spec as it is.
IN_FULL = "Scale smoke changes nothing in this spec, so it runs in full."

#: The row that is each network before its first step.
UNTRAINED = "untrained"

#: As many folds as there are compositions to hold out.
LEAVE_ONE_OUT = "leave-one-out"

#: Keys that no scale can override: they name the spec, not what is run.
FIXED = ("name", "extends", "suits", "scales")

#: Most seeds that a number may stand for.
_MOST_SEEDS = 10_000


def _folds(value: Any) -> Any:
    """Accept a whole number of at least 2, or `leave-one-out`, with one message for all else."""
    if value is None or value == LEAVE_ONE_OUT or (type(value) is int and value >= 2):
        return value
    raise PydanticCustomError("folds", "not a number of folds")


def _threshold(value: Any) -> Any:
    """Accept a number, ``5%`` or ``off``, see :mod:`bench.metrics.thresholds`."""
    try:
        parse(value)
    except ValueError:
        raise PydanticCustomError("threshold", "not a threshold") from None
    return value


def _seeds(value: Any) -> Any:
    """Expand a number of seeds: ``3`` means 0, 1 and 2."""
    if type(value) is int and value > _MOST_SEEDS:
        raise PydanticCustomError("too_many_seeds", "too many seeds")
    if isinstance(value, str | float) or (type(value) is int and value < 1):
        raise PydanticCustomError("seeds", "not seeds")
    return tuple(range(value)) if type(value) is int else as_tuple(value)


def _defaults(value: Any) -> Any:
    """Let an empty row, such as ``lstm:``, take the defaults."""
    return {key: {} if item is None else item for key, item in value.items()} if isinstance(value, dict) else value


class DatasetChoice(Frozen):
    """A dataset plug-in and its selection."""

    name: str = Field(description="A dataset plug-in, see `bench list datasets`.")
    options: dict[str, Any] = Field(default_factory=dict, description="Its selection, e.g. composer, years, limit.")


class Protocol(Frozen):
    """What is compared, and on which music."""

    prompt: int = Field(default=100, ge=0, le=MOST_NOTES_OF_A_PIECE, description="Notes of each held-out piece that are given.")
    notes: int = Field(
        default=300,
        ge=1,
        le=MOST_NOTES_OF_A_PIECE,
        description="Notes that each system must generate; the same number is the target.",
    )
    pieces: int = Field(default=50, ge=1, description="Most held-out pieces used.")
    samples: int = Field(default=1, ge=1, description="Generations a piece and seed.")
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="Let distances of note from note compare only those with an onset in the first so many seconds (the paper's "
        "other reading: 90); every other column is over all notes.",
    )
    folds: Annotated[
        int | Literal["leave-one-out"] | None,
        BeforeValidator(_folds, json_schema_input_type=int | Literal["leave-one-out"] | None),
    ] = Field(default=None, description="Hold out all pieces in turn, in so many folds, instead of the dataset's test split.")
    validation: float = Field(default=0.2, gt=0, lt=1, description="With folds: share of the other pieces that only chooses.")

    @model_validator(mode="after")
    def _validation_needs_folds(self) -> Self:
        if self.folds is None and "validation" in self.model_fields_set:
            raise PydanticCustomError("no_folds", "validation without folds")
        return self

    @model_serializer(mode="wrap")
    def _folds_if_any(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit both keys without folds: then a trial keeps the identity that it had before there were folds."""
        unset = () if self.folds is not None else ("folds", "validation")
        return {key: value for key, value in handler(self).items() if key not in unset}


class Compute(Frozen):
    """One budget for all models, in one unit."""

    seconds: float | None = Field(
        default=None,
        gt=0,
        description="Yardstick-seconds: processor time on a machine that needs 0.1 s for the yardstick; on a GPU plain seconds.",
    )
    updates: int | None = Field(default=None, ge=1, description="Updates of the weights.")
    notes: int | None = Field(default=None, ge=1, description="Notes trained on.")

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if sum(limit is not None for limit in (self.seconds, self.updates, self.notes)) != 1:
            raise PydanticCustomError("compute", "not one unit")
        return self


class BudgetChoice(Frozen):
    """Training budget of a model: `compute`, if the spec states one, else epochs decide; the time limits are safeguards."""

    epochs: int = Field(default=1, ge=0, description="Most passes over the training notes, without `compute`.")
    compute: Compute | None = Field(default=None, description="One budget for all models, in place of epochs.")
    updates: int | None = Field(
        default=None,
        ge=1,
        description="Updates that the yardstick-seconds pay for, as `bench tune` measured them: so the row repeats.",
    )
    evaluations: int = Field(default=16, ge=1, description="With `compute`: evaluations on the validation pieces.")
    stages: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...], BeforeValidator(as_tuple, json_schema_input_type=list[float])
    ] = Field(
        default=(0.0625, 0.25), max_length=MOST_STAGES, description="With `compute`: shares of it at which results are taken too."
    )
    patience: int | None = Field(default=None, ge=1, description="Evaluations without a better validation loss before stopping.")
    max_seconds: float | None = Field(
        default=None, gt=0, description="Stop after the evaluation that crosses this; then it can't repeat."
    )
    timeout: float = Field(
        default=3600, gt=0, description="Seconds after which a trial (with folds, one fold) is killed and counts as failed."
    )

    @model_validator(mode="after")
    def _epochs_or_compute(self) -> Self:
        if self.compute is not None and "epochs" in self.model_fields_set:
            raise PydanticCustomError("epochs_and_compute", "epochs beside compute")
        if type(self) is BudgetChoice and (key := self.without_effect(self.model_fields_set)):
            raise PydanticCustomError("no_compute", "needs another compute", {"key": key})
        return self

    def without_effect(self, keys: Set[str]) -> str | None:
        """Find a key among `keys` that has no effect in this budget: it belongs to a `compute`, or to one in seconds."""
        if self.compute is None:
            return next((key for key in ("updates", "evaluations", "stages") if key in keys), None)
        return "updates" if "updates" in keys and self.updates is not None and self.compute.seconds is None else None

    @model_serializer(mode="wrap")
    def _what_counts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit what has no effect: epochs beside `compute`, and what belongs to `compute` without it."""
        unused = ("compute", "updates", "evaluations", "stages") if self.compute is None else ("epochs",)
        return {key: value for key, value in handler(self).items() if key not in unused}


class BudgetChange(BudgetChoice):
    """Changes to the spec's budget: only the keys that are set count."""

    @model_serializer(mode="wrap")
    def _what_counts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}

    def over(self, budget: BudgetChoice) -> BudgetChoice:
        """Apply these changes to `budget`."""
        return budget.model_copy(update={key: getattr(self, key) for key in self.model_fields_set})


class ModelChoice(Frozen):
    """A row: a model plug-in and its hyperparameters."""

    plugin: str | None = Field(default=None, description="The model plug-in, if the row has another name.")
    params: dict[str, Any] = Field(default_factory=dict, description="Its hyperparameters; see `bench list models`.")
    budget: BudgetChange = Field(default_factory=BudgetChange, description="What differs from the spec's budget.")
    harmony: Harmony | None = Field(default=None, description="Generate under a harmonic constraint; see `harmonic`.")


class Range(Frozen):
    """Values to search, evenly on a logarithmic scale."""

    low: float = Field(gt=0, description="Lowest value.")
    high: float = Field(gt=0, description="Highest value.")


class Space(Frozen):
    """Hyperparameters of one row that `bench tune` searches; what it doesn't name stays as the row has it."""

    sizes: Annotated[
        tuple[dict[str, Any], ...], BeforeValidator(as_tuple, json_schema_input_type=list[dict[str, Any]]), Field(min_length=1)
    ] = Field(default=({},), description="Hyperparameters that go together, such as width and heads.")
    ranges: dict[str, Range] = Field(default_factory=dict, description="Hyperparameter to the range of its values.")


class Search(Frozen):
    """Search for hyperparameters, the same for all models: `bench tune`."""

    trials: int = Field(default=12, ge=1, le=10_000, description="Trainings of each row.")
    seed: int = Field(default=1000, ge=0, description="Their training seed, and that of the points; not among the spec's seeds.")
    dataset: DatasetChoice | None = Field(
        default=None, description="Other music to search on, for a spec that holds out all of its own in turn."
    )
    models: dict[str, Space] = Field(description="Row to what is searched for it.")


class Tuned(Frozen):
    """How the hyperparameters of a row were found, as `bench tune` writes it."""

    dataset: str = Field(description="Dataset whose validation pieces chose.")
    trials: int = Field(ge=1, description="Trainings of the search.")
    failed: int = Field(default=0, ge=0, description="Those that failed.")
    score: str = Field(description="What chose, on the validation pieces.")
    best: float = Field(description="Score of the winner.")
    median: float = Field(description="Median score.")
    updates: int | None = Field(default=None, description="Updates that the budget pays for at the winner's sizes.")
    former: bool = Field(
        default=False, description="Whether the row has other hyperparameters, music or budget since: it still knows what chose."
    )


class Spec(Frozen):
    """A benchmark: which systems learn from and continue which music, and for how long."""

    name: str = Field(default="", pattern=f"^$|{NAME}", description="Name in run folders; the file's name by default.")
    title: str = Field(description="Heading of the report.")
    description: str = Field(default="", description="What it is for, in a sentence or two.")
    extends: str | None = Field(default=None, description="A shipped spec or a relative path; this file's keys are laid on it.")
    suits: Annotated[tuple[Scale, ...], BeforeValidator(as_tuple, json_schema_input_type=list[Scale])] = Field(
        default=(), description="Scales at which `bench all` runs it."
    )
    dataset: DatasetChoice
    protocol: Protocol = Field(default_factory=Protocol)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_seeds, json_schema_input_type=int | list[int])] = (
        Field(default=(0, 1, 2), min_length=1, description="Training seeds: a list, or how many (3 means 0, 1, 2).")
    )
    budget: BudgetChoice = Field(default_factory=BudgetChoice)
    target: float | None = Field(
        default=None, gt=0, le=1e9, description="Validation bits per note for the column `seconds to target`."
    )
    models: Annotated[
        dict[str, ModelChoice], BeforeValidator(_defaults, json_schema_input_type=dict[str, ModelChoice | None])
    ] = Field(default_factory=dict, description="The rows; an empty one takes the plug-in's defaults.")
    grid: dict[
        str, Annotated[tuple[Any, ...], BeforeValidator(as_tuple, json_schema_input_type=list[Any]), Field(min_length=1)]
    ] = Field(
        default_factory=dict,
        description="Grid search: `row.hyperparameter` to its values. Every combination is trained; validation chooses.",
    )
    search: Search | None = Field(default=None, description="What `bench tune` searches.")
    tuned: dict[str, Tuned] = Field(default_factory=dict, description="How `bench tune` found the hyperparameters of a row.")
    references: Annotated[tuple[str, ...], BeforeValidator(as_tuple, json_schema_input_type=list[str])] = Field(
        default=("real", "codec", "shuffle", "median", "unigram", "markov", "ngram", "uniform", UNTRAINED),
        description="Reference rows.",
    )
    published: Literal["mon2025", "bai2018", "hawthorne2019"] | None = Field(
        default=None, description="The published table that stands beside the results."
    )
    gate: dict[str, Annotated[float | str, BeforeValidator(_threshold, json_schema_input_type=float | str)]] = Field(
        default_factory=dict,
        description="How much worse a metric may get in `bench check`: metric or pattern to a number, a percentage, or off.",
    )
    scales: dict[Scale, dict[str, Any]] = Field(default_factory=dict, description="What differs at a scale.")

    def at(self, scale: Scale) -> Spec:
        """Apply the spec's own overrides for a scale; a spec that was loaded at a scale has none left."""
        data = self.model_dump(mode="json", exclude_unset=True, exclude={"scales"})
        return Spec.model_validate(overlay(data, self.scales.get(scale, {})))
