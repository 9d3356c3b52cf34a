"""What a run ran on: versions, processor, memory, GPU. Each framework is asked in its own interpreter, never imported here."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import TrialError, UsageError

_PACKAGE = Path(__file__).resolve().parents[1]

#: Variables that name the interpreter of a framework. A framework without one runs in this interpreter.
INTERPRETERS = {"tensorflow": "BENCH_PYTHON_TENSORFLOW", "pytorch": "BENCH_PYTHON_PYTORCH"}

#: Distributions worth recording, those that are installed.
PACKAGES = (
    *("midibench", "numpy", "scipy", "h5py", "pydantic", "symusic", "pretty_midi", "music21"),
    *("torch", "triton", "safetensors", "tensorflow", "tensorflow-cpu", "keras"),
)

_VERSIONS = """
import importlib.metadata as m, json, platform, sys
found = {}
for name in sys.argv[1:]:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""

_ASK = {
    "pytorch": """
import json, torch
cuda = torch.cuda.is_available()
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
print("\\n" + json.dumps({"version": torch.__version__, "gpus": gpus, "cuda": torch.version.cuda, "error": None}))
""",
    "tensorflow": """
import json, tensorflow as tf
gpus = [tf.config.experimental.get_device_details(g).get("device_name", g.name) for g in tf.config.list_physical_devices("GPU")]
cuda = tf.sysconfig.get_build_info().get("cuda_version")
print("\\n" + json.dumps({"version": tf.__version__, "gpus": gpus, "cuda": cuda, "error": None}))
""",
    "numpy": """
import json, numpy
print("\\n" + json.dumps({"version": numpy.__version__, "gpus": [], "cuda": None, "error": None}))
""",
}


def interpreter(framework: str, environment: Mapping[str, str] | None = None) -> str:
    """The Python that runs a framework: the one its variable names, else this one.

    Raises
    ------
    UsageError
        If the variable names no executable file.
    """
    variable = INTERPRETERS.get(framework, "")
    chosen = (os.environ if environment is None else environment).get(variable, "")
    if not chosen:
        return sys.executable
    found = shutil.which(chosen)
    if found is None:
        raise UsageError(
            f"${variable} is {chosen!r}, which is no executable file.",
            f"Set it to the Python that has {framework} and midibench, or unset it to use {sys.executable}.",
        )
    return found


def framework_report(framework: str, timeout: float = 120) -> dict[str, Any]:
    """Ask a framework, in its own interpreter, for its version and the GPUs that it can use.

    Returns
    -------
    dict
        ``version``, ``gpus`` (names), ``cuda`` (the version it was built for), ``error`` (None if all is well), ``python``.
    """
    nothing: dict[str, Any] = {"version": None, "gpus": [], "cuda": None}
    try:
        python = interpreter(framework)
    except UsageError as error:
        return {**nothing, "error": error.message, "python": None}
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, "-P", "-c", _ASK[framework]]
    try:
        answer = _ask(command, timeout, quiet)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {**nothing, "error": str(error), "python": python}
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
        return {**nothing, "error": lines[-1], "python": python}
    try:
        report: dict[str, Any] = nothing | json.loads(answer.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError, TypeError):
        return {**nothing, "error": "it does not answer as a Python does", "python": python}
    return {**report, "python": python}


def gpu_visible() -> tuple[bool, str]:
    """Whether an NVIDIA GPU can be seen from here, and why that is thought. Quick: asks the driver, no framework."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False, "CUDA_VISIBLE_DEVICES hides every GPU"
    if names := gpu_names():
        return True, f"nvidia-smi shows {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    devices = sorted(p.name for p in Path("/dev").glob("nvidia[0-9]*"))
    if devices:
        return True, f"there is /dev/{devices[0]}"
    return False, "no GPU is visible (nvidia-smi shows none, there is no /dev/nvidia0)"


@functools.cache
def gpu_names() -> tuple[str, ...]:
    """GPUs that nvidia-smi lists, empty without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        answer = _ask([tool, "--query-gpu=name", "--format=csv,noheader"], timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(filter(None, map(str.strip, answer.stdout.splitlines()))) if answer.returncode == 0 else ()


def cores() -> int:
    """Cores that this process may use: its affinity, cut by the control group's quota (a container's ``--cpus``). At least 1."""
    quota = min((q for folder in _cgroups("cpu") if (q := _cpu_quota(folder)) is not None), default=None)
    affinity = len(os.sched_getaffinity(0))
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def memory_bytes() -> int:
    """Main memory that this process may use: the machine's, cut by the control group's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_number(f / name) for f in _cgroups("memory") for name in ("memory.max", "memory.limit_in_bytes")]
    return min([total, *(int(x) for x in limits if x is not None)])


def cpu_model() -> str:
    """The processor's name as /proc/cpuinfo has it, else the platform's."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, GPUs. Imports nothing heavy."""
    return {
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "gpus": list(gpu_names()),
    }


def collect(interpreters: Mapping[str, str]) -> dict[str, Any]:
    """What run.json records.

    Parameters
    ----------
    interpreters : mapping of str to str
        Python by framework, for those that the run uses.
    """
    return {
        "bench": version(),
        "git": git_commit(),
        "machine": machine(),
        "interpreters": {framework: versions(python) for framework, python in sorted(interpreters.items())},
    }


def loaded() -> dict[str, Any]:
    """Versions of Python, NumPy and the frameworks that this process has imported."""
    names = {"numpy": "numpy", "torch": "torch", "tensorflow": "tensorflow", "keras": "keras"}
    found = {name: sys.modules[module].__version__ for name, module in names.items() if module in sys.modules}
    return {"python": platform.python_version(), **found}


def require_device(framework: str, device: str) -> None:
    """Refuse a trial for a GPU whose framework, already imported by its model, can't use one.

    Raises
    ------
    TrialError
        As the model would fall back to the CPU, and its times would be told as a GPU's.
    """
    if device != "cuda" or framework not in INTERPRETERS or _framework_gpu() is not None:
        return
    raise TrialError(f"The trial asks for a GPU, but {framework} sees none.", "See `bench doctor`; --scale cpu needs none.")


def device_name(device: str) -> str:
    """Name of what a trial computed on: the GPU as the imported framework names it, or the processor."""
    return (_framework_gpu() if device == "cuda" else None) or cpu_model()


def _framework_gpu() -> str | None:
    """The first GPU of a framework that this process has imported."""
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    if tensorflow is not None and (gpus := tensorflow.config.list_physical_devices("GPU")):
        return str(tensorflow.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name))
    return None


def version() -> str:
    """The installed version of this package."""
    try:
        return importlib.metadata.version("midibench")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def installation() -> str:
    """Version and place of the package that runs here: ``midibench 0.1.0 at /some/where/bench``."""
    return f"midibench {version()} at {_PACKAGE}"


@functools.cache
def git_commit() -> str | None:
    """Commit of the checkout that bench runs from, with ``+changes`` if it has any; None outside a checkout."""
    root = _PACKAGE.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    git = ["git", "-C", str(root)]
    try:
        commit = _ask([*git, "rev-parse", "HEAD"], timeout=10).stdout.strip()
        changes = _ask([*git, "status", "--porcelain", "--untracked-files=no"], timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return (commit + ("+changes" if changes else "")) or None


@functools.cache
def versions(python: str) -> dict[str, Any]:
    """Python's and the packages' versions in an interpreter, read from their metadata."""
    try:
        answer = _ask([python, "-P", "-c", _VERSIONS, *PACKAGES], timeout=60)
        return {"path": python, **json.loads(answer.stdout)}
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        return {"path": python, "error": str(error)}


def _ask(command: list[str], timeout: float, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command that only answers a question."""
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, env=environment, check=False
    )


def _cgroups(controller: str) -> list[Path]:
    """Control group folders of this process, version 2 and 1, from its own up to the root."""
    root = Path("/sys/fs/cgroup")
    found = [root, root / controller]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        own = base / path.lstrip("/")
        found += [folder for folder in (own, *own.parents) if folder != base and base in folder.parents]
    return found


def _cpu_quota(folder: Path) -> float | None:
    """Cores that a control group may use; None without a limit."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    quota_, period_ = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota_ / period_ if quota_ and period_ and quota_ > 0 else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
