"""Errors meant for people: what was given, what was expected, what to do.

:mod:`bench.cli.app` prints the message of a :class:`BenchError`, then the hint, and leaves with ``exit_code``. The commands
that go on after one (`bench all`, `bench list`) catch it themselves.
"""

from __future__ import annotations

import difflib
import errno
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

#: ``errno`` where the disk, or the user's quota, is full.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class BenchError(Exception):
    """Base of every error that a user can cause or fix.

    Parameters
    ----------
    message : str
        What was given and what was expected.
    hint : str, optional
        What to do about it.
    """

    #: Never 1, which says that `bench check` found something worse.
    exit_code = 2

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


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Name the nearest valid choice, then all of them, for the end of an error message.

    Examples
    --------
    >>> did_you_mean("ltsm", ["gan", "lstm"])
    "Did you mean 'lstm'? Valid: gan, lstm."
    """
    choices = sorted(valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"{guess}Valid: {', '.join(choices)}." if choices else guess.strip()


def fetch_command(name: str, options: Mapping[str, Any]) -> str:
    """Write the shell command that fetches a dataset with these options, for the hint of an error.

    Examples
    --------
    >>> fetch_command("maestro", {"version": "3.0.0"})
    'bench data fetch maestro --option version=3.0.0'
    """
    words = [f"{key}={_yaml_literal(value)}" for key, value in options.items()]
    return " ".join(["bench data fetch", name, *(f"--option {shlex.quote(word)}" for word in words)])


def _yaml_literal(value: Any) -> str:
    """Write a value as YAML reads it: a word or version bare, anything else as JSON."""
    plain = isinstance(value, str) and re.fullmatch(r"(?!(?:true|false|null)$)[A-Za-z][\w-]*|\d+\.\d+\.\d+", value, re.IGNORECASE)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
