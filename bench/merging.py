"""Runs of one spec, made on several machines, become one run: other seeds, other models, the same music and protocol."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import DataError, PluginError, UsageError
from bench.formatting import listed
from bench.plugins.discovery import files_of
from bench.plugins.header import CLASSES, Kind
from bench.specs.schema import Spec
from bench.specs.trials import Trial, in_folds, trial_key, unfold
from bench.storage.files import FORMAT, DamagedError, NoLocksError, hold, timestamp, write_json
from bench.storage.outcome import Done
from bench.storage.records import Call, RunRecord
from bench.storage.run_folder import LOG, RunFolder, is_long_log
from bench.storage.samples import MIDI_PIECES, Target
from bench.storage.stored import first_problem
from bench.system.disk import MOST_RECORD, copy_file, exists, is_folder
from bench.system.paths import check_run_name

#: What of a spec may differ between the runs: the rows, the seeds, and what is said about it.
_ROWS = ("models", "references", "seeds", "title", "description", "tuned", "search", "extends", "suits", "name")

#: What of a trial's folder says how it went; beside that its results are copied, for which the outcome vouches.
_RECORDS = ("outcome.json", "trial.json", LOG)


@dataclass(frozen=True)
class Merged:
    """What became of the runs.

    Parameters
    ----------
    folder : Path
    trials : int
        Trials that are done.
    missing : tuple of str
        Trials of the merged spec that no run has done.
    left_out : tuple of str
        Trials of a run that the merged spec doesn't have, with the run.
    repeat : str
        Command that runs what is missing; empty if they were made from several specs, or from Python.
    """

    folder: Path
    trials: int
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    repeat: str


def merge_runs(runs: Sequence[Path], into: Path) -> Merged:
    """Unite the trials of several runs in a new folder; the runs themselves stay as they are.

    Where several have a trial, one that is done and intact counts. The merged spec has all their rows and seeds.

    Parameters
    ----------
    runs : sequence of Path
        Their folders.
    into : Path
        Folder of the new run; it must not exist.

    Raises
    ------
    UsageError
        If the runs contradict each other: other music, another protocol, one row with two settings or two codes, one trial with
        two results. Each conflict is named, and nothing is written.
    DataError
        If the record or the targets of a run are missing or damaged.
    """
    if len(runs) < 2:
        raise UsageError("A merge takes two runs or more.")
    for i, run in enumerate(runs):
        if any(run.exists() and other.exists() and run.samefile(other) for other in runs[:i]):
            raise UsageError(f"{run} is given twice.", "Name each run once.")
    check_run_name(into.name)
    if exists(into):
        raise UsageError(
            f"{into} exists already.",
            "A merge writes a new run: give another --name, or remove the folder. "
            f"If it was stopped before it had written the report: `bench report {shlex.quote(into.name)}`.",
        )
    folders = [RunFolder(run) for run in runs]
    records = [_sound(folder, folder.read()) for folder in folders]
    targets = [folder.read_targets().targets for folder in folders]
    if conflicts := [*_conflicts(folders, records, targets)]:
        raise UsageError("These runs can't be merged:\n" + "\n".join(f"  {conflict}" for conflict in conflicts))
    spec = _united([record.spec for record in records])
    planned = _planned(spec, records)
    if (size := sum(len(trial.model_dump_json()) for trial in planned.values())) > MOST_RECORD:  # before it is one text
        raise DataError(
            f"The merged run's record would have {size:,} characters; {MOST_RECORD:,} can be stored.", "Merge fewer runs."
        )
    done, tried = _sources(folders, records, targets)
    sources = tried | done
    headers = {name: header for record in records for name, header in record.headers.items()}
    plugins = {name: digest for record in records for name, digest in record.plugins.items()}
    call = _asked([record.call for record in records], into.name)
    tokens = sorted(filter(None, (record.token for record in records)))
    merged = {
        **records[0].model_dump(),
        "spec": spec,
        "started": min((r.started for r in records if r.started), default=None),
        "token": hashlib.sha256("\n".join(tokens).encode()).hexdigest()[:16] if tokens else "",
        "resumed": None,
        "finished": timestamp() if done.keys() >= planned.keys() else None,
        "call": {**call.model_dump(), "command": ["bench", "merge", *map(str, runs), "--name", into.name]},
        "plugins": plugins,
        "headers": headers,
        "trials": [{"key": key, "trial": trial.model_dump(mode="json")} for key, trial in planned.items()],
    }
    with _draft(into) as draft:
        copy_file(folders[0].targets, draft.targets)
        _copy(folders[0].path, draft.path, [f"midi/target-{piece:03}.mid" for piece in range(MIDI_PIECES)])
        for key in planned.keys() & sources.keys():
            outcome = sources[key].outcome(key)
            results = {"samples.npz", "scores.json", *outcome.digests} if key in done and isinstance(outcome, Done) else set()
            _copy(sources[key].trial_dir(key), draft.trial_dir(key), [*_RECORDS, *sorted(results)])
        write_json(draft.run_file, {"format": FORMAT, **merged})
        draft.read()
    labels = {planned_trial.key: Trial.model_validate(planned_trial.trial).label for r in records for planned_trial in r.trials}
    return Merged(
        into,
        len(planned.keys() & done.keys()),
        tuple(trial.label for key, trial in planned.items() if key not in done),
        tuple(f"{labels[key]} ({folder.path})" for key, folder in sources.items() if key not in planned),
        _repeat(call, spec, records[0].scale),
    )


def _asked(calls: Sequence[Call], name: str) -> Call:
    """Unite what the runs were asked for: the spec that all were made from, if it is one, and the folders that are here."""
    one = len({(call.spec, call.file) for call in calls}) == 1
    return Call(
        spec=calls[0].spec if one else None,
        file=calls[0].file if one else None,
        references=next((call.references for call in calls if call.references is not None), None),
        dataset=calls[0].dataset,
        name=name,
        data=_here(folder for call in calls for folder in call.data),
        plugins=_without_copies(folder for call in calls for folder in call.plugins),
    )


def _here(folders: Iterable[str]) -> tuple[str, ...]:
    """Drop folders of other machines, which a command refuses."""
    return tuple(folder for folder in dict.fromkeys(folders) if is_folder(Path(folder)))


def _without_copies(folders: Iterable[str]) -> tuple[str, ...]:
    """Drop folders of plug-ins that aren't here, or that one before them has too, as another checkout: both are refused."""
    kept: dict[str, set[tuple[Kind, str]]] = {}
    for folder in dict.fromkeys(folders):
        with contextlib.suppress(PluginError, OSError):  # a folder of another user
            names = {(kind, path.name) for kind in CLASSES for path in files_of(kind, Path(folder))}
            if not any(names & others for others in kept.values()):
                kept[folder] = names
    return tuple(kept)


def _repeat(call: Call, spec: Mapping[str, Any], scale: str) -> str:
    """Build the command that goes on with a merged run."""
    rows = {"spec": call.file or call.spec, "models": tuple(spec["models"]), "seeds": tuple(spec["seeds"])}
    return shlex.join(call.model_copy(update=rows).run_command(scale))


def _sound(folder: RunFolder, record: RunRecord) -> RunRecord:
    """Refuse a record whose spec or trials can't be read; someone else may have made it."""
    try:
        Spec.model_validate(record.spec)
        for planned in record.trials:
            Trial.model_validate(planned.trial)
        fault = "" if {"models", "references", "seeds"} <= record.spec.keys() else "its spec names no rows or seeds"
    except ValidationError as error:
        fault = first_problem(error)
    if fault:
        raise DamagedError(f"{folder.run_file} is damaged: {fault}.", "Remove it; the same command makes it again.")
    return record


def _conflicts(folders: Sequence[RunFolder], records: Sequence[RunRecord], targets: Sequence[Sequence[Target]]) -> Iterator[str]:
    """Say in what the runs contradict the first, or each other."""
    first, base = folders[0].path, records[0]
    for folder, record, its_targets in zip(folders[1:], records[1:], targets[1:], strict=True):
        if record.scale != base.scale:
            yield f"the scale of {first} is {base.scale}, that of {folder.path} {record.scale}"
        if record.dataset.music != base.dataset.music or record.dataset.folds != base.dataset.folds or its_targets != targets[0]:
            yield f"{folder.path} was made on other music or other held-out pieces than {first}"
        for name in sorted({*base.spec, *record.spec} - {*_ROWS}):
            if base.spec.get(name) != record.spec.get(name):
                yield f"{name} is {base.spec.get(name)} in {first}, {record.spec.get(name)} in {folder.path}"
    rows: dict[str, tuple[Any, Path]] = {}
    codes: dict[str, tuple[str, Path]] = {}
    weights: dict[str, tuple[str, Path]] = {}
    results: dict[str, tuple[Mapping[str, str], Path]] = {}
    for folder, record in zip(folders, records, strict=True):
        for row, choice in record.spec["models"].items():
            before, where = rows.setdefault(row, (choice, folder.path))
            if before != choice:
                yield f"the row {row} is {before} in {where}, {choice} in {folder.path}"
        for name, digest in record.plugins.items():
            code, where = codes.setdefault(name, (digest, folder.path))
            if code != digest:
                yield f"the plug-in {name} has other code in {folder.path} than in {where}"
        for row, fingerprint in {p.trial["system"]: str(p.trial.get("weights", "")) for p in record.trials}.items():
            loaded, where = weights.setdefault(row, (fingerprint, folder.path))
            if loaded != fingerprint:
                yield f"the row {row} has other weights in {folder.path} than in {where}"
        for planned in record.trials:
            outcome = folder.outcome(planned.key)
            if isinstance(outcome, Done):
                digests, where = results.setdefault(planned.key, (outcome.digests, folder.path))
                if digests != outcome.digests:
                    yield f"{Trial.model_validate(planned.trial).label} has other results in {folder.path} than in {where}"


def _united(specs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Unite the rows, references and seeds."""
    models = {row: choice for spec in specs for row, choice in spec["models"].items()}
    references = list(dict.fromkeys(kind for spec in specs for kind in spec["references"]))
    seeds = sorted({seed for spec in specs for seed in spec["seeds"]})
    tuned = {row: found for spec in specs for row, found in spec.get("tuned", {}).items()}
    return {**specs[0], "models": models, "references": references, "seeds": seeds, "tuned": tuned}


def _planned(spec: Mapping[str, Any], records: Sequence[RunRecord]) -> dict[str, Trial]:
    """List the merged spec's trials by their keys."""
    base = records[0]
    digests = {name: digest for record in records for name, digest in record.plugins.items()}
    folds = [fold.number for fold in base.dataset.folds.folds] if base.dataset.folds else []
    headers = {name: header for record in records for name, header in record.headers.items()}
    trials = in_folds(unfold(Spec.model_validate(spec), "cuda" if base.scale == "gpu" else "cpu", headers), folds)
    weights = {p.trial["system"]: str(p.trial.get("weights", "")) for record in records for p in record.trials}
    trials = [trial.model_copy(update={"weights": weights.get(trial.system, "")}) for trial in trials]
    if lost := sorted({trial.model for trial in trials} - digests.keys()):
        raise DataError(f"run.json of no run says which code {listed(lost)} has.", "Merge runs of this version of bench.")
    return {trial_key(trial, digests[trial.model], base.dataset.music): trial for trial in trials}


def _sources(
    folders: Sequence[RunFolder], records: Sequence[RunRecord], targets: Sequence[Sequence[Target]]
) -> tuple[dict[str, RunFolder], dict[str, RunFolder]]:
    """Find for each trial the first run that has done it, and the first that has tried. A folder with a link in it is neither."""
    done: dict[str, RunFolder] = {}
    tried: dict[str, RunFolder] = {}
    for folder, record, its_targets in zip(folders, records, targets, strict=True):
        for planned in record.trials:
            if not folder.strange(planned.key) and folder.outcome(planned.key) is not None:
                (done if folder.is_done(planned.key, its_targets) else tried).setdefault(planned.key, folder)
    return done, tried


@contextlib.contextmanager
def _draft(into: Path) -> Iterator[RunFolder]:
    """Make a folder beside `into` that takes its name at the end of the block, and is removed if that fails."""
    path, lock = into.with_name(f".{into.name}.merging"), into.with_name(f".{into.name}.merging.lock")
    into.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(NoLocksError):
            held.enter_context(hold(lock, path))
        held.callback(lock.unlink, missing_ok=True)
        if exists(into):  # since it was looked at
            raise UsageError(f"{into} exists already.", "Another merge made it: give another --name.")
        if path.is_symlink():  # someone else's: nothing is written through it
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)  # of a merge that was killed
        path.mkdir()
        (path / "trials").mkdir()
        try:
            yield RunFolder(path)
            path.rename(into)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise


def _copy(source: Path, to: Path, names: Iterable[str]) -> None:
    """Copy files of these names as far as they are there: what else lies beside them, such as a checkpoint, stays where it is."""
    for name in names:
        if (source / name).is_file() and not is_long_log(source / name):
            copy_file(source / name, to / name)
