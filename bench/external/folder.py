"""Samples from a folder of MIDI files: which file continues which piece, which notes count, which files can't be used.

A file is matched to a piece by the number in its name (see :mod:`bench.external.prompts`). If no file's name has a number, as
many files as there are pieces are matched in sorted order, and a message reports it. Nothing is padded: a file with too few notes
is bad, a piece without all its samples is missing.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.errors import DataError, UsageError
from bench.external.prompt_match import Opening, PromptRule, Start, continuation, mixed_text, opening, part_text, whose
from bench.external.prompts import as_file, numbers_in, prompt_name
from bench.formatting import visible
from bench.music.midi import midi_content, read_midi
from bench.music.notes import LONGEST, Notes
from bench.runner.contract import begins_again, stretch
from bench.storage.samples import Target
from bench.system.disk import is_folder

SUFFIXES = (".mid", ".midi")

#: What to do about a file that begins with nearly its prompt.
DOUBT = "--prompt included cuts them off, --prompt absent counts them"

#: Least share of files that begin with a part of their prompt at which it isn't music that repeats itself.
MOST_PARTS = 0.5

#: Seconds before which the notes of a file begin: with the prompt before them they stay within what notes may have.
LATEST = LONGEST / 4


@dataclass(frozen=True)
class File:
    """A usable file.

    Parameters
    ----------
    name : str
    piece, sample : int
        What it is matched to; samples count from 0 without gaps.
    start : Start
        How it begins.
    prompt_cut : bool
        Whether a prompt was cut off.
    surplus : int
        Notes after those that count.
    remark : str
        Why it is suspicious; empty if it isn't.
    part : int
        See :class:`bench.external.prompt_match.Opening`.
    mixed : int
        See :class:`bench.external.prompt_match.Opening`.
    pace : float
        How many times as long as the prompt what was cut off is.
    span : float
        How many times as long as the real continuation its own is.
    copies : str
        An earlier file for another piece with the same notes, but for their times.
    """

    name: str
    piece: int
    sample: int
    start: Start
    prompt_cut: bool
    surplus: int = 0
    remark: str = ""
    part: int = 0
    mixed: int = 0
    pace: float = 1.0
    span: float = 1.0
    copies: str = ""


@dataclass(frozen=True)
class External:
    """Contents of a folder, matched to the held-out pieces.

    Parameters
    ----------
    notes : mapping of (int, int) to Notes
        By piece and sample: `samples` samples of every piece that isn't missing.
    files : tuple of File
        The files of `notes`.
    bad : mapping of str to str
        Files that can't be used, and why.
    missing : tuple of int
        Pieces that lack a sample.
    samples : int
        Samples per piece, see :func:`samples_a_piece`.
    by_name : bool
        Whether files were matched by name; otherwise in sorted order.
    digest : str
        Identity of the folder's MIDI files.
    rule : PromptRule
        How prompts in the files were treated.
    """

    notes: Mapping[tuple[int, int], Notes]
    files: tuple[File, ...]
    bad: Mapping[str, str]
    missing: tuple[int, ...]
    samples: int
    by_name: bool
    digest: str
    rule: PromptRule = "auto"


def read_external(
    folder: Path, targets: Sequence[Target], n_notes: int, rule: PromptRule = "auto", pedal: bool = False
) -> External:
    """Read every MIDI file of a folder as continuations of the targets' prompts.

    Parameters
    ----------
    folder : Path
        Folders in it are ignored.
    targets : sequence of Target
    n_notes : int
        Notes that each continuation must have; the first `n_notes` count.
    rule : PromptRule
        How to treat prompts in the files, see :func:`bench.external.prompt_match.continuation`.
    pedal : bool
        Whether notes last while a sustain pedal holds them, as those of the pieces.

    Raises
    ------
    UsageError
        If there is no such folder, or no MIDI file in it; or if most files begin with a part of their prompt, and no rule says
        whether that counts.
    DataError
        If no file can be used.
    """
    paths = midi_files(folder)
    places, bad, by_name = match(paths, len(targets))
    prompts = [as_file(target.prompt) for target in targets]
    usable: dict[int, list[tuple[File, Notes]]] = defaultdict(list)
    for path in sorted(places, key=lambda p: (places[p], p.name)):
        piece, sample = places[path]
        try:
            file_and_notes = read_continuation(path, (piece, sample), prompts, n_notes, rule, pedal)
        except DataError as error:
            bad[path.name] = error.message
        else:
            (file, rest), target = file_and_notes, targets[piece]
            if file.part or file.mixed:  # nothing of it is told where the real continuation does so too, as over an ostinato
                real = opening(target.target, target.prompt)
                own = bool(real.mixed or real.part or begins_again(target.target, target.prompt))
                file = replace(file, part=0 if own else file.part, mixed=0 if own else file.mixed)
            usable[piece].append((replace(file, span=stretch([rest], [target])), rest))
    if not usable:
        first = next(iter(bad.items()))
        raise DataError(f"None of {len(paths)} MIDI files in {folder} can be used; {first[0]}: {first[1]}.")
    samples = samples_a_piece([len(several) for several in usable.values()])
    missing = tuple(i for i in range(len(targets)) if len(usable.get(i, ())) < samples)
    notes, files, first_of = {}, [], dict[bytes, File]()
    for piece, several in sorted(usable.items()):
        for sample, (file, continuation_notes) in enumerate(several):
            if piece in missing:
                bad[file.name] = f"its piece has {len(several)} of {samples} samples"
            elif sample >= samples:
                bad[file.name] = f"{samples} {'sample' if samples == 1 else 'samples'} of a piece count; this is one more"
            else:
                notes[piece, sample] = continuation_notes
                heard = continuation_notes.pitch.tobytes() + continuation_notes.velocity.tobytes()
                same = first_of.setdefault(heard, file)
                files.append(replace(file, sample=sample, copies=same.name if same.piece != piece else ""))
    files = _check_parts(files, rule)
    return External(notes, tuple(files), dict(sorted(bad.items())), missing, samples, by_name, _digest(paths), rule)


def midi_files(folder: Path) -> list[Path]:
    """List the MIDI files of a folder in natural order: take-2 before take-10.

    Pipes and links to nothing are among them: reading them says why they can't be used.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Give the folder that holds the MIDI files.")
    files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not is_folder(p) and not p.name.startswith(".")]
    if not files:
        raise UsageError(f"There is no MIDI file ({', '.join(SUFFIXES)}) in {folder}.", "Folders in it are not searched.")
    return sorted(files, key=lambda p: ([(int(n or 0), w) for n, w in re.findall(r"(\d+)|(\D+)", p.name)], p.name))


def match(paths: Sequence[Path], pieces: int) -> tuple[dict[Path, tuple[int, int]], dict[str, str], bool]:
    """Match files to pieces and samples; also return the files without a match, and why, and whether names were used.

    Parameters
    ----------
    paths : sequence of Path
        In sorted order.
    pieces : int

    Raises
    ------
    UsageError
        If no name has a number, and there are more files than pieces, or fewer.
    """
    # Those of a run are of three digits from 000 on; piece-1 to piece-120 are counted otherwise, and have no piece-001.
    own = any(re.fullmatch(r"piece-0\d\d(-\d+)?", path.stem) for path in paths)
    others = not own and any(re.fullmatch(r"piece-\d{1,2}", path.stem) for path in paths)
    numbers = {path: None if others and path.stem.startswith("piece-") else numbers_in(path.stem) for path in paths}
    places: dict[Path, tuple[int, int]] = {}
    bad: dict[str, str] = {}
    if not any(numbers.values()):
        if len(paths) != pieces:  # one too many or too few would shift all others
            raise UsageError(
                f"No file's name has a piece's number, and there are {len(paths)} files for {pieces} pieces: nothing says which "
                "continues which.",
                f"Name them as the prompts, {prompt_name(0)} to {prompt_name(pieces - 1)}, or give one for each.",
            )
        return {path: (piece, 0) for piece, path in enumerate(paths)}, {}, False
    claims: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for path, place in numbers.items():
        if place is None:
            bad[path.name] = f"its name has no piece's number, such as {prompt_name(3)}"
        elif place[0] >= pieces:
            bad[path.name] = f"there are {pieces} pieces, {prompt_name(0)} to {prompt_name(pieces - 1)}"
        else:
            claims[place].append(path)
    for place, several in claims.items():
        exact = [path for path in several if path.name == prompt_name(*place)]  # others may be of an earlier system
        for path in several:
            if path in exact or len(several) == 1:
                places[path] = place
            else:
                other = exact[0] if exact else next(one for one in several if one != path)
                bad[path.name] = f"its name has the same piece and sample numbers as {other.name}"
    return places, bad, True


def samples_a_piece(counts: Sequence[int]) -> int:
    """Choose the number of samples per piece with which the most files count; the smaller one if equal.

    Parameters
    ----------
    counts : sequence of int
        Usable files of each piece that has any.
    """
    return max(sorted(set(counts)), key=lambda n: n * sum(several >= n for several in counts))


def read_continuation(
    path: Path, place: tuple[int, int], prompts: Sequence[Notes], n_notes: int, rule: PromptRule, pedal: bool = False
) -> tuple[File, Notes]:
    """Read the continuation in a file: its first `n_notes` notes, without the prompt.

    Parameters
    ----------
    path : Path
    place : (int, int)
        Piece and sample that the file is matched to.
    prompts : sequence of Notes
        Of all pieces, as read from files.
    n_notes : int
    rule : PromptRule
    pedal : bool
        Whether notes last while a sustain pedal holds them.

    Raises
    ------
    DataError
        If it isn't MIDI, has too few notes, begins with another piece's prompt (it would be compared with the wrong music), or
        with nearly its own, and no rule says whether that counts.
    """
    notes, (piece, sample) = read_midi(path, pedal=pedal), place
    if not len(notes):
        raise DataError("it holds no notes")
    if notes.onset[-1] >= LATEST:
        raise DataError(f"it has a note that begins after {LATEST:,.0f} s")
    rest, begins, cut = continuation(notes, prompts[piece], rule)
    _refuse_doubt(notes, begins, piece, prompts, rule)
    if len(rest) < n_notes:
        where = " after the prompt" if cut else "" if rule == "absent" else " and doesn't begin with the prompt"
        raise DataError(f"it has {len(rest)} {'note' if len(rest) == 1 else 'notes'}{where}; {n_notes} are needed")
    pace = _pace(notes[: len(notes) - len(rest)], prompts[piece]) if begins.start == "prompt" else 1.0
    surplus = len(rest) - n_notes
    file = File(path.name, piece, sample, begins.start, cut, surplus, begins.remark, begins.part, begins.mixed, pace)
    return file, rest[:n_notes]


def _pace(found: Notes, prompt: Notes) -> float:
    """How many times as long as the prompt what was found of it is, from its first onset to its last; 1 of a chord."""
    theirs, ours = (float(np.ptp(notes.onset)) if len(notes) else 0.0 for notes in (found, prompt))
    return theirs / ours if theirs and ours else 1.0


def _refuse_doubt(notes: Notes, begins: Opening, piece: int, prompts: Sequence[Notes], rule: PromptRule) -> None:
    """Refuse a file that begins with another piece's prompt, or with its own in another key or order, unless the user said more.

    A transposed prompt may be another piece's as it is. Then the message names both: the name may be wrong, or the key.
    """
    if begins.start == "prompt" or rule == "absent" or (rule == "included" and begins.start == "transposed"):
        return
    doubt = f"{begins.remark} ({prompt_name(piece)})" if rule == "auto" and begins.remark else ""
    other = whose(notes, prompts)
    if doubt and other is not None and begins.start == "transposed":
        raise DataError(f"{doubt}, or {prompt_name(other)} as it is: names are counted from 0; {DOUBT}")
    if other is not None:
        raise DataError(f"it begins with {prompt_name(other)}, but is matched to piece {piece:03}: names are counted from 0")
    if doubt:
        raise DataError(f"{doubt}: {DOUBT}")


def _check_parts(files: list[File], rule: PromptRule) -> list[File]:
    """Refuse files of which most begin with a part of their prompt, go on with it once more, or mix it with other notes.

    If the user says that this counts, each has a remark.

    Raises
    ------
    UsageError
        Names the first.
    """
    mixed = [file for file in files if file.mixed]
    if mixed and len(mixed) >= MOST_PARTS * len(files):
        if rule != "absent":
            raise UsageError(
                f"{len(mixed)} of {len(files)} files mix their prompt with what continues it: of {visible(mixed[0].name)}, "
                f"{mixed_text(mixed[0].mixed)}.",
                "Write the continuation alone, or behind the prompt; --prompt absent counts all notes.",
            )
        files = [replace(f, remark=f"{mixed_text(f.mixed)}: counted nevertheless") if f.mixed else f for f in files]
    parts = [file for file in files if file.part]
    if not parts or len(parts) < MOST_PARTS * len(files):
        return files
    if rule == "auto":
        raise UsageError(
            f"{len(parts)} of {len(files)} files begin with a part of their prompt, or with it twice: of "
            f"{visible(parts[0].name)}, {_part_text(parts[0])}.",
            "--prompt included cuts a whole prompt off once and counts the rest, --prompt absent counts all.",
        )
    return [replace(file, remark=f"{_part_text(file)}: counted nevertheless") if file.part else file for file in files]


def _part_text(file: File) -> str:
    return f"the {file.part} notes behind the prompt are the prompt again" if file.prompt_cut else part_text(file.part)


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        try:
            content = hashlib.sha256(midi_content(path)).digest()
        except (DataError, OSError):  # listed as bad
            content = b""
        digest.update(path.name.encode("utf-8", "surrogateescape") + b"\x1f" + content)
    return digest.hexdigest()[:16]
