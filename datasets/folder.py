"""Any folder of MIDI files, split by a hash of each file's content; files that are the same music stay together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import bench.api
from bench.api import DataError, Piece, Progress, Skipped, Splits, midi_digest, walk

from ._files import (
    MIDI_SUFFIXES,
    Entry,
    by_hash,
    check_closed,
    contents,
    extends,
    gather,
    identity,
    name_below,
    positive,
    program_range,
    read_entries,
    shares,
)

TITLE = "MIDI folder"
LICENSE = "that of the files in the folder"
NEEDS = "folder"

#: Marker files of a run's folder, of exported prompts and of a cache (https://bford.info/cachedir/). A run that was stopped early
#: or is damaged has no run.json; its lock comes before all else.
OURS = ("run.json", "targets.npz", "prompts.json", "CACHEDIR.TAG")

#: Why such a folder is left out.
REASON = "a run, exported prompts or a cache, by the files in it"

#: Name of the score in a folder of its performances, as in ASAP (Foscarin et al. 2020).
SCORE = "midi_score"

#: Largest share of all music that such a folder may hold.
MOST_OF_A_WORK = 0.75

REMARKS = (
    "Files count as one work if they lie in one folder with a midi_score.mid, or if their notes are alike, which misses free "
    "arrangements; their names don't matter. Of files with the same notes one is used.",
)


class Dataset(bench.api.Dataset):
    """All MIDI files in a folder and below, except in hidden folders and those that this suite writes.

    Parameters
    ----------
    path : Path, optional
        The folder; by default the first --data folder.
    programs : {"all", "piano"}
        Keep every pitched track, or the piano family only.
    minimum_notes : int
        Pieces with fewer are left out.
    validation, test : float
        Shares of these splits. A piece's split depends on no other files than those of the same work, except that an empty split
        takes one work of the training set.
    pedal : {"ignore", "extend"}
        Whether notes last while the sustain pedal holds them: ``extend`` lengthens them where the file has its events.
    """

    def __init__(
        self,
        path: Path | None = None,
        programs: Literal["all", "piano"] = "all",
        minimum_notes: int = 32,
        validation: float = 0.1,
        test: float = 0.15,
        pedal: Literal["ignore", "extend"] = "ignore",
    ) -> None:
        try:
            self.path = Path(path).expanduser() if path is not None else None
        except RuntimeError as error:  # of a ~ without a home
            raise DataError(f"folder: path is {str(path)!r}: {error}", "Give the folder's whole path.") from error
        self.programs = program_range("folder", programs)
        self.minimum_notes = minimum_notes
        self.validation, self.test = validation, test
        self.pedal = extends("folder", pedal)
        positive("folder", minimum_notes=minimum_notes)
        shares("folder", validation, test)

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Return `path`, or else the first root that exists."""
        if self.path is not None:
            return self.path if self.path.is_dir() else None
        return next((root for root in roots if root.is_dir()), None)

    def fingerprint(self, source: Path | None) -> str:
        """Identity of the options and of every file's name and content."""
        source = _required(source)
        options = (self.programs, self.minimum_notes, self.validation, self.test, *(["pedal"] if self.pedal else []))
        return identity("folder", 2, *options, contents(source, _files(source)[0]))

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Read all files; the same content, or the same notes, only once."""
        source = _required(source)
        entries: list[Entry] = []
        files, skipped = _files(source)
        for path in files:
            name = name_below(source, path)
            try:
                split = by_hash(midi_digest(path), self.validation, self.test)
            except OSError as error:
                skipped.append(Skipped(name, f"can't be read ({error.strerror})"))
            except DataError as error:
                skipped.append(Skipped(name, error.message))
            else:
                entries.append(Entry(path, name, split, title=name[: name.rindex(".")]))
        if not entries and not skipped:
            raise DataError(f"folder: there is no MIDI file in {source} or below.", f"Expected {' or '.join(MIDI_SUFFIXES)}.")
        splits = read_entries(
            entries,
            progress,
            minimum_notes=self.minimum_notes,
            programs=self.programs,
            pedal=self.pedal,
            skipped=skipped,
            remarks=(*REMARKS, *_split_anew([name_below(source, path) for path in files])),
        )
        # A file that is no piece is no score either; one with the notes of another is.
        music = [piece.source for piece in (*splits.train, *splits.validation, *splits.test)]
        music += [left_out.source for left_out in splits.skipped if left_out.reason.startswith("the same ")]
        folders = Counter(map(_folder, music))
        scores = {_folder(name) for name in music if PurePosixPath(name).stem.lower() == SCORE}
        # A stray score in the folder of nearly all music makes no work of it.
        scores = {folder for folder in scores - {"."} if folders[folder] <= MOST_OF_A_WORK * len(music)}
        return gather(splits, lambda piece: _work(piece, scores), progress)


def _split_anew(names: Sequence[str]) -> list[str]:
    """Remark on folders that are named as splits: what another system learned from may be a test piece here."""
    known = {"train", "training", "valid", "validation", "val", "dev", "test", "eval"}
    found = sorted({part for name in names for part in name.split("/")[:-1] if part.lower() in known})
    if len(found) < 2:
        return []
    return [f"The folders {', '.join(found)} are not taken for splits: each file's split is by a hash of its content."]


def _work(piece: Piece, scores: Collection[str]) -> str:
    """Name the work of a piece: its folder below the chosen one, if that holds a score; else its content."""
    folder = _folder(piece.source)
    return folder if folder in scores else piece.sha256


def _folder(name: str) -> str:
    return name.rpartition("/")[0] or "."


def _files(source: Path) -> tuple[list[Path], list[Skipped]]:
    """List MIDI files in `source` and below, and the folders that are left out.

    A run's samples are no music that the next run should train on.
    """
    files: list[Path] = []
    closed: list[OSError] = []
    ours: list[Path] = []
    for folder, below, names in walk(source, closed):
        below[:] = [name for name in below if not name.startswith(".")]
        ours += (found := [Path(folder, name) for name in below if _is_ours(Path(folder, name))])
        below[:] = [name for name in below if Path(folder, name) not in found]
        files += [Path(folder, name) for name in names if _is_midi(name.lower())]
    left_out = [Skipped(os.path.relpath(error.filename, source), f"can't be entered ({error.strerror})") for error in closed]
    left_out += [
        Skipped(str(path.relative_to(source)), "a run, exported prompts or a cache, by the files in it") for path in ours
    ]
    return sorted(files, key=lambda path: path.parts), sorted(left_out, key=lambda s: s.source)


def _is_midi(name: str) -> bool:
    """Whether a name in lower case ends as one of a MIDI file; a hidden file of that name is none."""
    return name.endswith(MIDI_SUFFIXES) and name not in MIDI_SUFFIXES


def _is_ours(folder: Path) -> bool:
    """Whether a folder is one of this suite's runs or exports, or a cache of any program."""
    return any(_is_there(folder / name) for name in OURS) or all(_is_there(folder / name) for name in (".lock", "trials"))


def _is_there(path: Path) -> bool:
    """Whether a name is there. Of a folder that can't be entered the walk reports that."""
    try:
        path.stat()  # from Python 3.14 on, Path.exists is silent about all errors
    except OSError as error:
        check_closed(error)  # of the machine: a run's samples would count as music
        return False
    return True


def _required(source: Path | None) -> Path:
    if source is None:
        raise DataError("folder: no folder was given, or it does not exist.", "Use --data DIR, or the option path.")
    return source
