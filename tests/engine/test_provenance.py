"""What is said of the machine, without importing a framework."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import TrialError, UsageError
from bench.system import provenance


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_framework_is_asked_in_its_own_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = provenance.framework_report("numpy")
    assert report == {"version": np.__version__, "gpus": [], "cuda": None, "error": None, "python": sys.executable}
    broken = _script(tmp_path / "python", "echo warming up; echo 'No module named torch' >&2; exit 1")
    monkeypatch.setenv("BENCH_PYTHON_PYTORCH", str(broken))
    assert provenance.framework_report("pytorch") == {
        "version": None, "gpus": [], "cuda": None, "error": "No module named torch", "python": str(broken)
    }  # fmt: skip
    for said in ("", "echo '[1]'", "echo hello"):
        monkeypatch.setenv("BENCH_PYTHON_PYTORCH", str(_script(tmp_path / "silent", said)))
        assert provenance.framework_report("pytorch")["error"] == "it does not answer as a Python does"
        provenance.versions.cache_clear()
        assert "error" in provenance.versions(str(tmp_path / "silent"))
    monkeypatch.setenv("BENCH_PYTHON_PYTORCH", str(tmp_path / "gone"))
    assert "gone" in provenance.framework_report("pytorch")["error"]
    with pytest.raises(UsageError, match=r"\$BENCH_PYTHON_PYTORCH is .*gone"):
        provenance.interpreter("pytorch")
    assert provenance.interpreter("numpy") == sys.executable


def test_gpus_are_those_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    _script(tmp_path / "nvidia-smi", "echo 'Some GPU'; echo 'Some GPU'")
    provenance.gpu_names.cache_clear()
    try:
        assert provenance.gpu_visible() == (True, "nvidia-smi shows Some GPU and 1 more")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert provenance.gpu_visible()[0] is False
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        _script(tmp_path / "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
        provenance.gpu_names.cache_clear()
        assert provenance.gpu_names() == ()
    finally:
        provenance.gpu_names.cache_clear()


def test_cores_follow_affinity() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from bench.system.provenance import cores; print(cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "1"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_quota_of_a_control_group(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert provenance._cpu_quota(tmp_path) == quota


def test_a_trial_for_a_gpu_does_not_fall_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "tensorflow"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(TrialError, match="asks for a GPU, but pytorch sees none"):
        provenance.require_device("pytorch", "cuda")
    provenance.require_device("pytorch", "cpu")
    provenance.require_device("numpy", "cuda")
