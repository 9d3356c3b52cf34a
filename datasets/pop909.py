"""Piano arrangements of 909 pop songs: melody, bridge and accompaniment in tracks of their own (Wang et al. 2020)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import bench.api
from bench.api import DataError, Progress, Skipped, Splits, Verified, walk

from ._download import checked_manifest, fetch_zip
from ._files import Entry, at_most, by_hash, contents, extends, gather, identity, locate, positive, read_entries, shares

TITLE = "POP909"
LICENSE = "MIT (Music X Lab 2020) for the arrangements; the songs belong to those who wrote them"
NEEDS = "download"

#: The commit that is downloaded, which GitHub packs anew each time: its content is verified, not the archive.
COMMIT = "d83e6edba6872a704f5d3b8b32f5cb540088dae6"
URL = f"https://codeload.github.com/music-x-lab/POP909-Dataset/zip/{COMMIT}"

#: The archive's top folder.
UNPACKED = f"POP909-Dataset-{COMMIT}"

#: Songs and MIDI files of that commit, and the hash of the files' names and contents.
SONGS, FILES = 909, 2898
DIGEST = "11f27590db700f3a1a9a9e4763eb862a972605e53fd9cb52f5f7591050297978"

#: Names of each track in the files, in lower case: the earlier versions call the bridge CAU.
TRACKS = {"MELODY": ("melody",), "BRIDGE": ("bridge", "cau"), "PIANO": ("piano",)}

SONG = "[0-9][0-9][0-9]"

REMARKS = (
    "Arrangements of pop songs by musicians, whose tempo follows the recordings.",
    "Split by a hash of the song's number: all versions of a song are in one split.",
)


class Dataset(bench.api.Dataset):
    """Songs at ``NNN/NNN.mid``, with earlier versions of the arrangement at ``NNN/versions/``.

    Parameters
    ----------
    tracks : str or list of str, optional
        Read only these of MELODY, BRIDGE and PIANO; by default every track.
    versions : bool
        Also read the earlier versions.
    limit : int, optional
        Songs in each split, at most; always the same ones.
    minimum_notes : int
        Files with fewer in the chosen tracks are left out.
    validation, test : float
        Shares of these splits.
    url : str
        Address of the archive on a mirror.
    pedal : {"ignore", "extend"}
        Whether notes last while the sustain pedal holds them.
    """

    def __init__(
        self,
        tracks: str | list[str] | None = None,
        versions: bool = False,
        limit: int | None = None,
        minimum_notes: int = 64,
        validation: float = 0.1,
        test: float = 0.1,
        url: str = URL,
        pedal: Literal["ignore", "extend"] = "ignore",
    ) -> None:
        self.tracks = _track_names(tracks)
        self.versions, self.limit, self.minimum_notes = versions, limit, minimum_notes
        self.validation, self.test = validation, test
        self.url = url
        self.pedal = extends("pop909", pedal)
        positive("pop909", limit=limit, minimum_notes=minimum_notes)
        shares("pop909", validation, test)

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Find the folder that holds the songs' folders: a root, or a folder one or two levels below."""
        return locate(roots, lambda folder: any(path.stem == path.parent.name for path in folder.glob(f"{SONG}/{SONG}.mid")))

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the repository's archive, unpack its MIDI files to `folder` and compare them with the known digest."""
        if (folder / UNPACKED).is_dir():
            verified = self.verify(folder / UNPACKED / "POP909", progress)
            if verified.compared and not verified.differences:
                return
        fetch_zip(self.url, None, UNPACKED, folder, progress, keep=_is_needed, check=_require_content)

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare with the checksums written at unpacking; without them, compare all MIDI files with the known digest."""
        ours = folder.parent.name == UNPACKED
        if ours and (verified := checked_manifest(folder.parent, progress)) is not None:
            return verified
        lines, count = _differences(folder)
        return Verified(tuple(lines), compared=count)

    def fingerprint(self, source: Path | None) -> str:
        """Identity of the selection: options, splits, and the content of each selected file."""
        source = _required(source)
        entries, _, _ = self._entries(source)
        rows = [(e.name, e.split) for e in entries]
        names = sorted(self.tracks) if self.tracks is not None else None
        options = (names, self.minimum_notes, *(["pedal"] if self.pedal else []))
        return identity("pop909", 1, *options, rows, contents(source, (e.path for e in entries)))

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Read the selected songs; the same content, or the same notes, only once."""
        source = _required(source)
        entries, skipped, songs = self._entries(source)
        partial = (f"{songs} of the dataset's {SONGS} songs are in the folder.",) if songs < SONGS else ()
        splits = read_entries(
            entries,
            progress,
            minimum_notes=self.minimum_notes,
            names=self.tracks,
            pedal=self.pedal,
            skipped=skipped,
            remarks=(*REMARKS, *partial),
        )
        return gather(splits, lambda piece: piece.title, progress)

    def _entries(self, source: Path) -> tuple[list[Entry], list[Skipped], int]:
        """List the selected songs, each followed by its earlier versions; closed folders; and count all songs."""
        found, skipped = _songs(source)
        songs = []
        for number in found:
            split = by_hash(number, self.validation, self.test)
            songs.append(Entry(source / number / f"{number}.mid", f"{number}/{number}.mid", split, f"Song {number}"))
        entries = []
        for song in at_most(songs, self.limit):
            entries.append(song)
            for path in found[song.path.stem] if self.versions else ():
                if path != song.path:
                    entries.append(Entry(path, path.relative_to(source).as_posix(), song.split, song.title))
        return entries, skipped, len(found)


def _songs(source: Path) -> tuple[dict[str, list[Path]], list[Skipped]]:
    """List the MIDI files of each song's folder, and the folders that can't be entered."""
    songs: dict[str, list[Path]] = {}
    closed: list[OSError] = []
    for folder, below, names in walk(source, closed):
        place = Path(folder).relative_to(source).parts
        if not place:
            below[:] = sorted(name for name in below if re.fullmatch("[0-9]{3}", name))
            songs |= {name: [] for name in below if not Path(folder, name).is_symlink()}  # which the walk leaves out
            continue
        below[:] = [name for name in below if len(place) == 1 and name == "versions"]
        midi = [name for name in sorted(names) if name.endswith(".mid") and not name.startswith(".")]
        songs[place[0]] += [Path(folder, name) for name in midi if len(place) == 2 or name == f"{place[0]}.mid"]
    return songs, [Skipped(os.path.relpath(e.filename, source), f"can't be entered ({e.strerror})") for e in closed]


def _midi_files(source: Path) -> list[Path]:
    return [path for paths in _songs(source)[0].values() for path in paths]


def _differences(source: Path) -> tuple[list[str], int]:
    """Compare all MIDI files of a folder with the known digest: a line for what differs, and the number of files compared."""
    files = _midi_files(source)
    if (actual := contents(source, files)) == DIGEST:
        return [], len(files)
    songs = [f"{number:03}/{number:03}.mid" for number in range(1, SONGS + 1)]
    lines = [f"{name}: missing" for name in songs if not (source / name).is_file()]
    return [*lines, f"{len(files):,} of {FILES:,} MIDI files; digest expected {DIGEST}, got {actual}"], len(files)


def _require_content(unpacked: Path) -> None:
    """Raise a DataError if an unpacked archive doesn't hold the files of the commit."""
    lines, count = _differences(unpacked / "POP909")
    if lines:
        why = f"{count:,} of {FILES:,} MIDI files" if count < FILES else "MIDI files other than those"
        raise DataError(
            f"pop909: the archive holds {why} of commit {COMMIT[:7]}, so it was not kept.\n{lines[-1]}",
            "It is incomplete or was changed. Try again; if it happens again, tell the maintainers.",
        )


def _is_needed(path: str) -> bool:
    """Whether a file of the repository is a song's MIDI, or the licence, which comes with every copy."""
    return re.fullmatch(r"LICENSE|POP909/[0-9]{3}/([0-9]{3}|versions/[^/]+)\.mid", path) is not None


def _track_names(tracks: str | list[str] | None) -> frozenset[str] | None:
    """Names in the files of the chosen tracks; None for all tracks."""
    if tracks is None:
        return None
    chosen = [tracks] if isinstance(tracks, str) else tracks
    wrong = [track for track in chosen if track.upper() not in TRACKS]
    if wrong or not chosen:
        raise DataError(f"pop909: tracks is {tracks!r}.", f"Expected one or several of {', '.join(TRACKS)}.")
    return frozenset(name for track in chosen for name in TRACKS[track.upper()])


def _required(source: Path | None) -> Path:
    if source is None:
        raise DataError("pop909: the songs were not found.", "Use --data DIR, or `bench data fetch pop909`.")
    return source
