"""`bench new model`: what it writes is a model that conforms and runs; what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.plugins.header import read_plugin

ROOT = Path(__file__).resolve().parents[2]
SPEC = {
    "title": "Fresh",
    "dataset": {"name": "chorales", "options": {"limit": 24}},
    "protocol": {"prompt": 8, "notes": 16, "pieces": 2, "samples": 1},
    "seeds": 1,
    "budget": {"epochs": 1},
    "models": {"fresh": {"params": {"smoothing": 1.0}}},
    "references": ["uniform", "untrained"],
}


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    answer = bench(folder, "new", "model", "fresh", "--to", "mine")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == "mine/fresh.py\nTry it: bench run smoke --plugins mine/fresh.py --models fresh\n"
    return folder / "mine" / "fresh.py"


def test_it_passes_the_conformance_suite(written: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "tests/contract", "-k", "fresh"]
    environment = {**os.environ, "BENCH_PLUGINS": str(written.parent)}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    assert " passed" in answer.stdout


def test_it_runs(written: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
    answer = bench(tmp_path, "run", "spec.yaml", "--plugins", str(written), "--out", "out", "--no-sound", "--scale", "cpu")
    assert answer.returncode == 0, answer.stderr
    rows = {line.split(",")[0] for line in (tmp_path / "out/runs/spec-cpu/report.csv").read_text().splitlines()[1:]}
    assert rows == {"fresh", "untrained fresh", "uniform"}


def test_it_is_formatted_and_says_what_it_is(written: Path) -> None:
    text = written.read_text()
    assert "{" + "{" not in text
    assert max(map(len, text.splitlines())) <= 130
    plugin = read_plugin(written)
    assert plugin is not None
    assert plugin.summary == "Says in one line what fresh is: `bench list models` shows this line."
    assert list(plugin.parameters) == ["smoothing", "time_classes", "duration_classes"]
    command = [sys.executable, "-m", "ruff"]
    for arguments in (["check", "--config", "lint.isort.known-first-party=['bench']"], ["format", "--check"]):
        answer = subprocess.run(
            [*command, *arguments, "--config", str(ROOT / "pyproject.toml"), str(written)],
            capture_output=True,
            text=True,
            check=False,
        )
        if "No module named ruff" in answer.stderr:
            pytest.skip("ruff isn't installed here")
        assert answer.returncode == 0, answer.stdout


def test_nothing_is_overwritten(written: Path) -> None:
    before = written.read_bytes()
    answer = bench(written.parent.parent, "new", "model", "fresh", "--to", "mine")
    assert answer.returncode == 2
    assert answer.stderr == (
        "error: mine/fresh.py exists, and is not overwritten.\nChoose another name, or another folder: --to DIR.\n"
    )
    assert written.read_bytes() == before


def test_a_folder_of_its_name_is_no_module(tmp_path: Path) -> None:
    answer = bench(tmp_path, "new", "model", "walker", "--to", "walker")
    assert (answer.returncode, bench(tmp_path, "new", "model", "walker", "--to", "other").returncode) == (0, 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lstm", "There is a model 'lstm' already: it comes with bench."),
        ("none", "'none' can't name a model: `--models none` means no model at all."),
        ("untrained", "'untrained' can't name a model: it is the name of a reference row."),
        ("bench", "'bench' is the name of a module, which bench.py could hide from Python."),
        ("random", "'random' is the name of a module, which random.py could hide from Python."),
        ("sys", "'sys' is the name of a module, which sys.py could hide from Python."),
        ("numpy", "'numpy' is the name of a module, which numpy.py could hide from Python."),
        ("../up", "'../up' can't name a model."),
        ("_hidden", "'_hidden' can't name a model."),
        ("my model", "'my model' can't name a model."),
    ],
)
def test_names_that_make_no_model(name: str, message: str, tmp_path: Path) -> None:
    answer = bench(tmp_path, "new", "model", name)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []
