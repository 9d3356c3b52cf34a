"""Frameworks in interpreters of their own, without importing one here."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import TrialError, UsageError
from bench.system import frameworks

from .scripts import script


def test_a_framework_is_asked_in_its_own_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = frameworks.framework_report("numpy")
    assert report == {"version": np.__version__, "gpus": [], "cuda": None, "error": None, "python": sys.executable}
    broken = script(tmp_path / "python", "echo warming up; echo 'No module named torch' >&2; exit 1")
    monkeypatch.setenv("BENCH_PYTHON_PYTORCH", str(broken))
    assert frameworks.framework_report("pytorch") == {
        "version": None, "gpus": [], "cuda": None, "error": "No module named torch", "python": str(broken)
    }  # fmt: skip
    for answer in ("", "echo '[1]'", "echo hello"):
        monkeypatch.setenv("BENCH_PYTHON_PYTORCH", str(script(tmp_path / "silent", answer)))
        assert frameworks.framework_report("pytorch")["error"] == "it does not respond like a Python interpreter"
        frameworks.versions.cache_clear()
        assert "error" in frameworks.versions(str(tmp_path / "silent"))
    monkeypatch.setenv("BENCH_PYTHON_PYTORCH", str(tmp_path / "gone"))
    assert "gone" in frameworks.framework_report("pytorch")["error"]
    with pytest.raises(UsageError, match=r"\$BENCH_PYTHON_PYTORCH is .*gone"):
        frameworks.interpreter("pytorch")
    assert frameworks.interpreter("numpy") == sys.executable


def test_a_trial_for_a_gpu_does_not_fall_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "tensorflow"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(TrialError, match="asks for a GPU, but pytorch sees none"):
        frameworks.require_device("pytorch", "cuda")
    frameworks.require_device("pytorch", "cpu")
    frameworks.require_device("numpy", "cuda")
