"""Version of the package, commit of its checkout, and the record of machine and interpreters in run.json."""

from __future__ import annotations

import functools
import importlib.metadata
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.system import git
from bench.system.command import ask
from bench.system.frameworks import versions
from bench.system.hardware import machine

_PACKAGE = Path(__file__).resolve().parents[1]


def collect(interpreters: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
    """Collect what run.json records about versions and the machine.

    Parameters
    ----------
    interpreters : mapping of tuple of str to str
        Path of the Python for each set of modules that a model of the run requires.
    """
    return {
        "bench": version(),
        "git": git_commit(),
        "machine": machine(),
        "interpreters": {_named(requires): versions(python, requires) for requires, python in sorted(interpreters.items())},
    }


def _named(requires: Sequence[str]) -> str:
    """Name of an interpreter in a run's record: the modules that it is for."""
    return ", ".join(requires) or "numpy"


def version() -> str:
    """Version of this package as installed."""
    try:
        return importlib.metadata.version("midibench")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def installation() -> str:
    """Version and location of the running package: ``midibench 0.1.0 at /some/where/bench``."""
    return f"midibench {version()} at {_PACKAGE}"


@functools.cache
def git_commit() -> str | None:
    """Commit of the checkout that bench runs from, with ``+changes`` if it has any; None outside a checkout."""
    root = _PACKAGE.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    try:
        commit, changes = (
            ask(["git", "--no-optional-locks", "-C", str(root), *words], timeout=10, environment=git.environment())
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if commit.returncode or changes.returncode:
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
