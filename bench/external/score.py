"""An external system as a row: its MIDI files stored as one trial of an ordinary run, beside reference rows or a run's own.

Scores, reports and statistics then treat it as any other row. It has no likelihood and no cost: neither was measured here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from bench import benchmark
from bench.benchmark import RunResult
from bench.errors import DataError, MachineError, UsageError
from bench.external.folder import External, midi_files, read_external
from bench.external.messages import at_row, counts, in_report
from bench.external.prompt_match import PromptRule
from bench.external.prompts import INDEX, check_index, extends_notes
from bench.formatting import visible
from bench.music.isolation import isolated
from bench.plugins.discovery import find_plugins
from bench.runner import prepare
from bench.runner.datasets import Sink
from bench.runner.folds import divide, measure_divisions
from bench.runner.held_out import hold_out
from bench.scoring.score import planned_trials
from bench.specs.check import ValidNames
from bench.specs.load import load_spec
from bench.specs.scales import choose_scale
from bench.specs.schema import UNTRAINED, BudgetChoice, DatasetChoice, Protocol, Spec
from bench.specs.trials import EXTERNAL, Trial
from bench.storage.corpus import cached_corpora, load_corpus
from bench.storage.files import FORMAT, write_json
from bench.storage.outcome import Done, Generation, Memory, Originality, PromptUse, Training
from bench.storage.records import Call, PlannedTrial, RunRecord
from bench.storage.run_folder import LOG, RunFolder, is_long_log, result_digests
from bench.storage.samples import MIDI_PIECES, Samples, Target, Targets, read_targets, targets_digest, write_samples
from bench.storage.stored import Stored, first_problem
from bench.system.disk import copy_file
from bench.system.paths import Places, check_spec_name

#: Reference rows that every external row is shown beside, whatever the spec lists.
YARDSTICKS = ("real", "shuffle", "median")

#: Files of a trial's folder that its copy in another run needs, beside those that its outcome vouches for.
_TRIAL_FILES = ("trial.json", "outcome.json", LOG)

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.+ -]{0,58}[A-Za-z0-9_.+-])?")


_AGAIN = "The command that made the run makes it again."


class _Terms(Stored):
    """What a spec says of every trial."""

    dataset: DatasetChoice
    protocol: Protocol
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)


@dataclass(frozen=True)
class Scored:
    """A scored folder.

    Parameters
    ----------
    result : RunResult
        Its run: folder, table, reports.
    external : External
        Which file was which piece, what was bad, what is missing.
    replaced : str
        Another folder, whose row of the same name this one replaced; empty if there was none.
    """

    result: RunResult
    external: External
    replaced: str = ""

    @property
    def complete(self) -> bool:
        """Whether no piece and no other row is missing."""
        return not self.external.missing and not self.result.failed


@dataclass(frozen=True)
class CheckedFolder:
    """A folder that can be scored.

    Parameters
    ----------
    system : str
        Name of its row.
    external : External
    originality : Originality
        What its samples share with the training music, as an outcome stores it.
    held_out : str
        The music that its files continue, see :func:`bench.storage.samples.targets_digest`.
    folder : Path
        Where it really is.
    """

    system: str
    external: External
    originality: Originality
    held_out: str
    folder: Path


def score_folder(
    folder: Path | str,
    spec: str | Path,
    *,
    name: str | None = None,
    prompts: Path | str | None = None,
    prompt: PromptRule = "auto",
    velocity: bool = True,
    pretrained: bool = False,
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
        A shipped spec's name, or a YAML file. Its models are not run.
    name : str, optional
        Name of the row; by default the folder's.
    prompts : Path, optional
        The folder that `bench prompts` wrote, whose index says which prompts the files continue; by default `folder` itself may
        hold the index. Files that don't begin with their prompts need it.
    prompt : {"auto", "included", "absent"}
        Whether the files begin with their prompts, see :func:`bench.external.prompt_match.continuation`.
    velocity : bool
        Whether the system gives notes a velocity; if not, the columns of velocity are undefined.
    pretrained : bool
        Whether the system was trained on music that may include the test pieces; its row is then flagged, and has no rank beside
        models trained here.
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
    folder, system = Path(folder), _row_name(name, Path(folder))
    midi_files(folder)  # refused before anything runs
    places = Places.find(out, data, plugins)
    chosen, _ = choose_scale(scale, spec, places.plugins)
    resolved = load_spec(spec, places.plugins, scale=chosen, models=[], dataset=dataset)
    check_spec_name(resolved.name)
    references = dict.fromkeys([*(kind for kind in resolved.references if kind != "untrained"), *YARDSTICKS])
    _check_unused(system, references, places)
    show = display or (lambda event: None)
    # Before the run's folder is made: a folder that is refused leaves none behind and changes no earlier run.
    held_out = hold_out(resolved, places, fetch=fetch, display=show)
    identified = _identified(folder, prompts, held_out.targets)
    checked = _check(system, folder, held_out.targets, Path(held_out.prepared.corpus), resolved, prompt)
    if not identified:
        _refuse_unknown(checked.external, held_out.targets)
    where: dict[str, Any] = {"dataset": dataset, "data": data, "plugins": plugins}
    run_name = _alone(places, "-".join([resolved.name, chosen, *([dataset] if dataset else []), *_suffix(system)]))
    replaced = _replaced(RunFolder(places.out / "runs" / run_name), folder, name)
    run = _run_references(spec, run_name, list(references), show, scale=scale, out=out, fetch=fetch, **where)
    with run.lock():
        switches = _switches(velocity, pretrained)
        command = _command(folder, "--spec", spec, name, prompt, switches, prompts=prompts, scale=chosen, **where)
        return _finish(run, checked, command, show, replaced, velocity=velocity, pretrained=pretrained)


def score_beside(
    folder: Path | str,
    source: Path,
    *,
    name: str | None = None,
    prompts: Path | str | None = None,
    prompt: PromptRule = "auto",
    velocity: bool = True,
    pretrained: bool = False,
    out: Path | str | None = None,
) -> Scored:
    """Score a folder of MIDI against a finished run's held-out pieces, beside that run's own rows.

    Parameters
    ----------
    folder : Path
    source : Path
        The run's folder. It is not changed.
    name, prompts, prompt, velocity, pretrained, out : optional
        As for :func:`score_folder`; as the run holds its prompts, files without them may do without `prompts`.

    Returns
    -------
    Scored
        Its run is ``<out>/runs/<run>-scored-<name>``, with a copy of the run's outcomes and samples.

    Raises
    ------
    BenchError
        If the folder holds no usable file, the run holds what no run has, or its dataset is not in the cache.
    """
    folder, system = Path(folder), _row_name(name, Path(folder))
    midi_files(folder)
    base = RunFolder(source)
    record = base.read()
    places = Places.find(out)
    _check_unused(system, {planned.trial["system"] for planned in record.trials}, places)
    planned_trials(record)  # here and below, before the run's folder is made: a run that is refused leaves none behind
    terms = _terms(record)
    corpus = _corpus(record, places)
    targets = base.read_targets()
    _identified(folder, prompts, targets)
    checked = _check(system, folder, targets, corpus, terms, prompt)
    run = _beside(places, source, system, record)
    replaced = _replaced(run, folder, name)
    with run.lock():
        for key in (planned.key for planned in record.trials):
            run.trial_dir(key).mkdir(exist_ok=True)
            outcome = base.outcome(key)
            if outcome is not None and base.strange(key):
                write_json(run.trial_dir(key) / "outcome.json", {"format": FORMAT, **outcome.model_dump()})
                continue
            for file in (*_TRIAL_FILES, *(outcome.digests if isinstance(outcome, Done) else ())):
                if (base.trial_dir(key) / file).exists() and not is_long_log(base.trial_dir(key) / file):
                    copy_file(base.trial_dir(key) / file, run.trial_dir(key) / file)
        copy_file(base.targets, run.targets)
        prepare.write_targets_as_midi(run.path / "midi", targets)
        run.write(record)
        command = _command(folder, "--run", source, name, prompt, _switches(velocity, pretrained), prompts=prompts)
        return _finish(run, checked, command, lambda event: None, replaced, velocity=velocity, pretrained=pretrained)


def _alone(places: Places, name: str) -> str:
    """Choose the folder of references and files alone; its name ends in a hash if the copy of a run with models has it."""
    earlier = RunFolder(places.out / "runs" / name).read_if_intact()
    if earlier is None or all(t.trial["kind"] == "reference" or t.trial["model"] == EXTERNAL for t in earlier.trials):
        return name
    return f"{name}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _beside(places: Places, source: Path, system: str, record: RunRecord) -> RunFolder:
    """Choose the folder of a copy of a run with one more row; its name ends in a hash if the copy of another run has it."""
    name = "-".join([source.resolve().name, *_suffix(system)])
    run = RunFolder(places.out / "runs" / name)
    earlier = run.read_if_intact()
    if earlier is None or (earlier.spec, earlier.call.file) == (record.spec, record.call.file):
        return run
    place = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:6]
    return RunFolder(places.out / "runs" / f"{name}-{place}")


def _replaced(run: RunFolder, folder: Path, name: str | None) -> str:
    """Name the folder whose row is replaced by that of another; empty if there is none.

    Raises
    ------
    UsageError
        If the row has the folder's name, not one that the user gave: every system's folder may be called midi.
    """
    earlier = run.read_if_intact()
    scored = earlier.call.scored if earlier else None
    if scored is None or Path(scored) == folder.resolve():
        return ""
    if name is None:
        raise UsageError(
            f"{run.path.name} holds the row of {visible(scored)}, not of {folder}.",
            "Name the row: --name NAME. With the same name it replaces the earlier one.",
        )
    return scored


def _identified(folder: Path, prompts: Path | str | None, targets: Targets) -> bool:
    """Whether an index says that the folder continues the prompts of these targets; that of other prompts is refused."""
    known = check_index(Path(prompts or folder), targets.targets)
    if prompts is not None and not known:
        raise UsageError(f"{prompts} holds no {INDEX}.", "Give --prompts the folder that `bench prompts` wrote.")
    return known


def _refuse_unknown(external: External, targets: Targets) -> None:
    """Refuse files that neither begin with their prompts nor come with an index: the music may have changed since the export."""
    unknown = [file.name for file in external.files if file.start == "other" and len(targets.targets[file.piece].prompt)]
    if unknown:
        raise UsageError(
            f"{len(unknown)} of {len(external.files)} files don't begin with their prompts ({unknown[0]}): nothing says which "
            "prompts they continue.",
            f"Name the folder that `bench prompts` wrote, which has their {INDEX}: --prompts DIR.",
        )


def _check(system: str, folder: Path, targets: Targets, corpus: Path, terms: Spec | _Terms, prompt: PromptRule) -> CheckedFolder:
    """Read the folder as the dataset was read; refuse here whatever can be refused."""
    music = load_corpus(corpus)
    with isolated():
        external = read_external(folder, targets.targets, terms.protocol.notes, prompt, extends_notes(terms.dataset.options))
    try:
        divisions = divide(music, targets)
    except (ValidationError, IndexError) as error:
        raise DataError("The folds in targets.npz are not those of its dataset.", _AGAIN) from error
    shared = measure_divisions(divisions, external.notes, targets.targets)
    return CheckedFolder(system, external, shared, targets.digest(), folder.resolve())


def _terms(record: RunRecord) -> _Terms:
    """Parse what a run's spec says of every trial; someone else may have made it."""
    try:
        return _Terms.model_validate({name: record.spec[name] for name in _Terms.model_fields})
    except ValidationError as error:
        raise DataError(f"run.json is damaged: spec.{first_problem(error)}.", _AGAIN) from error


def _corpus(record: RunRecord, places: Places) -> Path:
    """Find the run's parsed dataset in the caches."""
    found = cached_corpora(record.dataset.corpus, (*places.seeds, places.cache))
    damaged: DataError | None = None
    for file in found:
        try:
            if record.dataset.corpus_key in (None, load_corpus(file).fingerprint):
                return file
        except DataError as error:  # the next cache may have a good one
            damaged = error
    raise damaged or DataError(
        f"The parsed dataset of the run is not in {places.cache}.",
        "Give --out with the folder that the run was made in, set BENCH_CACHE, or run the benchmark again.",
    )


def _run_references(spec: str | Path, name: str, references: Sequence[str], display: Sink, **options: Any) -> RunFolder:
    """Run the reference rows alone, straight into the folder of the scored run."""
    quiet = _without_preparation(display)
    result = benchmark.run(
        spec,
        models=[],
        references=references,
        sound=False,
        reports=False,
        name=name,
        if_taken="hash",
        display=quiet,
        **options,
    )
    return RunFolder(result.folder)


def _without_preparation(display: Sink) -> Sink:
    """Drop the events that the display took when the dataset was prepared the first time."""
    return lambda event: None if event["event"] in ("prepare", "message") else display(event)


def _finish(
    run: RunFolder,
    checked: CheckedFolder,
    command: Sequence[str],
    display: Sink,
    replaced: str,
    *,
    velocity: bool,
    pretrained: bool,
) -> Scored:
    """Store the folder's samples as a trial that is done, list it in run.json, score and report."""
    external, system, record = checked.external, checked.system, run.read()
    targets, terms = read_targets(run.targets), _terms(record)
    if targets_digest(targets) != checked.held_out:  # the row would be compared with other pieces
        raise MachineError("The music was changed while the files were read.", "Give the same command again.")
    trial = Trial(
        system=system,
        kind="model",
        model=EXTERNAL,
        params={"prompt": external.rule},
        dataset=terms.dataset,
        protocol=terms.protocol.model_copy(update={"samples": external.samples}),
        budget=BudgetChoice(epochs=0),
        seed=terms.seeds[0],
        pretrained=pretrained,
        velocity=velocity,
    )
    key = trial.digest(external.digest, record.dataset.music, str(FORMAT))
    remarks = in_report(external, system, len(targets))
    place, stored = run.trial_dir(key), trial.model_dump(mode="json")
    write_json(place / "trial.json", stored)
    write_samples(place / "samples.npz", Samples(dict(external.notes)))
    _write_midi(place / "midi", external, targets)
    outcome = _outcome(key, trial, checked, remarks, at_row(external, len(targets)), result_digests(place))
    write_json(place / "outcome.json", outcome)
    run.write(
        record.change(
            call=Call(command=tuple(command), file=record.call.file, scored=str(checked.folder)),
            trials=(*(t for t in record.trials if t.key != key), PlannedTrial(key=key, trial=stored)),
            dataset=record.dataset.model_copy(update={"remarks": (*record.dataset.remarks, *remarks)}),
        )
    )
    return Scored(benchmark.report(run.path, display), external, replaced)


def _outcome(
    key: str, trial: Trial, checked: CheckedFolder, remarks: Sequence[str], features: str, digests: Mapping[str, str]
) -> dict[str, Any]:
    """Build an outcome as a worker writes it, with an entry for each file; what was not measured is None."""
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
        features=features,
        digests=digests,
        held_out=checked.held_out,
        trial=trial.model_dump(mode="json"),
    )
    files = [{"file": f.name, **{key: value for key, value in asdict(f).items() if key != "name"}} for f in external.files]
    return {"format": FORMAT, **outcome.model_dump(), "files": files, "bad": dict(external.bad)}


def _write_midi(folder: Path, external: External, targets: Sequence[Target]) -> None:
    for piece, target in enumerate(targets[:MIDI_PIECES]):
        if (piece, 0) in external.notes:
            prepare.write_midi(folder / f"piece-{piece:03}.mid", target.prompt, external.notes[piece, 0])


def _row_name(name: str | None, folder: Path) -> str:
    system = folder.resolve().name if name is None else name
    if not _NAME.fullmatch(system):
        raise UsageError(
            f"{system!r} can't name a row and a folder: at most 60 letters a-z or A-Z, digits, _ . + - and spaces between them.",
            "Give --name NAME.",
        )
    return system


def _suffix(system: str) -> tuple[str, str]:
    """End the name of a run folder with the scored system."""
    # No name has a ~, so no two names share a folder.
    return "scored", system.replace(" ", "~")


def _check_unused(system: str, rows: Collection[str], places: Places) -> None:
    """Refuse a name that is taken, or that of a reference row, which flags, ranks and verdicts know by it, in the spec or not."""
    otherwise = "Name the folder's row otherwise: --name NAME."
    if system in rows:
        raise UsageError(f"There is already a row named {system!r}.", otherwise)
    if system in ValidNames(find_plugins("model", places.plugins), {}).references or system.startswith(f"{UNTRAINED} "):
        raise UsageError(f"{system!r} is the name of a reference row.", otherwise)


def _switches(velocity: bool, pretrained: bool) -> list[str]:
    return [*([] if velocity else ["--no-velocity"]), *(["--pretrained"] if pretrained else [])]


def _command(
    folder: Path, option: str, value: object, name: str | None, prompt: PromptRule, switches: Sequence[str], **more: Any
) -> list[str]:
    """Compose the command that scores the folder again."""
    words = ["bench", "score", str(folder), option, str(value), *(["--name", name] if name else [])]
    options = {"prompt": None if prompt == "auto" else prompt, **more}
    for key, setting in options.items():
        for item in setting if isinstance(setting, list | tuple) else [setting] if setting is not None else []:
            words += [f"--{key}", str(item)]
    return [*words, *switches]
