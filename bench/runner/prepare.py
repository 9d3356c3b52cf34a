"""Tasks on a dataset, in the worker: fetch, verify, and prepare (find, parse into the cache, select the test pieces).

The code of dataset plug-ins runs only here, in a child process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.api import Dataset, Piece, Skipped, Splits, Verified
from bench.errors import BenchError, DataError, MachineError, PluginError, SpecError, UsageError, fetch_command
from bench.formatting import end_of, listed, plural
from bench.music.isolation import isolated, limited
from bench.music.midi import refused_reads, tracks_bytes
from bench.music.notes import Notes
from bench.music.reading import reading_by
from bench.plugins import opened
from bench.plugins.digest import imported_packages, source_digest, unknown_code
from bench.plugins.discovery import get_plugin, load
from bench.plugins.header import Plugin
from bench.plugins.uncached import import_packages_from_source
from bench.runner import forks
from bench.runner.contract import check_fingerprint
from bench.runner.folds import deal, fold_remarks, pooled, read_folds
from bench.runner.reading import FEW, PooledReading, reader_version, releasing, written_to
from bench.specs.schema import DatasetChoice, Protocol
from bench.specs.trials import check_number
from bench.storage.corpus import Corpus, lengths, load_corpus, save_corpus
from bench.storage.files import FORMAT, BusyError, NoLocksError, hold, make_way
from bench.storage.records import Folds
from bench.storage.samples import MIDI_PIECES, MOST_NOTES, PieceName, Target, Targets, read_target_file, write_targets
from bench.system import hardware
from bench.system.disk import file_digest, is_file, write_file
from bench.system.paths import closed_folders

#: Fewest pieces of a test, as bench.scoring.crossed has it, which a worker doesn't import.
TESTED = 5

#: Folders below the user's that are searched for a dataset: as deep as the shipped ones look for theirs.
SEARCHED = 2

Emit = Callable[[dict[str, Any]], None]

#: Share of the training or validation pieces that they must at least be worth, as pieces of one length, to pass without a remark.
EVEN = 0.25

#: Share of the notes of the validation pieces, which may be few, that one may not have without a remark.
NEARLY_ALL = 0.9

#: Files left out that are recorded at most, and characters of each name and reason.
MOST_LISTED, LONGEST_LISTED = 100_000, 200

#: Median duration of notes, seconds, that music may have.
SHORT, LONG = 0.005, 10.0

#: Share of notes that may begin where another of the same pitch does, as where two instruments play one part.
MOST_AGAIN = 0.1

#: Shortest interval between two progress events, seconds.
PROGRESS_EVERY = 0.1


@dataclass(frozen=True)
class Source:
    """A dataset plug-in with its options and the folders to search for its files.

    Parameters
    ----------
    plugin : Plugin
    dataset : Dataset
        Instance of the plug-in's class.
    options : mapping
        Its keyword arguments.
    data : tuple of Path
        The user's folders, in order.
    downloads : Path
        Folder that `fetch` downloads this dataset into.
    """

    plugin: Plugin
    dataset: Dataset
    options: Mapping[str, Any]
    data: tuple[Path, ...]
    downloads: Path

    @classmethod
    def open(cls, job: Mapping[str, Any]) -> Source:
        """Load the plug-in that a job names; options that it does not accept are a PluginError."""
        choice = DatasetChoice.model_validate(job["dataset"])
        plugin = get_plugin("dataset", choice.name, [Path(p) for p in job["plugins"]])
        import_packages_from_source(imported_packages(plugin))
        opened.watch()
        try:
            dataset = load(plugin)(**choice.options)
        except TypeError as error:
            raise PluginError(f"The dataset {choice.name!r} can't be made with {choice.options}: {error}.") from error
        except DataError as error:  # nothing was read yet, so an option is out of range
            raise SpecError(error.message, error.hint) from error
        if not isinstance(dataset, Dataset):
            raise PluginError(
                f"{plugin.path}: its Dataset isn't a bench.api.Dataset.", "Derive it: `class Dataset(bench.api.Dataset):`."
            )
        downloads = Path(job["cache"]) / "downloads" / choice.name
        return cls(plugin, dataset, choice.options, tuple(Path(p) for p in job["data"]), downloads)

    @property
    def needs(self) -> str:
        """NEEDS of the plug-in's header: ``nothing``, ``download`` or ``folder``."""
        return str(self.plugin.header["NEEDS"])

    def find(self) -> Path | None:
        """Search the user's folders, then the downloads, for the folder that holds the dataset."""
        if self.needs == "nothing":
            return None
        # A `folder` dataset accepts any folder of MIDI files, so it must not search our downloads.
        own = self._own if self.needs == "download" else []
        return _absolute(self.dataset.find([*self.data, *own]))

    def require(self, emit: Emit, may_fetch: bool) -> Path | None:
        """Find the folder that holds the dataset; download it if it is missing and `may_fetch`.

        A message names the folders of the user's that can't be searched.

        Raises
        ------
        DataError
            If it is missing and can't be downloaded.
        """
        source = self.find()
        for folder, why in closed_folders(self.data, None if self.needs == "folder" else SEARCHED):
            emit({"event": "message", "text": f"{folder} can't be searched ({why}): left out"})
        if source is not None and self.needs == "folder" and len(self.data) > 1:
            emit({"event": "message", "text": f"{self.plugin.name} reads {source} alone, of {len(self.data)} folders of music"})
        if source is not None and self.needs == "folder" and self.data and not any(map(source.is_relative_to, self._given)):
            emit({"event": "message", "text": f"{self.plugin.name} reads {source}, as its options say, and no folder of --data"})
        if source is not None or self.needs == "nothing":
            return source
        name, looked = self.plugin.name, ", ".join(map(str, self.data))
        if self.needs == "folder":
            if not looked:
                raise DataError(f"The dataset {name!r} reads your own MIDI files: give --data DIR.")
            raise DataError(f"The dataset {name!r} was not found in {looked}.", "Name the folder that holds it: --data DIR.")
        looked = ", ".join(map(str, [*self.data, self.downloads]))
        if not may_fetch:
            raise DataError(
                f"The dataset {name!r} was not found in {looked}.",
                f"Name the folder that holds it (--data DIR), or run `{fetch_command(name, self.options)}` first.",
            )
        if self.data:
            # The user named a folder: a typing error in its path must not start a download of gigabytes.
            raise DataError(
                f"The dataset {name!r} was not found in {looked}.",
                f"Name the folder that holds it: --data DIR. Or download it: `{fetch_command(name, self.options)}`.",
            )
        licence = self.plugin.header["LICENSE"]
        return self.fetch(emit, f"{name} was not found: downloading it into {self.downloads}. Licence: {licence}")

    def fetch(self, emit: Emit, begins: str) -> Path:
        """Say `begins`, download the dataset, and find the folder that holds it.

        Raises
        ------
        UsageError
            If it has no download.
        DataError
            If it isn't found where it was downloaded.
        """
        if self.needs == "folder":
            raise UsageError(
                f"The dataset {self.plugin.name!r} is a folder of yours: there is nothing to fetch.",
                "Name it where it is used: --data DIR.",
            )
        if self.needs != "download":
            raise UsageError(f"The dataset {self.plugin.name!r} comes with the package: there is nothing to fetch.")
        emit({"event": "message", "text": begins})
        make_cache(self.downloads.parent.parent)
        self.downloads.mkdir(parents=True, exist_ok=True)
        self.dataset.fetch(self.downloads, progress_events(emit, "fetch"))
        found = _absolute(self.dataset.find(self._own))
        if found is None:
            raise DataError(f"The dataset {self.plugin.name!r} was downloaded into {self.downloads}, but was not found there.")
        return found

    @property
    def _given(self) -> list[Path]:
        """The user's folders, as a plug-in may name what is in one."""
        return [path for folder in self.data for path in (folder.absolute(), folder.resolve())]

    @property
    def _own(self) -> list[Path]:
        """Where a download may be found."""
        return [self.downloads, self.downloads.parent]


def _absolute(found: Path | str | None) -> Path | None:
    """Where a plug-in found its music: an option may have named it by a path from the current folder."""
    return None if found is None else Path(found).absolute()


def fetch(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Download a dataset into the cache."""
    source = Source.open(job)
    with _exclusive(Path(job["cache"]), source.plugin.name, emit):  # two at once would replace each other's lists and archives
        source.fetch(emit, f"Downloading {source.plugin.name}. Licence: {source.plugin.header['LICENSE']}")
    return {"folder": str(source.downloads)}


def verify(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Compare an existing dataset with its known or locked checksums."""
    source = Source.open(job)
    folder = source.require(emit, may_fetch=False)
    if folder is None:
        return {"verified": asdict(Verified())}
    verified = source.dataset.verify(folder, progress_events(emit, "verify"))
    if not isinstance(verified, Verified):
        raise PluginError(f"verify() of the dataset {source.plugin.name!r} returned {type(verified).__name__}, not Verified.")
    return {"verified": asdict(verified)}


def prepare(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Parse the dataset unless it is in the cache, select the test pieces, write targets.npz and the targets' MIDI files.

    Returns
    -------
    dict
        Fields of :class:`bench.storage.records.Prepared`.
    """
    protocol = Protocol.model_validate(job["protocol"])
    source = Source.open(job)
    with _exclusive(Path(job["cache"]), source.plugin.name, emit, lambda: _is_cached(source, job)) as alone:
        folder = source.require(emit, bool(job["fetch"]))
        with refused_reads() as unreadable:
            key = corpus_key(source, job["dataset"]["options"], folder)
        path, corpus = _corpus(source, folder, key, job, emit, unreadable, alone=alone)
    if source.needs == "folder" and folder is not None:
        remarks = (*corpus.remarks, *_blind(source, job["dataset"]["options"], key))
        corpus = replace(corpus, skipped=_with_closed(corpus, folder), remarks=remarks)
    _check_same_music(job.get("before") or {}, key, folder)
    targets = choose(corpus, protocol, key)
    check_number(int(job.get("trials", 1)) * max(1, len(read_folds(targets.facts))))  # before anything is overwritten
    file = Path(job["folder"]) / "targets.npz"
    if not _same(file, targets):
        write_targets(file, targets)
    write_targets_as_midi(Path(job["folder"]) / "midi", targets)
    for remark in targets.facts["remarks"]:
        emit({"event": "message", "text": remark})
    if corpus.skipped:
        files = sum(targets.facts["pieces"].values()) + len(corpus.skipped)
        emit({"event": "message", "text": f"{len(corpus.skipped)} of {files} files left out; the report lists them with reasons"})
    return {
        "corpus": str(path),
        "source": None if folder is None else str(folder),
        "title": source.plugin.header["TITLE"],
        "license": source.plugin.header["LICENSE"],
        "skipped": [
            {"source": end_of(s.source, LONGEST_LISTED), "reason": end_of(s.reason, LONGEST_LISTED)}
            for s in corpus.skipped[:MOST_LISTED]
        ],
        **targets.facts,
        "targets": file_digest(file),
    }


def _blind(source: Source, options: Mapping[str, Any], key: str) -> list[str]:
    """Remark on a fingerprint that an empty folder has too: music of another folder may be taken for this one's."""
    with tempfile.TemporaryDirectory(prefix="bench-") as empty:
        try:
            if corpus_key(source, options, Path(empty)) != key:
                return []
        except Exception:  # it may refuse an empty folder
            return []
    return [
        f"fingerprint() of {source.plugin.path.name} is the same for an empty folder: if it isn't made of the files, such as of "
        "their names and bench.api.midi_digest() of each, other music than this folder's may have been taken from the cache"
    ]


def _with_closed(corpus: Corpus, folder: Path) -> tuple[Skipped, ...]:
    """List what was left out, with the folders that can't be entered now instead of those of when the music was parsed.

    The key of the parsed music names what was read alone: it may be that of another folder, or of another day. A dataset of the
    user's own may read a link to a folder, which is then none of them.
    """
    beginning = "can't be entered ("
    now = [Skipped(os.path.relpath(path, folder), f"{beginning}{why})") for path, why in closed_folders([folder])]
    read = [piece.source for part in (corpus.train, corpus.validation, corpus.test) for piece in part] if now else []
    now = [one for one in now if not any(source.startswith(f"{one.source}/") for source in read)]
    kept = [one for one in corpus.skipped if not one.reason.startswith(beginning)]
    return tuple(sorted([*kept, *now], key=lambda one: one.source))


def _check_same_music(before: Mapping[str, Any], key: str, folder: Path | None) -> None:
    """Refuse a run folder that holds results on another folder of music: its report would be overwritten.

    If the files in the folder or the version of the plug-in changed, the run is resumed.
    """
    earlier = _absolute(before.get("source"))  # older runs have it as it was given
    if before and before.get("corpus_key") != key and earlier != folder:
        raise UsageError(
            f"This run's folder holds results on the music of {earlier}, not of {folder}.",
            "Give another name or folder: --name NAME, --out DIR. Or remove the run's folder.",
        )


def corpus_key(source: Source, options: Mapping[str, Any], folder: Path | None) -> str:
    """Hash that identifies a parsed corpus: of the plug-in's source and the reader's, its options, and its files' fingerprint."""
    fingerprint = check_fingerprint(source.plugin, source.dataset.fingerprint(folder))
    code = [source_digest(source.plugin), reader_version()]
    text = json.dumps([FORMAT, *code, options, fingerprint], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def choose(corpus: Corpus, protocol: Protocol, key: str) -> Targets:
    """Select the test pieces that are long enough, evenly spaced if there are more than the protocol's number.

    With folds, every piece of the dataset is a test piece, and the facts hold the fold of each.

    Raises
    ------
    DataError
        If none is long enough, there is no training piece, or the pieces can't be divided into the folds.
    """
    if not (corpus.train or corpus.validation or corpus.test):
        raise DataError("The dataset has no piece that can be used.", corpus.summary())
    own_split = corpus
    if protocol.folds is not None:
        corpus = pooled(corpus)
    elif not any(lengths(corpus.train)):
        raise DataError(f"The dataset has no training {'note' if corpus.train else 'piece'}.", corpus.summary())
    needed = protocol.prompt + protocol.notes
    usable = [i for i, length in enumerate(lengths(corpus.test)) if length >= needed]
    if not usable:
        raise DataError(
            f"No test piece is long enough: {needed} notes are needed ({protocol.prompt} given, {protocol.notes} to generate), "
            f"{_lengths(corpus.test)}.",
            "Ask for fewer notes (protocol.prompt, protocol.notes), or select more of the dataset."
            + ("" if corpus.test else f"\n{corpus.summary()}"),
        )
    at = np.linspace(0, len(usable) - 1, min(protocol.pieces, len(usable)))
    chosen = [usable[i] for i in np.round(at).astype(int)]
    folds = () if protocol.folds is None else deal(corpus.test, chosen, protocol)
    targets = tuple(_target(i, corpus.test[i], protocol) for i in chosen)
    odd = _odd_notes([part for target in targets for part in (target.prompt, target.target)])
    _check_storable(max((len({*fold.test} & {*chosen}) for fold in folds), default=len(chosen)), protocol)
    facts = {
        "corpus_key": key,
        "parsed": own_split.parsed,
        "pieces": {name: len(getattr(corpus, name)) for name in ("train", "validation", "test")},
        "notes": {name: sum(lengths(getattr(corpus, name))) for name in ("train", "validation", "test")},
        "prompt": protocol.prompt,
        "target": protocol.notes,
        "used": len(chosen),
        "too_short": len(corpus.test) - len(usable),
        "skipped_files": len(corpus.skipped),
        "remarks": [*corpus.remarks, *_remarks(corpus, protocol, usable), *odd],
        "entropy": corpus.entropy,
        "noise": corpus.noise,
    }
    if protocol.folds is not None:
        short = len(corpus.test) - len(usable)
        facts["folds"] = Folds(asked=protocol.folds, too_short=short, folds=folds).model_dump()
        known = {index: fold.number for fold in folds for index in fold.test}
        places = [known.get(index) for index in range(len(corpus.test))]
        remarks = [*fold_remarks(folds, own_split, short, needed), *_learned(corpus.test, places, usable)]
        facts["remarks"] = [*corpus.remarks, *remarks, *_few(protocol, len(usable)), *_unequal(corpus.test), *odd]
    return Targets(
        targets,
        test_pieces=len(corpus.test),
        usable=len(usable),
        facts=facts,
    )


def progress_events(emit: Emit, task: str) -> Callable[[int, int, str], None]:
    """Make a Progress that sends events, at most one every :data:`PROGRESS_EVERY` seconds and the last."""
    last = 0.0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY or (total and done >= total):
            last = now
            emit({"event": "prepare", "task": task, "done": done, "total": total, "what": what})

    return progress


def make_cache(folder: Path) -> None:
    """Create the cache, with the tag by which backup programs and the dataset `folder` recognize a cache."""
    folder.mkdir(parents=True, exist_ok=True)
    content = b"Signature: 8a477f597d28d172789f06886806bc55\n# A cache of midibench, see https://bford.info/cachedir/\n"
    tag = folder / "CACHEDIR.TAG"
    # Written in place: nobody holds a lock yet who could clear what a kill leaves of a temporary file. What it leaves of the tag
    # is its beginning, which is written again; any other file of that name is the user's.
    try:
        with tag.open("xb") as file:
            file.write(content)
    except FileExistsError:
        if not tag.is_symlink() and is_file(tag) and tag.stat().st_size < len(content) and content.startswith(tag.read_bytes()):
            tag.write_bytes(content)


@contextlib.contextmanager
def _exclusive(cache: Path, name: str, emit: Emit, ready: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Let one process at a time download and parse a dataset: a second one waits, then finds it in the cache.

    Parameters
    ----------
    cache : Path
    name : str
    emit : callable
    ready : callable
        Whether this process needs neither, so that it doesn't wait for a download of other files of the dataset.

    Yields
    ------
    bool
        Whether this process is alone. A read-only cache needs no lock; on a file system without locks a dataset may be parsed
        twice, and is written in one step.
    """
    alone = False
    lock = cache / f".{name}.lock"
    with contextlib.ExitStack() as stack:
        try:
            make_cache(cache)
            try:
                stack.enter_context(hold(lock, cache))
                alone = True
            except BusyError:
                if not ready():
                    emit({"event": "message", "text": f"Another bench is preparing {name!r}; waiting for it."})
                    stack.enter_context(hold(lock, cache, patience=math.inf))
                    alone = True
        except (OSError, NoLocksError):
            pass
        yield alone


def _is_cached(source: Source, job: Mapping[str, Any]) -> bool:
    try:
        folder = source.find()
        if folder is None and source.needs != "nothing":
            return False
        key = corpus_key(source, job["dataset"]["options"], folder)
    except BenchError:
        return False
    return any(is_file(place / _corpus_name(source, key)) for place in _corpus_folders(job))


def _corpus_name(source: Source, key: str) -> str:
    return f"{source.plugin.name}-{key}.npy"


def _corpus_folders(job: Mapping[str, Any]) -> list[Path]:
    """List the caches of parsed datasets, the one that is written last."""
    return [Path(place) / "corpora" for place in (*job["seeds"], job["cache"])]


def _corpus(
    source: Source,
    origin: Path | None,
    key: str,
    job: Mapping[str, Any],
    emit: Emit,
    unreadable: Collection[str],
    *,
    alone: bool,
) -> tuple[Path, Corpus]:
    """Read the corpus from a cache, or parse the dataset; return its file and the corpus. `alone`: see :func:`_exclusive`.

    The key names the music that was there when it was computed, apart from the files that were `unreadable` then. What is parsed
    must be the same, or it would be used in its place for ever.
    """
    name = _corpus_name(source, key)
    *_, folder = places = _corpus_folders(job)
    for place in places:
        try:
            if (place / name).is_file():
                corpus = load_corpus(place / name)
                if corpus.fingerprint == key:
                    return place / name, corpus
                raise DataError(f"{place / name} holds other music than its name says.")
        except DataError as error:
            emit({"event": "message", "text": f"{error.message} It is parsed again."})
    apart = bool(job.get("isolated"))
    pooled_reading = PooledReading(folder / "parts" / source.plugin.name, hardware.cores(), 0 if apart else FEW)
    with isolated() if apart else limited(), refused_reads() as refused, reading_by(pooled_reading):
        splits = source.dataset.load(origin, releasing(progress_events(emit, "parse")))
    forks.end()
    if not isinstance(splits, Splits):
        raise PluginError(f"{source.plugin.path}: load() returned a {type(splits).__name__}; it must be bench.api.Splits.")
    if odd := next((path for path in refused if path not in unreadable), None):
        why = refused[odd].strerror or refused[odd]
        raise MachineError(f"{odd}: {why}, though it could be read a moment ago.", "Give the same command again.")
    if corpus_key(source, job["dataset"]["options"], origin) != key:
        music = source.plugin.name if origin is None else origin
        raise DataError(
            f"The music of {music} was changed while it was read.",
            "Give the same command again. If that doesn't help, fingerprint() of the plug-in isn't the same for the same music.",
        )
    with written_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Not those of a data set whose name begins alike: another process may be writing them.
        for left in folder.glob(f".{source.plugin.name}-{'[0-9a-f]' * 16}.npy.*.tmp") if alone else ():
            left.unlink(missing_ok=True)
        save_corpus(folder / name, _with_code(splits, source.plugin), key)
        if alone:
            pooled_reading.remove_unused()
    return folder / name, load_corpus(folder / name)


def _with_code(splits: Splits, plugin: Plugin) -> Splits:
    """Add a remark on the code that the corpus's key doesn't know, so that a change of it would go unnoticed."""
    if not (unknown := unknown_code(plugin, imported_packages(plugin))):
        return splits
    remark = (
        f"the dataset's plug-in uses code that isn't part of its key: {listed(unknown)}. After a change of it, empty the folder "
        "corpora of the cache, or import it in the plug-in's own file."
    )
    return replace(splits, remarks=(*splits.remarks, remark))


def _check_storable(pieces: int, protocol: Protocol) -> None:
    """Refuse samples that no file can hold before anything is trained."""
    notes = pieces * protocol.samples * protocol.notes
    if notes > MOST_NOTES:
        raise SpecError(
            f"{protocol.samples:,} samples of {protocol.notes:,} notes for each of {plural(pieces, 'piece')} are {notes:,} "
            f"notes a trial; at most {MOST_NOTES:,} can be stored.",
            "Lower protocol.samples, protocol.notes or protocol.pieces.",
        )


def _target(index: int, piece: Piece, protocol: Protocol) -> Target:
    first, last = protocol.prompt, protocol.prompt + protocol.notes
    return Target(PieceName(index, piece.id, piece.title, piece.composer), piece.notes[:first], piece.notes[first:last])


def _remarks(corpus: Corpus, protocol: Protocol, usable: Sequence[int]) -> list[str]:
    sentences = []
    if short := len(corpus.test) - len(usable):
        sentences.append(
            f"{short} of {len(corpus.test)} test pieces have fewer than {protocol.prompt + protocol.notes} notes: left out"
        )
    every = (*corpus.test, *corpus.train, *corpus.validation)
    sentences += _learned(every, [index < len(corpus.test) for index in range(len(every))], usable)
    sentences += _few(protocol, len(usable))
    if not corpus.validation:
        sentences.append("the dataset has no validation piece: nothing can be chosen by it")
    return sentences + _unequal(corpus.train) + _unequal(corpus.validation, learned=False)


def _learned(pieces: Sequence[Piece], places: Sequence[Any], held: Sequence[int]) -> list[str]:
    """Remark on held-out pieces that models learn from too, or that are copies of each other, as a plug-in may have it.

    A copy wins in the first case; intervals are of as many pieces as there are copies in the second.

    Parameters
    ----------
    pieces : sequence of Piece
    places : sequence
        Of each piece its fold, or whether it is a test piece.
    held : sequence of int
        Indices of the pieces that may be compared.
    """
    lengths = {len(pieces[index].notes) for index in held}  # the notes of most others needn't be read
    alike = {index: _content(piece.notes) for index, piece in enumerate(pieces) if len(piece.notes) in lengths}
    found = defaultdict[bytes, set[Any]](set)
    for index, content in alike.items():
        found[content].add(places[index])
    remarks = []
    if also := sum(len(found[alike[index]]) > 1 for index in held):
        shared = f"{also} of {plural(len(held), 'held-out piece')} {'is' if also == 1 else 'are'}"
        remarks.append(f"{shared} among the music that models learn from or choose by too, note for note, in this or another key")
    if copies := len(held) - len({(places[index], alike[index]) for index in held}):
        remarks.append(
            f"{copies} of {plural(len(held), 'held-out piece')} {'is a copy' if copies == 1 else 'are copies'} of another, note "
            "for note, in this or another key: intervals and tests take each for a piece of its own"
        )
    return remarks


def _content(notes: Notes) -> bytes:
    """Hash pitches from the first one and times from the first onset, to a millisecond; augmentation changes velocities too."""
    times = np.rint(1000 * np.stack([notes.onset - notes.onset[:1].sum(), notes.duration])).astype(np.int64)
    return hashlib.sha256(b"".join(part.tobytes() for part in (times, notes.pitch - notes.pitch[:1]))).digest()


def _odd_notes(parts: Sequence[Notes]) -> list[str]:
    """Remark on notes that no music has, in another unit of time or padding, and on music of one velocity."""
    durations = np.concatenate([notes.duration for notes in parts])
    keys = [np.stack([notes.onset, notes.pitch]) for notes in parts]
    again = sum(int((key[:, 1:] == key[:, :-1]).all(0).sum()) for key in keys)
    sentences = []
    usual, apart = float(np.median(durations)), [gap for notes in parts for gap in np.diff(notes.onset).tolist() if gap]
    short = usual < SHORT and bool(apart) and float(np.median(apart)) < SHORT  # those of drums may be, not what lies between
    if short or usual > LONG:
        than = "less" if short else "longer"
        sentences.append(f"half of the notes last {usual:.3g} s or {than}: are their times in seconds?")
    if again > MOST_AGAIN * len(durations):
        sentences.append(
            f"{again / len(durations):.0%} of the notes strike a key that another strikes at that moment: is there padding, or a "
            "part twice?"
        )
    velocities = np.unique(np.concatenate([notes.velocity for notes in parts]))
    if len(velocities) == 1:
        sentences.append(f"all held-out notes have velocity {velocities[0]}: columns of velocity say nothing of the music")
    return sentences


def _unequal(pieces: Sequence[Piece], learned: bool = True) -> list[str]:
    """Remark on training or validation music that is mostly a few pieces', such as a set of two hours among songs."""
    if not pieces:
        return []
    counts = np.array([max(1, len(piece.notes)) for piece in pieces], np.float64)
    worth = counts.sum() ** 2 / (counts**2).sum()  # of equal pieces their number, Kish 1965
    longest = int(counts.argmax())
    share = counts[longest] / counts.sum()
    if worth >= EVEN * len(pieces) and (learned or len(pieces) == 1 or share < NEARLY_ALL):
        return []
    what = "models learn from {} pieces as from" if learned else "which weights are kept is decided by {} validation pieces as by"
    return [f"{what.format(len(pieces))} {worth:.1f} of one length: {pieces[longest].id} has {share:.0%} of their notes"]


def _few(protocol: Protocol, usable: int) -> list[str]:
    if usable >= protocol.pieces:
        return []
    pieces = "1 test piece is" if usable == 1 else f"{usable} test pieces are"
    hint = (
        f", and a test needs {TESTED}: protocol.folds holds out every piece once"
        if usable < TESTED and not protocol.folds
        else ""
    )
    return [f"{pieces} compared; the protocol asks for up to {protocol.pieces}{hint}"]


def _lengths(pieces: Sequence[Piece]) -> str:
    if not pieces:
        return "and the test split is empty"
    sizes = sorted(lengths(pieces))
    return f"and the {len(sizes)} test pieces have {sizes[0]} to {sizes[-1]} (median {sizes[len(sizes) // 2]})"


def _same(file: Path, targets: Targets) -> bool:
    """Whether a file already holds these targets, so that a resumed run keeps it."""
    try:
        stored = read_target_file(file)
    except DataError:
        return False
    return stored.facts == targets.facts and stored.targets == targets.targets


def write_targets_as_midi(folder: Path, targets: Targets) -> None:
    """Write the first pieces, each with its prompt, as the MIDI files of a run."""
    for i, target in enumerate(targets.targets[:MIDI_PIECES]):
        make_way(folder.parent, f"midi/target-{i:03}.mid")
        write_file(folder / f"target-{i:03}.mid", target.midi())
    for i in range(len(targets.targets), MIDI_PIECES):  # of an earlier spec that held out more
        (folder / f"target-{i:03}.mid").unlink(missing_ok=True)


def write_midi(path: Path, *parts: Notes) -> None:
    """Write the notes of several parts as one MIDI file of one track, atomically."""
    write_tracks(path, {"": Notes.concatenate(parts)})


def write_tracks(path: Path, tracks: Mapping[str, Notes]) -> None:
    """Write a MIDI file of several tracks, by name, atomically."""
    write_file(path, tracks_bytes(tracks))
