"""The key of a listening test: which clip is whose. It stays in the run's folder; listeners get the page alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from bench.errors import DataError
from bench.listening.design import NOISE, ORIGINAL, Form, Piece
from bench.scoring.table import REAL
from bench.storage.files import FORMAT, read_json, write_json
from bench.storage.stored import Name, Stored, first_problem

#: Folder of a run's listening tests, in each of which lie the files of one test.
FOLDER = "listening"

#: Name of a test's page.
PAGE = "listening-test.html"

#: Rows that every test has: other real music, and counts of short contexts.
ALWAYS = (REAL, "ngram")

#: What to do about a damaged key.
RESTORE = "Restore it from a copy of the run, and keep the votes: the key alone says whose clips were heard."

#: Most systems in a test: the analysis fits all pairs of them at once.
MOST_SYSTEMS = 50


class Contestant(Stored):
    """A system in the test.

    Parameters
    ----------
    name : str
        The row.
    seed : int
        Training seed of what is heard.
    digest : str
        Hash of its notes, so that metrics of other notes are never compared with these votes.
    """

    name: Name
    seed: Annotated[int, Field(ge=0)]
    digest: Name


class Heard(Stored):
    """What a clip holds.

    Parameters
    ----------
    system : int
        Contestant by index, :data:`~bench.listening.design.ORIGINAL` or :data:`~bench.listening.design.NOISE`.
    prompt : int
        Index of the piece in targets.npz.
    """

    system: int
    prompt: Piece


class Key(Stored):
    """The key of one test.

    Parameters
    ----------
    seconds : float
        Of each continuation at most.
    contestants : tuple of Contestant
    forms : tuple of Form
    clips : mapping of str to Heard
        By the name that the page has for it.
    secret : str
        What the names of the clips and the forms were drawn from, beside the seed that anyone may know; empty in older keys.
    """

    seconds: Annotated[FiniteFloat, Field(gt=0)]
    contestants: Annotated[tuple[Contestant, ...], Field(min_length=2, max_length=MOST_SYSTEMS)]
    forms: Annotated[tuple[Form, ...], Field(min_length=1)]
    clips: Mapping[str, Heard]
    secret: Annotated[str, Field(pattern="^([0-9a-f]{32})?$")] = ""

    @property
    def test(self) -> str:
        """Name of the test: a hash of the key, so that votes of another test are never mistaken for this one's."""
        content = self.model_dump(mode="json", exclude=set() if self.secret else {"secret"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def prompts(self) -> list[int]:
        """Pieces that contestants continue, ascending."""
        return sorted({question.prompt for form in self.forms for question in form if question.kind != "catch"})

    @model_validator(mode="after")
    def _refers_to_itself(self) -> Self:
        names = [contestant.name for contestant in self.contestants]
        if len(set(names)) < len(names):
            raise ValueError("a contestant comes twice")
        if lacking := [name for name in ALWAYS if name not in names]:
            raise ValueError(f"the row {lacking[0]!r}, which every test has, is missing")
        if not all(NOISE <= clip.system < len(names) for clip in self.clips.values()):
            raise ValueError("a clip is of no contestant")
        for form in self.forms:
            for place, question in enumerate(form):
                sides = (question.left, question.right)
                known = (ORIGINAL, NOISE) if question.kind == "catch" else range(len(names))
                if sides[0] == sides[1] or not set(sides) <= set(known):
                    raise ValueError("a question names no pair of clips")
                if (question.of is not None) != (question.kind == "repeat"):
                    raise ValueError("a repeat must name its question")
                if question.of is not None and not (0 <= question.of < place and form[question.of].kind == "pair"):
                    raise ValueError("a repeat names no question before it")
        return self


def write_key(folder: Path, key: Key, page: bytes = b"") -> None:
    """Write ``key.json`` into a test's folder, with the SHA-256 of its page."""
    digest = hashlib.sha256(page).hexdigest() if page else None
    write_json(folder / "key.json", {"format": FORMAT, "page": digest, **key.model_dump(mode="json")})


def read_key(path: Path) -> tuple[Key, str | None]:
    """Read a ``key.json``, and the SHA-256 of the test's page; None if the file doesn't hold it.

    Raises
    ------
    DataError
        If it is missing or damaged, or no test has this key.
    """
    value = read_json(path)
    page = value.get("page")
    try:
        return Key.model_validate(value), page if isinstance(page, str) else None
    except ValidationError as error:
        raise DataError(f"{path} is damaged: {first_problem(error)}.") from error


def read_keys(run: Path) -> dict[str, tuple[Path, Key]]:
    """Read the keys of all tests of a run: folder and key by the test's name. One that is damaged is left out.

    Raises
    ------
    DataError
        If there is none.
    """
    keys: dict[str, tuple[Path, Key]] = {}
    damage: DataError | None = None
    for path in sorted((run / FOLDER).glob("test-*/key.json")):
        try:
            key, _ = read_key(path)
            keys[key.test] = (path.parent, key)
        except DataError as error:
            damage = DataError(error.message, RESTORE)
    if not keys:
        raise damage or DataError(f"{run} has no listening test yet.", "Make one first: bench listen-test RUN.")
    return keys


def damaged_keys(run: Path) -> dict[str, str]:
    """Say why keys of a run's tests can't be read, each by the name of its test, which is in that of the folder."""
    damage = {}
    for folder in sorted((run / FOLDER).glob("test-*")):
        try:
            read_key(folder / "key.json")
        except DataError as error:
            damage[folder.name.removeprefix("test-")] = error.message
    return damage
