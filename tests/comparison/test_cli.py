"""`bench compare` as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.stored_run import done, many_pieces
from tests.storage.sealed import edited_json

from .conftest import Make


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_") and k not in ("COLUMNS", "FORCE_COLOR")}
    command = [sys.executable, "-m", "bench", "compare", *words]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def folder(make: Make, tmp_path: Path) -> Path:
    """A folder with the runs old and new, and one of another row."""
    for name, system, shift in (("old", "lstm", 0), ("new", "lstm", 3), ("other", "gan", 0)):
        stored = make(name)
        for seed in (0, 1):
            many_pieces(stored, system, lambda i, shift=shift: 4 + i % 2 + shift, seed=seed)
        stored.close()
    return tmp_path


def test_by_name_and_by_path(folder: Path) -> None:
    answer = bench(folder, "old", "reports/runs/new")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("B against A: of ")
    assert "worse, p " in answer.stdout


@pytest.mark.parametrize(("before", "now"), [(1.0, 5.0), (5.0, 1.0), (1.2, 5.0)])
def test_a_row_beyond_its_budget_is_not_compared_with_one_that_kept_to_it(
    make: Make, tmp_path: Path, before: float, now: float
) -> None:
    for name, share, shift in (("old", before, 3), ("new", now, 0)):
        stored = make(name, budget={"compute": {"updates": 100}})
        for seed in (0, 1):
            training = {**done(seed, None)["training"], "share": share}
            many_pieces(stored, "lstm", lambda i, shift=shift: 4 + i % 2 + shift, seed=seed, training=training)
        stored.close()
    answer = bench(tmp_path, "old", "new")
    differs, reason = {
        (1.0, 5.0): ("–, 5 times it", "5 times the budget in B"),
        (5.0, 1.0): ("5 times it, –", "5 times the budget in A"),
        (1.2, 5.0): ("1.2 times it, 5 times it", ""),
    }[before, now]
    assert (answer.returncode, answer.stderr) == (4 if reason else 0, "")
    assert answer.stdout.startswith("B against A: no value can be compared.\n") == bool(reason)
    content = json.loads(bench(tmp_path, "old", "new", "--format", "json").stdout)
    assert content["rows"][0]["differs"] == [f"trained beyond the budget: {differs}"]
    assert {change["reason"] for change in content["changes"] if change["metric"] == "pitch_distance"} == {reason}


def test_into_a_file(folder: Path) -> None:
    answer = bench(folder, "old", "new", "--format", "html", "--output", "pages/compare.html")
    assert (answer.returncode, answer.stderr) == (0, "")
    (line,) = answer.stdout.splitlines()
    assert line.startswith("B against A: of ")
    assert (folder / "pages" / "compare.html").read_text().startswith("<!DOCTYPE html>\n")


def test_to_another_program(folder: Path) -> None:
    content = json.loads(bench(folder, "old", "new", "other", "--format", "json").stdout)
    assert [Path(run["folder"]).name for run in content["runs"]] == ["old", "new", "other"]
    assert {change["run"] for change in content["changes"]} == {"B"}


def test_without_a_common_row_nothing_is_comparable(folder: Path) -> None:
    answer = bench(folder, "old", "other")
    assert (answer.returncode, answer.stderr) == (4, "")
    assert answer.stdout.startswith("B against A: no value can be compared.\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("old",), "error: Expected 2 to 26 runs, got 1.\n"),
        (("old", "old"), "error: reports/runs/old is given twice.\n"),
        (("old", "nwe"), "error: There is no run 'nwe'.\nDid you mean 'new'?"),
        (("old", ""), "error: RUN is empty.\n"),
        (("old", "new", "--format", "csv"), "Invalid value for '--format'"),
        (("old", "new", "--output", "reports"), "error: reports is a folder, and should be a file.\n"),
    ],
)
def test_wrong_use(folder: Path, words: tuple[str, ...], said: str) -> None:
    answer = bench(folder, *words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr.replace(f"{folder}/", "")


def test_a_damaged_run(folder: Path) -> None:
    with edited_json(folder / "reports/runs/new/run.json") as run:
        run["provenance"] = []
    answer = bench(folder, "old", "new")
    assert (answer.returncode, answer.stdout) == (3, "")
    assert "run.json is damaged: provenance" in answer.stderr


def test_an_older_format(folder: Path) -> None:
    (folder / "reports/runs/new/run.json").write_text('{"format": 1}')
    answer = bench(folder, "old", "new")
    assert (answer.returncode, answer.stdout) == (3, "")
    assert "format 1" in answer.stderr
    assert "Traceback" not in answer.stderr
