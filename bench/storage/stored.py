"""Base of the types that are read from disk."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

#: Characters of a name that tables repeat in each of their lines: of a longer one a few kilobytes would be gigabytes.
LONGEST_NAME = 1000


def shortened(text: str, limit: int = LONGEST_NAME) -> str:
    """Shorten a text that is too long, such that two different ones stay different: no finished run is refused for one.

    >>> shortened("a" * 30, 20), shortened("a" * 20, 20)
    ('aaa…3a54fc0cbc0b0ef4', 'aaaaaaaaaaaaaaaaaaaa')
    """
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[: limit - 17]}…{digest}"


Name = Annotated[str, AfterValidator(shortened)]


class Stored(BaseModel):
    """Base of the stored types; immutable."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def first_problem(error: ValidationError) -> str:
    """Describe the first of pydantic's errors with its place: ``dataset.title: this is missing``."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = "this is missing" if problem["type"].startswith("missing") else problem["msg"]
    return ": ".join(filter(None, [".".join(map(str, problem["loc"])), f"{message[:1].lower()}{message[1:]}"]))
