"""Tasks on a dataset (fetch, verify, prepare), each in a child process."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.api import Verified
from bench.errors import (
    BenchError,
    DataError,
    MachineError,
    PluginError,
    SpecError,
    StoppedError,
    TrialError,
    UsageError,
    did_you_mean,
)
from bench.formatting import brief
from bench.plugins.header import Plugin
from bench.runner import processes
from bench.runner.processes import Ending, Signals, Task
from bench.storage.files import tail
from bench.storage.records import Prepared
from bench.system import hardware
from bench.system.paths import Places

Sink = Callable[[dict[str, Any]], None]

#: Errors that a child process reports by their kind, raised again here.
_KINDS: tuple[type[BenchError], ...] = (UsageError, SpecError, PluginError, DataError, TrialError, MachineError)
_ERRORS: dict[str, type[BenchError]] = {"MemoryError": MachineError, **{kind.__name__: kind for kind in _KINDS}}


def fetch_dataset(name: str, *, options: Mapping[str, Any] | None = None, display: Sink | None = None, **where: Any) -> Path:
    """Download a dataset into the cache, in a child process.

    Parameters
    ----------
    name : str
    options : mapping, optional
        Options of the dataset.
    display : callable, optional
        Called with each event.
    **where
        `out`, `data`, `plugins`, as for :func:`bench.run`.

    Returns
    -------
    Path
        The folder that holds it.
    """
    result = _dataset_only("fetch", name, options, display, where)
    with usable(f"The dataset {name!r}"):
        return Path(result["folder"])


def verify_dataset(name: str, *, options: Mapping[str, Any] | None = None, display: Sink | None = None, **where: Any) -> Verified:
    """Compare an existing dataset with its known checksums; see :func:`fetch_dataset`."""
    result = _dataset_only("verify", name, options, display, where)
    with usable(f"The dataset {name!r}"):
        return Verified(**result["verified"] | {"differences": tuple(result["verified"]["differences"])})


def verification_text(verified: Verified) -> str:
    """Summarize a verification; a dataset without checksums is never reported as correct.

    Examples
    --------
    >>> verification_text(Verified(compared=3))
    '3 files compared, nothing differs'
    >>> verification_text(Verified())
    'there are no checksums to compare'
    """
    parts = []
    if verified.compared:
        differ = f"{len(verified.differences)} differ" if verified.differences else "nothing differs"
        parts.append(f"{verified.compared} files compared, {differ}")
    elif verified.differences:
        parts.append(f"{len(verified.differences)} files are missing or can't be used")
    if verified.there:
        parts.append(f"{verified.there} files are there; no checksums are known for this folder")
    return "; ".join(parts) or "there are no checksums to compare"


def choose_options(
    plugin: Plugin,
    assignments: Sequence[str] = (),
    spec: str | None = None,
    scale: str | None = None,
    plugins: Sequence[Path] = (),
) -> dict[str, Any]:
    """Collect a dataset's options: those of a spec at a scale, overridden by single assignments.

    Parameters
    ----------
    plugin : Plugin
    assignments : sequence of str
        Each ``key=value``, with the value in YAML.
    spec : str, optional
        Name of a shipped spec, or a YAML file.
    scale : {"smoke", "cpu", "gpu"}, optional
        Scale of the spec; by default the one that a run would choose.
    plugins : sequence of Path
        The user's plug-in folders.

    Raises
    ------
    UsageError
        If the spec uses another dataset, or an option is unknown or has the wrong type.
    """
    options: dict[str, Any] = {}
    if spec is not None:
        from bench.specs.load import load_spec
        from bench.specs.scales import choose_scale

        choice = load_spec(spec, plugins, scale=choose_scale(scale, spec, plugins)[0]).dataset
        if choice.name != plugin.name:
            raise UsageError(f"The spec {spec} uses the dataset {choice.name!r}, not {plugin.name!r}.")
        options |= choice.options
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--option is {text!r}; expected key=value.")
        options[key] = _parse_option(plugin, key, value)
    return options


def _parse_option(plugin: Plugin, key: str, text: str) -> Any:
    """Parse an option's value as YAML; refuse one of a type that the plug-in doesn't accept."""
    from bench.plugins.parameters import PASSWORD, accepts, holds_password, type_text
    from bench.specs.document import parse_yaml

    if key not in plugin.parameters:
        word = "option" if plugin.kind == "dataset" else "hyperparameter"
        hint = did_you_mean(key, plugin.parameters) or f"It has no {word}s."
        raise UsageError(f"--option: the {plugin.kind} {plugin.name!r} has no {word} {key!r}.", hint)
    try:
        value = parse_yaml(text, "it")
    except SpecError as error:
        problem = error.message.removeprefix("it:1: ").rstrip(".")
        raise UsageError(f"--option {key}: {brief(repr(text), 60)} is not a YAML value ({problem}).", error.hint) from None
    if not accepts(plugin.parameters[key], value):
        raise UsageError(f"--option {key}: expected {type_text(plugin.parameters[key])}, got {value!r}.")
    if holds_password(value):
        message, hint = PASSWORD
        raise UsageError(f"--option {key}: {message}", hint)
    return value


def dataset_task(job: Mapping[str, Any], file: Path, log: Path, signals: Signals, display: Sink) -> dict[str, Any]:
    """Run a task on a dataset in a child process and return its result; see :func:`child_task`."""
    return child_task(job, f"the dataset {job['dataset']['name']!r}", file, log, signals, display)


def child_task(
    job: Mapping[str, Any],
    subject: str,
    file: Path,
    log: Path,
    signals: Signals,
    display: Sink,
    python: str = sys.executable,
) -> dict[str, Any]:
    """Run a task on a plug-in, the `subject` of messages, in a child process and return its result.

    Raises
    ------
    BenchError
        The error of the child, of the same kind; a PluginError for an exception of any other kind.
    """
    result, ending = _attempt(job, file, log, signals, display, python)
    if result is None and ending.died and job["task"] == "prepare":
        text = f"The process that reads the music was {ending.reason}. It is read again, file by file in a process of its own."
        display({"event": "message", "text": text})
        result, ending = _attempt({**job, "isolated": True}, file, log, signals, display, python)
    verb, log_end = job["task"], tail(log, ending.log_start)
    if result is None:
        raise DataError(f"The task {verb!r} on {subject} failed: {ending.reason}.", log_end)
    if result.pop("event") == "result":
        return result
    if error := _ERRORS.get(result["kind"]):
        raise error(result["message"], result["hint"])
    raise PluginError(f"T{subject[1:]} failed in {verb!r}: {result['message']}", log_end)


def _attempt(
    job: Mapping[str, Any], file: Path, log: Path, signals: Signals, display: Sink, python: str
) -> tuple[dict[str, Any] | None, Ending]:
    """Run a task once; return its last result or error, if it sent one, and how it ended."""
    results: list[dict[str, Any]] = []
    endings: list[Ending] = []

    def take(task: Task, event: dict[str, Any]) -> None:
        if event["event"] in ("result", "error"):
            results.append(dict(event))
        else:
            display(event)

    def end(task: Task, ending: Ending) -> bool:
        endings.append(ending)
        return False

    # Its result lists every file that was left out.
    task = Task(job, file, log, python, processes.environment(hardware.cores(), "cpu"), most=1 << 28, longest=1 << 27)
    processes.run_tasks([task], 1, signals, lambda _: None, take, end)
    return (results[-1] if results else None), endings[0]


def prepare_dataset(job: Mapping[str, Any], file: Path, log: Path, signals: Signals, display: Sink) -> Prepared:
    """Run the task that prepares a dataset, see :func:`dataset_task`; a PluginError if its result can't be used."""
    result = dataset_task(job, file, log, signals, display)
    with usable(f"The dataset {job['dataset']['name']!r}"):
        return Prepared.model_validate(result)


@contextlib.contextmanager
def usable(subject: str) -> Iterator[None]:
    """Blame the plug-in, whose code can write to the same pipe, for a result that no worker sends."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise PluginError(f"{subject} sent a result that can't be used: {brief(error)}.") from error


def _dataset_only(
    task: str, name: str, options: Mapping[str, Any] | None, display: Sink | None, where: Mapping[str, Any]
) -> dict[str, Any]:
    job = {"task": task, "dataset": {"name": name, "options": dict(options or {})}, **Places.find(**where).job()}
    return task_alone(job, f"the dataset {name!r}", display)


def task_alone(job: Mapping[str, Any], subject: str, display: Sink | None, python: str = sys.executable) -> dict[str, Any]:
    """Run a task outside of any run, see :func:`child_task`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary, Signals() as signals:
        folder = Path(temporary)
        try:
            file, log = folder / "job.json", folder / "stderr.log"
            return child_task(job, subject, file, log, signals, display or (lambda event: None), python)
        except StoppedError as stopped:
            raise StoppedError(stopped.number, "The same command starts it again.") from None
