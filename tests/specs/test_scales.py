"""Choice of the scale on a machine with a GPU: a driver's tool and frameworks that programs of the system stand in for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.specs import scales
from bench.specs.scales import choose_scale
from bench.system import hardware
from bench.system.frameworks import gpu_remedy
from tests.system.scripts import script


@pytest.fixture
def gpu_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    script(tmp_path / "nvidia-smi", "echo 'Some GPU'")
    hardware._of_gpus.cache_clear()
    scales._report.cache_clear()
    yield tmp_path
    hardware._of_gpus.cache_clear()
    scales._report.cache_clear()


def framework(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, **report: object) -> None:
    """Let a script stand in for the interpreter of a framework."""
    answer = json.dumps({"version": "9.9", "gpus": [], "cuda": None, "error": None, **report})
    monkeypatch.setenv(f"BENCH_PYTHON_{name.upper()}", str(script(folder / name, f"echo '{answer}'")))


def test_gpu_where_all_frameworks_of_the_spec_see_one(gpu_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorflow", "torch"):
        framework(monkeypatch, gpu_machine, name, gpus=["Some GPU"])
    assert choose_scale(None, "table2") == ("gpu", "nvidia-smi shows Some GPU")


def test_cpu_where_one_framework_has_no_cuda(gpu_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make setup` makes on a machine with a GPU: TensorFlow for processors alone."""
    framework(monkeypatch, gpu_machine, "torch", gpus=["Some GPU"])
    framework(monkeypatch, gpu_machine, "tensorflow")
    scale, why = choose_scale(None, "table2")
    assert scale == "cpu"
    assert why == (
        "nvidia-smi shows Some GPU, but tensorflow can't use it (its build 9.9 finds none); "
        f"to change that: {gpu_remedy('')}; --scale gpu insists"
    )
    assert choose_scale("gpu", "table2") == ("gpu", "asked for")
    assert choose_scale(None, "table2", models=["transformer", "gan"])[0] == "gpu"


def test_cpu_where_no_model_uses_a_gpu(gpu_machine: Path) -> None:
    """One job a GPU would be slower than one a core."""
    assert choose_scale(None, "table2", models=[]) == ("cpu", "no model of the spec uses a GPU")
    assert choose_scale("gpu", "table2", models=[]) == ("gpu", "asked for")


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        (
            "The NVIDIA driver on your system is too old (found version 11040)",
            "update NVIDIA's driver (nvidia-smi shows its version)",
        ),
        (
            "Tesla V100 has compute capability 7.0; the build needs 7.5 or later",
            "use a newer GPU, or hide this one by CUDA_VISIBLE_DEVICES",
        ),
    ],
)
def test_cpu_for_a_reason_that_an_installation_does_not_change(
    reason: str, remedy: str, gpu_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    framework(monkeypatch, gpu_machine, "torch", reason=reason)
    scale, why = choose_scale(None, "table2", models=["vae"])
    assert scale == "cpu"
    assert f"torch can't use it ({reason}); to change that: {remedy}; " in why


def test_cpu_where_a_framework_is_missing(gpu_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    framework(monkeypatch, gpu_machine, "tensorflow", gpus=["Some GPU"])
    monkeypatch.setenv("BENCH_PYTHON_TORCH", str(script(gpu_machine / "none", "echo 'No module named torch' >&2; exit 1")))
    scale, why = choose_scale(None, "table2")
    assert scale == "cpu"
    assert "torch can't use it (No module named torch)" in why
