"""The checks of a GPU for developers: their script with a program in the interpreter's place, and what it reads from runs."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Stands in for Python and bench: the run that is to be killed writes an evaluation at once and a checkpoint a second later.
STAND_IN = """#!/bin/sh
case "$*" in
*gpu_tables.py*) echo "$*" ;;
*'import pytest'*) exit 1 ;;
*"-m bench run"*/killed*)
  trial=$OUT/killed/runs/one/trials/key
  if [ -e "$OUT/killed.log" ] && [ ! -d "$OUT/killed" ]; then
    mkdir -p "$trial/checkpoint"
    echo '{"epoch": 1}' >"$trial/checkpoint/history.jsonl"
    sleep 1
    %s
    exec sleep 30
  fi
  ls "$trial/checkpoint" >"$OUT/found"
  echo "$OUT/killed/runs/one/report.html" ;;
*"-m bench run"*) echo "$OUT/straight/runs/one/report.html" ;;
*) echo well ;;
esac
"""


def stage(
    number: int, folder: Path, checkpoint: str = 'touch "$trial/checkpoint/checkpoint.safetensors"'
) -> tuple[int, list[str]]:
    """Run a stage; its exit code and lines."""
    python = folder / "python"
    python.write_text(STAND_IN % checkpoint)
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "OUT": str(folder / "out"), "MODELS": "vae"}
    done = subprocess.run(
        ["sh", "tools/gpu_check.sh", str(number)], cwd=ROOT, capture_output=True, text=True, env=environment, timeout=60
    )
    return done.returncode, done.stdout.splitlines()


def test_a_run_is_killed_when_it_has_a_checkpoint(tmp_path: Path) -> None:
    """An evaluation alone can't be resumed from: on a GPU a checkpoint may come much later."""
    code, lines = stage(3, tmp_path)
    assert (code, [line for line in lines if line.startswith("FAIL")]) == (0, [])
    assert (tmp_path / "out" / "found").read_text().split() == ["checkpoint.safetensors", "history.jsonl"]
    assert any(line.startswith("PASS  killed: by signal 9") for line in lines)
    assert any("gpu_tables.py resumed" in line for line in lines), "whether it resumed is checked"


def test_a_run_without_a_checkpoint_proves_no_resuming(tmp_path: Path) -> None:
    code, lines = stage(3, tmp_path, "exit 0")
    assert code == 1
    assert "FAIL  killed: no checkpoint was written" in "\n".join(lines)


def test_a_stage_without_its_tests_fails(tmp_path: Path) -> None:
    code, lines = stage(1, tmp_path)
    assert code == 1
    assert any(line.startswith("FAIL  tests-gpu: there is no pytest") for line in lines)


def tables(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "tools/gpu_tables.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout


def test_a_table_differs_in_what_no_clock_decides(tmp_path: Path) -> None:
    row = {"system": "vae", "training_seconds": "1", "updates": "400", "epochs": "2", "parameters": "8", "key": "0.5"}
    folders = {"straight": row, "slower": {**row, "training_seconds": "2"}} | {
        name: {**row, name: "7"} for name in ("updates", "epochs", "parameters", "key")
    }
    for name, cells in folders.items():
        (tmp_path / name).mkdir()
        with (tmp_path / name / "report.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(cells))
            writer.writeheader()
            writer.writerow(cells)
    assert tables("same", tmp_path / "straight", tmp_path / "slower")[0] == 0
    for name in ("updates", "epochs", "parameters", "key"):
        code, words = tables("same", tmp_path / "straight", tmp_path / name)
        assert (code, f"most of all {name} of vae" in words) == (1, True)


@pytest.mark.parametrize(("times", "code"), [(0, 1), (None, 1), (1, 0)])
def test_a_resumed_run_has_a_training_that_resumed(times: int | None, code: int, tmp_path: Path) -> None:
    outcomes = {
        "vae": {"trial": {"kind": "model", "system": "vae"}, "training": {"resumed": times}},
        "real": {"trial": {"kind": "reference", "system": "real"}, "training": {"resumed": 1}},
    }
    for name, outcome in outcomes.items():
        (tmp_path / "trials" / name).mkdir(parents=True)
        (tmp_path / "trials" / name / "outcome.json").write_text(json.dumps(outcome))
    assert tables("resumed", tmp_path) == (code, f"from a checkpoint: {'no training resumed' if code else 'vae'}\n")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(("device", "folder"), [("cuda", ".venv-gpu/pytorch"), ("cpu", ".venv")])
def test_the_target_makes_the_environment_that_it_runs_in(device: str, folder: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("GPU", "MAKEFLAGS", "PYTHON")}
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "gpu-check", f"GPU_CHECK_DEVICE={device}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert f"PYTHON={folder}/bin/python sh tools/gpu_check.sh all" in lines
    (tested,) = (line for line in lines if "requirements/test.txt" in line)
    assert tested.startswith(f"{folder}/bin/python -m pip install")


def test_the_utilisation_is_that_of_the_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the model states; nothing is made up for one that states nothing."""
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from gpu_steps import utilization

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    limits = {"bfloat16": 494.5, "float32": 50.0}
    facts = {"flops_per_note": 98.9e6, "precision": "bfloat16, where it is safe"}
    assert utilization(facts, 1e6, "cuda", limits) == pytest.approx({"tflops": 98.9, "mfu": 0.1, "of_product": 0.2})
    assert "mfu" not in utilization(facts, 1e6, "cpu", limits)
    assert utilization({"precision": "float32"}, 1e6, "cuda", limits) == {}
