"""Base of the types that are read from disk."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from bench.formatting import shortened

#: Name that tables repeat in each of their lines.
Name = Annotated[str, AfterValidator(shortened)]


class Stored(BaseModel):
    """Base of the stored types; immutable."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def first_problem(error: ValidationError) -> str:
    """Describe the first of pydantic's errors with its place: ``dataset.title: this is missing``."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = "this is missing" if problem["type"].startswith("missing") else problem["msg"]
    return ": ".join(filter(None, [".".join(map(str, problem["loc"])), f"{message[:1].lower()}{message[1:]}"]))
