"""Processor, memory and GPUs, without importing a framework."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.system import hardware

from .scripts import script

NAMES = "--query-gpu=name) echo 'Some GPU'; echo 'Some GPU'"
WHOLE = """
GPU 0: Some GPU (UUID: GPU-aa1)
GPU 1: Some GPU (UUID: GPU-bb2)
"""
#: The second is divided; the last line is as an older driver writes it.
DIVIDED = """
GPU 0: Some GPU (UUID: GPU-aa1)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb2)
  MIG 3g.20gb     Device  0: (UUID: MIG-c3)
  MIG 3g.20gb Device 1: (UUID: MIG-GPU-bb2/2/0)
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let a script stand in for nvidia-smi, with this list of GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def say(listed: str) -> None:
        script(tmp_path / "nvidia-smi", f"case $1 in {NAMES};; -L) cat <<END\n{listed}\nEND\n;; *) exit 2;; esac")
        hardware._of_gpus.cache_clear()

    yield say
    hardware._of_gpus.cache_clear()


def test_gpus_are_those_of_the_driver(driver: Callable[[str], None]) -> None:
    driver(WHOLE)
    assert hardware.gpu_ids() == ("GPU-aa1", "GPU-bb2")
    assert hardware.parallel_trials("gpu") == 2
    assert hardware.gpu_visible() == (True, "nvidia-smi shows Some GPU and 1 more")


def test_a_part_of_a_gpu_counts_as_one(driver: Callable[[str], None]) -> None:
    """Named by the whole GPU's UUID, CUDA would give every process its first part."""
    driver(DIVIDED)
    assert hardware.gpu_ids() == ("GPU-aa1", "MIG-c3", "MIG-GPU-bb2/2/0")
    assert hardware.parallel_trials("gpu") == 3


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        ("1,0", ("1", "0")),
        (" 1 , 0", ("1", "0")),
        ("GPU-bb2,GPU-aa1", ("GPU-bb2", "GPU-aa1")),
        ("GPU-b", ("GPU-b",)),
        ("MIG-GPU-bb2/2/0,MIG-c3", ("MIG-GPU-bb2/2/0", "MIG-c3")),
        ("1,-1,0", ("1",)),
        ("0,2,1", ("0",)),
        ("0,,1", ("0",)),
        ("GPU-aa1,GPU-cc,GPU-bb2", ("GPU-aa1",)),
        ("0,0", ()),
        ("2", ()),
        ("", ()),
        ("-1", ()),
        ("-1,0", ()),
        ("NoDevFiles", ()),
        ("MIG-7", ()),
    ],
)
def test_the_users_choice_of_gpus_is_read_as_cuda_reads_it(
    chosen: str, ids: tuple[str, ...], driver: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(DIVIDED)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert hardware.gpu_ids() == ids
    visible, why = hardware.gpu_visible()
    assert (visible, "hides every GPU" in why) == (bool(ids), not ids)
    assert hardware.parallel_trials("gpu") == max(1, len(ids))


def test_gpus_where_the_driver_says_nothing(
    driver: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(WHOLE)
    script(tmp_path / "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert hardware.gpu_names() == hardware.gpu_ids() == ()
    assert hardware.parallel_trials("gpu") == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-7,5")
    assert hardware.gpu_ids() == ("MIG-7", "5"), "nothing is known against them"


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


@pytest.mark.parametrize("shift", [10, 20])
@pytest.mark.parametrize(
    ("limit", "used", "kept"),
    [
        ("memory.max", "memory.current", "anon 1\ninactive_file {}\nactive_file {}\nslab_reclaimable {}\n"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "active_file 7\ntotal_inactive_file {}\ntotal_active_file {}{}\n"),
    ],
)
def test_what_a_control_group_keeps_of_files_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str, kept: str, shift: int
) -> None:
    monkeypatch.setattr(hardware, "_cgroups", lambda controller: [tmp_path])
    assert hardware.available_bytes() <= hardware.memory_bytes()
    (tmp_path / limit).write_text(f"{16 << shift}\n")
    assert hardware.available_bytes() == hardware.memory_bytes() == 16 << shift
    (tmp_path / used).write_text(f"{15 << shift}\n")
    assert hardware.available_bytes() == 1 << shift
    (tmp_path / "memory.stat").write_text("anon 1\n")
    assert hardware.available_bytes() == 1 << shift
    parts = (2 << shift, 3 << shift, 4 << shift) if limit == "memory.max" else (2 << shift, 7 << shift, "")
    (tmp_path / "memory.stat").write_text(kept.format(*parts))
    assert hardware.available_bytes() == 10 << shift
    (tmp_path / used).write_text(f"{99 << shift}\n")
    assert hardware.available_bytes() == 0
    (tmp_path / limit).write_text("max\n")
    assert hardware.available_bytes() > 99 << shift
