"""Base of the types that are read from disk."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

#: Characters of a name that tables repeat in each of their lines: of a longer one a few kilobytes would be gigabytes.
LONGEST_NAME = 1000


def _short(name: str) -> str:
    if len(name) > LONGEST_NAME:
        raise PydanticCustomError("too_long", f"it has {len(name):,} characters, and may have {LONGEST_NAME:,} at most")
    return name


Name = Annotated[str, AfterValidator(_short)]


class Stored(BaseModel):
    """Base of the stored types; immutable."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def first_problem(error: ValidationError) -> str:
    """Describe the first of pydantic's errors with its place: ``dataset.title: this is missing``."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = "this is missing" if problem["type"].startswith("missing") else problem["msg"]
    return ": ".join(filter(None, [".".join(map(str, problem["loc"])), f"{message[:1].lower()}{message[1:]}"]))
