"""The held-out pieces' prompts as MIDI files, so that any system can continue them.

:mod:`bench.external.folder` reads what the system wrote.

A file's name holds the piece's number: ``prompt-007.mid``. A continuation keeps that name or contains it; several samples of a
piece add a second number: ``prompt-007-1.mid``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import DataError, UsageError, refusal
from bench.music.midi import midi_bytes, read_midi
from bench.music.notes import Notes
from bench.runner.folds import read_folds
from bench.runner.held_out import HeldOut
from bench.storage.files import FORMAT, read_json, write_json, write_text
from bench.storage.samples import Target, notes_digest
from bench.storage.stored import Stored, first_problem
from bench.system.disk import MOST_RESULT, DamagedFileError, read_file, write_file

INDEX, README, TARGETS = "prompts.json", "README.txt", "targets"

#: The piece's number, and the sample's if any, anywhere in a file's name; or a name of only these numbers, or of a run's file.
_NUMBERED = re.compile(r"prompt-(\d+)(?:-(\d+))?", re.IGNORECASE)
_BARE = re.compile(r"(?:(?:piece-)?(?=\d{3})|)(\d+)(?:-(\d+))?")


class _Dataset(Stored):
    name: str


class _Exported(Stored):
    """What an index says of its prompts: the spec, scale and dataset that they are of, and their identity."""

    spec: str
    scale: str
    dataset: _Dataset
    prompts: str

    @property
    def about(self) -> str:
        """What the prompts are of, for a message."""
        return f"the spec {self.spec} at scale {self.scale}, dataset {self.dataset.name}"


def prompt_name(piece: int, sample: int = 0) -> str:
    """Name the file of a piece, counted from 0 as in targets.npz, and of a further sample of it."""
    return f"prompt-{piece:03}{f'-{sample}' if sample else ''}.mid"


def numbers_in(stem: str) -> tuple[int, int] | None:
    """Parse piece and sample from a file's name without its suffix; sample 0 if there is none; None without a piece."""
    numbers = _NUMBERED.search(stem) or _BARE.fullmatch(stem)
    return None if numbers is None else (int(numbers[1]), int(numbers[2] or 0))


def extends_notes(options: Mapping[str, Any]) -> bool:
    """Whether notes of a dataset with these options last while a sustain pedal holds them, so that another system's do too."""
    return options.get("pedal") == "extend"


def as_file(notes: Notes) -> Notes:
    """Pass the notes through a MIDI file: onsets and ends on ticks."""
    return read_midi(midi_bytes(notes))


def prompts_digest(targets: tuple[Target, ...]) -> str:
    """Identity of the prompts, whatever their dataset is called."""
    return notes_digest([target.prompt for target in targets])


def export_prompts(held_out: HeldOut, folder: Path, *, scale: str, score: str, with_targets: bool = False) -> list[Path]:
    """Write every prompt, ``prompts.json`` and ``README.txt``; the same prompts give the same bytes.

    Parameters
    ----------
    held_out : HeldOut
    folder : Path
        New, empty, or an earlier export of the same prompts.
    scale : str
        Of the spec; stored in the index.
    score : str
        The command that scores the continuations.
    with_targets : bool
        Also write the true continuations, into ``targets/``.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    UsageError
        If `folder` is neither, or can't be written.
    """
    targets = held_out.targets.targets
    index = _index(held_out, scale)
    _check_folder(folder, index["prompts"])
    files: dict[Path, bytes] = {}
    for piece, target in enumerate(targets):
        if len(target.prompt):
            files[folder / prompt_name(piece)] = midi_bytes(target.prompt)
        if with_targets:
            files[folder / TARGETS / prompt_name(piece)] = midi_bytes(target.target)
    if changed := next((path for path, content in files.items() if _differs(path, content)), None):
        raise UsageError(f"{changed} is no longer the prompt that was written there.", "Give --to a new folder, or move it away.")
    try:
        write_json(folder / INDEX, index)  # first: by it a run knows that these files are no music to learn from
        for path, content in files.items():
            write_file(path, content)
        write_text(folder / README, _readme(index, score, with_targets))
    except OSError as error:
        place = UsageError(f"{folder} can't be written: {error.strerror or error}.", "Give another --to.")
        raise refusal(error, place) from error
    return [*files, folder / README, folder / INDEX]


def _differs(path: Path, content: bytes) -> bool:
    """Whether a file is there with another content: a continuation may have the name of its prompt."""
    try:
        return read_file(path, MOST_RESULT) != content
    except DamagedFileError:  # a folder, a link
        return True
    except OSError:  # nothing is there, or the writing says why not
        return False


def check_index(folder: Path, targets: tuple[Target, ...]) -> bool:
    """Return whether a folder holds the index that was exported with these prompts; refuse that of others.

    Raises
    ------
    DataError
        If the index can't be read or belongs to other prompts.
    """
    file = folder / INDEX
    if not file.exists():
        return False
    index = _read_index(file)
    if index.prompts != prompts_digest(targets):
        raise DataError(
            f"{file} is of other prompts: {index.about}.",
            "Give the spec, scale and music that they were exported for, or the prompts that the files continue: --prompts DIR.",
        )
    return True


def _index(held_out: HeldOut, scale: str) -> dict[str, Any]:
    spec, prepared, targets = held_out.spec, held_out.prepared, held_out.targets.targets
    folds = {index: fold.number for fold in read_folds(held_out.targets.facts) for index in fold.test}
    return {
        "format": FORMAT,
        "spec": spec.name,
        "scale": scale,
        "dataset": {
            **spec.dataset.model_dump(mode="json"),
            "title": prepared.title,
            "license": prepared.license,
            "fingerprint": prepared.corpus_key,
        },
        "protocol": spec.protocol.model_dump(mode="json"),
        "prompts": prompts_digest(targets),
        "notes_to_write": spec.protocol.notes,
        "naming": "prompt-<piece>.mid; of several samples of a piece prompt-<piece>-<sample>.mid",
        "pieces": [
            {
                "piece": piece,
                "file": prompt_name(piece) if len(target.prompt) else None,
                "notes": len(as_file(target.prompt)),
                "end": float(target.prompt.onset[-1]) if len(target.prompt) else 0.0,
                "id": target.piece.id,
                "title": target.piece.title,
                "composer": target.piece.composer,
                **({"fold": folds[target.piece.index]} if folds else {}),
            }
            for piece, target in enumerate(targets)
        ],
    }


def _readme(index: dict[str, Any], score: str, with_targets: bool) -> str:
    protocol, pieces = index["protocol"], len(index["pieces"])
    notes, last = protocol["notes"], prompt_name(pieces - 1)
    held = extends_notes(index["dataset"]["options"])
    pedal = "holds the notes, here as in the files that are scored" if held else "is passed over"
    task = (
        f"{prompt_name(0)} to {last} hold the first {protocol['prompt']} notes of {pieces} held-out pieces. Continue each."
        if protocol["prompt"]
        else f"No notes are given: write a piece for each of {prompt_name(0)} to {last}."
    )
    lines = [
        f"Prompts of {_Exported.model_validate(index).about}",
        "",
        task,
        "",
        f"How long: at least {notes} notes after the prompt; the first {notes}, sorted by (onset, pitch), are compared.",
        "Notes of all pitched tracks count, drums do not. A file with fewer has failed.",
        f"Durations: a sustain pedal (controller 64) {pedal}.",
        "Names: a continuation keeps its prompt's file name, or has it in its own: prompt-007.mid, mine-prompt-007.mid.",
        "Several samples of one piece: prompt-007-1.mid, prompt-007-2.mid; as many for every piece.",
        "The prompt: a file may begin with the prompt or hold the continuation alone. It is cut off where the first notes have",
        "its pitches, in its order; also if the file's grid has moved them to common onsets. A file that begins with it in",
        "another key or order can't be used unless you say what the files hold: --prompt included, --prompt absent.",
        f"{INDEX} in this folder says which prompts these are: with --prompts, also continuations alone are scored.",
        f"Score: {score}",
        "",
        f"Dataset: {index['dataset']['title']}, fingerprint {index['dataset']['fingerprint']}",
        f"Licence of the music: {index['dataset']['license']}",
        f"Protocol: {', '.join(f'{k} {v}' for k, v in protocol.items() if v is not None)}",
    ]
    if protocol.get("folds"):
        lines += [
            "",
            f"The pieces are held out in turn (folds: {protocol['folds']}); prompts.json says in which fold each lies.",
            "Continue a prompt with a system that learned from no piece of its fold.",
        ]
    if with_targets:
        lines += ["", f"{TARGETS}/ holds what really follows. Don't show it to the system."]
    return "\n".join(lines) + "\n"


def _read_index(file: Path) -> _Exported:
    try:
        return _Exported.model_validate(read_json(file))
    except ValidationError as error:
        raise DataError(
            f"{file} is no index of prompts: {first_problem(error)}.",
            "Remove it, or export the prompts into another folder.",
        ) from error


def _check_folder(folder: Path, prompts: str) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; prompts need a folder.")
    if not any(folder.iterdir()):
        return
    index = _read_index(folder / INDEX) if (folder / INDEX).exists() else None
    if index is None or index.prompts != prompts:
        what = f"prompts of {index.about}" if index else "other files"
        raise UsageError(f"{folder} already holds {what}.", "Give --to a new folder: prompts of two kinds must not mix.")
