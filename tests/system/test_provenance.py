"""What is recorded of the checkout that bench runs from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system import provenance
from bench.system.command import ask


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_commit_is_read_without_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default `git status` locks the index to refresh it, and one that is killed there blocks its user's next commit."""

    def git(*words: str) -> str:
        command = [
            "git",
            "-C",
            str(tmp_path),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "-c",
            "commit.gpgsign=false",
            *words,
        ]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    file, index = tmp_path / "bench", tmp_path / ".git" / "index"
    file.write_text("1\n")
    git("init")
    git("add", "bench")
    git("commit", "-m", "first")
    before = index.read_bytes()
    os.utime(file, (0, 0))  # the index no longer knows that it is unchanged
    monkeypatch.setattr(provenance, "_PACKAGE", file)
    assert provenance.git_commit.__wrapped__() == git("rev-parse", "HEAD")
    assert index.read_bytes() == before
    file.write_text("2\n")
    changed = git("rev-parse", "HEAD") + "+changes"
    assert provenance.git_commit.__wrapped__() == changed
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "other")], check=True)
    for name, value in (("GIT_DIR", tmp_path / "other" / ".git"), ("GIT_WORK_TREE", "/"), ("GIT_INDEX_FILE", "/nothing")):
        monkeypatch.setenv(name, str(value))  # as in a hook of another repository
    assert provenance.git_commit.__wrapped__() == changed
    index.write_bytes(b"damaged")
    assert provenance.git_commit.__wrapped__() is None


def test_what_a_command_prints_may_be_no_text() -> None:
    """As names of files, of which git prints some."""
    assert ask([sys.executable, "-c", "import sys; sys.stdout.buffer.write(b'r\\xfc')"], timeout=60).stdout == "r\udcfc"
