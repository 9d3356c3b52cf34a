"""The frameworks' interpreters, versions and GPUs. A framework is asked in its own interpreter, never imported here."""

from __future__ import annotations

import functools
import inspect
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.errors import TrialError, UsageError
from bench.system import gpu
from bench.system.command import ask
from bench.system.hardware import cpu_model

#: Environment variables that name a framework's interpreter. A framework without one runs in this interpreter.
INTERPRETERS = {"tensorflow": "BENCH_PYTHON_TENSORFLOW", "pytorch": "BENCH_PYTHON_PYTORCH"}

#: Distributions worth recording, those that are installed.
PACKAGES = (
    *("midibench", "numpy", "scipy", "h5py", "pydantic", "symusic", "pretty_midi", "music21"),
    *("torch", "triton", "safetensors", "tensorflow", "tensorflow-cpu", "keras"),
)

_VERSIONS = """
import importlib.metadata as m, json, platform, sys
packages = {}
for name in sys.argv[1:]:
    try: packages[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps({"python": platform.python_version(), "packages": packages}))
"""

_ASK = {
    "pytorch": "import json, re, torch, warnings\n"
    + inspect.getsource(gpu.lacking_code)
    + """
cuda, gpus, reason = torch.cuda, [], None
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    seen = range(cuda.device_count() if cuda.is_available() else 0)
if torch.version.cuda is None:
    reason = "its build is for processors alone"
elif not seen:
    reason = next((re.sub("^CUDA initialization: ", "", str(s.message)).split(". ")[0] for s in said), None)
for i in seen:
    gpus.append(cuda.get_device_name(i))
    reason = reason or lacking_code(gpus[-1], cuda.get_device_capability(i), cuda.get_arch_list())
# A trial may get any of the GPUs.
gpus = [] if reason else gpus
found = {"version": torch.__version__, "gpus": gpus, "cuda": torch.version.cuda, "error": None, "reason": reason}
print("\\n" + json.dumps(found))
""",
    "tensorflow": """
import json, tensorflow as tf
gpus = [tf.config.experimental.get_device_details(g).get("device_name", g.name) for g in tf.config.list_physical_devices("GPU")]
cuda = tf.sysconfig.get_build_info().get("cuda_version")
reason = None if tf.test.is_built_with_cuda() else "its build is for processors alone"
print("\\n" + json.dumps({"version": tf.__version__, "gpus": gpus, "cuda": cuda, "error": None, "reason": reason}))
""",
    "numpy": """
import json, numpy
print("\\n" + json.dumps({"version": numpy.__version__, "gpus": [], "cuda": None, "error": None}))
""",
}


def interpreter(framework: str) -> str:
    """Path of the Python that runs a framework: the one that its environment variable names, else this one.

    Raises
    ------
    UsageError
        If the variable names no executable file.
    """
    variable = INTERPRETERS.get(framework, "")
    chosen = os.environ.get(variable, "")
    if not chosen:
        return sys.executable
    path = shutil.which(chosen)
    if path is None:
        raise UsageError(
            f"${variable} is {chosen!r}, which is no executable file.",
            f"Set it to the Python that has {framework} and midibench, or unset it to use {sys.executable}.",
        )
    return path


def framework_report(framework: str, timeout: float = 120) -> dict[str, Any]:
    """Ask a framework, in its own interpreter, for its version and the GPUs that it can use.

    Returns
    -------
    dict
        ``version``, ``gpus`` (names), ``cuda`` (the version it was built for), ``error`` (None if all is well), ``reason`` (why
        there are no ``gpus``, where the framework says it), ``python``.
    """
    nothing: dict[str, Any] = {"version": None, "gpus": [], "cuda": None, "reason": None}
    try:
        python = interpreter(framework)
    except UsageError as error:
        return {**nothing, "error": error.message, "python": None}
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}  # errors: why TensorFlow can't use a GPU is one
    command = [python, "-P", "-c", _ASK[framework]]
    try:
        answer = ask(command, timeout, quiet)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {**nothing, "error": str(error), "python": python}
    said = answer.stderr.strip().splitlines()
    if answer.returncode != 0:
        return {**nothing, "error": said[-1] if said else f"exit code {answer.returncode}", "python": python}
    try:
        report: dict[str, Any] = nothing | json.loads(answer.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError, TypeError):
        return {**nothing, "error": "it does not respond like a Python interpreter", "python": python}
    if said and not report["gpus"] and not report["reason"]:
        report["reason"] = said[-1].rpartition("] ")[2]  # behind the place in TensorFlow's source
    return {**report, "python": python}


def gpu_remedy(reason: str) -> str:
    """Say what lets a framework use the GPU that it doesn't, by its reason.

    The builds for GPUs need an environment each: both unpack their CUDA libraries into the same place.
    """
    if "driver" in reason.lower():
        return "update NVIDIA's driver (nvidia-smi shows its version)"
    if "compute capability" in reason:
        return "use a newer GPU, or hide this one by CUDA_VISIBLE_DEVICES"
    if (Path(__file__).parents[2] / "Makefile").is_file():
        return "`make setup GPU=1` makes an environment a framework"
    return "use the image of Dockerfile.gpu, which has an environment a framework"


@functools.cache
def versions(python: str) -> dict[str, Any]:
    """Read the versions of an interpreter and of its packages from their metadata."""
    try:
        answer = ask([python, "-P", "-c", _VERSIONS, *PACKAGES], timeout=60)
        return {"path": python, **json.loads(answer.stdout)}
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        return {"path": python, "error": str(error)}


def loaded() -> dict[str, Any]:
    """Return the versions of Python, NumPy and the frameworks that this process has imported."""
    names = {"numpy": "numpy", "torch": "torch", "tensorflow": "tensorflow", "keras": "keras"}
    imported = {name: sys.modules[module].__version__ for name, module in names.items() if module in sys.modules}
    return {"python": platform.python_version(), **imported}


def require_device(framework: str, device: str) -> None:
    """Refuse a trial on a GPU if its framework, which its model has imported, can't use one, or has no code for it.

    Raises
    ------
    TrialError
        Otherwise the model would fall back to the CPU, and its times would be reported as a GPU's; or die at the first kernel.
    """
    if device != "cuda" or framework not in INTERPRETERS:
        return
    if _framework_gpu() is None:
        raise TrialError(f"The trial asks for a GPU, but {framework} sees none.", "See `bench doctor`; --scale cpu needs none.")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        reason = gpu.lacking_code(torch.cuda.get_device_name(), torch.cuda.get_device_capability(), torch.cuda.get_arch_list())
        if reason:
            raise TrialError(f"{framework} can't use the GPU: {reason}.", "Use another GPU or build, or --scale cpu.")


def device_name(device: str) -> str:
    """Name of the device that a trial computed on: the GPU as the imported framework names it, or the processor."""
    return (_framework_gpu() if device == "cuda" else None) or cpu_model()


def _framework_gpu() -> str | None:
    """Name of the first GPU of a framework that this process has imported."""
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    if tensorflow is not None and (gpus := tensorflow.config.list_physical_devices("GPU")):
        return str(tensorflow.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name))
    return None
