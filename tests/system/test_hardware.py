"""Processor, memory and GPUs, without importing a framework."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system import hardware

from .scripts import script


def test_gpus_are_those_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    script(tmp_path / "nvidia-smi", "case $1 in *name) echo 'Some GPU'; echo 'Some GPU';; *uuid) echo GPU-1; echo GPU-2;; esac")
    hardware._of_gpus.cache_clear()
    try:
        assert hardware.gpu_ids() == ("GPU-1", "GPU-2")
        assert hardware.parallel_trials("gpu") == 2
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-7")
        assert hardware.gpu_ids() == ("MIG-7",)
        assert hardware.parallel_trials("gpu") == 1
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert hardware.gpu_visible() == (True, "nvidia-smi shows Some GPU and 1 more")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert hardware.gpu_visible()[0] is False
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        script(tmp_path / "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
        hardware._of_gpus.cache_clear()
        assert hardware.gpu_names() == hardware.gpu_ids() == ()
        assert hardware.parallel_trials("gpu") == 1
    finally:
        hardware._of_gpus.cache_clear()


def test_cores_follow_affinity() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from bench.system.hardware import cores; print(cores())"
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
    assert hardware._cpu_quota(tmp_path) == quota
