"""A GPU's peak rate, by its name; its energy counter, by the driver's library (NVML); what a framework's build needs for it.

No framework is imported.
"""

from __future__ import annotations

import ctypes
import os
import re

#: Peak rate of products in bfloat16, FLOP/s, by the driver's name of a card: NVIDIA's data sheets, without sparsity.
BF16_PEAKS = {
    "NVIDIA A10": 125e12,
    "NVIDIA A30": 165e12,
    "NVIDIA A40": 149.7e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA B200": 2250e12,
    "NVIDIA GH200 480GB": 989e12,
    "NVIDIA H20": 148e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40": 181e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA RTX A6000": 154.8e12,
    "NVIDIA GeForce RTX 3090": 71e12,
    "NVIDIA GeForce RTX 4090": 165e12,
}


def load_cusolver() -> None:
    """Load the one library of CUDA that TensorFlow's wheel doesn't look for where pip puts it; nothing where there is none.

    Without it TensorFlow uses no GPU. Its ``libtensorflow_framework.so.2`` knows the folders of the other libraries (2.21). It
    must be called before TensorFlow first looks for GPUs.

    The frameworks' interpreters, where bench may not be installed, get the text of this function.
    """
    import contextlib
    import ctypes
    import importlib.util
    from pathlib import Path

    with contextlib.suppress(ImportError, OSError):
        spec = importlib.util.find_spec("nvidia.cusolver")
        for place in (spec and spec.submodule_search_locations) or ():
            for library in sorted(Path(place, "lib").glob("libcusolver.so.*")):
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


def lacking_code(name: str, capability: tuple[int, int], built: list[str]) -> str | None:
    """Say that a framework's build has no code for a GPU; None if it has some. Without it the first kernel fails, not the start.

    Machine code runs on GPUs of its major version, from its minor version on; PTX, which the driver compiles, on all from its
    version on. Code for one architecture alone (``sm_90a``) comes beside that for all.

    The frameworks' interpreters, where bench may not be installed, get the text of this function: it needs nothing but ``re``.

    Parameters
    ----------
    name : str
        The GPU's.
    capability : tuple of int
        Its compute capability.
    built : list of str
        What the build has code for: ``sm_80`` is machine code, ``compute_90`` is PTX. Nothing is refused if it says nothing.

    Examples
    --------
    >>> lacking_code("Tesla V100", (7, 0), ["sm_75", "sm_80", "compute_120"])
    'Tesla V100 has compute capability 7.0, and the build has code for 7.5, 8.0, 12.0'
    >>> lacking_code("L40", (8, 9), ["sm_75", "sm_80", "compute_120"])
    """
    codes = [(kind, int(digits)) for kind, digits in re.findall(r"(sm|compute)_(\d+)", " ".join(built))]
    has = 10 * capability[0] + capability[1]
    if not codes or any(code <= has and (kind == "compute" or code // 10 == capability[0]) for kind, code in codes):
        return None
    versions = ", ".join(str(code / 10) for code in sorted({code for _, code in codes}))
    return f"{name} has compute capability {capability[0]}.{capability[1]}, and the build has code for {versions}"


def joules() -> float | None:
    """Energy that this process's GPU has used since its driver was loaded, joules.

    None without a driver, for a GPU that doesn't count (older than Volta, or a part of one), and where it isn't certain which GPU
    of several is this process's.
    """
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return None
    except (OSError, AttributeError):
        return None
    try:
        gpu, energy = _own(nvml), ctypes.c_ulonglong()  # millijoules
        failed = gpu is None or nvml.nvmlDeviceGetTotalEnergyConsumption(gpu, ctypes.byref(energy))
        return None if failed else energy.value / 1000
    except AttributeError:  # an old driver
        return None
    finally:
        nvml.nvmlShutdown()


def _own(nvml: ctypes.CDLL) -> ctypes.c_void_p | None:
    """Find the GPU that CUDA counts as the first of this process."""
    number, gpu = ctypes.c_uint(), ctypes.c_void_p()
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(number))
    name = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if name.startswith("GPU-"):
        failed = nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(gpu))
    # By default CUDA counts the fastest GPU first, the driver by their places on the bus.
    elif name.isdecimal() and (number.value == 1 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"):
        failed = nvml.nvmlDeviceGetHandleByIndex_v2(int(name), ctypes.byref(gpu))
    else:
        return None
    if failed or _divided(nvml, gpu):
        return None
    return gpu


def _divided(nvml: ctypes.CDLL, gpu: ctypes.c_void_p) -> bool:
    """Whether a GPU is divided (MIG): its counter is that of all its parts."""
    now, then = ctypes.c_uint(), ctypes.c_uint()
    return not nvml.nvmlDeviceGetMigMode(gpu, ctypes.byref(now), ctypes.byref(then)) and now.value == 1
