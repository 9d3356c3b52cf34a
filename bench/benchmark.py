"""The whole of a benchmark in one call: resolve the spec, run its trials, render sound, score, report."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError
from bench.runner.datasets import Sink
from bench.runner.processes import Signals, StoppedError
from bench.runner.session import Session
from bench.specs.load import load_spec, shipped_specs
from bench.specs.scales import choose_scale
from bench.specs.schema import Scale, Spec
from bench.storage.run_folder import RunFolder
from bench.system.paths import Places


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Parameters
    ----------
    folder : Path
        Its folder: reports, samples, outcomes.
    failed : int
        Trials that failed or are missing; the table gives the reason of each.
    table : list of dict
        The rows, as in ``report.csv``.
    reports : list of Path
        Files written for people.
    """

    folder: Path
    failed: int
    table: list[dict[str, Any]] = field(default_factory=list)
    reports: list[Path] = field(default_factory=list)


def run(
    spec: Spec | str | Path,
    *,
    scale: str | None = None,
    models: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    dataset: str | None = None,
    seeds: int | Sequence[int] | None = None,
    data: Sequence[Path | str] = (),
    plugins: Sequence[Path | str] = (),
    out: Path | str | None = None,
    jobs: int = 1,
    fetch: bool = True,
    sound: bool = True,
    display: Sink | None = None,
) -> RunResult:
    """Run a spec: train, generate, score, report. The same call resumes where an earlier one was stopped.

    Parameters
    ----------
    spec : Spec, str or Path
        A shipped spec's name, a YAML file, or a Spec.
    scale : {"smoke", "cpu", "gpu"}, optional
        By default "gpu" where a GPU is visible, else "cpu".
    models, references, dataset, seeds : optional
        Replace the spec's own; see :func:`bench.specs.load.load_spec`.
    data : sequence of Path, optional
        Folders of music, before those of ``$BENCH_DATA``.
    plugins : sequence of Path, optional
        Plug-in folders, before those of ``$BENCH_PLUGINS``.
    out : Path, optional
        The reports folder; by default ``$BENCH_REPORTS`` or ``reports``.
    jobs : int
        Trials side by side; the cores are shared out.
    fetch : bool
        Whether a dataset that is missing may be downloaded.
    sound : bool
        Whether the models' samples are rendered as MP3.
    display : callable, optional
        Takes every event, a dict.

    Returns
    -------
    RunResult

    Raises
    ------
    BenchError
        If nothing could be run: a wrong spec, missing music, a folder in use. A trial that fails raises nothing.
    StoppedError
        At Ctrl-C or SIGTERM, with the workers ended and finished trials kept.

    Examples
    --------
    The reference rows of a shipped spec alone, with one seed; the folder is made under `out`.

    >>> from tempfile import mkdtemp
    >>> result = run("smoke", models=[], seeds=[0], scale="smoke", out=mkdtemp(), sound=False)
    >>> result.failed
    0
    >>> [row["system"] for row in result.table]
    ['real', 'shuffle', 'median', 'unigram', 'markov', 'uniform']
    """
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; at least 1 trial must run at a time.")
    places = Places.find(out, data, plugins)
    scale, why = choose_scale(scale)
    overrides = {"models": models, "references": references, "dataset": dataset, "seeds": seeds}
    resolved, folder_name = resolve(spec, scale, places, {k: v for k, v in overrides.items() if v is not None})
    folder = RunFolder(places.out / "runs" / folder_name)
    with folder.lock(), Signals() as signals:
        call = {**_asked(spec), **overrides, "data": data, "plugins": plugins, "jobs": jobs}
        show = display or (lambda event: None)
        session = Session(resolved, scale, why, places, folder, jobs, show, signals, call)
        try:
            session.run(fetch)
            if sound:
                render_after_run(folder.path, show)
            return report(folder.path, show)
        except StoppedError as stopped:
            raise StoppedError(stopped.number, f"The same command resumes from here: {folder.path}") from None


def resolve(spec: Spec | str | Path, scale: Scale, places: Places, overrides: Mapping[str, Any]) -> tuple[Spec, str]:
    """The spec at its scale, and its run folder's name.

    The name is ``<spec>-<scale>``, with a hash of the whole spec where it differs from what the spec's name alone stands for:
    the shipped spec of that name, else the file that the folder was made from.
    """
    named: str | Path | None
    if isinstance(spec, Spec):
        if overrides:
            raise UsageError(f"A Spec was given and also {', '.join(overrides)}.", "Give the spec's name, or change the Spec.")
        resolved = spec.at(scale)
        named = spec.name if spec.name in shipped_specs() else None
    else:
        resolved = load_spec(spec, places.plugins, scale=scale, **overrides)
        named = resolved.name if resolved.name in shipped_specs() else spec
    stands = load_spec(named, places.plugins, scale=scale) if named is not None else None
    name = f"{resolved.name or 'spec'}-{scale}"
    content = resolved.model_dump(mode="json")
    if resolved == stands and not _is_anothers(RunFolder(places.out / "runs" / name), spec, content):
        return resolved, name
    text = json.dumps(content, sort_keys=True)
    return resolved, f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _asked(spec: Spec | str | Path) -> dict[str, str | None]:
    """How the spec was named, and the file that it is, if it isn't a shipped one."""
    if isinstance(spec, Spec):
        return {"spec": None, "file": None}
    return {"spec": str(spec), "file": None if str(spec) in shipped_specs() else str(Path(spec).resolve())}


def _is_anothers(folder: RunFolder, spec: Spec | str | Path, content: Mapping[str, Any]) -> bool:
    """Whether a run folder was made from another file of the same name that says something else."""
    file = _asked(spec)["file"]
    if file is None or not folder.run_file.exists():
        return False
    with contextlib.suppress(DataError):  # it is said when the folder is used
        stored = folder.read()
        return stored.call.get("file") not in (None, file) and stored.spec != content
    return False


def render_after_run(folder: Path, display: Sink) -> None:
    """Render the models' samples that have no clip yet, and report it in one line.

    Nothing that goes wrong here fails the run: the report says what is missing.

    Parameters
    ----------
    folder : Path
        The run's folder.
    display : callable
        Takes events.
    """
    # Imported here: a wrong spec is refused without symusic and HDF5.
    from bench.sound.clips import render_run, sources
    from bench.sound.synthesizer import find_synthesizer

    try:
        if not sources(folder):
            return
        synthesizer = find_synthesizer()
        outcomes = render_run(folder, synthesizer)
    except (DataError, ImportError, OSError) as error:
        display({"event": "message", "text": f"no sound: {' '.join(str(error).split())}"})
        return
    rendered = sum(outcome.rendered for outcome in outcomes)
    errors = [outcome.error for outcome in outcomes if outcome.error]
    parts = [f"{rendered} of {len(outcomes)} clips rendered by {synthesizer.description}"] if rendered else []
    parts += [f"{len(errors)} failed: {errors[0]}"] if errors else []
    if parts:
        display({"event": "message", "text": f"sound: {'; '.join(parts)}"})


def report(folder: Path, display: Sink) -> RunResult:
    """Score the run in `folder` and write its reports."""
    # Imported here: SciPy and the templates are not needed to refuse a wrong spec.
    from bench.report import write_reports
    from bench.scoring.score import score_run

    display({"event": "score"})
    table = score_run(folder)
    failed = sum(trial.status != "done" for row in table.rows for trial in row.trials)
    return RunResult(folder, failed, table.records(), write_reports(folder, table))
