"""Modules that models require: their interpreters, versions and GPUs. Each is asked in its interpreter, never imported here."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import TrialError, UsageError
from bench.system import gpu
from bench.system.command import ask
from bench.system.drawing import load_matplotlib
from bench.system.hardware import cpu_model

#: Arguments to pip that install a module where there is no GPU; another module is assumed to be called as its package.
_INSTALL = {
    "tensorflow": "tensorflow-cpu==2.21.0 'h5py<3.15'",
    "torch": "torch==2.13.0 safetensors",
    "transformers": "transformers==5.23.0",
    "miditok": "miditok==3.1.0",
}

#: Older names of variables, see :func:`variables`.
_OLDER = {"torch": ("BENCH_PYTHON_PYTORCH",)}

#: Distributions worth recording, those that are installed; those that a model's modules come from are recorded beside them.
PACKAGES = (
    *("midibench", "numpy", "scipy", "h5py", "pydantic", "symusic", "pretty_midi", "music21"),
    *("torch", "triton", "safetensors", "tensorflow", "tensorflow-cpu", "keras"),
)


def distributions(modules: list[str]) -> dict[str, str]:
    """Return names and versions of the distributions that modules come from, by their metadata: none of them is imported.

    The interpreters of models, where bench may not be installed, get the text of this function.
    """
    import importlib.metadata

    known = importlib.metadata.packages_distributions()
    names = {name for module in modules for name in known.get(module.partition(".")[0], ()) if name}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


_VERSIONS = (
    inspect.getsource(distributions)
    + """
import importlib.metadata as m, json, platform, sys
given = json.loads(sys.argv[1])
packages = {}
for name in given["packages"]:
    try: packages[name] = m.version(name)
    except m.PackageNotFoundError: pass
plain = lambda name: name.lower().replace("_", "-").replace(".", "-")
recorded = set(map(plain, packages))
packages.update((n, v) for n, v in distributions(given["modules"]).items() if plain(n) not in recorded)
print(json.dumps({"python": platform.python_version(), "packages": packages}))
"""
)

_ASK = {
    "torch": "import json, re, torch, warnings\n"
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
    "tensorflow": inspect.getsource(gpu.load_cusolver)
    + inspect.getsource(load_matplotlib)
    + """
load_cusolver()
load_matplotlib()
import json, tensorflow as tf
gpus = [tf.config.experimental.get_device_details(g).get("device_name", g.name) for g in tf.config.list_physical_devices("GPU")]
cuda = tf.sysconfig.get_build_info().get("cuda_version")
reason = None if tf.test.is_built_with_cuda() else "its build is for processors alone"
print("\\n" + json.dumps({"version": tf.__version__, "gpus": gpus, "cuda": cuda, "error": None, "reason": reason}))
""",
}

_ASK_ANY = (
    inspect.getsource(load_matplotlib)
    + """
load_matplotlib()
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
version = str(getattr(module, "__version__", "of unknown version"))
print("\\n" + json.dumps({"version": version, "gpus": [], "cuda": None, "error": None}))
"""
)

_LACKING = """
import importlib.util, json, sys
print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]))
"""

#: Modules that can use a GPU.
ON_GPU = frozenset(_ASK)


def variables(module: str) -> tuple[str, ...]:
    """Environment variables that may name the interpreter of a module.

    Examples
    --------
    >>> variables("transformers")
    ('BENCH_PYTHON_TRANSFORMERS',)
    """
    return (f"BENCH_PYTHON_{module.partition('.')[0].upper()}", *_OLDER.get(module, ()))


def interpreter(requires: Sequence[str]) -> str:
    """Path of the Python that runs a model: one that a variable names for a module that it requires, else this one.

    Where the variables of several modules name different interpreters, it is the first of these that has all the modules.

    Raises
    ------
    UsageError
        If a variable names no executable file.
    """
    paths: dict[str, None] = {}
    for module in requires:
        for variable in variables(module):
            if not (chosen := os.environ.get(variable)):
                continue
            path = shutil.which(chosen)
            if path is None:
                raise UsageError(
                    f"${variable} is {chosen!r}, which is no executable file.",
                    f"Set it to the Python that has {module} and midibench, or unset it to use {sys.executable}.",
                )
            paths[path] = None
    if len(paths) > 1:
        return next((path for path in paths if not lacking(tuple(requires), path)), next(iter(paths)))
    return next(iter(paths), sys.executable)


@functools.cache
def lacking(requires: tuple[str, ...], python: str) -> tuple[str, ...]:
    """List those of the modules that an interpreter hasn't installed. None of them is imported."""
    names = tuple(dict.fromkeys(module.partition(".")[0] for module in requires))
    if python == sys.executable:
        return tuple(name for name in names if importlib.util.find_spec(name) is None)
    try:
        answer = json.loads(ask([python, "-P", "-c", _LACKING, *names], timeout=60).stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()  # whatever is wrong with it, `bench doctor` shows
    return tuple(name for name in names if name in answer) if isinstance(answer, list) else ()


def install_command(modules: Sequence[str], python: str) -> str:
    """Command that installs modules into an interpreter's environment."""
    return " ".join([python, "-m pip install", *(_INSTALL.get(module, module) for module in modules)])


def framework_report(module: str, requires: Sequence[str] = (), timeout: float = 120) -> dict[str, Any]:
    """Ask a module for its version and the GPUs that it can use, in the interpreter of a model that requires all of `requires`.

    Returns
    -------
    dict
        ``version``, ``gpus`` (names), ``cuda`` (the version it was built for), ``error`` (None if all is well), ``reason`` (why
        there are no ``gpus``, where the module says it), ``python``.
    """
    nothing: dict[str, Any] = {"version": None, "gpus": [], "cuda": None, "reason": None}
    try:
        python = interpreter(requires or (module,))
    except UsageError as error:
        return {**nothing, "error": error.message, "python": None}
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"}  # why TensorFlow can't use a GPU is an error or a warning
    command = [python, "-P", "-c", *([_ASK[module]] if module in _ASK else [_ASK_ANY, module])]
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
        errors = [line for line in said if re.search(r": E \S+:\d+\] ", line)]
        report["reason"] = (errors or said)[-1].rpartition("] ")[2]  # behind the place in TensorFlow's source
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
def versions(python: str, modules: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the versions of an interpreter, of :data:`PACKAGES` and of what `modules` come from, from their metadata."""
    try:
        answer = ask([python, "-P", "-c", _VERSIONS, json.dumps({"packages": PACKAGES, "modules": modules})], timeout=60)
        return {"path": python, **json.loads(answer.stdout)}
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        return {"path": python, "error": str(error)}


def loaded(requires: Sequence[str] = ()) -> dict[str, Any]:
    """Return the versions of Python, of NumPy and the frameworks that this process has imported, and of what a model requires."""
    names = ("numpy", "torch", "tensorflow", "keras")
    imported = {name: sys.modules[name].__version__ for name in names if name in sys.modules}
    required = dict.fromkeys(module.partition(".")[0] for module in requires)
    return {**{module: _version(module) for module in required}, "python": platform.python_version(), **imported}


def _version(module: str) -> str:
    """Return the version that a module states or, where it states none, those of the distributions that it comes from."""
    stated = getattr(sys.modules.get(module), "__version__", None)
    if isinstance(stated, str):  # it may be a module too
        return stated
    return ", ".join(distributions([module]).values()) or "unknown"


def require_device(requires: Sequence[str], device: str) -> None:
    """Refuse a trial on a GPU if the framework that its model has imported can't use one, or has no code for it.

    Raises
    ------
    TrialError
        Otherwise the model would fall back to the CPU, and its times would be reported as a GPU's; or die at the first kernel.
    """
    framework = next((module for module in requires if module in ON_GPU), None)
    if device != "cuda" or framework is None:
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
