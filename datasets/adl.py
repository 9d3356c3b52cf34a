"""Piano tracks of 11,086 songs and pieces by genre, subgenre and artist (Ferreira et al. 2020)."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import bench.api
from bench.api import DataError, Piece, Progress, Skipped, Splits, Verified, walk

from ._download import checked_manifest, fetch_zip
from ._files import (
    MIDI_SUFFIXES,
    Entry,
    at_most,
    by_hash,
    composition,
    contents,
    extends,
    gather,
    identity,
    locate,
    midi_file_problem,
    positive,
    read_entries,
    shares,
)

TITLE = "ADL Piano MIDI"
LICENSE = "none stated: the files belong to those who made them"
NEEDS = "download"

#: The archive's top folder, its MIDI files as its authors count them, and the identity of its content in their git repository.
NAME = "adl-piano-midi"
FILES = 11_086
BLOB = "3d00b27fa0b3c5c440f0d3010812cde11fe2f29a"

URL = "https://raw.githubusercontent.com/lucasnfe/adl-piano-midi/bdb483614c25d64794c798a21adde9504eb09719/midi/adl-piano-midi.zip"

#: Any of these folders shows that a folder is the dataset, whatever its own name.
GENRES = (
    *("Ambient", "Blues", "Children", "Classical", "Country", "Electronic", "Folk", "Jazz", "Latin", "Pop", "Rap"),
    *("Reggae", "Religious", "Rock", "Soul", "Soundtracks", "World"),
)

LEVELS = ("genre", "subgenre", "artist")

#: Names that an error lists, at most.
MOST_LISTED = 40

REMARKS = (
    "Most files are the piano tracks of arrangements for several instruments, taken from the Lakh MIDI dataset.",
    "Split by a hash of artist and title: files of one title by one artist are in one split, whatever their genre. Covers "
    "by others aren't recognised unless their notes are alike.",
)


class Dataset(bench.api.Dataset):
    """Files at ``Genre/Subgenre/Artist/Title.mid``.

    Parameters
    ----------
    genre, subgenre : str or list of str, optional
        Keep files of these, ignoring case.
    artist : str or list of str, optional
        Keep artists whose name contains one of these, ignoring case.
    limit : int, optional
        Files in each split, at most; always the same ones.
    minimum_notes : int
        Files with fewer are left out.
    validation, test : float
        Shares of these splits.
    url, sha256 : str, optional
        Address of the zip on a mirror, and its checksum.
    pedal : {"ignore", "extend"}
        Whether notes last while the sustain pedal holds them.
    """

    def __init__(
        self,
        genre: str | list[str] | None = None,
        subgenre: str | list[str] | None = None,
        artist: str | list[str] | None = None,
        limit: int | None = None,
        minimum_notes: int = 64,
        validation: float = 0.1,
        test: float = 0.1,
        url: str = URL,
        sha256: str | None = None,
        pedal: Literal["ignore", "extend"] = "ignore",
    ) -> None:
        self.selection = tuple([v] if isinstance(v, str) else list(v or []) for v in (genre, subgenre, artist))
        self.limit, self.minimum_notes = limit, minimum_notes
        self.validation, self.test = validation, test
        self.url, self.sha256 = url, sha256
        self.pedal = extends("adl", pedal)
        positive("adl", limit=limit, minimum_notes=minimum_notes)
        shares("adl", validation, test)

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Find the folder that holds the genres: a root, or a folder one or two levels below."""
        return locate(roots, lambda folder: any(next((folder / genre).glob("*/*/*.mid"), None) for genre in GENRES))

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the zip, verify it, unpack its MIDI files to `folder`."""
        if (folder / NAME).is_dir():
            verified = self.verify(folder / NAME, progress)
            if verified.compared and not verified.differences:
                return
        if self.sha256 is None:
            fetch_zip(self.url, BLOB, NAME, folder, progress, kind="git blob", keep=_is_music)
        else:
            fetch_zip(self.url, self.sha256, NAME, folder, progress, keep=_is_music)

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare with the checksums written at unpacking. Without them, count the files and examine each."""
        if (verified := checked_manifest(folder, progress)) is not None:
            return verified
        files, _ = _files(folder)
        problems = [(name, midi_file_problem(folder / name)) for name in map(str, files)]
        lines = [f"{name}: {problem}" for name, problem in problems if problem]
        there = len(files) - len(lines)
        if len(files) < FILES:
            lines.append(f"{NAME}: {len(files):,} of {FILES:,} MIDI files are there: it is incomplete")
        remark = "Each MIDI file was examined; checksums of the single files are not published."
        return Verified(tuple(lines), there=there, remark=remark)

    def fingerprint(self, source: Path | None) -> str:
        """Identity of the selection: options, splits, and the content of each selected file."""
        source = _required(source)
        entries, _, _ = self._entries(source)
        rows = [(e.name, e.split, e.title, e.composer) for e in entries]
        options = (self.minimum_notes, *(["pedal"] if self.pedal else []))
        return identity("adl", 1, *options, rows, contents(source, (e.path for e in entries)))

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Read the selected files; the same content, or the same notes, only once."""
        source = _required(source)
        entries, skipped, count = self._entries(source)
        partial = (f"{count:,} of the dataset's {FILES:,} files are in the folder.",) if count < FILES else ()
        splits = read_entries(
            entries,
            progress,
            minimum_notes=self.minimum_notes,
            pedal=self.pedal,
            skipped=skipped,
            remarks=(*REMARKS, *partial),
        )
        return gather(splits, _group, progress)

    def _entries(self, source: Path) -> tuple[list[Entry], list[Skipped], int]:
        """List the selected files, those left out, and the number of all files."""
        files, skipped = _files(source)
        entries = []
        for file in self._chosen(source, files):
            artist, title = file.parts[2], _title(file.stem)
            split = by_hash(_key(artist, title), self.validation, self.test)
            entries.append(Entry(source / file, str(file), split, title, artist))
        return at_most(entries, self.limit), skipped, len(files)

    def _chosen(self, source: Path, files: Sequence[PurePosixPath]) -> list[PurePosixPath]:
        for level, values in enumerate(self.selection):
            names = {file.parts[level] for file in files}
            for value in values:
                if not any(_matches(level, value, name) for name in names):
                    raise _unknown(LEVELS[level], value, names, source)
        chosen = [
            file
            for file in files
            if all(
                not values or any(_matches(level, value, file.parts[level]) for value in values)
                for level, values in enumerate(self.selection)
            )
        ]
        if not chosen:
            wanted = ", ".join(f"{what} {' or '.join(v)}" for what, v in zip(LEVELS, self.selection, strict=True) if v)
            raise DataError(
                f"adl: no file in {source} has {wanted or 'a genre, a subgenre and an artist'}.",
                "Each of these has files, but none has all of them: leave one out." if wanted else "Fetch it again.",
            )
        return chosen


def _is_music(path: str) -> bool:
    """Whether a path below the archive's folder is a MIDI file, not a note of the file system that packed it."""
    parts = PurePosixPath(path).parts
    return PurePosixPath(path).suffix.lower() in MIDI_SUFFIXES and not any(part.startswith(".") for part in parts)


def _files(source: Path) -> tuple[list[PurePosixPath], list[Skipped]]:
    """List the MIDI files by their path in `source`; also those elsewhere than below an artist, and folders that are closed."""
    files: list[PurePosixPath] = []
    skipped: list[Skipped] = []
    closed: list[OSError] = []
    for folder, below, names in walk(source, closed):
        below[:] = [name for name in below if not name.startswith(".")]
        inside = PurePosixPath(Path(folder).relative_to(source).as_posix())
        for file in (inside / name for name in names if _is_music(name)):
            if len(file.parts) == len(LEVELS) + 1:
                files.append(file)
            else:
                skipped.append(Skipped(str(file), "not at Genre/Subgenre/Artist/Title.mid"))
    skipped += [Skipped(os.path.relpath(e.filename, source), f"can't be entered ({e.strerror})") for e in closed]
    return sorted(files), sorted(skipped, key=lambda s: s.source)


def _title(stem: str) -> str:
    """Title of a file without the number of a further version: ``Title.1``; ``No.1`` is no such number."""
    return re.sub(r"(?<!\bno)(?<!\bop)\.\d+$", "", stem, flags=re.IGNORECASE).strip() or stem


def _key(artist: str, title: str) -> str:
    return f"{composition(artist)}\x1f{composition(title)}"


def _group(piece: Piece) -> str:
    return _key(piece.composer, piece.title)


def _matches(level: int, value: str, name: str) -> bool:
    """Whether a name is the chosen one; an artist may be chosen by a part of the name."""
    return value.casefold() in name.casefold() if LEVELS[level] == "artist" else value.casefold() == name.casefold()


def _unknown(what: str, value: str, names: Iterable[str], source: Path) -> DataError:
    """Name the nearest choices, then all of them where they aren't too many."""
    by_folded = {name.casefold(): name for name in sorted(names)}
    near = [repr(by_folded[name]) for name in difflib.get_close_matches(value.casefold(), by_folded, cutoff=0.6)]
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    few = len(by_folded) <= MOST_LISTED
    listed = f"Its {what}s: {', '.join(by_folded.values())}." if few else f"It has {len(by_folded):,} {what}s."
    return DataError(f"adl: there is no {what} {value!r} in {source}.", guess + listed)


def _required(source: Path | None) -> Path:
    if source is None:
        raise DataError(f"adl: {NAME} was not found.", "Use --data DIR, or `bench data fetch adl`.")
    return source
