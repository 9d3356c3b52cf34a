"""Provenance of a report's numbers: the command that reproduces them, the machine, and what differs between trials."""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.formatting import listed, mebibytes, plural
from bench.report.contents import Report
from bench.scoring.table import TrialScore

MIB = 2**20

#: Most things that differ between trials, such as versions of packages, that are listed.
MOST_DIFFERENCES = 200


def command(report: Report) -> str:
    """Command that reproduces this run; the Python call for a run without a command."""
    call = report.run.call
    words = call.run_command(report.run.scale) if call.command is None else call.command
    return shlex.join(words) or f"bench.run(...) from Python, with the spec in {report.folder.name}/run.json"


def audit_command(report: Report) -> str:
    """Command that audits the metrics on the music of this run."""
    call = report.run.call
    options = [("--spec", call.spec or report.spec["name"]), ("--dataset", call.dataset), ("--scale", report.run.scale)]
    words = [word for name, value in options if value is not None for word in (name, value)]
    return shlex.join(["bench", "audit", *words, *call.folder_options()])


def rows(report: Report) -> list[tuple[str, str]]:
    """Names and values of what the run used."""
    stored = report.run.provenance
    machine = stored.machine
    result = [
        ("midibench", str(stored.bench)),
        ("commit", str(stored.git or "not from a checkout")),
        ("processor", f"{machine.cpu}, {plural(machine.cores or 0, 'core')}"),
        ("memory", mebibytes((machine.memory_bytes or 0) / MIB)),
        ("GPU", listed([str(g) for g in machine.gpus]) or "none"),
        ("system", str(machine.platform)),
        ("dataset", f"{report.spec['dataset']['name']}, fingerprint {report.dataset.corpus_key}"),
    ]
    for framework, interpreter in sorted(stored.interpreters.items()):
        packages = ", ".join(f"{name} {version}" for name, version in sorted(interpreter.packages.items()))
        result.append((f"Python for {framework}", f"{interpreter.python or interpreter.error}; {packages}"))
    threads = sorted({number for row in report.table.rows for number in row.threads})
    result.append(("threads", f"{listed(list(map(str, threads))) or 'unknown'} a trial"))
    differences = list(itertools.islice(_differences(report), MOST_DIFFERENCES + 1))
    result += [(f"not the same for all trials: {name}", counts) for name, counts in differences[:MOST_DIFFERENCES]]
    if len(differences) > MOST_DIFFERENCES:
        result.append(("not the same for all trials", f"more than these {MOST_DIFFERENCES}; see the outcomes of the trials"))
    result.append(("started", str(report.run.started)))
    if report.run.resumed is not None:
        result.append(("last resumed", report.run.resumed))
    result.append(("finished", report.run.finished or "not yet"))
    return result


def done(report: Report) -> list[TrialScore]:
    """Trials that ended well."""
    return [trial for row in report.table.rows for trial in row.done]


def ran(trial: TrialScore) -> Mapping[str, Any]:
    """Versions, devices and threads that a trial recorded."""
    return trial.result.provenance


def _differences(report: Report) -> Iterable[tuple[str, str]]:
    """Names and counts of what differs between trials, which may come from several calls and machines.

    A library may differ between models, as each framework has its own interpreter, but not within one model.
    """
    shared = {"bench": "midibench", "git": "commit", "cpu": "processor", "host": "machine"}
    for name, title in shared.items():
        yield from _counts(title, [ran(t)[name] for t in done(report) if name in ran(t)])
    models: dict[str, list[TrialScore]] = {}
    for trial in done(report):
        models.setdefault(trial.trial.model, []).append(trial)
    for model, trials in models.items():
        own = sorted({name for t in trials for name in ran(t)} - shared.keys() - {"threads", "device", "shares_gpu"})
        runs_on_cpu = report.run.headers.get(model, {}).get("ROLE") == "reference"
        for name in own if runs_on_cpu else (*own, "device"):
            yield from _counts(f"{name} of {model}", [ran(t)[name] for t in trials if name in ran(t)])


def _counts(title: str, values: Sequence[object]) -> Iterable[tuple[str, str]]:
    counts = Counter(str(value) for value in values)
    if len(counts) > 1:
        yield title, listed([f"{value} ({plural(n, 'trial')})" for value, n in sorted(counts.items())])
