"""Processor, memory and GPUs that this process may use. Quick: imports no framework and starts none."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.system.command import ask


class _Gpu(NamedTuple):
    """A GPU in the driver's list: its UUID, and those of its parts if it is divided (MIG)."""

    uuid: str
    parts: tuple[str, ...]


def gpu_visible() -> tuple[bool, str]:
    """Whether an NVIDIA GPU is visible, and the evidence. Quick: asks the driver, no framework."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen in ("", "-1"):
        return False, "CUDA_VISIBLE_DEVICES hides every GPU"
    if chosen is not None and not gpu_ids():
        return False, f"CUDA_VISIBLE_DEVICES is {chosen!r}, which hides every GPU: CUDA ignores what follows an unknown name"
    if names := gpu_names():
        return True, f"nvidia-smi shows {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    devices = sorted(p.name for p in Path("/dev").glob("nvidia[0-9]*"))
    if devices:
        return True, f"there is /dev/{devices[0]}"
    return False, "no GPU is visible (nvidia-smi shows none, there is no /dev/nvidia0)"


def gpu_names() -> tuple[str, ...]:
    """List the GPUs that nvidia-smi reports; empty without it."""
    return _of_gpus("--query-gpu=name", "--format=csv,noheader")


def gpu_states() -> tuple[str, ...]:
    """List name, driver's version, free and total memory of each GPU, as nvidia-smi writes them; empty without it."""
    return _of_gpus("--query-gpu=name,driver_version,memory.free,memory.total", "--format=csv,noheader")


def gpu_ids() -> tuple[str, ...]:
    """List the GPUs that trials may use, as ``$CUDA_VISIBLE_DEVICES`` names them: its own names, else the driver's UUIDs.

    Numbers are no names where several processes choose: the driver and CUDA may count in different orders. Each part of a divided
    GPU (MIG) counts as one: CUDA gives a process one part at most. As in CUDA, a name that isn't valid ends the list, and a GPU
    that is named twice hides all.
    """
    chosen, listed = os.environ.get("CUDA_VISIBLE_DEVICES"), _listed()
    if chosen is None:
        return tuple(part for gpu in listed for part in gpu.parts or (gpu.uuid,))
    names = tuple(itertools.takewhile(lambda name: _names_one(name, listed), map(str.strip, chosen.split(","))))
    return names if len(set(names)) == len(names) else ()


def _names_one(name: str, listed: Sequence[_Gpu]) -> bool:
    """Whether CUDA takes a name, a number or the beginning of a UUID, as far as the GPUs are known."""
    if name.isdecimal():
        return not listed or int(name) < len(listed)
    uuids = [uuid for gpu in listed for uuid in (gpu.uuid, *gpu.parts)]
    return name.startswith(("GPU-", "MIG-")) and (not listed or any(uuid.startswith(name) for uuid in uuids))


def _listed() -> list[_Gpu]:
    """List the driver's GPUs, divided or not."""
    gpus: list[_Gpu] = []
    for line in _of_gpus("-L"):
        match = re.search(r"\(UUID: ((GPU|MIG)-[^)]+)\)", line)
        if match and match[2] == "GPU":
            gpus.append(_Gpu(match[1], ()))
        elif match and gpus:
            gpus[-1] = gpus[-1]._replace(parts=(*gpus[-1].parts, match[1]))
    return gpus


@functools.cache
def _of_gpus(*question: str) -> tuple[str, ...]:
    """Lines of nvidia-smi's answer; none without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        answer = ask([tool, *question], timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(filter(None, map(str.strip, answer.stdout.splitlines()))) if answer.returncode == 0 else ()


def cores() -> int:
    """Count the cores that this process may use: its affinity, limited by the control group's quota (``--cpus``); at least 1."""
    quota = min((q for folder in _cgroups("cpu") if (q := _cpu_quota(folder)) is not None), default=None)
    affinity = len(os.sched_getaffinity(0))
    return affinity if quota is None else max(1, min(affinity, int(quota)))


#: Of a control group of version 2 and 1: its limit, what it uses, and what of that is given up where memory is needed.
_MEMORY = (
    ("memory.max", "memory.current", r"^(?:inactive_file|active_file|slab_reclaimable) (\d+)$"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", r"^total_(?:inactive|active)_file (\d+)$"),
)


def memory_bytes() -> int:
    """Compute the main memory that this process may use: the machine's, limited by its control group."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_number(folder / limit) for folder in _cgroups("memory") for limit, _, _ in _MEMORY]
    return min([total, *(int(x) for x in limits if x is not None)])


def available_bytes() -> int:
    """Compute the main memory that this process may use and others don't, as far as the system tells."""
    free = [memory_bytes()]
    with contextlib.suppress(OSError):
        if found := re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE):
            free.append(1024 * int(found[1]))
    for folder in _cgroups("memory"):
        for names in _MEMORY:
            limit, used = (_number(folder / name) for name in names[:2])
            if limit is not None and used is not None:
                kept: list[str] = []
                with contextlib.suppress(OSError):
                    kept = re.findall(names[2], (folder / "memory.stat").read_text(), re.MULTILINE)
                free.append(max(0, int(limit - used) + sum(map(int, kept))))
    return min(free)


#: Memory to reserve for a trial at scale cpu, bytes; the largest was measured at 1.0 GiB.
TRIAL_BYTES = 3 * 2**29


def parallel_trials(scale: str) -> int:
    """Choose how many trials to run in parallel: one a GPU at scale gpu, else one a core, as far as memory allows.

    Networks of this size use a second core badly: two trials of one thread each take less time than one after the other with two.
    """
    return max(1, len(gpu_ids())) if scale == "gpu" else max(1, min(cores(), memory_bytes() // TRIAL_BYTES))


def cpu_model() -> str:
    """Name of the processor, from /proc/cpuinfo, else from the platform."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, memory, operating system, GPUs."""
    return {
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "gpus": list(gpu_names()),
    }


def _cgroups(controller: str) -> list[Path]:
    """List the control group folders of this process, versions 1 and 2, from its own up to the root."""
    root = Path("/sys/fs/cgroup")
    folders = [root, root / controller]
    try:
        lines = os.fsdecode(Path("/proc/self/cgroup").read_bytes()).splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        own = base / path.lstrip("/")
        folders += [folder for folder in (own, *own.parents) if folder != base and base in folder.parents]
    return folders


def _cpu_quota(folder: Path) -> float | None:
    """Read the number of cores that a control group may use; None without a limit."""
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
