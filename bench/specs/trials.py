"""A trial: everything that decides one outcome, as the runner writes it and the worker reads it."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

Scale = Literal["smoke", "cpu", "gpu"]
Kind = Literal["model", "reference", "untrained"]
Device = Literal["cpu", "cuda"]

#: As many folds as there are compositions to hold out.
LEAVE_ONE_OUT = "leave-one-out"


def _folds(value: Any) -> Any:
    """A whole number of at least 2, or `leave-one-out`: one message for whatever else is given."""
    if value is None or value == LEAVE_ONE_OUT or (type(value) is int and value >= 2):
        return value
    raise PydanticCustomError("folds", "not a number of folds")


#: A degree of the scale, altered or not, with its quality and figures, and another degree that it belongs to: ``V7/V``.
_DEGREE = r"[#b]?(?:VII|VI|V|IV|III|II|I|vii|vi|v|iv|iii|ii|i)"
_NUMERAL = re.compile(rf"{_DEGREE}(?:o|ø|\+)?(?:2|42|43|4|6|64|65|7|9|11|13)?(?:/{_DEGREE})?")
_KEY = re.compile(r"auto|[A-G][#b]? (?:major|minor)")


class Frozen(BaseModel):
    """A value: unknown keys are refused, nothing changes after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def listed(value: Any) -> Any:
    """A list from YAML as the tuple that a frozen value holds."""
    return tuple(value) if isinstance(value, list) else value


def _numeral(text: str) -> str:
    if not _NUMERAL.fullmatch(text):
        raise PydanticCustomError("roman_numeral", "not a roman numeral")
    return text


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise PydanticCustomError("musical_key", "not a key")
    return text


def _sections(text: str) -> str:
    if not re.fullmatch("[AB]*A[AB]*", text):
        raise PydanticCustomError("sections", "not sections")
    return text


Progression = Annotated[
    tuple[Annotated[str, AfterValidator(_numeral)], ...], BeforeValidator(listed, json_schema_input_type=list[str])
]


class DatasetChoice(Frozen):
    """A dataset plug-in and the selection it is asked for."""

    name: str = Field(description="A dataset plug-in, see `bench list datasets`.")
    options: dict[str, Any] = Field(default_factory=dict, description="Its selection, e.g. composer, years, limit.")


class Protocol(Frozen):
    """What is compared on what."""

    prompt: int = Field(default=100, ge=0, description="Notes of each held-out piece that are given.")
    notes: int = Field(default=300, ge=1, description="Notes that each system must generate; the same number is the target.")
    pieces: int = Field(default=50, ge=1, description="Most held-out pieces used.")
    samples: int = Field(default=1, ge=1, description="Generations a piece and seed.")
    seconds: float | None = Field(
        default=None,
        gt=0,
        description="Compare only notes with an onset in the first so many seconds (the paper's other reading: 90).",
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
        """Without folds neither key is written, so that such a run is the same as before there were any."""
        unset = () if self.folds is not None else ("folds", "validation")
        return {key: value for key, value in handler(self).items() if key not in unset}


class BudgetChoice(Frozen):
    """How long a model may train; epochs decide, the clocks are safeties."""

    epochs: int = Field(default=1, ge=0, description="Most passes over the training notes.")
    patience: int | None = Field(default=None, ge=1, description="Epochs without a better validation loss before stopping.")
    max_seconds: float | None = Field(
        default=None, gt=0, description="Stop after the epoch that crosses this; then it can't repeat."
    )
    timeout: float = Field(default=3600, gt=0, description="Seconds after which the whole trial is killed and counts as failed.")


class Form(Frozen):
    """The sections of a piece: one melody is written, split, and put together again."""

    sections: Annotated[str, AfterValidator(_sections)] = Field(default="AABA", description="Their order, of A and B.")
    a: int = Field(default=120, ge=1, description="Notes of section A, the first that are written.")
    b: int = Field(default=60, ge=1, description="Notes of section B, those after A.")
    transpose: int = Field(default=3, ge=-12, le=12, description="Semitones that B is moved by; 3 is a minor third up.")

    @property
    def written(self) -> int:
        """Notes that the model writes."""
        return self.a + (self.b if "B" in self.sections else 0)

    @property
    def length(self) -> int:
        """Notes of the whole piece."""
        return sum({"A": self.a, "B": self.b}[section] for section in self.sections)


#: Chords in major, where a spec names none: those of the paper.
MAJOR_CHORDS = ("I", "V", "vi", "IV")


class Harmony(Frozen):
    """A row's harmonic constraint: Algorithm 2 of Mon (2025). A pitch class's weight multiplies its probability."""

    key: Annotated[str, AfterValidator(_key)] = Field(
        default="auto",
        description="`C major`, `F# minor`, or auto: each piece's from its prompt, by music21; without a prompt that of the "
        "training music.",
    )
    progression: Progression = Field(
        default=MAJOR_CHORDS,
        min_length=1,
        description="Chords, roman numerals; it begins anew at its end. With key auto those of pieces in major; of a key that is "
        "named, in major or minor.",
    )
    minor: Progression = Field(
        default=("i", "V", "VI", "iv"),
        min_length=1,
        description="Chords of pieces in minor. Of a minor key that is named only where `progression` is left as it comes.",
    )
    notes_per_chord: int = Field(default=8, ge=1, description="Notes of the melody under one chord.")
    chord: float = Field(default=3.0, gt=0, allow_inf_nan=False, description="Weight of the chord's tones.")
    scale: float = Field(default=1.5, gt=0, allow_inf_nan=False, description="Weight of the key's other tones.")
    other: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="Weight of all other tones.")
    form: Form | None = Field(default=None, description="Sections that the melody is split into and repeated; none by default.")

    def chords(self, mode: str) -> tuple[str, ...]:
        """Roman numerals in a key of that mode, ``major`` or ``minor``.

        A progression that was given for a named key is never left out, whatever its mode.
        """
        own = mode == "major" or (self.key != "auto" and self.progression != MAJOR_CHORDS)
        return self.progression if own else self.minor

    def written(self, notes: int) -> int:
        """Notes that the model writes for a sample of `notes`."""
        return self.form.written if self.form else notes


class Trial(Frozen):
    """One system, one training seed."""

    system: str = Field(description="The row it belongs to, e.g. `lstm`, `untrained lstm`, `median`.")
    kind: Kind
    cell_of: str = Field(default="", description="The spec's row of which this is one cell of a grid search.")
    model: str = Field(description="The model plug-in.")
    params: dict[str, Any] = Field(default_factory=dict)
    dataset: DatasetChoice
    protocol: Protocol
    budget: BudgetChoice
    seed: int = Field(ge=0)
    device: Device = "cpu"
    harmony: Harmony | None = None

    def digest(self, *more: str) -> str:
        """Identity of the outcome: hashes the trial and what else decides it (plug-in source, dataset, format version)."""
        # What a row doesn't ask for leaves no trace: the trials of older specs keep their identity.
        left_out: dict[str, Any] = {"budget": {"timeout"}} | ({} if self.harmony else {"harmony": True})
        text = "\x1f".join([self.model_dump_json(exclude=left_out), *more])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """For people: `lstm, seed 0`."""
        return f"{self.system}, seed {self.seed}"
