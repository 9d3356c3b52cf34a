"""Choice of a run's scale."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError, did_you_mean
from bench.plugins.discovery import find_plugins
from bench.specs.load import load_spec
from bench.specs.schema import SCALES, Scale, Spec
from bench.system import frameworks, hardware


def choose_scale(scale: str | None, spec: Spec | str | Path, plugins: Sequence[Path] = (), **overrides: Any) -> tuple[Scale, str]:
    """Choose the scale, and say why: the requested one, else gpu if every framework that the spec's models need can use one.

    Parameters
    ----------
    scale : str or None
    spec : Spec or str or Path
        The spec, or its name or file.
    plugins : sequence of Path
        Folders of plug-ins.
    **overrides
        See :func:`bench.specs.load.load_spec`.

    Raises
    ------
    UsageError
        If the scale is unknown, or is gpu and no GPU is visible. One that is visible, but of no use to a framework, is not
        refused: the trials that need it fail.
    """
    visible, seen = hardware.gpu_visible()
    if scale is None:
        return _suited(_needed(spec, plugins, overrides), seen) if visible else ("cpu", seen)
    for choice in SCALES:
        if scale == choice:
            if choice == "gpu" and not visible:
                raise UsageError(f"The scale gpu was asked for, but {seen}.", "Use --scale cpu; `bench doctor` says more.")
            return choice, "asked for"
    raise UsageError(f"There is no scale {scale!r}.", did_you_mean(scale, SCALES))


def _needed(spec: Spec | str | Path, plugins: Sequence[Path], overrides: dict[str, Any]) -> list[str]:
    """Modules that the spec's models require, those that can use a GPU."""
    resolved = spec if isinstance(spec, Spec) else load_spec(spec, plugins, scale=None, **overrides)
    found = find_plugins("model", plugins)
    models = {choice.plugin or row for row, choice in resolved.models.items()}
    return sorted({module for m in models if m in found for module in found[m].header["REQUIRES"]} & frameworks.ON_GPU)


@functools.cache
def _report(framework: str) -> dict[str, Any]:
    """Ask a framework once in a process: it takes seconds to import."""
    return frameworks.framework_report(framework)


def _suited(needed: Sequence[str], seen: str) -> tuple[Scale, str]:
    for framework in needed:
        if not (report := _report(framework))["gpus"]:
            why = report["error"] or report["reason"] or f"its build {report['version']} finds none"
            remedy = frameworks.gpu_remedy(why)
            return "cpu", f"{seen}, but {framework} can't use it ({why}); to change that: {remedy}; --scale gpu insists"
    return ("gpu", seen) if needed else ("cpu", "no model of the spec uses a GPU")
