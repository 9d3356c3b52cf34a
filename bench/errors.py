"""Errors meant for people: what was given, what was expected, what to do.

Only :mod:`bench.cli.app` catches :class:`BenchError`; it prints the message, then the hint, and leaves with ``exit_code``.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any


class BenchError(Exception):
    """Base of every error that a user can cause or mend.

    Parameters
    ----------
    message : str
        What was given and what was expected.
    hint : str, optional
        What to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(BenchError):
    """A wrong option or argument."""

    exit_code = 2


class SpecError(BenchError):
    """A spec that can't be read or doesn't validate. Nothing was started."""

    exit_code = 2


class PluginError(BenchError):
    """A plug-in file that can't be found, read, or breaks its contract."""

    exit_code = 2


class DataError(BenchError):
    """Music that is missing, damaged, or too little for the protocol."""

    exit_code = 3


class TrialError(BenchError):
    """A trial that could not be finished."""

    exit_code = 3


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Name the nearest valid choice, then all of them, for the tail of an error message."""
    choices = sorted(known)
    near = difflib.get_close_matches(given, choices, n=1, cutoff=0.5)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"{guess}Valid: {', '.join(choices)}." if choices else guess.strip()


def fetch_command(name: str, options: Mapping[str, Any]) -> str:
    """The command that fetches a dataset with these options, as a shell takes it; for hints."""
    words = [f"{key}={_literal(value)}" for key, value in options.items()]
    return " ".join(["bench data fetch", name, *(f"--option {shlex.quote(word)}" for word in words)])


def _literal(value: Any) -> str:
    """A value as YAML reads it: a plain word or version as it is, all else as JSON."""
    plain = isinstance(value, str) and re.fullmatch(r"(?!(?:true|false|null)$)[A-Za-z][\w-]*|\d+\.\d+\.\d+", value, re.IGNORECASE)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
