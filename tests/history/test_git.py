"""Baselines of a real repository as a history."""

from __future__ import annotations

import gc
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import UsageError
from bench.formatting import LONGEST_NAME
from bench.gate.baseline import Baseline
from bench.gate.baseline_file import write
from bench.history import git as module
from bench.history.entry import Entry
from bench.history.git import read
from bench.system.disk import MOST_RECORD
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_repository_in_a_folder_of_another_encoding(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"r\xfc") / "smoke.json"
    place.parent.mkdir()
    git(place.parent, "init", "--quiet")
    write(place, run(lstm=system(pitch_distance=flat(9.5))))
    made = commit(place.parent, "take it")
    assert [entry.commit for entry in read(place)[0]] == [made]


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


def test_a_folder_of_a_clone_that_looks_like_a_repository_runs_nothing(repository: Path, tmp_path: Path) -> None:
    inner = tmp_path / "baselines"
    git(tmp_path, "init", "--quiet", "--bare", str(inner))
    (inner / "program").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (inner / "program").chmod(0o755)
    git(inner, "config", "core.bare", "false")
    git(inner, "config", "core.worktree", str(inner))
    for setting in ("core.fsmonitor", "gpg.program", "core.sshCommand"):
        git(tmp_path, "config", "--file", str(inner / "config"), setting, str(inner / "program"))
    with pytest.raises(UsageError, match="git refused"):
        read(inner)
    assert not (tmp_path / "ran").exists()


def test_nothing_is_fetched_whatever_the_repository_allows(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a missing object an older git asks the remote, which may be a program that the repository names."""
    (repository / "program").write_text(f"#!/bin/sh\ntouch {repository / 'ran'}\n")
    (repository / "program").chmod(0o755)
    (repository / "b.json").write_text("{}")
    commit(repository, "one")
    blob = git(repository, "rev-parse", "HEAD:b.json")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for setting, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", f"ext::{repository / 'program'}"),
        ("protocol.ext.allow", "always"),
    ):
        git(repository, "config", setting, value)
    start = subprocess.Popen

    def older(*command: Any, env: dict[str, str], **options: Any) -> Any:
        return start(*command, env={name: value for name, value in env.items() if name != "GIT_NO_LAZY_FETCH"}, **options)

    with monkeypatch.context() as patched:
        patched.setattr("bench.history.git.subprocess.Popen", older)
        entries, skipped = read(repository / "b.json")
    assert (entries, len(skipped)) == ((), 1)
    assert not (repository / "ran").exists()


def test_signatures_are_not_looked_at(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "program").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (tmp_path / "program").chmod(0o755)
    (repository / "b.json").write_text("{}")
    plain = commit(repository, "one")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n"
    head, _, message = git(repository, "cat-file", "commit", plain).partition("\n\n")
    (tmp_path / "signed").write_text(f"{head}\n{signature}\n{message}\n")
    signed = git(repository, "hash-object", "-t", "commit", "-w", str(tmp_path / "signed"))
    git(repository, "update-ref", "refs/heads/main", signed)
    git(repository, "config", "log.showSignature", "true")
    git(repository, "config", "gpg.program", str(tmp_path / "program"))
    entries, skipped = read(repository / "b.json")
    assert (entries, len(skipped)) == ((), 1)  # it is no baseline
    assert not (tmp_path / "ran").exists()


def test_a_damaged_commit_without_a_date(repository: Path, tmp_path: Path) -> None:
    write(repository / "b.json", run(lstm=system(pitch_distance=flat(9.0))))
    plain = commit(repository, "one")
    (tmp_path / "dateless").write_text(re.sub(r"(?m)^(committer .*>).*", r"\1", git(repository, "cat-file", "commit", plain)))
    made = git(repository, "hash-object", "-t", "commit", "-w", "--literally", str(tmp_path / "dateless"))
    git(repository, "update-ref", "refs/heads/main", made)
    ((entry,), _) = read(repository / "b.json")
    assert (entry.commit, entry.when) == (made, "")


def test_a_path_is_no_pattern(repository: Path) -> None:
    for name in ("[ab]", ":!x", "a"):
        write(repository / name / "b.json", run(lstm=system(pitch_distance=flat(9.0))))
        commit(repository, name)
    for name in ("[ab]", ":!x"):
        entries, _ = read(repository / name)
        assert [entry.commit for entry in entries] == [git(repository, "log", "--format=%H", f"--grep=^{re.escape(name)}$")]


def test_in_a_hook_of_another_repository(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository / "b.json", run(lstm=system(pitch_distance=flat(9.0))))
    made = commit(repository, "take it")
    for name, value in (("GIT_DIR", ".git"), ("GIT_WORK_TREE", "/"), ("GIT_INDEX_FILE", ".git/index")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    entries, _ = read(repository / "b.json")
    assert [entry.commit for entry in entries] == [made]


def test_a_large_file_is_not_read(repository: Path) -> None:
    with (repository / "b.json").open("wb") as file:
        file.truncate(MOST_RECORD + 1)
    made = commit(repository, "64 MiB of nothing, which are 64 kB for git")
    entries, skipped = read(repository / "b.json")
    assert (entries, skipped) == ((), (f"b.json at {made[:10]} is larger than 64 MiB: it is no baseline.",))


def test_a_tree_of_trees_of_trees_costs_its_own_commit(repository: Path) -> None:
    """A few kilobytes name 10^10 files, and git took all memory; the commit after it has none of them."""
    (repository / "b").mkdir()
    (repository / "b" / "b.json").write_text("{}")
    first = commit(repository, "one")

    def tree(lines: str) -> str:
        command = ["git", "-C", str(repository), "mktree"]
        return subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout.strip()

    blob = git(repository, "rev-parse", "HEAD:b/b.json")
    bomb = tree("".join(f"100644 blob {blob}\tf{i}.txt\n" for i in range(10)))
    for _ in range(9):
        bomb = tree("".join(f"040000 tree {bomb}\td{i}\n" for i in range(10)))
    root = tree(f"040000 tree {tree(f'100644 blob {blob}{chr(9)}b.json{chr(10)}040000 tree {bomb}{chr(9)}x{chr(10)}')}\tb\n")
    second = git(repository, "commit-tree", root, "-p", first, "-m", "two")
    third = git(repository, "commit-tree", f"{first}^{{tree}}", "-p", second, "-m", "three")
    git(repository, "update-ref", "HEAD", third)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bench.history.git.MOST_MEMORY", 256 << 20)
        entries, skipped = read(repository / "b")
    assert entries == ()
    said = [f"b/b.json at {first[:10]} is no baseline.", f"b at {second[:10]}", f"b at {third[:10]}"]
    assert [text.split(":")[0] for text in skipped] == said


def test_a_machines_name_is_no_longer_than_any_has(tmp_path: Path) -> None:
    """Of 18 kB each of 6,000 rows had a name of a megabyte of its own."""
    rows = {f"s{i}": replace(system(pitch_distance=flat(9.0, 2)), seeds=(0,)) for i in range(300)}
    rows["own"] = replace(rows["s0"], gpus=("y" * 10**6,))
    baseline = replace(run(**rows), environment={"cpu": "Z80", "gpus": ["x" * 10**6], "cores": 2})
    entry = module.entry_of_baseline(baseline, "abc", "2026-01-01T00:00:00Z")
    assert {len(row.machine) for row in entry.rows.values()} <= {LONGEST_NAME, LONGEST_NAME + len(", 2 threads")}


def seconds(baseline: Baseline, rows: int) -> float:
    """Processor time of an entry, the best of three: other work, and the collection of what other tests left, come and go."""
    spent = []
    gc.disable()
    try:
        for _ in range(3):
            before = time.process_time()
            assert len(module.entry_of_baseline(baseline, "abc", "2026-01-01T00:00:00Z").rows) == rows
            spent.append(time.process_time() - before)
    finally:
        gc.enable()
    return min(spent)


def test_a_baseline_of_many_pieces_takes_time_in_proportion() -> None:
    """Those of an external row's files were collected again for each: 249 kB took 26 s."""

    def of(pieces: int) -> Baseline:
        one = replace(system(pitch_distance=flat(9.0, pieces)), definition={"samples": 1})
        return replace(run(lstm=one), pieces=tuple(map(str, range(pieces))))

    assert module.entry_of_baseline(of(100), "abc", "2026-01-01T00:00:00Z").rows["lstm"].files == "1"
    assert seconds(of(20_000), 1) < 20 * 10 * max(seconds(of(2000), 1), 0.01)


def test_a_baseline_of_many_constrained_rows_takes_time_in_proportion() -> None:
    """Each row looked at all for the chord plan that it is measured by: 1.2 MB took 41 s."""

    def of(number: int) -> Baseline:
        definition = {"model": "lstm", "harmony": {"progression": ["I"]}}
        one = replace(system(), definition={"model": "gan"})
        rows = {f"s{i}": replace(one, definition={**definition, "params": {"units": i}}) for i in range(number)}
        return run(**rows, **{f"free {i}": one for i in range(number)})

    assert seconds(of(8000), 16_000) < 20 * 4 * seconds(of(400), 800)


def test_what_git_says_is_bounded(repository: Path) -> None:
    """10 MB of names of other repositories, none of which is there, made 1.5 GB of complaints."""
    (repository / "b.json").write_text("{}")
    commit(repository, "one")
    (repository / ".git" / "objects" / "info" / "alternates").write_text("".join(f"{i}\n" for i in range(100_000)))
    before = shutil.disk_usage(tempfile.gettempdir()).used
    with pytest.raises(UsageError, match="git refused in"):
        read(repository / "b.json")
    assert shutil.disk_usage(tempfile.gettempdir()).used - before < 50 << 20


def test_when_time_is_short_the_newest_are_read(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of commits that each take git to its bounds would take hours."""
    place, made = repository / "b.json", []
    for value in (9.5, 9.4, 9.3):
        write(place, run(lstm=system(pitch_distance=flat(value))))
        made.append(commit(repository, "take it"))
    calls, entry_of_baseline = [], module.entry_of_baseline

    def slow(baseline: Baseline, at: str, when: str) -> Entry:
        calls.append(at)
        if len(calls) == 2:
            monkeypatch.setattr(module, "LONGEST", 0.0)
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: math.inf))
        return entry_of_baseline(baseline, at, when)

    monkeypatch.setattr(module, "entry_of_baseline", slow)
    entries, skipped = read(place)
    assert [entry.commit for entry in entries] == made[1:]
    assert skipped == ("1 older commit: reading the newer ones took 0 s.",)


def test_where_memory_is_limited_already(repository: Path) -> None:
    """As in a job of a cluster: the bound that git gets can't be above it."""
    (repository / "b.json").write_text("{}")
    commit(repository, "one")
    code = "import sys; from pathlib import Path; from bench.history.git import read; print(len(read(Path(sys.argv[1]))[1]))"
    limited = f"ulimit -v 1500000; exec {shlex.join([sys.executable, '-c', code, str(repository / 'b.json')])}"
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_files_that_git_looks_for_elsewhere(repository: Path, tmp_path: Path) -> None:
    write(repository / "smoke.json", run(lstm=system(pitch_distance=flat(9.0))))
    commit(repository, "take it")
    (tmp_path / "elsewhere").mkdir()
    git(repository, "config", "core.worktree", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match=r"git looks for the files of .* in .*elsewhere, where .*smoke.json isn't") as raised:
        read(repository / "smoke.json")
    assert "Unset core.worktree" in raised.value.hint


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-32", "IBM1047", "none of all"])
def test_a_repository_whose_settings_name_another_encoding(repository: Path, encoding: str) -> None:
    write(repository / "smoke.json", run(lstm=system(pitch_distance=flat(9.5))))
    made = commit(repository, "take it")
    git(repository, "config", "i18n.logOutputEncoding", encoding)
    assert [entry.commit for entry in read(repository / "smoke.json")[0]] == [made]
