"""One session of a run: prepare the dataset, then run the trials that are not done, each in a child process.

Plug-in code never runs in this process; see :mod:`bench.runner.worker`. Everything that determines an outcome is hashed into the
trial's key, so a completed trial is never repeated, and an interrupted one resumes from its own checkpoint.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import DataError, PluginError, SpecError, did_you_mean, machine_error
from bench.formatting import listed
from bench.music.harmony import source_digest as source_digest_of_harmony
from bench.plugins.discovery import find_plugins, source_digest
from bench.plugins.header import Plugin
from bench.runner import processes
from bench.runner.datasets import Sink, prepare_dataset
from bench.runner.processes import Ending, Signals, Task
from bench.specs.schema import Scale, Spec
from bench.specs.trials import Device, Trial, in_folds, unfold
from bench.storage.files import FORMAT, is_intact_file, make_way, set_aside, tail, write_json
from bench.storage.outcome import Done, Failed, Failure, Memory
from bench.storage.records import Prepared
from bench.storage.run_folder import RunFolder, damaged_results
from bench.storage.samples import read_targets
from bench.system import frameworks, hardware, provenance
from bench.system.paths import Places


@dataclass
class Session:
    """One call of :func:`bench.run` on a run folder, from preparing the dataset to the last trial."""

    spec: Spec
    scale: Scale
    why: str
    places: Places
    folder: RunFolder
    jobs: int
    display: Sink
    signals: Signals
    #: Arguments of :func:`bench.run`, for the command in the report.
    call: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.threads = max(1, hardware.cores() // self.jobs)
        self.gpus = hardware.gpu_ids() if self.scale == "gpu" else ()
        self.plugins: dict[str, Plugin] = find_plugins("model", self.places.plugins)
        self.digests: dict[str, str] = {}
        self.positions: dict[str, int] = {}
        self.trials: dict[str, Trial] = {}
        #: Trials that started again because their checkpoint could not be used.
        self.restarted: set[str] = set()
        #: Error messages of workers that wrote no outcome, by key.
        self.errors: dict[str, str] = {}

    def run(self, fetch: bool) -> None:
        """Prepare the dataset and run the trials that are not done."""
        device: Device = "cuda" if self.scale == "gpu" else "cpu"
        planned = unfold(self.spec, device)
        if not planned:
            raise SpecError(f"{self.spec.name}: there is nothing to run: it names no model and no reference.")
        # Before the dataset is parsed, so that a missing interpreter is reported at once.
        pythons = {f: frameworks.interpreter(f) for f in sorted({self._framework(t) for t in planned})}
        # Computed once: a worker refuses a source that was changed since.
        self.digests = {model: source_digest(self.plugins[model]) for model in sorted({t.model for t in planned})}
        self.display(
            {"event": "start", "spec": self.spec.name, "scale": self.scale, "why": self.why, "folder": str(self.folder.path)}
        )
        prepared = self._prepare(fetch)
        planned = in_folds(planned, [fold.number for fold in prepared.folds.folds] if prepared.folds else [])
        self.trials = trials = {self._key(trial, prepared.music): trial for trial in planned}
        self.positions = {key: i for i, key in enumerate(trials, 1)}
        targets = read_targets(self.folder.targets)
        waiting = {key: trial for key, trial in trials.items() if not self.folder.is_done(key, targets)}
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

    def _describe_done(self, keys: Collection[str], trials: Mapping[str, Trial]) -> None:
        """Write what describes a finished trial again where it is missing or damaged; the trial itself doesn't run again."""
        for key in keys:
            path = self.folder.trial_dir(key) / "trial.json"
            if not is_intact_file(path):
                make_way(self.folder.trial_dir(key), path.name)
                write_json(path, trials[key].model_dump(mode="json"))

    def _prepare(self, fetch: bool) -> Prepared:
        self.display({"event": "prepare", "task": "start", "what": self.spec.dataset.name, "done": 0, "total": 0})
        stored = self.folder.read_if_intact()
        before = {} if stored is None else stored.dataset.model_dump(include={"corpus_key", "source"})
        job = {
            "task": "prepare",
            "folder": str(self.folder.path),
            "dataset": self.spec.dataset.model_dump(mode="json"),
            "protocol": self.spec.protocol.model_dump(mode="json"),
            "fetch": fetch,
            "before": before,
            "file": self.call.get("file"),
            "spec": self.spec.model_dump(mode="json"),
            "format": FORMAT,
            **self.places.job(),
        }
        file, log = self.folder.path / "prepare.json", self.folder.path / "prepare.log"
        return prepare_dataset(job, file, log, self.signals, self.display)

    def _key(self, trial: Trial, corpus: str) -> str:
        harmony = [source_digest_of_harmony()] if trial.harmony else []
        return trial.digest(self.digests[trial.model], corpus, str(FORMAT), *harmony)

    def _plugin(self, trial: Trial) -> Plugin:
        if trial.model not in self.plugins:
            raise PluginError(f"There is no model plug-in named {trial.model!r}.", did_you_mean(trial.model, self.plugins))
        return self.plugins[trial.model]

    def _framework(self, trial: Trial) -> str:
        return str(self._plugin(trial).header["FRAMEWORK"])

    def _run_trials(self, waiting: Mapping[str, Trial], pythons: Mapping[str, str], prepared: Prepared) -> None:
        self.display(
            {
                "event": "plan",
                "total": len(self.positions),
                "done": len(self.positions) - len(waiting),
                "threads": self.threads,
                "jobs": self.jobs,
                "trials": [trial.label for trial in waiting.values()],
            }
        )
        place = self.folder.path / "compiled"
        if not waiting:
            processes.remove(place)  # of a run that was killed
        with processes.private_folder(place) if waiting else contextlib.nullcontext(place) as compiled:
            tasks = [
                self._task(key, trial, pythons[self._framework(trial)], prepared, compiled) for key, trial in waiting.items()
            ]
            processes.run_tasks(tasks, self.jobs, self.signals, self._start, self._forward, self._end, self.gpus)

    def _task(self, key: str, trial: Trial, python: str, prepared: Prepared, compiled: Path) -> Task:
        place = self.folder.trial_dir(key)
        job = {
            "task": "trial",
            "key": key,
            "folder": str(place),
            "trial": trial.model_dump(mode="json"),
            "corpus": prepared.corpus,
            "targets": str(self.folder.targets),
            "plugins": list(map(str, self.places.plugins)),
            "digest": self.digests[trial.model],
            "bench": provenance.installation(),
            "threads": self.threads,
            "shares_gpu": trial.device == "cuda" and self.jobs > max(1, len(self.gpus)),
        }
        environment = processes.environment(self.threads, trial.device, compiled)
        log, gpu = place / "stderr.log", trial.device == "cuda"
        return Task(job, place / "job.json", log, python, environment, trial.budget.timeout, gpu)

    def _start(self, task: Task) -> None:
        """Prepare a trial's folder; one that can't be used, as it holds a folder for a file, is set aside."""
        if not self.folder.run_file.exists():  # else each trial left would fail in a folder made anew
            raise DataError(f"{self.folder.run_file} was removed while bench was working in its folder.", "Run it again.")
        if strange := self.folder.strange(task.job["key"]):
            self._set_aside(task, f"{strange}.")
        try:
            self._clear(task)
        except OSError as error:
            self._make_way(task, error)
            self._clear(task)
        self.display({"event": "trial", **self._about(task)})

    def _make_way(self, task: Task, error: OSError) -> None:
        """Move a trial's folder away if it holds a folder for a file or the reverse; any other error is raised."""
        if error.errno not in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST) or not Path(task.job["folder"]).exists():
            raise error
        self._set_aside(task, machine_error(error).message)

    def _set_aside(self, task: Task, why: str) -> None:
        bad, label = set_aside(Path(task.job["folder"])), self.trials[task.job["key"]].label
        self.display({"event": "message", "text": f"{label}: its folder can't be used ({why}) It is now {bad}."})

    def _clear(self, task: Task) -> None:
        place, key = Path(task.job["folder"]), task.job["key"]
        before = self.folder.outcome(key)
        if isinstance(before, Done):  # its results are damaged; those of its stages come from a training from the start only
            damaged = damaged_results(place, before)
            why = f"{listed(damaged)} can't be read back or changed" if damaged else "its results don't fit the held-out pieces"
            self.display({"event": "message", "text": f"{self.trials[key].label}: it was done, but {why}. It runs again."})
            again = any(name.startswith("stages/") for name in damaged)
        else:
            again = isinstance(before, Failed) and before.error.blames_checkpoint
        if again:
            with contextlib.suppress(FileNotFoundError):
                set_aside(place / "checkpoint")
        (place / "outcome.json").unlink(missing_ok=True)
        write_json(place / "trial.json", task.job["trial"])
        for name in ("midi", "stages"):
            if (place / name).exists() and not (place / name).is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place / name))
        written = ("job.json", "stderr.log", ".lock", "samples.npz", "history.jsonl", "midi/*.mid", "stages/*.npz")
        for file in (file for name in written for file in place.glob(name)):
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))

    def _forward(self, task: Task, event: dict[str, Any]) -> None:
        if event["event"] == "error":
            self.errors[task.job["key"]] = event["message"]
        self.display({**event, **self._about(task)})

    def _end(self, task: Task, ending: Ending) -> bool:
        """Report the end of a trial; return whether it starts again, from no checkpoint, because its own could not be used."""
        outcome = self.folder.outcome(task.job["key"])
        if outcome is None:
            outcome = self._died(task, ending)
            self._write_failed(task, outcome)
        about = {**self._about(task), "seconds": ending.seconds}
        if isinstance(outcome, Done):
            training = outcome.training.model_dump(exclude={"history"})
            self.display({"event": "done", **about, "training": training})
            return False
        if outcome.error.blames_checkpoint and task.job["key"] not in self.restarted:
            self.restarted.add(task.job["key"])
            text = f"{about['label']}: can't resume ({outcome.error.message}) It trains from the start."
            self.display({"event": "message", "text": text})
            return True
        self.display({"event": "failed", **about, "message": outcome.error.message, "log": str(task.log)})
        return False

    def _write_failed(self, task: Task, outcome: Failed) -> None:
        path, stored = Path(task.job["folder"]) / "outcome.json", {"format": FORMAT, **outcome.model_dump()}
        try:
            write_json(path, stored)
        except OSError as error:  # the plug-in left a folder there
            self._make_way(task, error)
            write_json(path, stored)

    def _about(self, task: Task) -> dict[str, Any]:
        trial, key = task.job["trial"], task.job["key"]
        return {
            "key": key,
            "trial": self.positions[key],
            "total": len(self.positions),
            "system": trial["system"],
            "seed": trial["seed"],
            "label": self.trials[key].label,
        }

    def _died(self, task: Task, ending: Ending) -> Failed:
        """Build the outcome of a worker that ended without writing one."""
        return Failed(
            key=task.job["key"],
            status="failed",
            error=Failure(
                kind="Timeout" if ending.timed_out else "Killed" if ending.code < 0 else "Died",
                message=self.errors.pop(task.job["key"], ending.reason),
                stderr_tail=tail(task.log, ending.log_start),
            ),
            trial=task.job["trial"],
            memory=Memory(peak_bytes=ending.peak_bytes),
            provenance={"threads": self.threads},
            wall_seconds=ending.seconds,
        )
