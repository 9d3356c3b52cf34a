"""Frameworks in interpreters of their own, without importing one here."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.errors import TrialError, UsageError
from bench.system import frameworks

from .scripts import script


def test_a_framework_is_asked_in_its_own_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = frameworks.framework_report("numpy")
    nothing = {"gpus": [], "cuda": None, "error": None, "reason": None}
    assert report == {**nothing, "version": np.__version__, "python": sys.executable}
    broken = script(tmp_path / "python", "echo warming up; echo 'No module named torch' >&2; exit 1")
    monkeypatch.setenv("BENCH_PYTHON_TORCH", str(broken))
    assert frameworks.framework_report("torch") == {
        **nothing, "version": None, "error": "No module named torch", "python": str(broken)
    }  # fmt: skip
    for answer in ("", "echo '[1]'", "echo hello"):
        monkeypatch.setenv("BENCH_PYTHON_TORCH", str(script(tmp_path / "silent", answer)))
        assert frameworks.framework_report("torch")["error"] == "it does not respond like a Python interpreter"
        frameworks.versions.cache_clear()
        assert "error" in frameworks.versions(str(tmp_path / "silent"))
    monkeypatch.setenv("BENCH_PYTHON_TORCH", str(tmp_path / "gone"))
    assert "gone" in frameworks.framework_report("torch")["error"]
    with pytest.raises(UsageError, match=r"\$BENCH_PYTHON_TORCH is .*gone"):
        frameworks.interpreter(("torch",))
    assert frameworks.interpreter(()) == sys.executable


def test_the_interpreter_of_several_modules_has_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert frameworks.interpreter(("numpy", "no_such_module")) == sys.executable
    without = script(tmp_path / "without", "echo '[\"no_such_module\"]'")
    having = script(tmp_path / "having", "echo '[]'")
    monkeypatch.setenv("BENCH_PYTHON_NUMPY", str(without))
    assert frameworks.interpreter(("numpy", "no_such_module")) == str(without), "the only one that is named"
    monkeypatch.setenv("BENCH_PYTHON_NO_SUCH_MODULE", str(having))
    assert frameworks.interpreter(("numpy", "no_such_module")) == str(having)
    assert frameworks.interpreter(("numpy",)) == str(without)
    having.write_text(without.read_text())
    frameworks.lacking.cache_clear()
    assert frameworks.interpreter(("numpy", "no_such_module")) == str(without), "the first, where none has them all"


def test_the_older_name_of_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_PYTHON_PYTORCH", str(script(tmp_path / "python", "echo '[]'")))
    assert frameworks.interpreter(("torch",)) == str(tmp_path / "python")


def test_modules_that_are_missing_and_what_installs_them(tmp_path: Path) -> None:
    requires = ("numpy.linalg", "no_such_module", "no_such_module.inner")
    assert frameworks.lacking(requires, sys.executable) == ("no_such_module",)
    frameworks.lacking.cache_clear()
    link = tmp_path / "python"
    link.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    link.chmod(0o755)
    assert frameworks.lacking(requires, str(link)) == ("no_such_module",), "asked in a process of its own"
    assert frameworks.lacking(requires, str(tmp_path / "gone")) == ()
    assert frameworks.install_command(["torch", "other"], "py") == "py -m pip install torch==2.13.0 safetensors other"


TORCH = """
import warnings
__version__ = "2.13.0"
class version: cuda = {built!r}
class cuda:
    def is_available():
        {warning}
        return {capabilities} != []
    def device_count(): return len({capabilities})
    def get_device_name(i=0): return "GPU " + str(i)
    def get_device_capability(i=0): return {capabilities}[i]
    def get_arch_list(): return ["sm_75", "sm_120", "compute_120"]
"""

OLD = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"


@pytest.mark.parametrize(
    ("built", "warning", "capabilities", "gpus", "reason"),
    [
        ("13.0", "pass", [(7, 5), (12, 1)], ["GPU 0", "GPU 1"], None),
        ("13.0", "pass", [(7, 5), (7, 0)], [], "GPU 1 has compute capability 7.0, and the build has code for 7.5, 12.0"),
        ("13.0", f"warnings.warn({OLD!r})", [], [], "The NVIDIA driver on your system is too old (found version 11040)"),
        ("13.0", "import sys; print('[12] one', file=sys.stderr)", [], [], "one"),
        ("13.0", "pass", [], [], None),
        (None, "pass", [], [], "its build is for processors alone"),
    ],
)
def test_pytorch_says_why_it_can_use_no_gpu(
    built: str | None,
    warning: str,
    capabilities: list[tuple[int, int]],
    gpus: list[str],
    reason: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU that the build has no code for would be accepted, and die at the first kernel."""
    (tmp_path / "torch.py").write_text(TORCH.format(built=built, warning=warning, capabilities=capabilities))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = frameworks.framework_report("torch")
    assert (report["gpus"], report["reason"], report["error"]) == (gpus, reason, None)


TENSORFLOW = """
import shutil
import sys
__version__ = "2.21.0"
with open("/proc/self/maps") as file:
    found = "libcusolver.so.11" in file.read()
class config:
    class experimental:
        def get_device_details(gpu): return {}
    def list_physical_devices(kind):
        print(%r, file=sys.stderr)
        return [type("GPU", (), {"name": "GPU 0"})] if found else []
class sysconfig:
    def get_build_info(): return {"cuda_version": "12.5.1"}
class test:
    def is_built_with_cuda(): return True
"""
MISSING = "2026-11-27 12:00:00.1: W tensorflow/core/common_runtime/gpu/gpu_device.cc:2343] Cannot dlopen some GPU libraries."
OLDER = "2026-11-27 12:00:00.0: E external/xla/cuda_platform.cc:51] failed call to cuInit: INTERNAL"


@pytest.mark.parametrize("there", [True, False])
def test_tensorflow_finds_the_library_that_its_wheel_looks_for_elsewhere(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it uses no GPU in an environment that pip has made. A library of the same name stands for it."""
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW % MISSING)
    if there:
        place = tmp_path / "nvidia" / "cusolver" / "lib"
        place.mkdir(parents=True)
        (place.parent / "__init__.py").touch()
        shutil.copy(np.random._common.__file__, place / "libcusolver.so.11")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = frameworks.framework_report("tensorflow")
    reason = None if there else "Cannot dlopen some GPU libraries."
    assert (report["gpus"], report["reason"], report["error"]) == (["GPU 0"] if there else [], reason, None)


@pytest.mark.parametrize(
    ("said", "reason"),
    [(MISSING, "Cannot dlopen some GPU libraries."), (f"{OLDER}\n{MISSING}", "failed call to cuInit: INTERNAL")],
)
def test_tensorflow_says_why_it_can_use_no_gpu(said: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW % said)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert frameworks.framework_report("tensorflow")["reason"] == reason


def test_the_remedy_is_one_that_can_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = (Path(frameworks.__file__).parents[2] / "Makefile").is_file()
    assert ("make setup GPU=1" if checkout else "Dockerfile.gpu") in frameworks.gpu_remedy("")
    assert frameworks.gpu_remedy("the driver is too old") == "update NVIDIA's driver (nvidia-smi shows its version)"
    monkeypatch.setattr(frameworks, "__file__", str(tmp_path / "site-packages" / "bench" / "system" / "frameworks.py"))
    assert "Dockerfile.gpu" in frameworks.gpu_remedy("")


def test_a_trial_for_a_gpu_does_not_fall_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "tensorflow"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(TrialError, match="asks for a GPU, but torch sees none"):
        frameworks.require_device(("torch",), "cuda")
    frameworks.require_device(("torch",), "cpu")
    frameworks.require_device((), "cuda")


@pytest.mark.parametrize("capability", [(7, 5), (7, 0)])
def test_a_trial_does_not_begin_on_a_gpu_that_pytorch_has_no_code_for(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    space: dict[str, type] = {}
    exec(TORCH.format(built="13.0", warning="pass", capabilities=[capability]), space)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=space["cuda"]))  # type: ignore[arg-type]
    if capability == (7, 5):
        frameworks.require_device(("torch",), "cuda")
        return
    with pytest.raises(TrialError, match=r"torch can't use the GPU: GPU 0 has compute capability 7\.0") as caught:
        frameworks.require_device(("torch",), "cuda")
    assert "--scale cpu" in caught.value.hint


def installed(folder: Path, module: str, distribution: str, version: str) -> None:
    """Install a module of one file as pip would, under another name than its own."""
    (folder / f"{module}.py").write_text("raise SystemExit('it was imported')\n")
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{module}.py,,\n")


def test_versions_of_what_a_model_requires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "tuneful", "py-tuneful", "1.4")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    frameworks.versions.cache_clear()
    before = frameworks.versions(sys.executable)["packages"]
    assert before["numpy"] == np.__version__
    recorded = frameworks.versions(sys.executable, ("numpy", "tuneful.deep", "json", "no_such_module"))["packages"]
    assert recorded == {**before, "py-tuneful": "1.4"}, "numpy once; of the standard library and of nothing, nothing"

    monkeypatch.syspath_prepend(str(tmp_path))
    trial = frameworks.loaded(("tuneful.deep", "no_such_module"))
    assert (trial["tuneful"], trial["no_such_module"], trial["numpy"]) == ("1.4", "unknown", np.__version__)
    monkeypatch.setitem(sys.modules, "tuneful", SimpleNamespace(__version__="1.5.dev0"))
    assert frameworks.loaded(("tuneful",))["tuneful"] == "1.5.dev0", "a checkout in the place of what is installed"
    monkeypatch.setitem(sys.modules, "tuneful", SimpleNamespace(__version__=SimpleNamespace()))
    assert frameworks.loaded(("tuneful",))["tuneful"] == "1.4", "a module of that name is no version"
