"""The child process: the one place where a plug-in's code runs. ``python -P -m bench.runner.worker JOB.json``.

Events go out as JSON lines on the original stdout; whatever else prints to stdout, in Python or in C, lands on stderr.
Stdin is a pipe from the runner: its end means that the runner is gone, and the whole process group ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import math
import numbers
import os
import resource
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from bench.api import Budget, Notes, seed_for
from bench.errors import BenchError, PluginError, TrialError
from bench.plugins.discovery import get_plugin, load, source_digest
from bench.plugins.header import Plugin
from bench.runner import prepare, processes
from bench.runner.constrained import Conductor
from bench.runner.contract import check_likelihood, check_samples
from bench.runner.folds import Division, divide, measure_divisions
from bench.runner.parts import PARTS, Part, joined, likelihood_in_words, part_name, read_part, write_part
from bench.runner.training import TrainingRun, rate
from bench.specs.trials import Trial
from bench.storage.corpus import load_corpus
from bench.storage.files import FORMAT, clear_temporaries, plain, tail, write_json
from bench.storage.samples import Samples, Target, read_target_file, write_samples
from bench.system import provenance, speed

Emit = Callable[[dict[str, Any]], None]

#: Exit codes: all well; the task failed and said why.
DONE, FAILED = 0, 3

#: Facts of a model that the report computes with.
COUNTS = ("parameters", "peak_gpu_bytes")

#: How PyTorch and TensorFlow name a GPU's memory that ran out.
_GPU_MEMORY = {"OutOfMemoryError", "ResourceExhaustedError"}

#: How long a trial's folder may still be held by a worker that is being killed, seconds.
PATIENCE = 30.0


class Channel:
    """The way back to the runner: one JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        """Send an event. A runner that no longer reads is no reason to fail: the end of stdin deals with it."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._stream.write(json.dumps(event, default=str) + "\n")
            self._stream.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the task of one job file; exit code 0 if it is done, 3 if it failed and said why."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    emit = _take_stdout()
    _end_with_runner()
    job = json.loads(Path(path).read_text())
    if job["task"] == "trial":
        return TrialTask(job, emit).run()
    task = {"prepare": prepare.prepare, "fetch": prepare.fetch, "verify": prepare.verify}[job["task"]]
    try:
        emit({"event": "result", **task(job, emit)})
    except Exception as error:
        traceback.print_exc()
        emit({"event": "error", **describe(error)})
        return FAILED
    return DONE


def describe(error: BaseException) -> dict[str, str]:
    """An error's kind, message and hint; memory that ran out is said in words."""
    if isinstance(error, BenchError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, MemoryError):
        peak = f"out of memory; peak was {peak_bytes() / 2**20:.0f} MiB"
        return {"kind": "MemoryError", "message": f"{peak} ({error})" if str(error) else peak, "hint": ""}
    return {"kind": type(error).__name__, "message": f"{type(error).__name__}: {error}", "hint": ""}


def is_transient(error: BaseException) -> bool:
    """Whether the machine, not the training, is to blame: memory or a disk that is full.

    A damaged HDF5 file is an OSError too, but without the system's error number.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        return True
    return any(c.__name__ in _GPU_MEMORY for c in type(error).__mro__) or "CUDA out of memory" in str(error)


class TrialTask:
    """One trial: learn, generate, measure likelihood, once or once a fold; then samples.h5 and, last, outcome.json."""

    def __init__(self, job: Mapping[str, Any], emit: Emit) -> None:
        self.began = time.perf_counter()
        self.job = job
        self.emit = emit
        self.key = str(job["key"])
        self.folder = Path(job["folder"])
        self.trial = Trial.model_validate(job["trial"])
        self.log_start = os.fstat(2).st_size
        self.phase = "start"
        self.had_checkpoint = False
        self.training: TrainingRun | None = None
        #: Peak memory of the trial itself: what is measured on its samples afterwards is none of its cost.
        self.peak: int | None = None
        #: What a plug-in did wrong without harm to its trial.
        self.remarks: list[str] = []
        #: The yardstick before the first training and after the last generation that this process did; models only.
        self.beside: dict[str, float] = {}
        #: Where the row is constrained; a spec can't ask for that and folds.
        self.conductor: Conductor | None = None

    def run(self) -> int:
        """Do it; an exception becomes a failed outcome."""
        try:
            with _held(self.folder):
                for folder in (self.folder, self.folder / PARTS):
                    clear_temporaries(folder)
                return self._attempt()
        except TrialError as error:  # the folder is held
            self.emit({"event": "error", **describe(error)})
            return FAILED

    def _attempt(self) -> int:
        outcome: dict[str, Any]
        try:
            outcome = {"status": "done", "error": None, **self._perform()}
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            traceback.print_exc()
            sys.stderr.flush()
            said = describe(error)
            log = tail(self.folder / "stderr.log", self.log_start)
            where = {
                "phase": self.phase,
                "had_checkpoint": self.had_checkpoint,
                "epochs": self.training.epochs_logged if self.training else 0,
                "transient": is_transient(error),
            }
            outcome = {"status": "failed", "error": {**said, **where, "stderr_tail": log}}
        write_json(
            self.folder / "outcome.json",
            {
                "format": FORMAT,
                "key": self.key,
                **outcome,
                "remarks": self.remarks,
                "trial": self.trial.model_dump(mode="json"),
                "memory": {
                    "peak_bytes": self.peak or peak_bytes(),
                    "peak_gpu_bytes": (outcome.get("facts") or {}).get("peak_gpu_bytes"),
                },
                "provenance": self._provenance(),
                "wall_seconds": time.perf_counter() - self.began,
            },
        )
        return DONE if outcome["status"] == "done" else FAILED

    def _perform(self) -> dict[str, Any]:
        plugin = self._plugin()
        corpus = load_corpus(Path(self.job["corpus"]))
        stored = read_target_file(Path(self.job["targets"]))
        divisions = divide(corpus, stored)
        whole = joined([self._part(plugin, division, stored.targets, len(divisions)) for division in divisions])
        self.peak = whole.record["peak_bytes"]
        self.phase = "originality"  # which only the worker can measure: it has the training pieces
        takes_prompt = bool(plugin.header["PROMPT"])
        copied = measure_divisions(divisions, whole.samples.notes, stored.targets, takes_prompt)
        self.phase = "write"
        write_samples(self.folder / "samples.h5", whole.samples)
        self._write_midi(whole.samples.notes, stored.targets, takes_prompt)
        return {
            "training": whole.record["training"],
            "generation": whole.record["generation"],
            "yardstick": self.beside or None,
            "likelihood": likelihood_in_words(whole.samples, whole.record["likelihood"]),
            "facts": whole.record["facts"],
            "originality": copied,
            **({} if self.conductor is None else {"harmony": self.conductor.told()}),
        }

    def _part(self, plugin: Plugin, division: Division, targets: Sequence[Target], folds: int) -> Part:
        """One training and what it made; a fold that was finished before is read."""
        fold = division.fold
        if fold is None:
            return self._learn(plugin, division, targets)
        found = read_part(self.folder, self.key, fold)
        if found is None:
            told = self.emit
            self.emit = lambda event: told({**event, "fold": fold, "folds": folds})
            try:
                write_part(self.folder, self.key, fold, self._learn(plugin, division, targets))
            finally:
                self.emit = told
            gc.collect()  # the network of this fold, before the next one's
            found = read_part(self.folder, self.key, fold)
            if found is None:
                raise TrialError(f"Fold {fold} was written to {self.folder}, but can't be read back.", "Is the disk all right?")
        self.remarks += [text for text in found.record["remarks"] if text not in self.remarks]
        return found

    def _learn(self, plugin: Plugin, division: Division, targets: Sequence[Target]) -> Part:
        """Learn from a division's music, continue its targets, measure its held-out pieces."""
        trial, said = self.trial, len(self.remarks)
        own = [targets[i] for i in division.places]
        model = self._build(plugin)
        provenance.require_device(plugin.header["FRAMEWORK"], trial.device)
        # Only trained models are judged by their times; the references' trials stay quick.
        if trial.kind == "model" and not self.beside:
            self.beside["before"] = speed.measure()
        training = self._fit(model, division)
        if plugin.header["SEES_TARGET"]:
            model.reveal([t.target for t in own])
        takes_prompt = bool(plugin.header["PROMPT"])
        if trial.harmony is not None:
            self.conductor = Conductor(model, trial.harmony, own, division.corpus.train, takes_prompt)
        made, generation = self._generate(self.conductor or model, own, takes_prompt, division)
        if trial.kind == "model":
            self.beside["after"] = speed.measure()
        kind = getattr(model, "likelihood", plugin.header["LIKELIHOOD"])
        columns = self._likelihood(model, kind, division)
        facts = self._facts(model)
        notes = {(division.places[piece], sample): part for (piece, sample), part in made.items()}
        record = {
            "training": training,
            "generation": generation,
            "likelihood": kind,
            "facts": facts,
            "peak_bytes": peak_bytes(),
            "remarks": self.remarks[said:],
        }
        return Part(Samples(notes, *columns), record)

    def _plugin(self) -> Plugin:
        plugin = get_plugin("model", self.trial.model, [Path(p) for p in self.job["plugins"]])
        if source_digest(plugin) != self.job["digest"]:
            ours, theirs = provenance.installation(), self.job["bench"]
            if ours != theirs:
                raise PluginError(f"{sys.executable} has {ours}, the runner {theirs}.", "Install the same midibench in both.")
            raise PluginError(
                f"{plugin.path} or a file it shares was changed while the run was going on.", "Start the run again."
            )
        return plugin

    def _build(self, plugin: Plugin) -> Any:
        self.phase = "load"
        made = load(plugin)
        try:
            return made(**self.trial.params)
        except TypeError as error:
            raise PluginError(f"The model {plugin.name!r} can't be made with {self.trial.params}: {error}.") from error

    def _fit(self, model: Any, division: Division) -> dict[str, Any]:
        self.phase = "fit"
        trial = self.trial
        budget = Budget(trial.budget.epochs, trial.budget.patience, trial.budget.max_seconds)
        self.training = run = TrainingRun(
            seed=seed_for("training", trial.model, trial.seed, *_axis(division)),
            budget=budget,
            folder=self.folder / "checkpoint" / ("" if division.fold is None else part_name(division.fold)),
            device=trial.device,
            threads=int(self.job["threads"]),
            emit=self.emit,
        )
        run.folder.mkdir(parents=True, exist_ok=True)
        self.had_checkpoint = any(run.folder.iterdir())
        self.emit({"event": "fit", "epochs": budget.epochs})
        start = time.perf_counter()
        model.fit(division.corpus.train, division.corpus.validation, run)
        return run.summary(time.perf_counter() - start)

    def _generate(
        self, model: Any, targets: Sequence[Target], takes_prompt: bool, division: Division
    ) -> tuple[dict[tuple[int, int], Notes], dict[str, Any]]:
        """Continue each target's prompt, once a sample, and what that took.

        Where a model says that it `compiles`, the first sample is made once more before, off the clock; ``compile_seconds``
        are that call's.
        """
        self.phase = "generate"
        trial, protocol = self.trial, self.trial.protocol
        prompts = [t.prompt for t in targets]
        made: dict[tuple[int, int], Notes] = {}

        def timed(sample: int) -> tuple[Any, float]:
            start = time.perf_counter()
            seed = seed_for("generate", trial.model, trial.seed, sample, *_axis(division))
            parts = model.generate(prompts, protocol.notes, seed)
            return parts, time.perf_counter() - start

        compile_seconds, seconds = None, 0.0
        for sample in range(protocol.samples):
            self.emit({"event": "generate", "sample": sample, "samples": protocol.samples, "pieces": len(prompts)})
            if sample == 0 and getattr(model, "compiles", False):
                compile_seconds = timed(sample)[1]
            parts, spent = timed(sample)
            seconds += spent
            check_samples(parts, targets, protocol.notes, takes_prompt)
            made |= {(piece, sample): notes for piece, notes in enumerate(parts)}
        notes = len(made) * (trial.harmony.written(protocol.notes) if trial.harmony else protocol.notes)
        told = {"seconds": seconds, "notes": notes, "notes_per_second": rate(notes, seconds)}
        return made, {**told, "compile_seconds": compile_seconds}

    def _likelihood(self, model: Any, kind: str | None, division: Division) -> tuple[Any, ...]:
        """Of every held-out piece, those too short to be continued included: sums by field, notes, which piece."""
        if kind is None:
            return ()
        self.phase = "likelihood"
        index = [i for i, piece in enumerate(division.corpus.test) if len(piece.notes)]
        pieces = [division.corpus.test[i] for i in index]
        self.emit({"event": "likelihood", "pieces": len(pieces)})
        parts = list(model.log_likelihood(pieces))
        check_likelihood(parts, pieces)
        sums = np.array([np.asarray(part, np.float64).sum(0) for part in parts])  # (pieces, 4)
        counts = np.array([len(piece.notes) for piece in pieces], np.int64)
        return sums, counts, np.array([division.pieces[i] for i in index], np.int64)

    def _facts(self, model: Any) -> dict[str, Any]:
        """What the model states of itself. What can't be used is left out and said: it is no reason to lose the trial."""
        self.phase = "facts"
        if not hasattr(model, "facts"):
            return {}
        try:
            given = dict(model.facts())
            wrong = {name: given[name] for name in COUNTS if given.get(name) is not None and not _is_count(given[name])}
            facts: dict[str, Any] = plain({name: value for name, value in given.items() if name not in wrong})
        except Exception as error:
            traceback.print_exc()
            self._remark(f"facts() failed, so none are recorded: {type(error).__name__}: {error}")
            return {}
        for name, value in wrong.items():
            self._remark(f"facts() gave {name} = {str(value)[:60]}; it must be a finite number of at least 0, so it is left out.")
        return facts

    def _remark(self, text: str) -> None:
        self.remarks.append(text)
        print(text, file=sys.stderr, flush=True)
        self.emit({"event": "message", "text": f"{self.trial.label}: {text}"})

    def _write_midi(self, samples: Mapping[tuple[int, int], Notes], targets: Sequence[Target], takes_prompt: bool) -> None:
        for piece, target in enumerate(targets[: prepare.MIDI_PIECES]):
            path = self.folder / "midi" / f"piece-{piece:03}.mid"
            if self.conductor is not None:
                prepare.write_tracks(path, self.conductor.tracks(piece))
            else:
                prepare.write_midi(path, *([target.prompt] if takes_prompt else []), samples[piece, 0])

    def _provenance(self) -> dict[str, Any]:
        here = {"bench": provenance.version(), "git": provenance.git_commit(), "cpu": provenance.cpu_model()}
        device = provenance.device_name(self.trial.device)
        return {**provenance.loaded(), **here, "threads": int(self.job["threads"]), "device": device}


def peak_bytes() -> int:
    """Peak resident memory of this process, bytes.

    VmHWM starts anew at exec; getrusage's figure would begin with the parent's size.
    """
    return processes.peak_bytes(os.getpid()) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a trial's folder: a worker whose runner was killed may live for a moment after the next runner started."""
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + PATIENCE
    with (folder / ".lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise TrialError(f"Another worker still holds {folder}.", "End it, then start the run again.") from error
                time.sleep(0.05)
        yield


def _take_stdout() -> Channel:
    """Keep the original stdout for events; from now on file descriptor 1 is stderr, for C libraries too."""
    channel = Channel(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    return channel


def _end_with_runner() -> None:
    """Watch the runner's end of stdin. Started by hand, from a terminal or a file, there is nothing to watch."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    pipe = os.dup(0)
    # A plug-in that reads stdin gets the end of a file instead of the runner's pipe.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    threading.Thread(target=_wait_for_end, args=(pipe,), name="runner watch", daemon=True).start()


def _wait_for_end(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with what the plug-in started
    os._exit(FAILED)


def _axis(division: Division) -> tuple[str, ...]:
    """What a fold adds to a seed's name: no two folds share initial weights, order of data or draws."""
    return () if division.fold is None else ("fold", str(division.fold))


def _is_count(value: Any) -> bool:
    """Whether it is a finite number of at least 0, NumPy's included."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) >= 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Without the interpreter's tear-down: it takes seconds in some frameworks, and the outcome is already on disk.
    os._exit(code)
