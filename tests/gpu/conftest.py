"""The device of these tests: a GPU; with ``BENCH_GPU_TESTS=cpu`` the processor, on which the tests themselves can be tried."""

from __future__ import annotations

import os

import pytest

# As in a trial's process: without it some products differ from run to run. It is read when CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(scope="session")
def device() -> str:
    """``cuda``, or ``cpu`` where that is asked for; skips the test where PyTorch sees no GPU."""
    torch = pytest.importorskip("torch")
    if os.environ.get("BENCH_GPU_TESTS") == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU (BENCH_GPU_TESTS=cpu tries these tests on the processor)")
    return "cuda"
