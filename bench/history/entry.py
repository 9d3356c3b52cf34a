"""An entry of a history: what is kept of one run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.formatting import plural, shortened
from bench.gate.baseline import Baseline, Series, System, rounded, take
from bench.metrics import METRICS
from bench.metrics.metric import MOST, Metric
from bench.metrics.prediction import BY_UNIT
from bench.scoring.crossed import Interval, Values, seeds_interval
from bench.scoring.score import score_run
from bench.scoring.table import Row, Table, by_classes
from bench.storage.records import RunRecord, package_versions
from bench.storage.run_folder import RunFolder
from bench.storage.stored import Name

#: Version of a line of the file.
FORMAT = 1


@dataclass(frozen=True)
class Measured:
    """One metric of a row.

    Parameters
    ----------
    mean : float
    low, high : float, optional
        95 % interval, as in the run's report.
    seeds : dict of str to float
        Value of each seed: the mean over its pieces, or that of its complete trial.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    seeds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EntryRow:
    """One row of a run.

    Parameters
    ----------
    kind : str
        ``model``, ``untrained`` or ``reference``.
    definition : str
        Hash of its plug-in's name, hyperparameters, budget, harmonic constraint and device.
    code : str
        Digest of its plug-in's source; empty where it is not known.
    machine : str
        Processor, threads and GPU of its trials; empty where these differ or are not known.
    metrics : dict of str to Measured
        By ``name@version``.
    pretrained : bool
        Whether its model was trained elsewhere, so that its seeds are draws of one training; False in lines of older versions.
    likelihood : str
        Kind of its likelihood and the classes that it is over, or the number of frames or events that it predicts; empty without
        one, and in lines of older versions.
    beyond_budget : bool
        Whether a training went on beyond the common budget; False in lines of older versions.
    chord_plan : str
        Hash of the chord plan of other rows by which its harmony columns are measured; empty without one, for a constrained row,
        and in lines of older versions.
    files : str
        Number of samples a piece of another system's files, and which pieces lack; empty for other rows, and in lines of older
        versions.
    """

    kind: Name
    definition: Name
    code: Name
    machine: Name
    metrics: dict[str, Measured]
    pretrained: bool = False
    likelihood: Name = ""
    beyond_budget: bool = False
    chord_plan: Name = ""
    files: Name = ""

    @property
    def key(self) -> tuple[str, str, bool, bool]:
        """What two runs must have in common for a row to be the same: kind, definition, `pretrained`, `beyond_budget`."""
        return self.kind, self.definition, self.pretrained, self.beyond_budget


@dataclass(frozen=True)
class Entry:
    """One run.

    Parameters
    ----------
    bench_history : int
        Version of the line.
    run, identity : str
        Name of its folder, and a hash that stays the same while it is resumed.
    commit : str
        Commit of bench that made it; of a baseline from a repository, the commit that brought it. Empty if not known.
    when : str
        When it ended, or was started; ISO 8601.
    bench : str
    versions : dict of str to str
        Of packages by name; where a run's interpreters have different ones, all of them.
    spec, scale : str
    spec_hash : str
        Hash of everything in the spec that decides an outcome.
    terms : str
        Hash of dataset, music, protocol, target and scale: runs that differ here have series of their own.
    machine : str
        Processor, cores and GPUs of the machine that started it.
    rows : dict of str to EntryRow
        By name of the system.
    """

    bench_history: int
    run: Name
    identity: Name
    commit: Name
    when: Name
    bench: Name
    versions: dict[Name, Name]
    spec: Name
    scale: Name
    spec_hash: Name
    terms: Name
    machine: Name
    rows: dict[Name, EntryRow]


def entry_of_run(folder: Path, table: Table | None = None) -> Entry:
    """Make the entry of the run in `folder`; `table` are its scores, if they are known.

    Raises
    ------
    DataError
        If the folder holds no run, or it is damaged.
    """
    record, table = RunFolder(folder).read(), table or score_run(folder)
    baseline = take(folder, table)
    rows = {
        row.system: _row(baseline, row.system, record.plugins.get(row.model, ""), _machine_of(row, record))
        for row in table.rows
        if row.done
    }
    return Entry(
        FORMAT,
        run=baseline.run,
        identity=record.identity(baseline.run),
        commit=shortened(record.provenance.git or ""),
        when=shortened(record.finished or record.started or ""),
        bench=shortened(record.provenance.bench or ""),
        versions=_versions(record.provenance.packages),
        spec=shortened(str(record.spec.get("name") or record.spec["title"])),
        scale=record.scale,
        spec_hash=baseline.spec_hash,
        terms=_hash(baseline.terms),
        machine=_machine(baseline.environment),
        rows=rows,
    )


def entry_of_baseline(baseline: Baseline, commit: str, when: str) -> Entry:
    """Make the entry of a baseline that a commit brought. It knows no plug-in's source, an older one no threads."""
    parts = {name: part for name, part in baseline.environment.items() if isinstance(part, dict)}
    environment = baseline.environment
    machine = _machine(environment)
    machines = {name: _of_system(system, environment, machine) for name, system in baseline.systems.items()}
    return Entry(
        FORMAT,
        run=shortened(baseline.run),
        identity=_hash([baseline.run, commit]),
        commit=commit,
        when=when,
        bench=shortened(str(baseline.environment.get("bench") or "")),
        versions=_versions(
            package_versions({who: {str(name): str(v) for name, v in part.items() if v} for who, part in parts.items()})
        ),
        spec=shortened(baseline.run),
        scale=shortened(str(baseline.terms.get("scale") or "")),
        spec_hash=shortened(baseline.spec_hash),
        terms=_hash(baseline.terms),
        machine=machine,
        rows={
            shortened(name): _row(baseline, name, "", machines[name]) for name, system in baseline.systems.items() if system.seeds
        },
    )


def _versions(packages: Mapping[str, str]) -> dict[str, str]:
    return {shortened(package): shortened(version) for package, version in packages.items()}


def _of_system(system: System, environment: Mapping[str, Any], machine: str) -> str:
    """Kind of machine of a baseline's row; empty where there are several. An older baseline knows its run's `machine` alone."""
    processors, threads = system.processors or (environment.get("cpu"),), system.threads
    if max(map(len, (processors, threads, system.gpus))) > 1:
        return ""
    if system.processors or system.gpus:
        own = {**environment, "cpu": processors[0], **({"gpus": list(system.gpus)} if system.gpus else {})}
        machine = _machine(own)
    return ", ".join((machine, *(plural(number, "thread") for number in threads)))


def _row(baseline: Baseline, name: str, code: str, machine: str) -> EntryRow:
    system = baseline.systems[name]
    own = {key: value for key, value in system.definition.items() if key != "samples"}
    plan = None if "harmony" in own else baseline.plan_of(name)
    all_measured = ((metric, _measured(series, system.pretrained)) for metric, series in system.metrics.items())
    metrics = {metric: measured for metric, measured in all_measured if measured is not None}
    likelihood = " ".join(map(str, (system.likelihood, *system.classes, *_predictions(system)))).strip()
    return EntryRow(
        system.kind,
        _hash([own, system.device]),
        code,
        machine,
        metrics,
        system.pretrained,
        likelihood,
        system.beyond_budget,
        chord_plan="" if plan is None else _hash(plan),
        files=_files(system, len(baseline.pieces)),
    )


def _files(system: System, pieces: int) -> str:
    samples = system.definition.get("samples")
    if type(samples) is not int or not 0 < samples < 10**9:  # a model's, or of a file that may hold anything
        return ""
    lacking = [piece for piece in range(pieces) if piece not in system.continued]
    return f"{samples} without {_hash(lacking)}" if lacking else str(samples)


def _predictions(system: System) -> Iterator[str]:
    """Yield the number of frames or events that the held-out pieces are for a model of these."""
    for unit, name in BY_UNIT.items():
        series = system.metrics.get(METRICS[name].id)
        if series is not None and series.weights is not None:
            yield f"{sum(series.weights):.0f} {unit}s"


def condition_of(metric: Metric, row: EntryRow) -> str:
    """Return what of a row's likelihood or plan must be the same for values of a metric to compare; empty for nothing."""
    if metric.group == "harmony":
        return row.chord_plan
    if by_classes(metric.name) or metric.name in BY_UNIT.values():
        return row.likelihood
    return row.likelihood.partition(" ")[0] if metric.group == "prediction" else ""  # of all events, whatever their number


def _measured(series: Series, drawn: bool) -> Measured | None:
    """Mean, interval and means of the seeds; None if a seed has no value."""
    matrix = series.matrix
    if not np.isfinite(matrix).any(1).all():
        return None
    means = [rounded(float(np.nanmean(row))) for row in matrix]
    interval = _interval(series, drawn)
    low, high = (rounded(interval.low), rounded(interval.high)) if interval is not None else (None, None)
    return Measured(series.value, low, high, dict(zip(map(str, series.seeds), means, strict=True)))


def _interval(series: Series, drawn: bool) -> Interval | None:
    """Interval of a series, as in the report of its run."""
    if series.over == "seeds":
        return seeds_interval([row[0] for row in series.values if row[0] is not None])
    weights = None if series.weights is None else dict(zip(series.at, series.weights, strict=True))
    mean_weight = 1.0 if weights is None else math.fsum(weights.values()) / len(weights)
    by_seed = {
        seed: {
            piece: series.value + (value - series.value) * (1.0 if weights is None else mean_weight / weights[piece])
            for piece, value in zip(series.at, row, strict=True)
            if value is not None
        }
        for seed, row in zip(series.seeds, series.values, strict=True)
    }
    interval = Values(by_seed, weights, drawn).interval()[0]
    return interval if interval is not None and max(abs(interval.low), abs(interval.high)) <= MOST else None


def _machine_of(row: Row, record: RunRecord) -> str:
    """Kind of machine of a row's trials; empty where it is not known or there are several, or a GPU was shared."""
    if len(row.machines) != 1 or any(trial.result.provenance.get("shares_gpu") for trial in row.done):
        return ""
    (one,) = row.machines
    processor = one.processor or record.provenance.machine.cpu
    if not processor or not one.threads:
        return ""
    return ", ".join(filter(None, (processor, plural(one.threads, "thread"), one.gpu)))


def _machine(environment: Mapping[str, Any]) -> str:
    gpus = ", ".join(map(str, environment.get("gpus") or []))
    cores = f"{environment.get('cores') or '?'} cores"
    return shortened(", ".join(filter(None, (str(environment.get("cpu") or ""), cores, gpus))))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
