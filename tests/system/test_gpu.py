"""The GPU's energy counter, against a library in the driver's place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system import gpu

from .scripts import nvml


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize(
    ("number", "environment", "expected"),
    [
        (1, {}, "1.5"),
        (1, {"CUDA_VISIBLE_DEVICES": "0"}, "1.5"),
        (2, {"CUDA_VISIBLE_DEVICES": "GPU-second"}, "2000.0"),
        (2, {"CUDA_VISIBLE_DEVICES": "1,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "2000.0"),
        (2, {}, "None"),  # CUDA may count in another order
        (2, {"CUDA_VISIBLE_DEVICES": "1"}, "None"),
        (2, {"CUDA_VISIBLE_DEVICES": "GPU-third"}, "None"),
        (2, {"CUDA_VISIBLE_DEVICES": "MIG-1"}, "None"),
        (2, {"CUDA_VISIBLE_DEVICES": "2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "None"),
        (1, {"CUDA_VISIBLE_DEVICES": ""}, "None"),
    ],
)
def test_the_counter_is_that_of_the_processs_own_gpu(
    number: int, environment: dict[str, str], expected: str, tmp_path: Path
) -> None:
    nvml(tmp_path, number)
    assert counted(tmp_path, environment) == expected


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_counter_of_a_divided_gpu_counts_others_too(tmp_path: Path) -> None:
    """A process that names the GPU, or none, gets one of its parts (MIG)."""
    nvml(tmp_path, 1, divided=True)
    assert counted(tmp_path, {}) == "None"
    assert counted(tmp_path, {"CUDA_VISIBLE_DEVICES": "GPU-second"}) == "None"


def counted(folder: Path, environment: dict[str, str]) -> str:
    """What a process of its own reads in that environment, with the library in the folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    code = "from bench.system.gpu import joules; print(joules())"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_an_old_driver_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.c").write_text("int nvmlInit_v2(void) { return 0; } int nvmlShutdown(void) { return 0; }")
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "old.c")], check=True)
    code = "from bench.system.gpu import joules; print(joules())"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "None"


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU")
def test_without_a_driver_there_is_no_counter() -> None:
    assert gpu.joules() is None


@pytest.mark.parametrize(
    ("capability", "built", "fits"),
    [
        ((7, 5), ["sm_75", "sm_80", "sm_120"], True),
        ((8, 9), ["sm_75", "sm_86"], True),  # of its major version, of an earlier minor one
        ((10, 3), ["sm_100"], True),
        ((9, 0), ["sm_80", "compute_80"], True),  # the driver compiles it
        ((9, 0), ["sm_90a"], True),
        ((9, 0), [], True),  # unknown
        ((7, 0), ["sm_75", "sm_80", "compute_120"], False),
        ((8, 0), ["sm_75", "sm_86"], False),
        ((9, 0), ["sm_75", "sm_86"], False),  # newer than the build, which has nothing that the driver could compile
    ],
)
def test_a_build_has_code_for_a_gpu(capability: tuple[int, int], built: list[str], fits: bool) -> None:
    reason = gpu.lacking_code("A GPU", capability, built)
    assert (reason is None) == fits
    assert fits or f"has compute capability {capability[0]}.{capability[1]}" in str(reason)
