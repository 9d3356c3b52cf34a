"""Baselines of a real repository as a history."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.gate.baseline_file import write
from bench.history.git import read
from tests.gate.handmade import flat, run, system


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def test_one_entry_for_each_commit_that_changed_it(repository: Path) -> None:
    place, commits = repository / "baselines" / "smoke.json", []
    for value in (9.5, 9.4):
        write(place, run(lstm=system(pitch_distance=flat(value))))
        commits.append(commit(repository, "take it"))
        (repository / "other.txt").write_text(str(value))
        commit(repository, "something else")
    for asked in (place, place.parent):
        entries, skipped = read(asked)
        assert ([entry.commit for entry in entries], skipped) == (commits, ())
        assert [entry.rows["lstm"].metrics["pitch_distance@1"].mean for entry in entries] == pytest.approx([9.595, 9.495])
        assert entries[0].when.startswith("20")


def test_what_can_not_be_read_is_told(repository: Path) -> None:
    place = repository / "smoke.json"
    place.write_text('{"bench_baseline":2,\n')
    old = commit(repository, "an earlier format")
    write(place, run(lstm=system(pitch_distance=flat(9.0))))
    commit(repository, "this format")
    place.unlink()
    commit(repository, "remove it")
    entries, (line,) = read(repository)
    assert len(entries) == 1
    assert line == f"smoke.json at {old[:10]} has format 2; this version of bench reads format 3."


def test_places_that_are_none(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(UsageError, match="There is no"):
        read(repository / "none" / "x.json")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "nothing")
    assert read(repository) == ((), ())


def test_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UsageError, match="git refused"):
        read(tmp_path)
