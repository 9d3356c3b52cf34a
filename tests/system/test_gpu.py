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
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    code = "from bench.system.gpu import joules; print(joules())"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == expected


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
