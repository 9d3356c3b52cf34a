"""One session of a run: prepare the dataset, then run the trials that are not done, each in a child process.

Plug-in code never runs in this process; see :mod:`bench.runner.worker`. Everything that determines an outcome is hashed into the
trial's key, so a completed trial is never repeated, and an interrupted one resumes from its own checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import PluginError, SpecError, did_you_mean
from bench.formatting import listed
from bench.plugins.digest import imported_packages, source_digest
from bench.plugins.discovery import find_plugins
from bench.plugins.header import Plugin
from bench.runner.datasets import Sink, prepare_dataset
from bench.runner.engines.engine import Engine, Job, Work
from bench.runner.models import Located, locate_weights
from bench.runner.processes import Signals
from bench.specs.schema import Scale, Spec
from bench.specs.trials import Device, Trial, in_folds, trial_key, unfold
from bench.storage.files import FORMAT, is_intact_file, make_way, write_json
from bench.storage.outcome import Done
from bench.storage.records import Prepared
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Target, read_targets, targets_digest
from bench.system import frameworks, provenance
from bench.system.paths import Places


@dataclass
class Session:
    """One call of :func:`bench.run` on a run folder, from preparing the dataset to the last trial."""

    spec: Spec
    scale: Scale
    why: str
    places: Places
    folder: RunFolder
    engine: Engine
    display: Sink
    signals: Signals
    #: Arguments of :func:`bench.run`, for the command in the report.
    call: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.threads = self.engine.threads(self.scale)
        self.plugins: dict[str, Plugin] = find_plugins("model", self.places.plugins)
        self.digests: dict[str, str] = {}
        #: The user's packages that each model imports, see :func:`bench.plugins.digest.imported_packages`.
        self.packages: dict[str, dict[str, list[str]]] = {}
        self.positions: dict[str, int] = {}
        self.trials: dict[str, Trial] = {}
        #: Where the weights of a model with some hyperparameters are.
        self.weights: dict[str, Located] = {}

    def run(self, fetch: bool) -> None:
        """Prepare the dataset and run the trials that are not done."""
        device: Device = "cuda" if self.scale == "gpu" else "cpu"
        planned = unfold(self.spec, device, {name: plugin.header for name, plugin in self.plugins.items()})
        if not planned:
            raise SpecError(f"{self.spec.name}: there is nothing to run: it names no model and no reference.")
        # Before the dataset is parsed, so that a missing interpreter is reported at once.
        pythons = {needs: frameworks.interpreter(needs) for needs in sorted({self._requires(t) for t in planned})}
        # Computed once: a worker refuses a source that was changed since.
        used = sorted({trial.model for trial in planned})
        self.packages = {model: imported_packages(self.plugins[model]) for model in used}
        self.digests = {model: source_digest(self.plugins[model], self.packages[model]) for model in used}
        self.display(
            {"event": "start", "spec": self.spec.name, "scale": self.scale, "why": self.why, "folder": str(self.folder.path)}
        )
        planned = [self._with_weights(trial) for trial in planned]
        prepared = self._prepare(fetch, len(planned))
        planned = in_folds(planned, [fold.number for fold in prepared.folds.folds] if prepared.folds else [])
        self.trials = trials = {self._key(trial, prepared.music): trial for trial in planned}
        self.positions = {key: i for i, key in enumerate(trials, 1)}
        targets = read_targets(self.folder.targets)
        waiting = {key: trial for key, trial in trials.items() if not self.folder.is_done(key, targets)}
        self._name_left_out(targets)
        record = self.folder.create(
            self.spec.model_dump(mode="json"),
            provenance.collect(pythons),
            idle=not waiting,
            scale=self.scale,
            why=self.why,
            call=self.call,
            dataset=prepared.model_dump(),
            plugins=self.digests,
            headers={name: self.plugins[name].header for name in self.digests},
            trials=[{"key": key, "trial": trial.model_dump(mode="json")} for key, trial in trials.items()],
        )
        self._run_trials(waiting, pythons, prepared)
        self._describe_done(trials.keys() - waiting.keys(), trials)
        self.folder.finish(record)

    def _name_left_out(self, targets: Sequence[Target]) -> None:
        """Name finished rows and seeds of the folder's run that this one hasn't, as of one that was merged or scored."""
        before = self.folder.read_if_intact()
        planned = {(trial.system, trial.seed) for trial in self.trials.values()}
        rows: dict[str, None] = {}
        for entry in before.trials if before else ():
            system, seed = entry.trial["system"], entry.trial["seed"]
            if (system, seed) not in planned and self.folder.is_done(entry.key, targets):
                rows[f"{system}, seed {seed}"] = None
        if rows:
            text = f"No longer in this run, though done: {listed(list(rows))}. Their results stay in trials/."
            self.display({"event": "message", "text": text})

    def _with_weights(self, trial: Trial) -> Trial:
        """Identify the weights that a trial's model comes with, before anything starts: so missing ones are reported at once."""
        plugin = self._plugin(trial)
        if plugin.header["NEEDS"] == "nothing":
            return trial
        if (name := _model_name(trial)) not in self.weights:
            file, log = self.folder.path / "weights.json", self.folder.path / "weights.log"
            self.weights[name] = locate_weights(plugin, trial.params, self.places, file, log, self.signals, self.display)
        return trial.model_copy(update={"weights": self.weights[name].fingerprint})

    def _describe_done(self, keys: Collection[str], trials: Mapping[str, Trial]) -> None:
        """Write what describes a finished trial again where it is missing or damaged; the trial itself doesn't run again."""
        for key in keys:
            path = self.folder.trial_dir(key) / "trial.json"
            if not is_intact_file(path):
                make_way(self.folder.trial_dir(key), path.name)
                write_json(path, trials[key].model_dump(mode="json"))

    def _prepare(self, fetch: bool, trials: int) -> Prepared:
        self.display({"event": "prepare", "task": "start", "what": self.spec.dataset.name, "done": 0, "total": 0})
        stored = self.folder.read_if_intact()
        before = {} if stored is None else stored.dataset.model_dump(include={"corpus_key", "source"})
        job = {
            "task": "prepare",
            "folder": str(self.folder.path),
            "dataset": self.spec.dataset.model_dump(mode="json"),
            "protocol": self.spec.protocol.model_dump(mode="json"),
            "fetch": fetch,
            "trials": trials,  # without folds
            "before": before,
            "file": self.call.get("file"),
            "spec": self.spec.model_dump(mode="json"),
            "format": FORMAT,
            **self.places.job(),
        }
        file, log = self.folder.path / "prepare.json", self.folder.path / "prepare.log"
        return prepare_dataset(job, file, log, self.signals, self.display)

    def _key(self, trial: Trial, corpus: str) -> str:
        return trial_key(trial, self.digests[trial.model], corpus)

    def _plugin(self, trial: Trial) -> Plugin:
        if trial.model not in self.plugins:
            raise PluginError(f"There is no model plug-in named {trial.model!r}.", did_you_mean(trial.model, self.plugins))
        return self.plugins[trial.model]

    def _requires(self, trial: Trial) -> tuple[str, ...]:
        return tuple(self._plugin(trial).header["REQUIRES"])

    def _run_trials(self, waiting: Mapping[str, Trial], pythons: Mapping[tuple[str, ...], str], prepared: Prepared) -> None:
        self.display(
            {
                "event": "plan",
                "total": len(self.positions),
                "done": len(self.positions) - len(waiting),
                "threads": self.threads,
                "jobs": self.engine.at_a_time(self.scale, len(waiting)),
                "idle": self.engine.idle_cores(self.scale, len(waiting)),
                "trials": [trial.label for trial in waiting.values()],
            }
        )
        # The long ones first: the short ones fill what is left at the end.
        order = sorted(waiting, key=lambda key: waiting[key].kind != "model")
        targets = read_targets(self.folder.targets)
        held_out = targets_digest(targets)
        jobs = [self._job(key, waiting[key], pythons[self._requires(waiting[key])], prepared, held_out) for key in order]
        self.engine.run(Work(self.folder, jobs, targets, self.scale, self.signals, self._take))

    def _job(self, key: str, trial: Trial, python: str, prepared: Prepared, held_out: str) -> Job:
        """Build what the process of a trial is told, and what its engine must know."""
        return {
            "task": "trial",
            "key": key,
            "label": trial.label,
            "folder": str(self.folder.trial_dir(key)),
            "trial": trial.model_dump(mode="json"),
            "corpus": prepared.corpus,
            "targets": str(self.folder.targets),
            "held_out": held_out,
            "plugins": list(map(str, self.places.plugins)),
            "digest": self.digests[trial.model],
            "packages": self.packages[trial.model],
            "weights": self.weights[name].source if (name := _model_name(trial)) in self.weights else None,
            "bench": provenance.installation(),
            "python": python,
            "threads": self.threads,
            "shares_gpu": trial.device == "cuda" and self.engine.shares_gpu(self.scale),
            "expires": self.engine.expires,
            "place": _place(),
        }

    def _take(self, job: Job, event: dict[str, Any]) -> None:
        """Show an event of a trial."""
        about = self._about(job)
        if event["event"] == "begun":
            self.display({"event": "trial", **about})
        elif event["event"] == "ended":
            self._show_end({**about, "seconds": event["seconds"]})
        else:
            self.display({**event, **about})

    def _show_end(self, about: dict[str, Any]) -> None:
        outcome = self.folder.outcome(about["key"])
        if isinstance(outcome, Done):
            training = outcome.training.model_dump(exclude={"history"})
            self.display({"event": "done", **about, "training": training})
        else:
            log = self.folder.trial_dir(about["key"]) / "stderr.log"
            message = "its outcome can't be read" if outcome is None else outcome.error.message
            self.display({"event": "failed", **about, "message": message, "log": str(log) if log.exists() else ""})

    def _about(self, job: Job) -> dict[str, Any]:
        trial, key = job["trial"], job["key"]
        return {
            "key": key,
            "trial": self.positions[key],
            "total": len(self.positions),
            "system": trial["system"],
            "seed": trial["seed"],
            "label": self.trials[key].label,
        }


def _model_name(trial: Trial) -> str:
    """Name of a model with some hyperparameters."""
    return json.dumps([trial.model, trial.params], sort_keys=True)


def _place() -> str:
    """Folder that the command was given in, where relative paths of a spec begin; empty if it was removed."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""
