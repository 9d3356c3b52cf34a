"""Findings of `bench doctor --gpu`: short checks of the GPU by every framework that sees it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.cli.doctor import module_problem, needed_modules
from bench.system import frameworks, hardware
from bench.system.gpu_probes import CHECKS, Check, probe
from bench.system.paths import user_folders

_CUDNN = (
    "unset LD_LIBRARY_PATH if it names another CUDA's libraries, else install {framework} with the cuDNN that it was built with, "
    "in an environment of its own; --scale cpu does without"
)

#: What to do about a check that failed, by its name.
_ADVICE = {
    "device": "use a newer GPU, a build of {framework} for this one, or --scale cpu; nvidia-smi lists who holds memory",
    "product": "update the driver (nvidia-smi shows its version), or install a {framework} that was built for it",
    "bfloat16": "install a {framework} that was built for this GPU; --scale cpu does without",
    "LSTM": _CUDNN,
    "GRU": _CUDNN,
    "compiler": "install a C compiler and Python's headers (apt install gcc python3-dev); without them training is only slower",
    "XLA": "install {framework} with its CUDA packages ({framework}[and-cuda]); without XLA generation is only slower",
}


class Finding(NamedTuple):
    """One line of the result: PASS, FAIL or SKIP, of what, the figures or the reason; and what to do."""

    state: str
    what: str
    detail: str
    fix: str = ""


def examine(plugins: Sequence[Path]) -> list[Finding]:
    """Check the GPU by each framework that a model needs, where the framework sees it; in parallel.

    At least one finding fails where nothing could be checked.
    """
    visible, why = hardware.gpu_visible()
    needed: dict[str, list[str]] = {}
    for need, models in needed_modules(user_folders(plugins)).items():
        if need.module in CHECKS:
            needed.setdefault(need.module, []).extend(models)
    if not visible:
        checks = "; ".join(f"{framework}: {', '.join(CHECKS[framework])}" for framework in needed)
        install = "install NVIDIA's driver (in a container: docker run --gpus all), or run with --scale cpu"
        fix = "correct the variable, or unset it" if "CUDA_VISIBLE_DEVICES" in why else install
        return [Finding("FAIL", "GPU", f"nothing could be checked, as {why}. With a GPU, these checks would run: {checks}", fix)]
    findings = [Finding("PASS", "driver", state) for state in hardware.gpu_states()]
    with ThreadPoolExecutor() as pool:
        reports = dict(zip(needed, pool.map(frameworks.framework_report, needed), strict=True))
        able = [framework for framework, report in reports.items() if report["gpus"]]
        findings += (_finding(check) for checks in pool.map(probe, able) for check in checks)
        for framework in needed:
            if framework not in able and (problem := module_problem(framework, reports[framework], True, needed[framework])):
                findings.append(Finding("SKIP", framework, problem.what, problem.fix))
    if not able:
        findings.append(Finding("FAIL", "GPU", f"{why}, but no framework that a model needs can use it: see above"))
    return findings


def conclusion(findings: Sequence[Finding]) -> str:
    """Say by which frameworks the GPU can be used, where no check failed."""
    skipped = [finding.what for finding in findings if finding.state == "SKIP"]
    used = [f for f in CHECKS if f not in skipped and any(finding.what.startswith(f"{f}: ") for finding in findings)]
    rest = f"; models of {', '.join(skipped)} run at --scale cpu" if skipped else ""
    return f"The GPU can be used by {' and '.join(used)}{rest}."


def _finding(check: Check) -> Finding:
    what = f"{check.framework}: {check.name}"
    if check.passed:
        return Finding("PASS", what, check.detail)
    advice = _ADVICE.get(check.name, "reinstall {framework}; `bench doctor` gives the command where something is missing")
    return Finding("FAIL", what, check.detail, advice.format(framework=check.framework))
