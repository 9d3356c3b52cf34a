"""An external system as a row: its MIDI files stored as one trial of an ordinary run, beside reference rows or a run's own.

Scores, reports and statistics then treat it as any other row. It has no likelihood and no cost: nobody here saw it learn.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.benchmark import RunResult
from bench.errors import UsageError
from bench.external.folder import External, midi_files, read_external
from bench.external.messages import at_row, counts, in_report
from bench.external.prompt_match import PromptRule
from bench.external.prompts import check_index
from bench.runner import prepare
from bench.runner.datasets import Sink
from bench.runner.folds import divide, measure_divisions
from bench.runner.held_out import hold_out
from bench.runner.processes import Signals, StoppedError
from bench.runner.session import Session
from bench.scoring.score import score_run
from bench.scoring.table import Table
from bench.specs.load import load_spec
from bench.specs.scales import choose_scale
from bench.specs.schema import BudgetChoice, DatasetChoice, Protocol, Spec
from bench.specs.trials import Trial
from bench.storage.corpus import load_corpus
from bench.storage.files import FORMAT, atomic, write_json
from bench.storage.records import Done, Generation, Memory, Originality, PlannedTrial, PromptUse, Training
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Samples, Target, Targets, read_target_file, read_targets, write_samples
from bench.system.paths import Places

#: The "plug-in" of every external row; its header is in run.json.
EXTERNAL = "external"

#: The least that a row is shown beside.
YARDSTICKS = ("real", "shuffle", "median")

#: Of a trial's folder, what another run needs.
_TRIAL_FILES = ("trial.json", "outcome.json", "samples.h5", "stderr.log")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,59}")


@dataclass(frozen=True)
class Scored:
    """A scored folder.

    Parameters
    ----------
    result : RunResult
        Its run: folder, table, reports.
    external : External
        Which file was which piece, what was bad, what is missing.
    """

    result: RunResult
    external: External

    @property
    def complete(self) -> bool:
        """Whether no piece and no other row is missing."""
        return not self.external.missing and not self.result.failed


@dataclass(frozen=True)
class Checked:
    """A folder that can be scored.

    Parameters
    ----------
    external : External
    originality : Originality
        What its samples share with the training music, as an outcome stores it.
    """

    external: External
    originality: Originality


def score_folder(
    folder: Path | str,
    spec: str | Path,
    *,
    name: str | None = None,
    prompt: PromptRule = "auto",
    scale: str | None = None,
    dataset: str | None = None,
    data: Sequence[Path | str] = (),
    plugins: Sequence[Path | str] = (),
    out: Path | str | None = None,
    fetch: bool = True,
    display: Sink | None = None,
) -> Scored:
    """Score a folder of MIDI against a spec's held-out pieces, beside the spec's reference rows.

    Parameters
    ----------
    folder : Path
    spec : str or Path
        A shipped spec's name, or a YAML file. Its models don't run.
    name : str, optional
        The row's; by default the folder's.
    prompt : {"auto", "included", "absent"}
        Whether the files begin with their prompts, see :func:`bench.external.prompt_match.continuation`.
    scale, dataset, data, plugins, out, fetch, display : optional
        As for :func:`bench.run`.

    Returns
    -------
    Scored
        Its run is ``<out>/runs/<spec>-<scale>-scored-<name>``.

    Raises
    ------
    BenchError
        If the folder holds no usable file, or the dataset can't be prepared.
    """
    folder, system = Path(folder), _checked_name(name, Path(folder))
    midi_files(folder)  # before anything runs
    places = Places.find(out, data, plugins)
    scale, why = choose_scale(scale)
    resolved = load_spec(spec, places.plugins, scale=scale, models=[], dataset=dataset)
    resolved = _with_yardsticks(resolved)
    _check_free(system, resolved.references)
    shown = display or (lambda event: None)
    # Before the run's folder is made: what is refused leaves nothing, and no earlier run is touched.
    held_out = hold_out(resolved, places, fetch=fetch, display=shown)
    checked = _checked(folder, held_out.targets, Path(held_out.prepared["corpus"]), resolved.protocol.notes, prompt)
    parts = [resolved.name, scale, *([dataset] if dataset else []), "scored", system.replace(" ", "_")]
    run = RunFolder(places.out / "runs" / "-".join(parts))
    call = {
        "spec": str(spec),
        "file": None,
        "models": [],
        "references": None,
        "dataset": dataset,
        "seeds": None,
        "data": data,
        "plugins": plugins,
        "jobs": 1,
        "command": _command(
            folder, "--spec", spec, name, prompt=_unless_auto(prompt), scale=scale, dataset=dataset, data=data, plugins=plugins
        ),
    }
    with run.lock(), Signals() as signals:
        session = Session(resolved, scale, why, places, run, 1, _but_preparing(shown), signals, call)
        try:
            session.run(fetch)
        except StoppedError as stopped:
            raise StoppedError(stopped.number, "The same command starts it again.") from None
        return _finish(run, system, checked, call)


def score_beside(
    folder: Path | str, source: Path, *, name: str | None = None, prompt: PromptRule = "auto", out: Path | str | None = None
) -> Scored:
    """Score a folder of MIDI against a finished run's held-out pieces, beside that run's own rows.

    Parameters
    ----------
    folder : Path
    source : Path
        The run's folder. It is left as it is.
    name, prompt, out : optional
        As for :func:`score_folder`.

    Returns
    -------
    Scored
        Its run is ``<out>/runs/<run>-scored-<name>``, with a copy of the run's outcomes and samples.
    """
    folder, system = Path(folder), _checked_name(name, Path(folder))
    midi_files(folder)
    base = RunFolder(source)
    record = base.read()
    _check_free(system, {planned.trial["system"] for planned in record.trials})
    checked = _checked(
        folder, read_target_file(base.targets), Path(record.dataset.corpus), record.spec["protocol"]["notes"], prompt
    )
    run = RunFolder(Places.find(out).out / "runs" / f"{source.resolve().name}-scored-{system.replace(' ', '_')}")
    call = {**record.call, "command": _command(folder, "--run", source, name, prompt=_unless_auto(prompt))}
    with run.lock():
        for key in (planned.key for planned in record.trials):
            run.trial_dir(key).mkdir(exist_ok=True)
            for file in _TRIAL_FILES:
                if (base.trial_dir(key) / file).exists():
                    _copy(base.trial_dir(key) / file, run.trial_dir(key) / file)
        _copy(base.targets, run.targets)
        run.write(record)
        return _finish(run, system, checked, call)


def _checked(folder: Path, targets: Targets, corpus: Path, n_notes: int, prompt: PromptRule) -> Checked:
    """Read the folder; whatever can be refused is refused here."""
    check_index(folder, targets.targets)
    music = load_corpus(corpus)
    external = read_external(folder, targets.targets, n_notes, prompt)
    copied = measure_divisions(divide(music, targets), external.notes, targets.targets)
    return Checked(external, Originality.model_validate(copied))


def _but_preparing(display: Sink) -> Sink:
    """The display without what it was shown when the dataset was prepared the first time."""
    return lambda event: None if event["event"] in ("prepare", "message") else display(event)


def _finish(run: RunFolder, system: str, checked: Checked, call: Mapping[str, Any]) -> Scored:
    """Add the row, score and report."""
    from bench.report import write_reports

    run.write(run.read().change(call=call))
    _add_row(run, system, checked)
    table = score_run(run.path)
    return Scored(RunResult(run.path, _failed(table), table.records(), write_reports(run.path, table)), checked.external)


def _add_row(run: RunFolder, system: str, checked: Checked) -> str:
    """Store a folder's samples as a trial that is done, and list it in run.json; the trial's key."""
    external, record = checked.external, run.read()
    spec, targets = record.spec, read_targets(run.targets)
    trial = Trial(
        system=system,
        kind="model",
        model=EXTERNAL,
        params={"kind": system, "prompt": external.rule},
        dataset=DatasetChoice(**spec["dataset"]),
        protocol=Protocol(**{**spec["protocol"], "samples": external.samples}),
        budget=BudgetChoice(epochs=0),
        seed=spec["seeds"][0],
    )
    key = trial.digest(external.digest, str(record.dataset.corpus_key), str(FORMAT))
    remarks = in_report(external, system, len(targets))
    place = run.trial_dir(key)
    write_json(place / "trial.json", trial.model_dump(mode="json"))
    write_samples(place / "samples.h5", Samples(dict(external.notes)))
    _write_midi(place / "midi", external, targets)
    write_json(place / "outcome.json", _outcome(key, trial, checked, remarks))
    header = dict(record.headers.get(EXTERNAL) or {"FEATURES": "another system's MIDI files"})
    header |= {"PROMPT": True, "LIKELIHOOD": None}
    header["KINDS"] = {**header.get("KINDS", {}), system: at_row(external, len(targets))}
    planned = PlannedTrial(key=key, trial=trial.model_dump(mode="json"))
    run.write(
        record.change(
            headers={**record.headers, EXTERNAL: header},
            trials=(*(t for t in record.trials if t.key != key), planned),
            dataset=record.dataset.model_copy(update={"remarks": (*record.dataset.remarks, *remarks)}),
        )
    )
    return key


def _outcome(key: str, trial: Trial, checked: Checked, remarks: Sequence[str]) -> dict[str, Any]:
    """As a worker writes it, with what is known of each file; what nobody measured is None."""
    external = checked.external
    outcome = Done(
        key=key,
        status="done",
        training=Training(),
        generation=Generation(notes=len(external.notes) * trial.protocol.notes),
        likelihood=None,
        facts={},
        memory=Memory(),
        remarks=tuple(remarks),
        originality=checked.originality,
        absent=tuple(external.missing),
        prompt=PromptUse(**counts(external)),
        trial=trial.model_dump(mode="json"),
    )
    files = [{"file": f.name, **{key: value for key, value in asdict(f).items() if key != "name"}} for f in external.files]
    return {"format": FORMAT, **outcome.model_dump(), "files": files, "bad": dict(external.bad)}


def _write_midi(folder: Path, external: External, targets: Sequence[Target]) -> None:
    for piece, target in enumerate(targets[: prepare.MIDI_PIECES]):
        if (piece, 0) in external.notes:
            notes = external.notes[piece, 0]
            # A file without the prompt begins at 0 s: it is set where its own first note would follow.
            if len(target.prompt) and len(notes) and notes.onset[0] < target.prompt.onset[-1]:
                notes = notes.shifted(float(target.prompt.onset[-1]))
            prepare.write_midi(folder / f"piece-{piece:03}.mid", target.prompt, notes)


def _with_yardsticks(spec: Spec) -> Spec:
    """The reference rows of the spec that need no network, and the least that a row is shown beside."""
    named = [kind for kind in spec.references if kind != "untrained"]
    return spec.model_copy(update={"references": tuple(dict.fromkeys([*named, *YARDSTICKS]))})


def _checked_name(name: str | None, folder: Path) -> str:
    given = folder.resolve().name if name is None else name
    if not _NAME.fullmatch(given):
        raise UsageError(
            f"{given!r} can't name a row and a folder: at most 60 letters, digits, spaces and _ . + -.", "Give --name NAME."
        )
    return given


def _check_free(system: str, taken: Sequence[str] | set[str]) -> None:
    if system in taken:
        raise UsageError(f"There is a row named {system!r} already.", "Give the folder's row another: --name NAME.")


def _failed(table: Table) -> int:
    return sum(trial.status != "done" for row in table.rows for trial in row.trials)


def _copy(source: Path, to: Path) -> None:
    with atomic(to) as temporary:
        shutil.copyfile(source, temporary)


def _unless_auto(prompt: PromptRule) -> str | None:
    return None if prompt == "auto" else prompt


def _command(folder: Path, option: str, value: object, name: str | None, **more: Any) -> list[str]:
    """The command that scores the folder again."""
    words = ["bench", "score", str(folder), option, str(value), *(["--name", name] if name else [])]
    for key, given in more.items():
        for item in given if isinstance(given, list | tuple) else [given] if given is not None else []:
            words += [f"--{key}", str(item)]
    return words
