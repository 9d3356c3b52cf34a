"""Baselines that a repository has held, as a history: one entry for each commit that changed one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.errors import UsageError
from bench.gate.baseline_file import parse
from bench.history.entry import Entry, entry_of_baseline

#: Seconds that git may take for one answer.
LONGEST = 120.0


def read(path: Path) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Read the baselines at `path`, a file or a folder, at each commit that changed them, the oldest first.

    Returns
    -------
    tuple of Entry
    tuple of str
        Commits whose baseline can't be read, such as one of an earlier format, and why.

    Raises
    ------
    UsageError
        If `path` is in no repository, or git is missing.
    """
    place = path.resolve()
    folder = place if place.is_dir() else place.parent
    if not folder.is_dir():
        raise UsageError(f"There is no {path}.", "Give a baseline file, or a folder of these.")
    top = Path(_git(folder, "rev-parse", "--show-toplevel").decode().rstrip("\n"))
    below = place.relative_to(top.resolve()).as_posix()
    entries, skipped = [], []
    for line in _git(top, "log", "--reverse", "--first-parent", "--format=%H %cI", "--", below).decode().splitlines():
        commit, when = line.split()
        for name in _changed(top, commit, below):
            try:
                data = _git(top, "show", f"{commit}:{name}")
                entries.append(entry_of_baseline(parse(data, f"{name} at {commit[:10]}"), commit, when))
            except UsageError as error:
                skipped.append(error.message)
    return tuple(entries), tuple(skipped)


def _changed(top: Path, commit: str, below: str) -> Iterator[str]:
    """Yield the JSON files that a commit wrote; those that it removed are left out."""
    asked = ("diff-tree", "--root", "-m", "--first-parent", "-r", "--no-commit-id", "--name-only", "--diff-filter=d", "-z")
    for name in _git(top, *asked, commit, "--", below).decode("utf-8", "surrogateescape").split("\0"):
        if name.endswith(".json"):
            yield name


def _git(folder: Path, *words: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True, timeout=LONGEST).stdout
    except FileNotFoundError as error:
        raise UsageError(
            "git is not installed.", "Install it, or give --file, a history that `bench history add` wrote."
        ) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["it failed"]
        raise UsageError(f"git refused in {folder}: {said[0]}.", "Give a place in a git repository.") from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"git took longer than {LONGEST:.0f} s in {folder}.", "Give a single baseline file.") from error
