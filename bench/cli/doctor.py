"""Findings of `bench doctor`: versions, processor, the modules that models require, what is missing and the command for it."""

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

from bench.cli.listing import lacking_weights
from bench.errors import UsageError
from bench.plugins.discovery import find_plugins
from bench.sound.synthesizer import sound_fact
from bench.system import frameworks, hardware, provenance
from bench.system.paths import Places, user_folders


class Problem(NamedTuple):
    """Something that is missing, and the command that fixes it."""

    what: str
    fix: str


def examine(plugins: Sequence[Path], out: Path | None) -> tuple[dict[str, str], list[Problem]]:
    """Collect facts for people, and problems. Each module that a model requires is queried in its interpreter."""
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
    needed = needed_modules(user_folders(plugins))
    with ThreadPoolExecutor() as pool:
        reports = dict(
            zip(needed, pool.map(lambda need: frameworks.framework_report(need.module, need.requires), needed), strict=True)
        )
    for need, report in reports.items():
        fact = module_fact(need.module, report)
        facts[need.module] = fact if facts.get(need.module, fact) == fact else f"{facts[need.module]}; {fact}"
    facts["sound"] = sound_fact()
    problems = [
        *package_problems(),
        *(problem for need, report in reports.items() if (problem := module_problem(need.module, report, visible, needed[need]))),
        *folder_problems(out),
    ]
    return facts, problems


class Need(NamedTuple):
    """A module, and all that a model requires beside it, which decides in which interpreter it is asked."""

    module: str
    requires: tuple[str, ...]


def needed_modules(plugins: Sequence[Path]) -> dict[Need, list[str]]:
    """List the modules that model plug-ins require, with those models; a module once for each interpreter that may run it."""
    needed: dict[tuple[str, str], tuple[Need, list[str]]] = {}
    for plugin in find_plugins("model", plugins).values():
        if lacking_weights(plugin, Places.find()):
            continue  # of no use yet, whatever is installed
        requires = tuple(plugin.header["REQUIRES"])
        try:
            python = frameworks.interpreter(requires)
        except UsageError as error:
            python = error.message
        for module in requires:
            needed.setdefault((module, python), (Need(module, requires), []))[1].append(plugin.name)
    return dict(needed[key] for key in sorted(needed))


def module_fact(module: str, report: Mapping[str, Any]) -> str:
    """Describe a module in one line."""
    if report["error"]:
        return f"not usable: {report['error']}"
    if module not in frameworks.ON_GPU:
        return f"{report['version']} ({report['python']})"
    gpus = ", ".join(report["gpus"]) or "no GPU"
    cuda = f", built for CUDA {report['cuda']}" if report["cuda"] else ""
    return f"{report['version']}, {gpus}{cuda} ({report['python']})"


def module_problem(module: str, report: Mapping[str, Any], gpu: bool, models: Sequence[str]) -> Problem | None:
    """Return the problem with a module, if any: it is missing, broken, or can't use the GPU."""
    python, who = report["python"], ", ".join(models)
    gpu = gpu and module in frameworks.ON_GPU
    if python is None:
        named = re.search(r"\$(\w+)", report["error"])
        return Problem(f"{module} (for {who}): {report['error']}", f"unset {named[1] if named else ''}".rstrip())
    if report["error"]:
        fix = frameworks.gpu_remedy(report["error"]) if gpu else frameworks.install_command([module], python)
        return Problem(f"{module} (for {who}): {report['error']}", fix)
    if gpu and not report["gpus"]:
        because = f": {report['reason']}" if report["reason"] else ""
        return Problem(f"{module} can't use this machine's GPU (for {who}){because}", frameworks.gpu_remedy(because))
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
    for variable, folders in (
        ("BENCH_DATA", places.data),
        ("BENCH_PLUGINS", places.plugins),
        ("BENCH_WEIGHTS", places.weights),
    ):
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
