"""One trial, in the worker. The code of model plug-ins runs only in a trial's child process: here and in :mod:`.constrained`."""

from __future__ import annotations

import contextlib
import json
import numbers
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bench.api import FIELDS, Model, Notes, Piece, seed_for
from bench.errors import (
    BenchError,
    DataError,
    NoProbabilityError,
    PluginError,
    UsageError,
    is_denied,
    is_machines,
    is_users,
    machine_error,
    refusal,
)
from bench.formatting import listed, plural
from bench.metrics import prediction
from bench.metrics.copying import measure_samples
from bench.metrics.likelihood import summarize
from bench.metrics.sample_scores import store_scores
from bench.music.codec import NoteCodec
from bench.music.notes import COLUMNS
from bench.plugins import opened
from bench.plugins.digest import file_digests, installed_imports, source_digest, unknown_code
from bench.plugins.discovery import get_plugin, plugin_line, raised_by_plugin
from bench.plugins.header import Plugin
from bench.plugins.uncached import check_unchanged, expect, import_packages_from_source
from bench.runner import forks, processes
from bench.runner.constrained import Conductor
from bench.runner.contract import ONSET_TOLERANCE, OTHER_SPAN, TELLING, begins_again, check_likelihood, check_samples, stretch
from bench.runner.folds import Division, choose_division
from bench.runner.prepare import write_midi, write_tracks
from bench.runner.probes import (
    LEAST_IN_ALL,
    Alternatives,
    alternatives,
    beginning,
    check_all_predicted,
    check_alone,
    check_followed,
    check_noise,
    ending,
    followed_otherwise,
    other_pitches,
    shortest,
)
from bench.runner.training import TrainingRun, limits, rate
from bench.runner.weights import make_model
from bench.specs.trials import Trial
from bench.storage.corpus import lengths, load_corpus
from bench.storage.files import FORMAT, BusyError, NoLocksError, check_values, clear_temporaries, hold, plain, tail, write_json
from bench.storage.outcome import COUNTS, OUTCOME, Done, Failed, Failure, Generation, Memory, SpeedReference, Training
from bench.storage.run_folder import result_digests, samples_file
from bench.storage.samples import MIDI_PIECES, Samples, Target, read_target_file, write_samples
from bench.storage.stored import first_problem
from bench.system import frameworks, gpu, hardware, provenance, speed
from bench.system.drawing import load_matplotlib

Emit = Callable[[dict[str, Any]], None]

#: Exit codes: the task was completed; the task failed and reported the reason.
DONE, FAILED = 0, 3

#: Exceptions of PyTorch and TensorFlow for exhausted GPU memory.
_GPU_MEMORY = {"OutOfMemoryError", "ResourceExhaustedError"}
#: What a RuntimeError says where no thread is left, or no memory of the GPU (also outside of PyTorch's allocator) or the host.
_MEMORY_SAID = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "can't start new thread",  # of Python itself
)

#: Characters of a message that are kept: an exception may quote an array.
LONGEST_MESSAGE = 4_000

#: Greatest number that a fact may be.
MOST_COUNT = 10**15

#: Characters of a model's facts as JSON.
MOST_FACTS = 1 << 20

#: Seconds, and share of the training time, that `fit` may take before the training clock starts, such as to build a network.
_SETUP, _SETUP_SHARE = 30.0, 0.5

#: How many times as many notes as in its passes over the music a training may log, or as few, such as of excerpts.
_OTHER_NOTES = 4

#: Share of the held-out notes that may be certain in all fields.
_MOST_CERTAIN = 0.02

#: Suffixes of files in which frameworks keep weights.
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".h5", ".keras", ".npz", ".npy", ".pkl", ".joblib")

#: Time to wait for a worker whose runner was killed to release the trial's folder, seconds.
PATIENCE = 30.0


def describe(error: BaseException) -> dict[str, str]:
    """Describe an error by kind, message and hint.

    A refused call of a plug-in is an error of the plug-in, unless the machine refuses whatever is asked for. Long texts are cut.
    Of an exception that is none of :mod:`bench.errors` the message names the line of the plug-in that it last passed.

    Examples
    --------
    >>> describe(ValueError("no notes"))
    {'kind': 'ValueError', 'message': 'ValueError: no notes', 'hint': ''}
    """
    if isinstance(error, OSError) and error.errno is not None and (is_machines(error) or not raised_by_plugin(error)):
        error = refusal(error, UsageError(machine_error(error).message))
    kind, hint, at = type(error).__name__, "", ""
    if isinstance(error, BenchError):
        message, hint = error.message, error.hint
    elif isinstance(error, MemoryError):
        kind, message = "MemoryError", f"out of memory; peak was {peak_bytes() / 2**20:.0f} MiB"
        message += f" ({error})" if str(error) else ""
    else:
        message, at = f"{kind}: {error}", plugin_line(error)
    return {"kind": _cut(kind), "message": _cut(message) + (f" [{at}]" if at else ""), "hint": _cut(hint)}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} … ({len(text):,} characters)"


def is_transient(error: BaseException) -> bool:
    """Whether the cause is the machine, not the training: memory or disk is full, too many files are open, a disk is read-only.

    A damaged HDF5 file raises an OSError too, but without an error number; a missing or misplaced file is no machine's fault.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return is_denied(error) or not is_users(error)
    if isinstance(error, MemoryError):
        return True
    return any(c.__name__ in _GPU_MEMORY for c in type(error).__mro__) or any(words in str(error) for words in _MEMORY_SAID)


def _weights_here() -> dict[str, tuple[int, int]]:
    """List the files of weights in the current folder by name, with what changes when one is written."""
    with contextlib.suppress(OSError), os.scandir() as entries:
        found = {entry.name: entry.stat() for entry in entries if entry.name.endswith(_WEIGHTS) and entry.is_file()}
        return {name: (status.st_ino, status.st_mtime_ns) for name, status in sorted(found.items())}
    return {}


def _copy(notes: Notes) -> Notes:
    return Notes(*(getattr(notes, name).copy() for name in COLUMNS))


class TrialTask:
    """One trial: learn, generate, measure likelihood; then samples.npz and, last, outcome.json."""

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
        #: Peak memory of training and generating, without the measurements on the samples that follow.
        self.peak: int | None = None
        #: Duration of the first call of `generate`, which compiles.
        self.compile_seconds: float | None = None
        #: Errors of the plug-in that don't affect the rest of the trial.
        self.remarks: list[str] = []
        #: What the model's likelihoods are over.
        self.unit: prediction.Unit = "note"
        #: A held-out piece with its log probabilities as given among the others.
        self.among: tuple[Piece, NDArray[np.float64]] | None = None
        #: Of frames or events, the held-out piece with most of them, then of notes, and its log probabilities.
        self.longest: tuple[Piece, NDArray[np.float64]] | None = None
        #: Name of the model's axis of randomness: all reference rows share one.
        self.axis = self.trial.model
        #: Modules that its model requires, and installed ones that it imports besides: the versions of both are recorded.
        self.requires: tuple[str, ...] = ()
        self.imports: tuple[str, ...] = ()

    def run(self) -> int:
        """Run the trial and return the exit code; an exception becomes a failed outcome."""
        try:
            with hold(self.folder / ".lock", self.folder, PATIENCE):
                clear_temporaries(self.folder)
                outcome = self._attempt()
        except (BusyError, NoLocksError, OSError) as error:  # the folder can't be locked, or the outcome not written
            self.emit({"event": "error", **describe(error)})
            return FAILED
        return DONE if isinstance(outcome, Done) else FAILED

    def _store_scores(self) -> None:
        """Score the samples now, beside other trials. The trial goes on: what fails here, scoring the run repeats and reports.

        Before the outcome is written: a trial that was killed meanwhile isn't done, and clears up when it starts again.
        """
        try:
            protocol = self.trial.protocol
            store_scores(self.folder, Path(self.job["targets"]), protocol.samples, protocol.seconds)
        except Exception:
            traceback.print_exc()

    def _attempt(self) -> Done | Failed:
        common: dict[str, Any] = {"key": self.key, "trial": self.trial.model_dump(mode="json")}
        outcome: Done | Failed
        try:
            outcome = Done(status="done", memory=Memory(), **common, **self._perform())
        except BaseException as error:  # a plug-in may leave by sys.exit, and a library's panic is no Exception
            traceback.print_exc()
            sys.stderr.flush()
            forks.end(error)
            failure = Failure(
                **describe(error),
                phase=self.phase,
                had_checkpoint=self.had_checkpoint,
                epochs=self.training.epochs_logged if self.training else 0,
                transient=is_transient(error),
                stderr_tail=tail(self.folder / "stderr.log", self.log_start),
            )
            outcome = Failed(status="failed", error=failure, **common)
        peak_gpu = outcome.facts.get("peak_gpu_bytes") if isinstance(outcome, Done) else None
        outcome = outcome.model_copy(
            update={
                "remarks": tuple(self.remarks),
                "memory": Memory(peak_bytes=self.peak or peak_bytes(), peak_gpu_bytes=peak_gpu),
                "provenance": self._provenance(),
                "wall_seconds": time.perf_counter() - self.began,
            }
        )
        record = {"format": FORMAT, **outcome.model_dump()}
        try:
            OUTCOME.validate_python(plain(record))  # a plug-in's part of it may be what no reader takes
            write_json(self.folder / "outcome.json", record)
        except (DataError, ValidationError) as error:
            reason = first_problem(error) if isinstance(error, ValidationError) else error.message
            failure = Failure(kind="DataError", message=f"Its outcome can't be stored: {_cut(reason)}", phase="write")
            outcome = Failed(status="failed", error=failure, **common)
            write_json(self.folder / "outcome.json", {"format": FORMAT, **outcome.model_dump()})
        return outcome

    def _perform(self) -> dict[str, Any]:
        """Train, generate, measure, and store everything but the outcome; return the outcome's fields."""
        trial, plugin = self.trial, self._plugin()
        self.requires = tuple(plugin.header["REQUIRES"])
        self.imports = tuple(installed_imports(plugin))
        stored = read_target_file(Path(self.job["targets"]))
        division = choose_division(load_corpus(Path(self.job["corpus"])), stored, trial.fold)
        targets = [stored.targets[i] for i in division.places]
        if {"tensorflow", "keras"} & {*self.requires}:
            load_matplotlib()
        if "tensorflow" in self.requires:
            os.environ["KERAS_BACKEND"] = "tensorflow"  # the user's own choice may be for other programs
            if trial.device == "cuda":
                gpu.load_cusolver()
        takes_prompt = bool(plugin.header["PROMPT"])
        model = self._build(plugin)
        if plugin.header["SEES_SAMPLES"]:
            model.samples = tuple(division.corpus.samples)
        frameworks.require_device(self.requires, trial.device)
        kind = model.likelihood
        self.unit = plugin.header["UNIT"]
        self.axis = "references" if plugin.header["ROLE"] == "reference" else trial.model
        # Times are compared for trained models only, and the trials of the references stay fast.
        before = speed.measure() if trial.kind == "model" else None
        take = partial(self._take_stage, model, kind, targets, division, takes_prompt)
        training = self._fit(model, division, None if before is None else before[1], take)
        if plugin.header["SEES_TARGET"]:
            model.reveal([_copy(t.target) for t in targets])
        conductor = self._conductor(model, targets, division, takes_prompt)
        generated, generation = self._generate(conductor or model, targets, takes_prompt)
        yardstick = None if before is None else _speed_reference(before, speed.measure())
        samples = Samples(
            {(division.places[piece], sample): notes for (piece, sample), notes in generated.items()},
            *self._likelihood(model, kind, division),
        )
        self._remark_on_weights(samples)
        self._remark_on_code(plugin)
        facts = self._facts(model)
        self.peak = peak_bytes()
        self._probe(model, kind, division)
        self.phase = "originality"  # measured here, because scoring does not read the training pieces
        copied = measure_samples(division.corpus.train, generated, targets, takes_prompt)
        self.phase = "write"
        self._check_unchanged(model)
        write_samples(self.folder / "samples.npz", samples)
        self._write_midi(samples.notes, division, stored.targets, conductor, takes_prompt)
        if trial.fold is None:
            self._store_scores()
        return {
            "digests": result_digests(self.folder),
            "classes": _classes(model),
            "held_out": stored.digest(),
            "training": training,
            "generation": generation,
            "yardstick": yardstick,
            "likelihood": summarize(samples, kind),
            "prediction": prediction.summarize(
                samples, self.unit, kind, dict(zip(division.pieces, division.corpus.test, strict=True))
            ),
            "facts": facts,
            "originality": copied,
            "stages": () if self.training is None else self.training.stages(),
            "harmony": None if conductor is None else conductor.stored(),
            "pieces": None if trial.fold is None else division.places,
        }

    def _plugin(self) -> Plugin:
        plugin = get_plugin("model", self.trial.model, [Path(p) for p in self.job["plugins"]])
        packages = self.job.get("packages", {})
        expect(file_digests(plugin, packages))  # before they are compared: what changes in between is refused when it is imported
        if source_digest(plugin, packages) != self.job["digest"]:
            ours, theirs = provenance.installation(), self.job["bench"]
            if ours != theirs:
                raise PluginError(f"{sys.executable} has {ours}, the runner {theirs}.", "Install the same midibench in both.")
            raise PluginError(f"{plugin.path} or a file that it shares was changed during the run.", "Start the run again.")
        import_packages_from_source(packages)
        opened.watch()
        return plugin

    def _build(self, plugin: Plugin) -> Model:
        self.phase = "load"
        model = make_model(plugin, self.trial.params)
        if source := self.job.get("weights"):
            model.weights = Path(source)
            self._check_weights(model)
        forks.end()
        _check_likelihood(model, plugin)  # before a training that would be lost by it
        claims = model.likelihood or plugin.header["LIKELIHOOD"] or plugin.header["ROLE"] == "reference"
        if not claims and _has_likelihood(model):
            self._remark("has a log_likelihood(), but no LIKELIHOOD in its header: it isn't asked for, and the row has no bits.")
        return model

    def _check_weights(self, model: Model) -> None:
        if self.trial.weights and model.fingerprint(Path(self.job["weights"])) != self.trial.weights:
            raise DataError(
                f"The weights in {self.job['weights']} were changed during the run.",
                "Start the run again: they are another trial.",
            )

    def _check_unchanged(self, model: Model) -> None:
        """Refuse a result of other code or weights than those of its key, as of what was read late."""
        forks.end()
        try:
            check_unchanged()
            self._check_weights(model)
        except (DataError, PluginError):
            processes.remove(self.folder / "checkpoint")  # it may be that of the others, and so may results that were taken
            raise

    def _fit(self, model: Model, division: Division, yardstick: float | None, take: Callable[[float], None]) -> Training:
        self.phase = "fit"
        trial = self.trial
        budget = limits(trial.budget, trial.device, yardstick)
        self.training = run = TrainingRun(
            seed=seed_for("training", self.axis, trial.seed, *self._axis),
            budget=budget,
            folder=self.folder / "checkpoint",
            device=trial.device,
            threads=int(self.job["threads"]),
            yardstick=yardstick,
            emit=self.emit,
            take=take,
        )
        run.training_notes = sum(lengths(division.corpus.train))
        run.folder.mkdir(parents=True, exist_ok=True)
        self.had_checkpoint = any(run.folder.iterdir())
        self.emit({"event": "fit", "epochs": len(budget.shares)})
        here = _weights_here()
        start, before = time.perf_counter(), self._joules()
        model.fit(division.corpus.train, division.corpus.validation, run)
        forks.end()
        training = run.summary(time.perf_counter() - start, _difference(before, self._joules()))
        if trial.kind == "model" and not (run.history or trial.pretrained or budget.untrained):
            self._remark("fit() logged no evaluation: nothing shows that the model was trained.")
        elif run.history and not budget.in_epochs and "share" not in run.history[-1]:
            self._remark(
                f"The model logged no share of the budget: it seems to know epochs only. It trained {training.epochs:g} of them: "
                "its row isn't one at this budget."
            )
        elif run.history and not budget.in_epochs and not training.held_to_budget:
            self._remark(f"The model took {training.share:.3g} times the budget: its row isn't one at this budget.")
        passes, logged = training.epochs or 0, int(training.notes or 0)
        by_passes = passes * run.training_notes
        if by_passes and logged and not 1 / _OTHER_NOTES < by_passes / logged < _OTHER_NOTES:
            self._remark(
                f"fit() logged {plural(logged, 'note')} in {passes:.3g} passes over "
                f"{plural(run.training_notes, 'training note')}. Are they notes, not windows or batches, and since the last log?"
            )
        if (uncounted := run.seconds_before or 0.0) > max(_SETUP, _SETUP_SHARE * (training.seconds or 0.0)):
            self._remark(
                f"fit() took {uncounted:.0f} seconds before run.begin(), which neither the budget nor the training time counts. "
                "What trains or counts notes comes after it."
            )
        if kept := [name for name, state in _weights_here().items() if here.get(name) != state]:
            self._remark(
                f"While it trained, {listed(kept)} in the current folder changed. Does it keep weights there, or a model that "
                "trains beside it? All trials share that folder: one may load another's. Keep them in run.folder."
            )
        return training

    def _joules(self) -> float | None:
        """Read the GPU's energy counter; None where it counts other trials too."""
        return gpu.joules() if self.trial.device == "cuda" and not self.job.get("shares_gpu") else None

    def _generate(
        self, model: Model | Conductor, targets: Sequence[Target], takes_prompt: bool
    ) -> tuple[dict[tuple[int, int], Notes], Generation]:
        """Continue each target's prompt, once per sample; return the notes by (piece, sample), and the cost.

        For a model that `compiles`, the first sample is generated once in advance, outside the timing, unless a stage did;
        ``compile_seconds`` is the duration of the first call.
        """
        self.phase = "generate"
        trial, protocol = self.trial, self.trial.protocol
        prompts = [t.prompt for t in targets]
        generated: dict[tuple[int, int], Notes] = {}

        def timed(sample: int) -> tuple[Any, float]:
            own = [_copy(prompt) for prompt in prompts]  # each time: it may change them in place
            start = time.perf_counter()
            seed = seed_for("generate", self.axis, trial.seed, sample, *self._axis)
            parts = model.generate(own, protocol.notes, seed)
            return parts, time.perf_counter() - start

        seconds, compiles = 0.0, model.compiles
        for sample in range(protocol.samples):
            self.emit({"event": "generate", "sample": sample, "samples": protocol.samples, "pieces": len(prompts)})
            if compiles and self.compile_seconds is None:
                self.compile_seconds = timed(sample)[1]
            parts, spent = timed(sample)
            seconds += spent
            check_samples(parts, targets, protocol.notes, takes_prompt)
            if not sample and trial.kind == "model":
                self._say_odd(parts, targets if takes_prompt else ())
                self._say_strange(parts, targets)
            # Copies: a model may use its arrays again, whose views :class:`Notes` may hold.
            generated |= {(piece, sample): _copy(notes) for piece, notes in enumerate(parts)}
        notes = len(generated) * (trial.harmony.written(protocol.notes) if trial.harmony else protocol.notes)
        generation = Generation(
            seconds=seconds,
            notes=notes,
            notes_per_second=rate(notes, seconds),
            compile_seconds=self.compile_seconds if compiles else None,
        )
        return generated, generation

    def _say_odd(self, parts: Sequence[Notes], targets: Sequence[Target]) -> None:
        """Say if most continuations begin with their prompt, or the note that it ends with: each is compared with others then."""
        most = max(1, len(targets) / 2)
        pairs = [(notes, target.prompt) for notes, target in zip(parts, targets, strict=False) if len(target.prompt)]
        of = plural(len(pairs), "continuation")
        ends = [(notes[:1], prompt[-1:]) for notes, prompt in pairs]
        same = sum(
            bool(first.pitch[0] == last.pitch[0]) and abs(float(first.onset[0] - last.onset[0])) <= ONSET_TOLERANCE
            for first, last in ends
        )
        if same > most:
            self._remark(
                f"begins {same} of {of} with the note that the prompt ends with, at its onset: generate() may return the "
                "prompt's last note too"
            )
        again = sum(
            begins_again(notes, target.prompt) and not begins_again(target.target, target.prompt)
            for notes, target in zip(parts, targets, strict=False)
        )
        if again > most:
            self._remark(f"begins {again} of {of} with the prompt again: generate() may return it too, or instead")

    def _say_strange(self, parts: Sequence[Notes], targets: Sequence[Target]) -> None:
        """Say if most continuations are one, or far longer or shorter than the real ones, such as of onsets in ticks."""
        copies, alike = (
            len(music) - len({notes.pitch.tobytes() + notes.velocity.tobytes() for notes in music})
            for music in (parts, [target.target for target in targets])
        )
        if copies - alike > (len(parts) - 1) / 2 and min(map(len, parts)) >= TELLING:
            self._remark(
                f"writes the same notes for several pieces: {copies} of {len(parts)} continuations have those of another. Is the "
                "prompt passed over, or a generator seeded anew for each?"
            )
        span = stretch(parts, targets)
        if not 1 / OTHER_SPAN <= span <= OTHER_SPAN:
            self._remark(
                f"writes continuations that last {span:.3g} times as long as the real ones (median): are they in seconds?"
            )

    def _conductor(self, model: Model, targets: Sequence[Target], division: Division, takes_prompt: bool) -> Conductor | None:
        """Constrain the model if the trial has a harmony."""
        harmony = self.trial.harmony
        return None if harmony is None else Conductor(model, harmony, targets, division.corpus.train, takes_prompt)

    def _take_stage(
        self,
        model: Model,
        kind: Literal["exact", "bound"] | None,
        targets: Sequence[Target],
        division: Division,
        takes_prompt: bool,
        share: float,
    ) -> None:
        """Store the first sample of each piece, and the likelihoods, at a share of the budget, as they are stored at its end."""
        self.phase = "generate"
        seed = seed_for("generate", self.axis, self.trial.seed, 0, *self._axis)
        system = self._conductor(model, targets, division, takes_prompt) or model
        start = time.perf_counter()
        parts = system.generate([_copy(t.prompt) for t in targets], self.trial.protocol.notes, seed)
        if self.compile_seconds is None:
            self.compile_seconds = time.perf_counter() - start
        check_samples(parts, targets, self.trial.protocol.notes, takes_prompt)
        notes = {(division.places[piece], 0): notes for piece, notes in enumerate(parts)}
        samples = Samples(notes, *self._likelihood(model, kind, division))
        forks.end()
        path = samples_file(self.folder, share)
        path.parent.mkdir(exist_ok=True)
        write_samples(path, samples)
        self.phase = "fit"

    def _likelihood(self, model: Model, kind: Literal["exact", "bound"] | None, division: Division) -> tuple[Any, ...]:
        """Compute the likelihood of every held-out piece, even if too short to be continued: sums, counts, index.

        The sums are by field and the counts are notes; of other units, there is one sum, and the counts are predictions. A piece
        of which nothing is predicted, such as one of a single frame, is left out.
        """
        if kind is None:
            return ()
        self.phase = "likelihood"
        index = [i for i, piece in enumerate(division.corpus.test) if len(piece.notes)]
        pieces = [division.corpus.test[i] for i in index]
        self.emit({"event": "likelihood", "pieces": len(pieces)})
        try:
            # Copies: a generator may fill one array again and again. What is masked isn't predicted.
            parts = [np.array(np.ma.filled(part, np.nan)) for part in model.log_likelihood(list(pieces))]
        except NoProbabilityError as error:  # such as a note that its vocabulary lacks: no reason to lose the trial
            self._remark(f"has no likelihood: {error.message}")
            return ()
        check_likelihood(parts, pieces, self.unit, _codec(model))
        if (at := shortest(pieces)) is not None:
            self.among = pieces[at], np.array(parts[at], np.float64)
        if self.unit != "note":
            at = max(range(len(parts)), key=lambda i: (len(parts[i]), len(pieces[i].notes)))
            self.longest = pieces[at], np.array(parts[at], np.float64)
        if self.unit == "note":
            check_noise(parts, division.corpus.noise, division.corpus.entropy, kind, _codec(model))
            self._say_certain(parts)
        predicted = [(i, np.asarray(part, np.float64)) for i, part in zip(index, parts, strict=True) if len(part)]
        if left := sum(
            not len(part) and len(np.unique(piece.notes.onset)) > 1 for part, piece in zip(parts, pieces, strict=True)
        ):
            self._remark(
                f"predicts nothing of {left} of {plural(len(pieces), 'held-out piece')}: its {self.unit}s are those of others."
            )
        sums = np.array([part.reshape(len(part), -1).sum(0) for _, part in predicted])  # (pieces, 4 or 1)
        counts = np.array([len(part) for _, part in predicted], np.int64)
        return sums, counts, np.array([division.pieces[i] for i, _ in predicted], np.int64)

    def _probe(self, model: Model, kind: Literal["exact", "bound"] | None, division: Division) -> None:
        """Ask for the likelihood of pieces of which something is known if it is one: see :mod:`bench.runner.probes`."""
        self.phase = "likelihood"
        if self.longest:
            for which, cut in (("first", beginning), ("last", ending)):
                if (made := cut(self.longest[0])) and (part := self._ask(model, [made])):
                    check_all_predicted(part[0], which, *self.longest, self.unit)
        if kind != "exact":
            return
        test = division.corpus.test
        others, followed = alternatives(test, self.unit, _codec(model)), followed_otherwise(test, self.unit)
        if parts := self._ask(model, [piece for other in others for piece in other.asked]):
            each = iter(parts)
            for other in others:
                other.check([next(each) for _ in other.asked])
            self._say_lost(model, others, parts)
        if followed:
            parts = [part for piece in followed.asked for part in self._ask(model, [piece])]
            if len(parts) == len(followed.asked):
                check_followed(parts, followed, self.unit)
        if self.among and (alone := self._ask(model, [self.among[0]])):
            check_alone(alone[0], self.among[1], self.unit)

    def _say_certain(self, parts: Sequence[NDArray[Any]]) -> None:
        """Say if many notes have exactly the probability 1, as those behind a context that a loop leaves at 0."""
        certain = sum(int((~np.any(part, axis=1)).sum()) for part in parts)
        if certain > _MOST_CERTAIN * (notes := sum(map(len, parts))):
            self._remark(
                f"log_likelihood() gives {certain} of {plural(notes, 'held-out note')} exactly the probability 1, in all fields: "
                "are they left at 0, such as behind the model's context?"
            )

    def _say_lost(self, model: Model, others: Sequence[Alternatives], parts: Sequence[NDArray[np.float64]]) -> None:
        """Say if all pitches of a note have much less than the probability 1 together: other logarithms give more bits."""
        rest = other_pitches(others)
        more = self._ask(model, rest.asked) if rest else []
        if rest and more and (total := others[0].total(parts[: len(others[0].asked)]) + rest.total(more)) < LEAST_IN_ALL:
            self._remark(
                f"log_likelihood() gives all pitches of one note the probability {total:.2g} together, and what is missing "
                "counts as bits. Are they natural logarithms?"
            )

    def _ask(self, model: Model, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Ask for log probabilities of pieces that are none of the held-out ones; nothing if the model can't say."""
        try:
            given = [np.array(part, np.float64) for part in model.log_likelihood(list(pieces))] if pieces else []
            if self.unit == "note":
                given = [part.reshape(len(piece.notes), len(FIELDS)) for part, piece in zip(given, pieces, strict=True)]
        except Exception:  # such as of a model that knows the held-out pieces alone
            traceback.print_exc()
            return []
        return given if len(given) == len(pieces) else []

    def _remark_on_weights(self, samples: Samples) -> None:
        """Say if a mean over all predictions is that of a few pieces, such as files of an hour of long notes among short ones."""
        counts = samples.likelihood_notes
        if counts is None or len(counts) < 3:
            return
        effective = counts.sum() ** 2 / (counts.astype(np.float64) ** 2).sum()  # of equal pieces their number, Kish 1965
        if effective < len(counts) / 2:
            self._remark(
                f"The likelihood is a mean over all {self.unit}s of {len(counts)} held-out pieces, and as good as one over "
                f"{effective:.1f}: the longest has {counts.max() / counts.sum():.0%} of them."
            )

    def _facts(self, model: Model) -> dict[str, Any]:
        """Ask the model for its facts. Unusable ones are left out with a remark: they are no reason to lose the trial."""
        self.phase = "facts"
        try:
            stated = dict(model.facts())
            wrong = {name: stated[name] for name in COUNTS if stated.get(name) is not None and not _is_count(stated[name])}
            counts = {n: _number(stated[n]) for n in COUNTS if stated.get(n) is not None and n not in wrong}
            facts: dict[str, Any] = plain({n: value for n, value in stated.items() if n not in wrong} | counts)
            check_values(facts)
            if (size := len(json.dumps(facts))) > MOST_FACTS:
                raise ValueError(f"they have {size:,} characters, and may have {MOST_FACTS:,} at most")
        except Exception as error:
            traceback.print_exc()
            self._remark(f"facts() failed, so none are recorded: {type(error).__name__}: {error}")
            return {}
        for name, value in wrong.items():
            self._remark(f"facts() gave {name} = {str(value)[:60]}; it must be a number from 0 to 10^15, so it is left out.")
        return facts

    def _remark_on_code(self, plugin: Plugin) -> None:
        """Say which code no key knows, so that a change of it would go unnoticed."""
        if unknown := unknown_code(plugin, self.job.get("packages", {})):
            self._remark(
                f"uses code that isn't part of its key: {listed(unknown)}. After a change of it, give the run another --out, "
                "or import it in the plug-in's own file."
            )

    def _remark(self, text: str) -> None:
        text = _cut(text)
        if text in self.remarks:
            return
        self.remarks.append(text)
        print(text, file=sys.stderr, flush=True)
        self.emit({"event": "message", "text": f"{self.trial.label}: {text}"})

    def _write_midi(
        self,
        samples: Mapping[tuple[int, int], Notes],
        division: Division,
        targets: Sequence[Target],
        conductor: Conductor | None,
        takes_prompt: bool,
    ) -> None:
        for index, piece in enumerate(division.places):
            if piece >= MIDI_PIECES:
                continue
            path = self.folder / "midi" / f"piece-{piece:03}.mid"
            if conductor is not None:
                write_tracks(path, conductor.tracks(index))
            else:
                write_midi(path, *([targets[piece].prompt] if takes_prompt else []), samples[piece, 0])

    def _provenance(self) -> dict[str, Any]:
        here = {"bench": provenance.version(), "git": provenance.git_commit(), "cpu": hardware.cpu_model()}
        device = frameworks.device_name(self.trial.device)
        shared = {"shares_gpu": True} if self.job.get("shares_gpu") else {}
        if host := self.job.get("host"):  # of a cluster
            here["host"] = str(host)
        return {
            **frameworks.loaded((*self.requires, *self.imports)),
            **here,
            "threads": int(self.job["threads"]),
            "device": device,
            **shared,
        }

    @property
    def _axis(self) -> tuple[str, ...]:
        """Names that a fold adds to a seed, so that no two folds share initial weights, order of data or random draws."""
        return () if self.trial.fold is None else ("fold", str(self.trial.fold))


def _check_likelihood(model: Model, plugin: Plugin) -> None:
    """Refuse a likelihood that a model claims and can't have."""
    if model.header is not plugin.header:
        raise PluginError(f"{plugin.path}: the model sets `header`, which is what its file declares.", "Use another name.")
    kind = model.likelihood
    if kind not in (None, "exact", "bound"):
        raise PluginError(f"{plugin.path}: the model's likelihood is {kind!r}.", 'Valid: "exact", "bound", None.')
    if kind is not None and not _has_likelihood(model):
        raise PluginError(
            f"{plugin.path}: LIKELIHOOD is {kind!r}, and the model has no log_likelihood().",
            "Define it, or set LIKELIHOOD = None.",
        )


def _has_likelihood(model: Model) -> bool:
    return getattr(model.log_likelihood, "__func__", None) is not Model.log_likelihood


def _codec(model: Model) -> NoteCodec | None:
    """Codec whose classes a model's likelihood is over; None if nobody knows which notes are of one class of time or duration."""
    own = getattr(model, "codec", None)
    return own if isinstance(own, NoteCodec) else None if _classes(model) else NoteCodec()


def _classes(model: Model) -> tuple[int, int] | None:
    """Classes of time and duration of a model's codec, or its attributes of the same names; None without."""
    codec = getattr(model, "codec", None)
    stated = codec if isinstance(codec, NoteCodec) else model
    time, duration = (cast(Any, getattr(stated, name, None)) for name in ("time_classes", "duration_classes"))
    return (int(time), int(duration)) if _is_count(time) and _is_count(duration) else None


def peak_bytes() -> int:
    """Peak resident memory of this process, bytes.

    VmHWM is reset at exec, while getrusage starts from the parent's size.
    """
    return processes.peak_bytes(os.getpid()) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _speed_reference(before: tuple[float, float], after: tuple[float, float]) -> SpeedReference:
    return SpeedReference(before=before[0], after=after[0], core=(before[1] + after[1]) / 2)


def _difference(before: float | None, after: float | None) -> float | None:
    """Difference of two readings; None if one failed."""
    return None if before is None or after is None else after - before


def _is_count(value: Any) -> bool:
    """Whether a value is a number from 0 to :data:`MOST_COUNT`; NumPy's numbers count."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 <= float(value) <= MOST_COUNT


def _number(value: Any) -> int | float:
    """Convert a count, NumPy's and fractions included, to a number that JSON has."""
    return int(value) if isinstance(value, numbers.Integral) else float(value)
