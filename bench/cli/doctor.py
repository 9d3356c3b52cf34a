"""Findings of `bench doctor`: versions, processor, GPU per framework, what is missing and the command that fixes it."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from bench.plugins.discovery import find_plugins
from bench.sound.synthesizer import sound_fact
from bench.system import frameworks, hardware, provenance
from bench.system.paths import Places, user_folders

#: Arguments to Python that install a missing framework where there is no GPU.
_INSTALL = {
    "tensorflow": "-m pip install tensorflow-cpu==2.21.0 'h5py<3.15'",
    "pytorch": "-m pip install torch==2.13.0 safetensors",
}


class Problem(NamedTuple):
    """Something that is missing, and the command that fixes it."""

    what: str
    fix: str


def examine(plugins: Sequence[Path], out: Path | None) -> tuple[dict[str, str], list[Problem]]:
    """Collect facts for people, and problems. Each framework that a model needs is queried in its own interpreter."""
    machine = hardware.machine()
    visible, why = hardware.gpu_visible()
    facts = {
        "bench": provenance.version(),
        "python": f"{sys.version.split()[0]} ({sys.executable})",
        "system": machine["platform"],
        "CPU": f"{machine['cpu']}, {machine['cores']} cores",
        "memory": f"{machine['memory_bytes'] / 2**30:.1f} GiB",
        "GPU": why,
    }
    needed = needed_frameworks(user_folders(plugins))
    with ThreadPoolExecutor() as pool:
        reports = dict(zip(needed, pool.map(frameworks.framework_report, needed), strict=True))
    facts |= {framework: framework_fact(framework, report) for framework, report in reports.items()}
    facts["sound"] = sound_fact()
    problems = [
        *package_problems(),
        *(problem for f, report in reports.items() if (problem := framework_problem(f, report, visible, needed[f]))),
        *folder_problems(out),
    ]
    return facts, problems


def needed_frameworks(plugins: Sequence[Path]) -> dict[str, list[str]]:
    """List the frameworks that model plug-ins need, with those models."""
    needed: dict[str, list[str]] = {}
    for plugin in find_plugins("model", plugins).values():
        needed.setdefault(plugin.header["FRAMEWORK"], []).append(plugin.name)
    return dict(sorted(needed.items()))


def framework_fact(framework: str, report: Mapping[str, Any]) -> str:
    """Describe a framework in one line."""
    if report["error"]:
        return f"not usable: {report['error']}"
    if framework not in frameworks.INTERPRETERS:
        return f"{report['version']} ({report['python']})"
    gpus = ", ".join(report["gpus"]) or "no GPU"
    cuda = f", built for CUDA {report['cuda']}" if report["cuda"] else ""
    return f"{report['version']}, {gpus}{cuda} ({report['python']})"


def framework_problem(framework: str, report: Mapping[str, Any], gpu: bool, models: Sequence[str]) -> Problem | None:
    """Return the problem with a framework, if any: it is missing, broken, or can't use the GPU."""
    python, who = report["python"], ", ".join(models)
    gpu = gpu and framework in frameworks.INTERPRETERS
    if python is None:
        return Problem(f"{framework} (for {who}): {report['error']}", f"unset {frameworks.INTERPRETERS[framework]}")
    if report["error"]:
        command = _INSTALL.get(framework, f"-m pip install {framework}")
        fix = frameworks.gpu_remedy(report["error"]) if gpu else f"{python} {command}"
        return Problem(f"{framework} (for {who}): {report['error']}", fix)
    if gpu and not report["gpus"]:
        because = f": {report['reason']}" if report["reason"] else ""
        return Problem(f"{framework} can't use this machine's GPU (for {who}){because}", frameworks.gpu_remedy(because))
    return None


def package_problems() -> Iterator[Problem]:
    """Yield a problem for each required package that isn't installed."""
    try:
        required = importlib.metadata.requires("midibench") or []
    except importlib.metadata.PackageNotFoundError:
        yield Problem("bench runs from a folder, not from an installed package", f"{sys.executable} -m pip install -e .")
        return
    for requirement in required:
        specifier, _, marker = requirement.partition(";")
        name = re.match(r"[A-Za-z0-9._-]+", specifier)
        if name is None or "extra" in marker:
            continue
        try:
            importlib.metadata.version(name[0])
        except importlib.metadata.PackageNotFoundError:
            yield Problem(f"the package {name[0]}", f"{sys.executable} -m pip install '{specifier.strip()}'")


def folder_problems(out: Path | None) -> Iterator[Problem]:
    """Yield a problem for each folder that can't be written, or is named by a variable and doesn't exist."""
    places = Places.find(out)
    existing = next(path for path in (places.out, *places.out.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Problem(f"{existing} can't be written: {error.strerror}", "bench ... --out DIR, or set BENCH_REPORTS")
    for variable, folders in (("BENCH_DATA", places.data), ("BENCH_PLUGINS", places.plugins)):
        for folder in folders:
            if not folder.exists():
                yield Problem(f"${variable} names {folder}, which doesn't exist", f"export {variable}=DIR")
    if shutil.disk_usage(existing).free < 2**30:
        yield Problem(f"{existing} has less than 1 GiB left", "bench ... --out DIR on another disk")


def table(facts: Mapping[str, str]) -> Table:
    """Lay the facts out in two columns."""
    result = Table(show_header=False, box=None, pad_edge=False)
    result.add_column(style="bold", no_wrap=True)
    result.add_column(overflow="fold")
    for name, fact in facts.items():
        result.add_row(name, Text(fact))
    return result
