"""Reading of MIDI files, with a reason for each file left out; checksums; splits by hash. Shared by several datasets."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.api import DataError, Notes, Piece, Progress, Reading, Skipped, Splits, midi_digest, read_midi_files

from ._alike import alike, quiet
from ._splits import UnionFind, unit_hash

#: Seconds of a piece, seven hours: what continues it, or plays it at half its speed, must be below the 100,000 s of all notes.
LATEST = 25_000.0

#: Bytes of a table or list of a dataset's files, that of MAESTRO has 300,000.
MOST_LIST = 1 << 25

#: Bytes of a single file of a dataset that are hashed, at most.
MOST_HASHED = 1_000_000_000

#: Errors of a folder that its owner has closed, or that is none.
CLOSED = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)

SPLITS = ("train", "validation", "test")

MIDI_SUFFIXES = (".mid", ".midi")

#: General MIDI's piano family, counted from 0.
PIANO = range(8)


@dataclass(frozen=True)
class Entry:
    """A MIDI file that a dataset lists."""

    path: Path
    name: str
    """Its name in reports: the path relative to the dataset's folder."""
    split: str
    title: str = ""
    composer: str = ""


def read_entries(
    entries: Sequence[Entry],
    progress: Progress,
    *,
    minimum_notes: int,
    programs: range | None = None,
    names: Collection[str] | None = None,
    pedal: bool = False,
    skipped: Iterable[Skipped] = (),
    remarks: Iterable[str] = (),
) -> Splits:
    """Read every file; leave out missing, unreadable, short and duplicate ones, with the reason for each.

    Duplicates are files with the same content, or the same notes.

    Parameters
    ----------
    entries : sequence of Entry
    progress : callable
    minimum_notes : int
        Pieces with fewer are left out.
    programs : range, optional
        General MIDI programs to keep; None keeps every pitched track.
    names : collection of str, optional
        Names of tracks to keep, in lower case; None keeps every pitched track.
    pedal : bool
        Whether the sustain pedal lengthens notes.
    skipped : iterable of Skipped
        Files that were left out earlier.
    remarks : iterable of str
    """
    pieces: dict[str, list[Piece]] = {name: [] for name in SPLITS}
    left_out = list(skipped)
    seen: dict[str, str] = {}
    by_notes: dict[bytes, str] = {}
    readings = read_midi_files([entry.path for entry in entries], programs, names, pedal)
    for i, (entry, reading) in enumerate(zip(entries, readings, strict=True)):
        progress(i, len(entries), "reading MIDI")
        try:
            if reading.sha256 and reading.sha256 in seen:
                raise DataError(f"the same file as {seen[reading.sha256]}")
            notes = _notes(reading, programs, names, minimum_notes)
            if reading.same in by_notes:
                raise DataError(f"the same notes as {by_notes[reading.same]}")
        except FileNotFoundError:
            left_out.append(Skipped(entry.name, "listed, but the file does not exist"))
        except (OSError, ValueError) as error:  # a ValueError if the name holds a NUL
            left_out.append(Skipped(entry.name, _unreadable(error)))
        except DataError as error:
            left_out.append(Skipped(entry.name, error.message))
        else:
            seen[reading.sha256] = by_notes[reading.same] = entry.name
            pieces[entry.split].append(Piece(notes, entry.name, entry.title, entry.composer, entry.name, reading.sha256))
    progress(len(entries), len(entries), "reading MIDI")
    train, validation, test = (tuple(pieces[name]) for name in SPLITS)
    return Splits(train, validation, test, tuple(left_out), tuple(remarks))


def _unreadable(error: OSError | ValueError) -> str:
    return f"can't be read ({getattr(error, 'strerror', None) or error})"


def _notes(reading: Reading, programs: range | None, names: Collection[str] | None, minimum_notes: int) -> Notes:
    if reading.error is not None:
        raise reading.error
    notes = reading.notes
    assert notes is not None
    if len(notes) == 0 and names is not None:
        raise DataError("it has no notes in the selected tracks")
    if len(notes) == 0:
        raise DataError("it has no notes" if programs is None else "it has no piano notes")
    if len(notes) < minimum_notes:
        raise DataError(f"it has {len(notes)} notes, fewer than {minimum_notes}")
    if max(notes.onset[-1], notes.duration.max()) >= LATEST:
        raise DataError(f"it has a note that begins after, or lasts, {LATEST:,.0f} s or more")
    return notes


def shares(dataset: str, validation: float, test: float) -> None:
    """Raise a DataError for shares of splits that leave nothing to train on."""
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise DataError(
            f"{dataset}: validation {validation} and test {test} leave nothing to train on.", "Expected a sum below 1."
        )


def program_range(dataset: str, programs: str) -> range | None:
    """Convert ``piano`` or ``all`` to the argument of :func:`bench.api.read_midi`."""
    ranges = {"piano": PIANO, "all": None}
    if programs not in ranges:
        raise DataError(f"{dataset}: programs is {programs!r}.", "Expected 'piano' (General MIDI's piano family) or 'all'.")
    return ranges[programs]


def extends(dataset: str, pedal: str) -> bool:
    """Whether an option ``pedal`` says that the sustain pedal lengthens notes.

    Raises
    ------
    DataError
        If it is neither ``ignore`` nor ``extend``.
    """
    if pedal not in ("ignore", "extend"):
        raise DataError(
            f"{dataset}: pedal is {pedal!r}.", "Expected 'ignore', or 'extend': notes last while the sustain pedal holds them."
        )
    return pedal == "extend"


def positive(dataset: str, **options: int | None) -> None:
    """Raise a DataError for a count below 1."""
    for name, value in options.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise DataError(f"{dataset}: {name} is {value!r}.", "Expected a whole number of at least 1.")


def midi_file_problem(path: Path) -> str:
    """Problem with a file that should be MIDI, as far as its first bytes show it; empty if none."""
    try:
        if not path.is_file():
            return "not a file" if path.exists() else "missing"
        with path.open("rb") as file:
            head = file.read(14)
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError) as error:
        return _unreadable(error)
    # The reader and its parser refuse a longer header too.
    return "" if len(head) == 14 and head.startswith(b"MThd\0\0\0\6") else "not a MIDI file"


def read_list(path: Path) -> bytes:
    """Read a table, a lock or a list of checksums, as of a data folder that someone else made.

    Raises
    ------
    ValueError
        If it has more than :data:`MOST_LIST` bytes: a sparse file claims any size on any disk.
    """
    if (size := path.stat().st_size) > MOST_LIST:
        raise ValueError(f"it has {size:,} bytes, and may have {MOST_LIST:,}")
    return path.read_bytes()


def file_sha256(path: Path) -> str:
    """Checksum of a file's content, hexadecimal; of one that is too large, a text that is no checksum.

    A sparse file of terabytes takes no disk, and would take hours.
    """
    if (size := path.stat().st_size) > MOST_HASHED:
        return f"none: it has {size:,} bytes"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob(path: Path) -> str:
    """Identity that git gives a file's content (a "blob"), hexadecimal: published with every file in a git repository."""
    sha1 = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            sha1.update(part)
    return sha1.hexdigest()


def identity(*parts: object) -> str:
    """Hash several values, in order."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()


def contents(root: Path, paths: Iterable[Path]) -> str:
    """Hash the names and contents of MIDI files, the same on every machine. Those that can't be read count too."""
    lines = []
    for path in sorted(paths, key=lambda path: path.parts):
        name = name_below(root, path)
        try:
            lines.append(f"{name}\x1e{midi_digest(path)}")
        except (OSError, ValueError):
            lines.append(f"{name}\x1emissing")
        except DataError as error:
            lines.append(f"{name}\x1e{error.message}")
    return identity(*lines)


def name_below(root: Path, path: Path) -> str:
    """Name of a file relative to a folder; its path if it isn't below. Much faster than pathlib's own."""
    number = len(root.parts)
    return "/".join(path.parts[number:]) if number and path.parts[:number] == root.parts else str(path)


#: Why a medley is left out.
MEDLEY = "it holds parts of several other pieces, as an album or a medley does"


def gather(splits: Splits, key: Callable[[Piece], str], progress: Progress = quiet, *, move: bool = True) -> Splits:
    """Group pieces that are the same music: of one key, such as the composition, or alike in their notes.

    Each group goes to the split of one member, which a hash of the members' content chooses: a piece's split depends on no
    other group. A medley is left out: with it, all that it quotes would be one group; where the split stays, it is. An empty
    test or validation split then takes one group of training pieces, so that a small folder is usable.

    Parameters
    ----------
    splits : Splits
    key : callable
        Name of the composition, by the metadata or the folder.
    progress : callable, optional
    move : bool
        False for a split that is the dataset's own: it stays, and a remark counts the groups that it separates.
    """
    pieces = [(piece, name) for name in SPLITS for piece in getattr(splits, name)]
    linked = UnionFind(map(str, range(len(pieces))))
    first: dict[str, int] = {}
    for at, (piece, _) in enumerate(pieces):
        linked.join(str(at), str(first.setdefault(key(piece), at)))
    found, medleys = alike([piece.notes for piece, _ in pieces], progress)
    same = [*found, *([] if move else ([at, *quoted] for at, quoted in medleys.items()))]
    for one, *others in same:
        for other in others:
            linked.join(str(one), str(other))
    left_out = set(medleys) if move else set()
    remarks = [] if move else _kept([(pieces[at][0].id, pieces[at][1]) for at in medleys])
    groups = [kept for group in linked.groups() if (kept := sorted(set(map(int, group)) - left_out))]
    skipped = (*splits.skipped, *(Skipped(pieces[at][0].id, MEDLEY) for at in sorted(left_out)))
    strangers, known = [], 0
    for group in groups:
        sides = Counter(pieces[at][1] for at in group)
        known += sides["test"] if len(sides) > 1 else 0
        leader, split = min((pieces[at] for at in group), key=lambda piece: unit_hash(f"leader {_content(piece[0])}"))
        strangers.append(sum(pieces[at][1] != split for at in group))
        for at in group:
            pieces[at] = replace(pieces[at][0], group=_content(leader)), split if move else pieces[at][1]
    pieces = [piece for at, piece in enumerate(pieces) if at not in left_out]
    train, validation, test = (tuple(piece for piece, split in pieces if split == name) for name in SPLITS)
    remarks = [*_grouped(list(map(len, groups)), strangers, known, move=move), *remarks]
    gathered = replace(
        splits, train=train, validation=validation, test=test, remarks=(*splits.remarks, *remarks), skipped=skipped
    )
    return fill_empty(gathered, lambda piece: piece.group) if move else gathered


def _content(piece: Piece) -> str:
    return piece.sha256 or piece.id


def _grouped(sizes: Sequence[int], strangers: Sequence[int], known: int, *, move: bool) -> list[str]:
    """Remark on how many pieces are the same music as others, and on the splits of their groups."""
    several = [size for size in sizes if size > 1]
    if not several:
        return []
    same = (
        f"{sum(several)} of {sum(sizes)} pieces are the same music as another one: by title or folder, or by their notes "
        "(in any key and tempo; in common are an eighth of the shorter one's patterns of 8 notes, 16 at least, or fewer that "
        f"hold most notes of both). Groups: {len(several)}"
    )
    if move:
        return [f"{same}, each in one split and one fold. Pieces that changed their split for it: {sum(strangers)}."]
    separated = sum(map(bool, strangers))
    music = f", with {known} test {'piece' if known == 1 else 'pieces'} whose music is for training or validation too"
    return [
        f"{same}. The dataset's own split, which stays, separates {separated} of them{music if known else ''}; "
        "folds separate none."
    ]


def _kept(medleys: Sequence[tuple[str, str]]) -> list[str]:
    """Remark on the medleys of a split that is the dataset's own, and where each is."""
    named = ", ".join(f"{name} ({split})" for name, split in medleys[:5])
    others = f" and {len(medleys) - 5} more" if len(medleys) > 5 else ""
    return [f"Holds parts of several other pieces, with which it is in one fold: {named}{others}."] if medleys else []


def fill_empty(splits: Splits, group: Callable[[Piece], str]) -> Splits:
    """Move one group of training pieces to an empty test or validation split, so that a small folder is usable.

    Parameters
    ----------
    splits : Splits
    group : callable
        Key of the pieces that must stay together.
    """
    pieces = {name: list(getattr(splits, name)) for name in SPLITS}
    for name in ("test", "validation"):
        groups = sorted({group(p) for p in pieces["train"]}, key=unit_hash)
        if not pieces[name] and len(groups) > 1:
            pieces[name] = [p for p in pieces["train"] if group(p) == groups[0]]
            pieces["train"] = [p for p in pieces["train"] if group(p) != groups[0]]
    train, validation, test = (tuple(pieces[name]) for name in SPLITS)
    return replace(splits, train=train, validation=validation, test=test)


def composition(title: str) -> str:
    """Normalise a title to its composition: without case, accents, punctuation and remarks in brackets."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", title).casefold())
    return "".join(c for c in plain if c.isalnum()) or title


def by_hash(text: str | bytes, validation: float, test: float) -> str:
    """Choose the split by a hash of `text`, the key of what must stay together: independent of all other files."""
    at = unit_hash(text)
    return "test" if at < test else "validation" if at < test + validation else "train"


def at_most(entries: Iterable[Entry], limit: int | None) -> list[Entry]:
    """Keep at most `limit` entries of each split, always the same ones, in the order of their names."""
    kept: list[Entry] = []
    for split in SPLITS:
        in_split = sorted((e for e in entries if e.split == split), key=lambda e: unit_hash(e.name))
        kept += sorted(in_split[:limit], key=lambda e: e.name)
    return kept


def locate(roots: Iterable[Path], accept: Callable[[Path], bool]) -> Path | None:
    """Find the first folder that `accept` takes: a root, or one or two levels below. Hidden ones are unfinished: skipped."""
    problem: DataError | None = None
    for root in roots:
        level = [root]
        for _ in range(3):
            for folder in level:
                try:
                    if _accepts(accept, folder):
                        return folder
                except DataError as error:  # of a damaged list in it: the right folder may lie beside
                    problem = problem or error
            level = [below for folder in level for below in _folders(folder)]
    if problem is not None:
        raise problem
    return None


def _folders(folder: Path) -> list[Path]:
    """List the folders in a folder, and links, but for hidden ones; none where it can't be entered."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / e.name for e in entries if not e.name.startswith(".") and (e.is_symlink() or e.is_dir()))
    except OSError as error:
        check_closed(error)
        return []


def _accepts(accept: Callable[[Path], bool], folder: Path) -> bool:
    try:
        return folder.is_dir() and accept(folder)
    except OSError as error:
        check_closed(error)
        return False


def check_closed(error: OSError) -> None:
    """Raise an error of the machine again: other music would be found in place of what it hides for a moment."""
    if error.errno not in CLOSED:
        raise error
