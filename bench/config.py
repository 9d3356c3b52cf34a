"""The base of every value that is read from a file: frozen, and without unknown keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: unknown keys are refused, nothing changes after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def listed(value: Any) -> Any:
    """A list from YAML as the tuple that a frozen value holds."""
    return tuple(value) if isinstance(value, list) else value
