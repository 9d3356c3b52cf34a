"""What is exported of a run, whichever tracker takes it."""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import importlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import BenchError, MachineError, UsageError, import_refused
from bench.formatting import brief, shortened, visible
from bench.metrics import Undefined
from bench.report import REPORTS, Report, build_report
from bench.report.provenance import command
from bench.scoring.score import score_run
from bench.scoring.table import Row, TrialScore
from bench.storage.outcome import Done
from bench.system.disk import file_digest, is_file

#: What trackers call a hyperparameter.
Param = str | int | float | bool


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Parameters
    ----------
    place : str
        Where it lies.
    view : str
        Command that shows it; empty for a file.
    written : bool
        False if the place already held exactly this.
    """

    place: str
    view: str = ""
    written: bool = True


@dataclass(frozen=True)
class Evaluation:
    """What a training logged at once.

    Parameters
    ----------
    step : int
        Number of the evaluation, from 1.
    seconds : float
        Of training until then; 0 where they were not logged.
    values : mapping of str to float
        By ``training/NAME``, with folds ``training/fold N/NAME``.
    """

    step: int
    seconds: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrialContents:
    """One trial; with folds, all folds of a seed.

    Parameters
    ----------
    key : str
        Name of its folder.
    name : str
        Such as ``lstm, seed 0``.
    status : str
        ``done`` or ``failed``; a trial that did not run is not exported.
    params : mapping of str to Param
        Hyperparameters that the spec sets, budget, ``system``, ``kind``, ``model`` and ``seed``.
    tags : mapping of str to str
        Versions, commit, device, and why it failed.
    scores : mapping of str to float
        Its value of each metric that has one.
    history : tuple of Evaluation
    seconds : float
        Wall clock of the whole trial; 0 where it was not measured.
    """

    key: str
    name: str
    system: str
    status: str
    params: Mapping[str, Param]
    tags: Mapping[str, str]
    scores: Mapping[str, float]
    history: tuple[Evaluation, ...]
    seconds: float


@dataclass(frozen=True)
class RunContents:
    """A run.

    Parameters
    ----------
    report : Report
    trials : tuple of TrialContents
    """

    report: Report
    trials: tuple[TrialContents, ...]

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.report.folder.resolve().name

    @property
    def spec(self) -> str:
        """Name of the run's spec."""
        return str(self.report.spec.get("name") or "unnamed")

    @property
    def started(self) -> float:
        """When the run was started, seconds since 1970; 0 if that is not recorded."""
        return _since_1970(self.report.run.started)

    @property
    def ended(self) -> float:
        """When its last trial ended, seconds since 1970; 0 if that is not recorded."""
        return _since_1970(self.report.run.finished)

    @property
    def finished(self) -> bool:
        """Whether every trial has ended."""
        return self.report.run.finished is not None

    @cached_property
    def identity(self) -> str:
        """See :meth:`bench.storage.records.RunRecord.identity`; by it a tracker's copy of the run is found again."""
        return self.report.run.identity(self.name)

    @cached_property
    def content(self) -> str:
        """Hash of all that is exported."""
        values = [asdict(trial) for trial in self.trials]
        return _digest([self.params, self.tags, self.means, values, [file_digest(file) for file in self.files]])

    @property
    def params(self) -> dict[str, Param]:
        """Choices that hold for all trials: scale, seeds, dataset and protocol."""
        run = self.report.run
        chosen = {"dataset": run.spec["dataset"], "protocol": run.spec["protocol"], "seeds": list(run.spec["seeds"])}
        return {"scale": run.scale, **dict(flat(chosen))}

    @property
    def tags(self) -> dict[str, str]:
        """Versions, machine and the command that repeats the run."""
        made = self.report.run.provenance
        tags = {
            "bench": made.bench,
            "commit": made.git,
            "command": command(self.report),
            "cpu": made.machine.cpu,
            "cores": made.machine.cores,
            "gpus": ", ".join(map(str, made.machine.gpus)),
            "platform": made.machine.platform,
            **{f"version.{name}": version for name, version in made.packages.items()},
        }
        return {name: visible(value) for name, value in tags.items() if value not in (None, "")}

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Means of the tested columns, by metric, then by row, as the report's verdict is about them."""
        rows = self.report.all_rows
        return {
            name: {visible(row.system): value for row in rows if (value := row.cells[name].value) is not None}
            for name in self.report.standings
        }

    @property
    def files(self) -> list[Path]:
        """The run's record and its reports, as far as they were written."""
        names = ("run.json", *REPORTS)
        return [file for name in names if is_file(file := self.report.folder / name)]


def read_contents(folder: Path) -> RunContents:
    """Read and score a run.

    Raises
    ------
    DataError
        If the folder holds no run, or it is damaged.
    UsageError
        If no trial has ended.
    """
    report = build_report(folder, score_run(folder))
    trials = tuple(_trial(row, trial) for row in report.all_rows for trial in row.trials if trial.status != "not run")
    if not trials:
        raise UsageError(f"{folder} has nothing to export: no trial has ended.", "Give the same command again to resume the run.")
    return RunContents(report, trials)


def optional(module: str, extra: str) -> ModuleType:
    """Import a library that an extra of the package brings.

    Raises
    ------
    UsageError
        If it is not installed.
    MachineError
        If it can't be loaded.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise MachineError(f"{module} is damaged: it lacks {error.name}.", _install(extra)) from error
        raise UsageError(f"--to {extra} needs {module}, which is not installed.", _install(extra)) from error
    except ImportError as error:
        raise (import_refused(error, module) or MachineError(f"{module} can't be loaded: {error}.", _install(extra))) from error


@contextlib.contextmanager
def failures_of(library: str, hint: str) -> Iterator[None]:
    """Put what a library raises in words: whatever it is, the tracker refused, and the run is unharmed.

    Raises
    ------
    MachineError
    """
    try:
        yield
    except (BenchError, OSError, MemoryError):
        raise
    except Exception as error:
        message = brief(f"{type(error).__name__}: {without_password(str(error))}", 300)
        raise MachineError(f"{library} refused: {message}", hint) from error


def without_password(text: str) -> str:
    """Cut names and passwords out of addresses.

    >>> without_password("no answer from http://me:secret@example.org/mlflow")
    'no answer from http://example.org/mlflow'
    """
    return re.sub(r"//[^/@\s]*@", "//", text)


def _install(extra: str) -> str:
    return f"pip install 'midibench[{extra}]'"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Param]]:
    """Yield the values of nested mappings by dotted names, without those that are None; lists as JSON.

    >>> list(flat({"units": 64, "budget": {"updates": None, "epochs": 3}, "sizes": [8, 16]}))
    [('units', 64), ('budget.epochs', 3), ('sizes', '[8, 16]')]
    """
    for key, value in values.items():
        name = shortened(prefix + visible(key))
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif isinstance(value, str):
            yield name, visible(value)
        elif isinstance(value, int | float):
            yield name, value
        elif value is not None:
            yield name, json.dumps(value)


def _trial(row: Row, scored: TrialScore) -> TrialContents:
    trial, outcome = scored.trial, scored.outcome
    own: dict[str, Param] = {**dict(flat({"system": row.system, "kind": row.kind, "model": row.model})), "seed": trial.seed}
    budget = {"budget": trial.budget.model_dump(mode="json", exclude={"timeout"})}
    harmony = {"harmony": trial.harmony.model_dump(mode="json")} if trial.harmony else {}
    facts = flat({**budget, **harmony})
    # A hyperparameter may have the name of one of ours.
    chosen = {f"params.{name}" if name in own else name: value for name, value in flat(trial.params)}
    tags = {} if outcome is None else {name: visible(value) for name, value in outcome.provenance.items() if value is not None}
    return TrialContents(
        key=scored.key,
        name=visible(f"{row.system}, seed {trial.seed}"),
        system=row.system,
        status=scored.status,
        params={**dict(facts), **chosen, **own},
        tags={**tags, **({"error": visible(scored.error)} if scored.error else {})},
        scores={name: value for name, value in scored.values.items() if not isinstance(value, Undefined)},
        history=tuple(_history(outcome)) if isinstance(outcome, Done) else (),
        seconds=float(outcome.wall_seconds or 0) if outcome is not None else 0.0,
    )


def _history(outcome: Done) -> Iterator[Evaluation]:
    for entry in outcome.training.history:
        prefix = f"training/fold {entry['fold']}" if "fold" in entry else "training"
        values = {f"{prefix}/{name}": float(value) for name, value in entry.items() if _is_measured(name, value)}
        yield Evaluation(entry["epoch"], float(entry.get("seconds") or 0), values)


def _is_measured(name: str, value: Any) -> bool:
    # Nor is the share of the budget that the engine counts at its end: it tells nothing of how a training goes.
    return name not in ("epoch", "fold", "over") and value is not None and math.isfinite(value)


def _since_1970(timestamp: str | None) -> float:
    try:
        return float(calendar.timegm(time.strptime(timestamp or "", "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
