"""Complete benchmark in one call: resolve the spec, run its trials, render sound, score, report."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.errors import BenchError, DataError, StoppedError, UsageError
from bench.formatting import Grid, html_table
from bench.runner.datasets import Sink
from bench.runner.engines.choice import choose_engine
from bench.runner.processes import Signals
from bench.runner.session import Session
from bench.specs.load import load_spec, shipped_specs
from bench.specs.scales import choose_scale
from bench.specs.schema import IN_FULL, Scale, Spec
from bench.storage.files import read_json
from bench.storage.run_folder import RunFolder
from bench.system.paths import Places, check_run_name, check_spec_name


@dataclass(frozen=True)
class RunResult:
    """Result of a finished run.

    Parameters
    ----------
    folder : Path
        Folder of the run: reports, samples, outcomes.
    failed : int
        Number of trials that failed or are missing; the reports give the reasons. Counted when the run is scored.
    table : list of dict
        Rows of the table, as in ``report.csv``; ``pandas.DataFrame(result.table)`` takes them.
    reports : list of Path
        Report files.
    verdict : str
        Which differences between models are significant, in a sentence; empty without reports.
    table2 : Grid or None
        The report's first table as texts; None without reports. A notebook shows it with the verdict.
    flags : dict of str to str
        The rows that have a flag, by the flag; empty without reports.
    """

    folder: Path
    failed: int = 0
    table: list[dict[str, Any]] = field(default_factory=list)
    reports: list[Path] = field(default_factory=list)
    verdict: str = ""
    table2: Grid | None = field(default=None, repr=False)
    flags: dict[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        shown = "" if self.table2 is None else f"<p>{html.escape(self.verdict)}</p>\n{html_table(self.table2)}\n"
        return f"{shown}<p>{html.escape(str(self.folder))}</p>"


def _texts(what: str, given: Any) -> list[Any]:
    """Names or paths as a list; a single one counts as one, not as its letters.

    Raises
    ------
    UsageError
        If it is anything else.
    """
    several = [given] if isinstance(given, str | Path) else given
    if not isinstance(several, Sequence) or not all(isinstance(one, str | Path) for one in several):
        raise UsageError(f"{what} is {given!r}.", "Give a list of texts.")
    return list(several)


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
    jobs: int | None = None,
    engine: str | Path | None = None,
    engine_options: Mapping[str, Any] | None = None,
    fetch: bool = True,
    sound: bool = True,
    reports: bool = True,
    name: str | None = None,
    if_taken: Literal["refuse", "hash"] = "refuse",
    file: str | Path | None = None,
    display: Sink | None = None,
) -> RunResult:
    """Run a spec: train, generate, score, report. The same call resumes a run that was interrupted.

    Parameters
    ----------
    spec : Spec, str or Path
        Name of a shipped spec, a YAML file, or a Spec.
    scale : {"smoke", "cpu", "gpu"}, optional
        By default "gpu" if a GPU is visible, else "cpu".
    models, references, dataset, seeds : optional
        Override the spec; see :func:`bench.specs.load.load_spec`.
    data : sequence of Path, optional
        Folders of music, searched before those of ``$BENCH_DATA``.
    plugins : sequence of Path, optional
        Plug-in folders, searched before those of ``$BENCH_PLUGINS``.
    out : Path, optional
        Folder for reports; by default ``$BENCH_REPORTS`` or ``reports``.
    jobs : int, optional
        Number of trials that run in parallel; they share the cores. By default see
        :func:`bench.system.hardware.parallel_trials`.
    engine, engine_options : optional
        What starts the trials, and where; see :func:`bench.runner.engines.choice.choose_engine`.
    fetch : bool
        Whether a missing dataset may be downloaded.
    sound : bool
        Whether the models' samples are rendered as MP3.
    reports : bool
        Whether the run is scored and its reports are written; without, the result has the folder alone.
    name : str, optional
        Name of the run's folder; by default ``<spec>-<scale>``, see :func:`resolve`.
    if_taken : {"refuse", "hash"}
        What happens if the folder of that name is another spec's: it is refused, or the name ends in a hash.
    file : str or Path, optional
        File that a Spec was made from.
    display : callable, optional
        Called with each event, a dict whose ``event`` names its kind.

    Returns
    -------
    RunResult

    Raises
    ------
    BenchError
        If nothing could be run: an invalid spec, missing music, a folder in use. A trial that fails raises nothing.
    StoppedError
        On Ctrl-C or SIGTERM; the workers have ended and finished trials are kept.

    Examples
    --------
    Only the reference rows of a shipped spec, with one seed; the run's folder is created under `out`.

    >>> from tempfile import mkdtemp
    >>> result = run("smoke", models=[], seeds=[0], scale="smoke", out=mkdtemp(), sound=False)
    >>> result.failed
    0
    >>> [row["system"] for row in result.table]
    ['real', 'codec', 'shuffle', 'median', 'unigram', 'markov', 'ngram', 'uniform']
    """
    if not isinstance(spec, Spec | str | Path):
        raise UsageError(f"The spec is {spec!r}.", "Give the name of a shipped spec, a YAML file, or a Spec.")
    if jobs is not None and (not isinstance(jobs, int) or jobs < 1):
        raise UsageError(f"jobs is {jobs!r}; at least 1 trial must run at a time.")
    models, references = (None if n is None else _texts(w, n) for w, n in (("models", models), ("references", references)))
    data, plugins = _texts("data", data), _texts("plugins", plugins)
    chosen = choose_engine(engine, {**(engine_options or {}), **({} if jobs is None else {"jobs": jobs})})
    places = Places.find(out, data, plugins)
    overrides: dict[str, Any] = {"models": models, "references": references, "dataset": dataset, "seeds": seeds}
    given = {k: v for k, v in overrides.items() if v is not None}
    scale, why = choose_scale(scale, spec, places.plugins, **given)
    resolved, folder_name = resolve(spec, scale, places, given)
    if name is not None and if_taken == "refuse":
        _check_name(name, file or spec, resolved, scale, places)
        folder_name = name
    elif name is not None:
        folder_name = _free_name(name, file or spec, resolved, places)
    else:
        check_spec_name(resolved.name)
    folder = RunFolder(places.out / "runs" / folder_name)
    with folder.lock(), Signals() as signals:
        call = {
            **_spec_names(spec),
            "file": _spec_names(file or spec)["file"],
            **overrides,
            "data": data,
            "plugins": plugins,
            "jobs": jobs,
            "name": name,
        }
        show = display or (lambda event: None)
        # A Spec may have been loaded at the scale: nobody knows what it was before.
        if scale == "smoke" and not isinstance(spec, Spec) and resolved == load_spec(spec, places.plugins, scale=None, **given):
            why = IN_FULL
            show({"event": "message", "text": why})
        session = Session(resolved, scale, why, places, folder, chosen, show, signals, call)
        try:
            session.run(fetch)
            if sound:
                render_after_run(folder.path, show)
            result = report(folder.path, show) if reports else RunResult(folder.path)
            if signals.received:  # where a library's callback can only pass it over
                raise StoppedError(signals.received[0])
            return result
        except StoppedError as stopped:
            raise StoppedError(stopped.number, f"The same command resumes from here: {folder.path}") from None


def resolve(spec: Spec | str | Path, scale: Scale, places: Places, overrides: Mapping[str, Any]) -> tuple[Spec, str]:
    """Resolve the spec at its scale, and choose the name of its run folder.

    The name is ``<spec>-<scale>``. A hash of the spec is appended if it differs from the shipped spec of that name or, where
    there is none, if the folder was created from another file.
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
    namesake = load_spec(named, places.plugins, scale=scale) if named is not None else None
    name = f"{resolved.name or 'spec'}-{scale}"
    content = resolved.model_dump(mode="json")
    if resolved == namesake and not _is_of_another_file(RunFolder(places.out / "runs" / name), spec, content):
        return resolved, name
    return resolved, _hashed(name, content)


#: What tells two specs without a name apart.
_OF_A_SPEC = ("title", "dataset", "protocol")


def _check_name(name: str, spec: Spec | str | Path, resolved: Spec, scale: Scale, places: Places) -> None:
    """Refuse a name that is no folder's, or that the run of another spec or scale has: it would be replaced.

    A spec of the same name and content is no other one, as after its folder was moved.
    """
    check_run_name(name)
    folder = RunFolder(places.out / "runs" / name)
    stored = folder.read_if_intact()
    if stored is None:
        return
    own, call = _spec_names(spec), stored.call
    content = resolved.model_dump(mode="json")
    if own["file"] is None and own["spec"] is None:  # an object, which may have got another row or seed
        same = call.file is None and call.spec is None and all(stored.spec.get(k) == content[k] for k in _OF_A_SPEC)
    else:
        same = own["file"] == call.file and (own["file"] is not None or own["spec"] == call.spec)
    same |= stored.spec == content
    if not same or stored.scale != scale:
        of = call.file or call.spec or "another spec"
        raise UsageError(f"{folder.path} is a run of {of} at scale {stored.scale}.", "Give another name.")


def _free_name(name: str, spec: Spec | str | Path, resolved: Spec, places: Places) -> str:
    """Choose a name that bench made, with a hash if the run of another spec file of the same name has it."""
    content = resolved.model_dump(mode="json")
    taken = _is_of_another_file(RunFolder(places.out / "runs" / name), spec, content)
    return _hashed(name, content) if taken else name


def _hashed(name: str, content: Mapping[str, Any]) -> str:
    return f"{name}-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:6]}"


def _spec_names(spec: Spec | str | Path) -> dict[str, str | None]:
    """Return the spec as the user named it, and its file unless it is a shipped one."""
    if isinstance(spec, Spec):
        return {"spec": None, "file": None}
    return {"spec": str(spec), "file": None if str(spec) in shipped_specs() else str(Path(spec).resolve())}


def _is_of_another_file(folder: RunFolder, spec: Spec | str | Path, content: Mapping[str, Any]) -> bool:
    """Whether a run folder was created from another file of the same name and with other content."""
    file = _spec_names(spec)["file"]
    if file is None or not folder.run_file.exists():
        return False
    try:
        stored = folder.read()
        return stored.call.file not in (None, file) and stored.spec != content
    except DataError:  # it is damaged, which is reported when the folder is used; what was last prepared in it says whose it is
        with contextlib.suppress(DataError):
            prepared = read_json(folder.path / "prepare.json")
            return prepared.get("file") not in (None, file) and prepared.get("spec") != content
    return False


def render_after_run(folder: Path, display: Sink) -> None:
    """Render the models' samples that have no clip yet, and report the result in one line.

    An error here does not fail the run: the report lists the missing clips.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    display : callable
        Called with each event.
    """
    # Imported here so that an invalid spec is refused without loading symusic.
    from bench.sound.clips import render_run, sources
    from bench.sound.synthesizer import find_synthesizer

    try:
        if not sources(folder):
            return
        synthesizer = find_synthesizer()
        outcomes = render_run(folder, synthesizer)
    except (BenchError, ImportError, OSError) as error:
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
    # Imported here so that an invalid spec is refused without loading SciPy and the templates.
    from bench.report import write_reports
    from bench.report.findings import flagged
    from bench.report.tables import table2
    from bench.report.verdict import verdict

    display({"event": "score"})
    written = write_reports(folder)
    table, built = written.table, written.report
    failed = sum(trial.status != "done" for row in table.rows for trial in row.trials)
    flags = {flag.name: flagged(built, flag.name) for flag in built.raised}
    return RunResult(folder, failed, table.records(), written.files, verdict(built), table2(built), flags)
