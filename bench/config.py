"""Base class of the values read from a file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def as_tuple(value: Any) -> Any:
    """Turn a list from YAML into a tuple, as frozen values hold no list; leave anything else to validation."""
    return tuple(value) if isinstance(value, list) else value
