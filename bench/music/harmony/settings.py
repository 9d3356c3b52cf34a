"""Settings of a harmonic constraint in a spec: key, chords, weights and form."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from bench.config import Frozen, as_tuple

#: A degree of the scale, altered or not, with its quality and figures, and another degree that it belongs to: ``V7/V``.
_DEGREE = r"[#b]?(?:VII|VI|V|IV|III|II|I|vii|vi|v|iv|iii|ii|i)"
_NUMERAL = re.compile(rf"{_DEGREE}(?:o|ø|\+)?(?:2|42|43|4|6|64|65|7|9|11|13)?(?:/{_DEGREE})?")
_KEY = re.compile(r"auto|[A-G][#b]? (?:major|minor)")


def _numeral(text: str) -> str:
    if not _NUMERAL.fullmatch(text):
        raise PydanticCustomError("roman_numeral", "not a roman numeral")
    return text


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise PydanticCustomError("musical_key", "not a key")
    return text


def _sections(text: str) -> str:
    if "A" not in text or not {*text} <= {*"AB"}:
        raise PydanticCustomError("sections", "not sections")
    return text


Progression = Annotated[
    tuple[Annotated[str, AfterValidator(_numeral)], ...], BeforeValidator(as_tuple, json_schema_input_type=list[str])
]


class Form(Frozen):
    """Sections of a piece: one melody is generated, split into sections and reassembled."""

    sections: Annotated[str, AfterValidator(_sections)] = Field(default="AABA", description="Their order, of A and B.")
    a: int = Field(default=120, ge=1, le=10**9, description="Notes of section A, the first that are written.")
    b: int = Field(default=60, ge=1, le=10**9, description="Notes of section B, those after A.")
    transpose: int = Field(default=3, ge=-12, le=12, description="Semitones that B is moved by; 3 is a minor third up.")

    @property
    def written(self) -> int:
        """Number of notes that the model writes."""
        return self.a + (self.b if "B" in self.sections else 0)

    @property
    def length(self) -> int:
        """Number of notes in the complete piece."""
        return sum({"A": self.a, "B": self.b}[section] for section in self.sections)


#: Chords in major, where a spec names none: those of the paper.
MAJOR_CHORDS = ("I", "V", "vi", "IV")


#: Choices of a constraint that say which chord is under which note; the others, how far it is kept and what is repeated.
PLANNED = ("key", "progression", "minor", "notes_per_chord")


class Harmony(Frozen):
    """Harmonic constraint of a row: Algorithm 2 of Mon (2025). The weight of a pitch class multiplies its probability."""

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
    notes_per_chord: int = Field(default=8, ge=1, le=10**9, description="Notes of the melody under one chord.")
    chord: float = Field(default=3.0, gt=0, allow_inf_nan=False, description="Weight of the chord's tones.")
    scale: float = Field(default=1.5, gt=0, allow_inf_nan=False, description="Weight of the key's other tones.")
    other: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="Weight of all other tones.")
    form: Form | None = Field(default=None, description="Sections that the melody is split into and repeated; none by default.")

    @property
    def planned(self) -> str:
        """Text that constraints of one plan of chords have in common, see :data:`PLANNED`."""
        return self.model_dump_json(include=set(PLANNED))

    def chords(self, mode: str) -> tuple[str, ...]:
        """Roman numerals in a key of that mode, ``major`` or ``minor``.

        A progression that was given for a named key is never left out, whatever its mode.
        """
        own = mode == "major" or (self.key != "auto" and self.progression != MAJOR_CHORDS)
        return self.progression if own else self.minor

    def written(self, notes: int) -> int:
        """Count the notes that the model writes for a sample of `notes`."""
        return self.form.written if self.form else notes
