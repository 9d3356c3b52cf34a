"""Base class of the values read from a file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

#: Shares of a budget at which results are taken, at most: each has a file of its own, which reports read.
MOST_STAGES = 64

#: Notes that are given or generated, at most: several hours of piano. What scoring takes grows with them, and a stored run is
#: anyone's.
MOST_NOTES_OF_A_PIECE = 100_000


class Frozen(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def as_tuple(value: Any) -> Any:
    """Turn a list from YAML into a tuple, as frozen values hold no list; leave anything else to validation."""
    return tuple(value) if isinstance(value, list) else value
