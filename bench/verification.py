"""Check a run's folder: what in it is missing or damaged, and what the command that made the run would do about it.

Nothing is changed. Every stored result has a checksum (:mod:`bench.system.disk`, :mod:`bench.storage.files`) or stands with its
digest in the outcome of its trial, so a changed bit in one is found. Left out are reports, which are written anew from them
(those of votes too), checkpoints, which are read when a training resumes, and what only describes a process (jobs, logs, locks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.errors import DataError, MachineError
from bench.listening.key import FOLDER, PAGE, RESTORE, read_key
from bench.metrics import sample_scores
from bench.scoring.score import planned_trials
from bench.sound.clips import StoredClip, slug, sources, stored_clip
from bench.storage.corpus import cached_corpora, load_corpus
from bench.storage.files import is_intact
from bench.storage.records import RunRecord
from bench.storage.run_folder import RunFolder
from bench.storage.samples import MIDI_PIECES, Target
from bench.system.disk import MOST_RECORD, MOST_RESULT, DamagedFileError, file_digest, read_file

_TEST_REMEDY = "the same bench listen-test command writes it again"

#: A key holds a secret, and nothing else says whose clips were heard.
_KEY_REMEDY = RESTORE[0].lower() + RESTORE[1:].rstrip(".")

_NOT_USED = "it is not used; remove it, and reports compute what it held"


@dataclass(frozen=True)
class Finding:
    """One part of a run.

    Parameters
    ----------
    part : str
        A trial or a file.
    fault : str
        What is wrong with it; empty if nothing is.
    remedy : str
        What the command that made the run would do, or which other one makes it again.
    """

    part: str
    fault: str = ""
    remedy: str = ""


def verify_run(folder: Path, caches: Iterable[Path] = ()) -> Iterator[Finding]:
    """Check a run's folder part by part.

    Parameters
    ----------
    folder : Path
        The run's.
    caches : iterable of Path
        Where the parsed dataset may be; it is looked for by its name, as the path in run.json may be someone else's.

    Raises
    ------
    DataError
        If run.json can't be read: without it nothing else in the folder can be named.
    """
    run = RunFolder(folder)
    record = run.read()
    yield Finding("run.json")
    for corpus in cached_corpora(record.dataset.corpus, caches):  # none where a run is verified on another machine
        yield Finding("the parsed dataset", _refusal(partial(load_corpus, corpus)), "it is parsed again")
    fault = _refusal(run.read_targets)
    yield Finding("targets.npz", fault, "it is chosen again from the dataset; the trials could not be checked without it")
    if fault:
        return
    targets = run.read_targets().targets
    yield from _targets_as_midi(run, targets)
    yield from _trials(run, record, targets)
    yield from _sound(run, record)
    yield from _listening_tests(run)


def _refusal(read: Callable[[], object]) -> str:
    try:
        read()
    except (DataError, MachineError) as error:
        return error.message
    return ""


def _sound(run: RunFolder, record: RunRecord) -> Iterator[Finding]:
    """Check the clips of the models, and those of other rows that were asked for; a run may do without sound."""
    if not (run.path / "sound").is_dir():
        return
    rows = dict.fromkeys(planned.trial["system"] for planned in record.trials if planned.trial["kind"] != "model")
    asked = [row for row in rows if (run.path / "sound" / slug(row)).is_dir()]
    clips = dict.fromkeys(sources(run.path), "it is rendered again")
    for source in sources(run.path, asked):
        clips.setdefault(source, "bench listen RUN --systems ROW renders it again")
    for source, remedy in clips.items():
        clip = stored_clip(source)
        yield Finding(source.mp3.relative_to(run.path).as_posix(), "" if isinstance(clip, StoredClip) else clip, remedy)


def _listening_tests(run: RunFolder) -> Iterator[Finding]:
    for folder in sorted((run.path / FOLDER).glob("test-*")):
        if folder.suffix == ".bad":  # set aside
            continue
        name = folder.relative_to(run.path).as_posix()
        page = None
        try:
            _, page = read_key(folder / "key.json")
            yield Finding(f"{name}/key.json")
        except (DataError, MachineError) as error:
            yield Finding(f"{name}/key.json", error.message, _KEY_REMEDY)
        if page is not None:  # an earlier version left it out
            yield Finding(f"{name}/{PAGE}", _other_content(folder / PAGE, page), _TEST_REMEDY)


def _other_content(path: Path, digest: str) -> str:
    """Explain why a file is not the one of this SHA-256; empty if it is."""
    try:
        return "" if file_digest(path) == digest else "it is damaged"
    except (FileNotFoundError, NotADirectoryError):
        return "it is missing"
    except DamagedFileError as error:
        return str(error)


def _targets_as_midi(run: RunFolder, targets: Sequence[Target]) -> Iterator[Finding]:
    for number, target in enumerate(targets[:MIDI_PIECES]):
        name = f"midi/target-{number:03}.mid"
        try:
            content = read_file(run.path / name, MOST_RESULT)
            yield Finding(name, "" if content == target.midi() else "it is damaged", "it is written again")
        except (FileNotFoundError, NotADirectoryError):
            yield Finding(name, "it is missing", "it is written again")
        except DamagedFileError as error:
            yield Finding(name, str(error), "it is written again")


def _described(run: RunFolder, key: str) -> str | None:
    """Explain what is wrong with a trial's description; None if the trial has none, as before its start."""
    try:
        return "" if is_intact(read_file(run.trial_dir(key) / "trial.json", MOST_RECORD)) else "it is damaged"
    except FileNotFoundError:
        return "it is missing" if (run.trial_dir(key) / "outcome.json").exists() else None
    except DamagedFileError as error:
        return str(error)


def _stored_scores(path: Path) -> str:
    """Explain what is wrong with the stored scores of a trial; those of other samples or code are merely not used."""
    try:
        return "" if is_intact(read_file(path, MOST_RECORD)) else "it is damaged"
    except FileNotFoundError:
        return ""
    except DamagedFileError as error:
        return str(error)


def _trials(run: RunFolder, record: RunRecord, targets: Sequence[Target]) -> Iterator[Finding]:
    for trial, folds in planned_trials(record):
        for fold, key in folds.items():
            checkpoint = run.trial_dir(key) / "checkpoint"
            resumes = trial.kind == "model" and checkpoint.is_dir() and any(checkpoint.iterdir())
            remedy = "it resumes from its checkpoint" if resumes else "it runs"
            label = trial.model_copy(update={"fold": fold or None}).label
            yield Finding(label, run.fault(key, targets), remedy)
            if (fault := _described(run, key)) is not None:
                yield Finding(f"trials/{key}/trial.json", fault, "it is written again")
            if fault := _stored_scores(run.trial_dir(key) / sample_scores.FILE):
                yield Finding(f"trials/{key}/{sample_scores.FILE}", fault, _NOT_USED)
