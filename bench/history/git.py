"""Baselines that a repository has held, as a history: one entry for each commit that changed one."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.errors import UsageError
from bench.formatting import plural
from bench.gate.baseline_file import parse
from bench.history.entry import Entry, entry_of_baseline
from bench.system import git
from bench.system.disk import MOST_RECORD

#: Seconds that reading a repository may take.
LONGEST = 120.0

#: Bytes of memory that git may take, of all its messages, and of one that are read.
MOST_MEMORY, MOST_SAID, LONGEST_MESSAGE = 2 << 30, 1 << 20, 1 << 12

#: A repository may be someone else's: none of its settings may name a program, and nothing is fetched. A folder of a clone that
#: looks like a repository is none. Only plumbing is called, which verifies no signatures and has no pagers, filters or aliases.
#: Packs are mapped in parts, so that those of any size can be read within the bound on its memory.
CAUTION = (
    "safe.bareRepository=explicit",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.packedGitWindowSize=32m",
    "core.packedGitLimit=256m",
)


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
    top = Path(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel")).rstrip("\n"))
    if not place.is_relative_to(top.resolve()):
        raise UsageError(
            f"git looks for the files of {folder} in {top}, where {path} isn't.",
            "Unset core.worktree there, or give another folder.",
        )
    below = place.relative_to(top.resolve()).as_posix()
    until = time.monotonic() + LONGEST
    asked = ("--first-parent", "--format=%H %cI", "--encoding=UTF-8")  # whatever encoding its settings name
    listed = _git(top, "rev-list", *asked, "HEAD", "--", below).decode().splitlines()
    commits = [line.split() for line in listed[1::2]]  # before each its header, "commit" and the hash
    entries, skipped = list[Entry](), list[str]()
    for number, (commit, when) in enumerate(commits):  # the newest first: they are read even where time is short
        if time.monotonic() > until:
            skipped.append(f"{plural(len(commits) - number, 'older commit')}: reading the newer ones took {LONGEST:.0f} s.")
            break
        date = "" if when == "%cI" else when  # git leaves the placeholder where a damaged commit has none
        found, why = _entries(top, commit, date, below, until)
        entries += reversed(found)
        skipped += reversed(why)
    return tuple(reversed(entries)), tuple(reversed(skipped))


def _entries(top: Path, commit: str, date: str, below: str, until: float) -> tuple[list[Entry], list[str]]:
    """Read the baselines that a commit wrote, and say which of them can't be read."""
    entries, skipped = list[Entry](), list[str]()
    try:
        for name in _changed(top, commit, below, until):
            if time.monotonic() > until:
                skipped.append(f"{name} at {commit[:10]}, and what follows it: reading took {LONGEST:.0f} s.")
                break
            try:
                data = _blob(top, f"{commit}:{name}", f"{name} at {commit[:10]}", until)
                entries.append(entry_of_baseline(parse(data, f"{name} at {commit[:10]}"), commit, date))
            except UsageError as error:
                skipped.append(error.message)
    except UsageError as error:
        skipped.append(f"{below} at {commit[:10]}: {error.message}")
    return entries, skipped


def _changed(top: Path, commit: str, below: str, until: float) -> Iterator[str]:
    """Yield the JSON files that a commit wrote; those that it removed are left out."""
    asked = ("diff-tree", "--root", "-m", "--first-parent", "-r", "--no-commit-id", "--name-only", "--diff-filter=d", "-z")
    for name in _git(top, *asked, commit, "--", below, until=until).decode("utf-8", "surrogateescape").split("\0"):
        if name.endswith(".json"):
            yield name


def _blob(top: Path, blob: str, name: str, until: float) -> bytes:
    """Read a file of a commit, if it is no larger than a baseline may be: packed, it can be a thousand times smaller."""
    if int(_git(top, "cat-file", "-s", blob, until=until)) > MOST_RECORD:
        raise UsageError(f"{name} is larger than {MOST_RECORD >> 20} MiB: it is no baseline.")
    return _git(top, "cat-file", "blob", blob, until=until)


def _git(folder: Path, *words: str, until: float = math.inf) -> bytes:
    settings = [word for setting in CAUTION for word in ("-c", setting)]
    # No protocol is allowed, whatever the repository says of each: a missing object is fetched by older versions of git.
    environment = {**git.environment(), "GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "--literal-pathspecs", *settings, "-C", str(folder), *words]
    with tempfile.TemporaryFile() as said, contextlib.ExitStack() as stack:
        try:
            asked = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=environment, preexec_fn=_bounded)
        except FileNotFoundError as error:
            raise UsageError(
                "git is not installed.", "Install it, or give --file, a history that `bench history add` wrote."
            ) from error
        process = stack.enter_context(asked)
        clock = threading.Timer(max(min(LONGEST, until - time.monotonic()), 0.0), process.kill)
        stack.callback(clock.cancel)
        stack.callback(process.kill)
        clock.start()
        assert process.stdout is not None
        answer = process.stdout.read(MOST_RECORD + 1)
        if len(answer) > MOST_RECORD:
            raise UsageError(f"git answers more than {MOST_RECORD >> 20} MiB in {folder}.", "Give a single baseline file.")
        code = process.wait()
        if code and not clock.is_alive():
            raise UsageError(f"git took longer than {LONGEST:.0f} s in all in {folder}.", "Give a single baseline file.")
        if code:
            said.seek(0)
            lines = said.read(LONGEST_MESSAGE).decode("utf-8", "replace").strip().splitlines() or ["it failed"]
            raise UsageError(f"git refused in {folder}: {lines[0]}.", "Give a place in a git repository.")
    return answer


def _bounded() -> None:
    """Bound git's own memory, as a tree of trees of a few kilobytes may name as many files as one likes, and what it says."""
    for limit, most in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_FSIZE, MOST_SAID)):
        _, hard = resource.getrlimit(limit)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (least, least))
