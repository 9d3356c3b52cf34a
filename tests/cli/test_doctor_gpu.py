"""`bench doctor --gpu` with a driver's tool and interpreters that programs stand in for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.cli.app import app
from bench.system import hardware
from bench.system.frameworks import gpu_remedy
from bench.system.gpu_probes import CHECKS
from tests.system.scripts import script


@pytest.fixture
def gpu_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("COLUMNS", "300")
    script(tmp_path / "nvidia-smi", "echo 'Some GPU, 580.95, 79000 MiB, 81559 MiB'")
    hardware._of_gpus.cache_clear()
    yield tmp_path
    hardware._of_gpus.cache_clear()


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, framework: str, gpus: list[str], failing: str = "") -> None:
    """Let a script stand in for a framework's interpreter: it reports these GPUs, and all checks pass but the failing one."""
    report = json.dumps({"version": "9.9", "gpus": gpus, "cuda": "13", "error": None})
    results = [
        line
        for name in CHECKS[framework]
        for line in ({"check": name}, {"check": name, "passed": name != failing, "detail": f"{name} figures"})
    ]
    checks = "\n".join(f"echo '{json.dumps(line)}'" for line in results)
    # The checks have one more argument than the question: -P -c CODE cuda.
    text = f"if [ $# = 4 ]; then\n{checks}\nelse echo '{report}'; fi"
    monkeypatch.setenv(f"BENCH_PYTHON_{framework.upper()}", str(script(folder / framework, text)))


def doctor() -> Result:
    return CliRunner().invoke(app, ["doctor", "--gpu"])


def test_every_framework_that_sees_the_gpu_is_checked(gpu_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for framework in CHECKS:
        stand_in(monkeypatch, gpu_machine, framework, ["Some GPU"])
    answer = doctor()
    lines = [f"PASS  {framework}: {name}: {name} figures" for framework, names in CHECKS.items() for name in names]
    driver = "PASS  driver: Some GPU, 580.95, 79000 MiB, 81559 MiB"
    assert answer.stdout.splitlines() == [driver, *lines, "The GPU can be used by tensorflow and torch."]
    assert answer.exit_code == 0


def test_a_failed_check_says_why_and_what_to_do(gpu_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, gpu_machine, "torch", ["Some GPU"], failing="compiler")
    stand_in(monkeypatch, gpu_machine, "tensorflow", [])
    answer = doctor()
    assert answer.exit_code == 3
    assert "FAIL  torch: compiler: compiler figures\n  fix: install a C compiler and Python's headers" in answer.stdout
    assert "SKIP  tensorflow: tensorflow can't use this machine's GPU (for frame-recurrent, lstm, lstm-paper)" in answer.stdout
    assert f"\n  fix: {gpu_remedy('')}\n" in answer.stdout


def test_the_conclusion_names_the_frameworks(gpu_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, gpu_machine, "torch", ["Some GPU"])
    stand_in(monkeypatch, gpu_machine, "tensorflow", [])
    answer = doctor()
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[-1] == "The GPU can be used by torch; models of tensorflow run at --scale cpu."


def test_no_advice_installs_over_another_framework(gpu_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip calls PyTorch for processors satisfied, and TensorFlow's CUDA libraries replace PyTorch's."""
    stand_in(monkeypatch, gpu_machine, "torch", [])
    missing = script(gpu_machine / "none", "echo 'No module named tensorflow' >&2; exit 1")
    monkeypatch.setenv("BENCH_PYTHON_TENSORFLOW", str(missing))
    told = CliRunner().invoke(app, ["doctor"]).stdout
    assert told.count(f"  fix: {gpu_remedy('')}") == 2
    assert "pip install" not in told


def test_a_gpu_that_no_framework_can_use(gpu_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for framework in CHECKS:
        stand_in(monkeypatch, gpu_machine, framework, [])
    answer = doctor()
    assert answer.exit_code == 3
    assert "FAIL  GPU: nvidia-smi shows Some GPU, 580.95" in answer.stdout
    assert "no framework that a model needs can use it" in answer.stdout


def test_without_a_gpu_it_says_what_it_would_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("COLUMNS", "300")
    answer = doctor()
    assert answer.exit_code == 3
    assert answer.stdout.splitlines() == [
        "FAIL  GPU: nothing could be checked, as CUDA_VISIBLE_DEVICES hides every GPU. With a GPU, these checks would run: "
        "tensorflow: device, product, bfloat16, XLA, LSTM; torch: device, product, bfloat16, LSTM, GRU, compiler",
        "  fix: correct the variable, or unset it",
    ]
