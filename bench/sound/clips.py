"""Clips in a run's folder: which pieces can be heard, rendering them, and reading them back.

Beside each ``sound/<system>/piece-000.mp3`` (at most a minute) lie an excerpt for the report's page and a record of what both
were rendered from. A clip whose record names other MIDI, or another recipe, is rendered again; all others are left alone, so
that resuming a run costs nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.music.midi import read_midi
from bench.music.notes import LONGEST as LATEST
from bench.music.notes import Notes
from bench.sound.render import RECIPE, Cut, render
from bench.sound.synthesizer import Synthesizer
from bench.storage.files import FORMAT, make_way, read_json, write_json
from bench.storage.outcome import Done
from bench.storage.run_folder import RunFolder
from bench.storage.samples import MIDI_PIECES, Target
from bench.system.disk import DamagedFileError, file_digest

#: Name of the human continuation beside the systems' names.
ORIGINAL = "original"

#: Greatest length of a clip, seconds.
LONGEST = 60.0
#: Length of the report's excerpt, and how much of it is the end of the prompt, seconds.
EXCERPT, LEAD = 20.0, 4.0
#: Bit rate and sampling rate of the excerpt: 20 s are 80 kB, which a page can hold twenty times.
EXCERPT_KBITS, EXCERPT_RATE = 32, 24_000
#: Silence kept before the first note, seconds.
PAUSE = 0.5

#: Tolerance for recognising a note of the prompt in a MIDI file, seconds: a tick at 120 quarter notes a minute is 1 ms.
NEAR = 0.002


@dataclass(frozen=True)
class Source:
    """MIDI file of a run, and the paths of its clip.

    Parameters
    ----------
    system : str
        The row, or :data:`ORIGINAL`.
    piece : int
        Index in targets.npz.
    midi : Path
    folder : Path
        Folder of the clip.
    original : bool
        Whether it is the human continuation.
    digest : str
        SHA-256 of the MIDI file, by the trial's outcome or the run's targets; empty where the outcome doesn't tell.
    """

    system: str
    piece: int
    midi: Path
    folder: Path
    original: bool = False
    digest: str = ""

    @property
    def mp3(self) -> Path:
        """The clip, at most :data:`LONGEST` seconds."""
        return self.folder / f"piece-{self.piece:03}.mp3"

    @property
    def excerpt(self) -> Path:
        """The excerpt that the report's page plays."""
        return self.folder / f"piece-{self.piece:03}.excerpt.mp3"

    @property
    def record(self) -> Path:
        """Record of what both were rendered from."""
        return self.folder / f"piece-{self.piece:03}.json"


@dataclass(frozen=True)
class StoredClip:
    """A clip in the run's folder.

    Parameters
    ----------
    seconds : float
        Length of the MP3.
    excerpt_start : float
        Where in the MIDI file the excerpt begins, seconds.
    excerpt_seconds : float
        Length of the excerpt.
    """

    seconds: float
    excerpt_start: float
    excerpt_seconds: float


@dataclass(frozen=True)
class Outcome:
    """Result of rendering one source.

    Parameters
    ----------
    source : Source
    rendered : bool
        False if an up-to-date clip was there already, or rendering failed.
    error : str
        Why it failed; empty otherwise.
    """

    source: Source
    rendered: bool
    error: str = ""


def sources(folder: Path, systems: Sequence[str] | None = None) -> list[Source]:
    """List a run's MIDI files piece by piece: the original, then each model's first completed seed.

    Parameters
    ----------
    folder : Path
        The run's folder.
    systems : sequence of str, optional
        Rows to list instead of the models; reference rows are allowed.

    Raises
    ------
    DataError
        If the folder holds no run.
    """
    run = RunFolder(folder)
    trials: dict[tuple[str, int], list[str]] = {}  # by system and seed: one key, or with folds one per fold
    for planned in run.read().trials:
        trial = planned.trial
        if trial["kind"] == "model" if systems is None else trial["system"] in systems:
            trials.setdefault((trial["system"], trial["seed"]), []).append(planned.key)
    first: dict[str, list[str]] = {}
    done: dict[str, Done] = {}
    for (system, _), keys in trials.items():
        if system not in first:
            outcomes = {key: outcome for key in keys if isinstance(outcome := run.outcome(key), Done)}
            if len(outcomes) == len(keys):
                first[system], done = keys, done | outcomes
    listed = []
    for piece, target in enumerate(_targets(run)[:MIDI_PIECES] if first else ()):
        if not (midi := folder / "midi" / f"target-{piece:03}.mid").is_file():
            continue
        own = hashlib.sha256(target.midi()).hexdigest()
        listed.append(Source(ORIGINAL, piece, midi, folder / "sound" / ORIGINAL, original=True, digest=own))
        for system, keys in first.items():
            name = f"midi/piece-{piece:03}.mid"
            if key := next((key for key in keys if (run.trial_dir(key) / name).is_file()), None):
                stated = done[key].digests.get(name, "")
                midi = run.trial_dir(key) / name
                listed.append(Source(system, piece, midi, folder / "sound" / slug(system), digest=stated))
    return listed


def _targets(run: RunFolder) -> Sequence[Target]:
    """Read what the originals are written from; none where that can't be read, which is for the report to say."""
    try:
        return run.read_targets().targets
    except DataError:
        return ()


def is_damaged(source: Source) -> bool:
    """Whether the MIDI file of a source isn't the one that the run wrote, so that it may be any music."""
    try:
        return bool(source.digest) and file_digest(source.midi) != source.digest
    except DamagedFileError:
        return True


def render_run(
    folder: Path, synthesizer: Synthesizer, *, systems: Sequence[str] | None = None, again: bool = False
) -> list[Outcome]:
    """Render the clips of a run that are missing or out of date.

    Parameters
    ----------
    folder : Path
        The run's folder.
    synthesizer : Synthesizer
    systems : sequence of str, optional
        See :func:`sources`.
    again : bool
        Whether up-to-date clips are rendered again too.

    Returns
    -------
    list of Outcome
        One per source.
    """
    targets = RunFolder(folder).read_targets().targets
    return [
        Outcome(source, rendered=False)
        if not again and isinstance(stored_clip(source), StoredClip)
        else _render(source, targets[source.piece], synthesizer)
        for source in sources(folder, systems)
        if source.piece < len(targets)  # the folder is someone else's, or an earlier spec held out more
    ]


def stored_clip(source: Source) -> StoredClip | str:
    """Read the clip of a source; where there is none, the reason as text."""
    try:
        record = read_json(source.record)
    except DataError:
        return "not rendered yet"
    try:
        digest = file_digest(source.midi)
        if source.digest not in ("", digest):  # an earlier version rendered it all the same
            return "its MIDI file is damaged"
        if record.get("midi") != digest or record.get("recipe") != RECIPE:
            return "out of date: rendered from other notes, or by an older version"
        if record.get("error"):
            return str(record["error"])
        if [file_digest(source.mp3), file_digest(source.excerpt)] != record["digests"]:
            return "damaged"
        return StoredClip(**{name: _seconds(record[name]) for name in ("seconds", "excerpt_start", "excerpt_seconds")})
    except (FileNotFoundError, NotADirectoryError):
        return "not rendered yet"
    except (DamagedFileError, KeyError, TypeError, ValueError):
        return "damaged"


def _seconds(value: object) -> float:
    """Take a time of a record: someone else may have written anything there."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise ValueError(f"{value!r} is no time in a clip")
    return float(value)


def prompt_notes(notes: Notes, prompt: Notes) -> NDArray[np.bool_]:
    """Mask of the notes in a MIDI file that are the prompt's.

    Decided by the notes, not by what a plug-in declares. Of two notes that strike one key at once a MIDI file holds one, so one
    match is enough.

    Parameters
    ----------
    notes, prompt : Notes

    Returns
    -------
    ndarray of bool, shape (n,)
        All False unless every note of the prompt occurs.

    Examples
    --------
    >>> prompt = Notes.from_columns([0.0], [0.5], [60], [80])
    >>> notes = Notes.from_columns([0.001, 1.0], [0.5, 0.5], [60, 64], [80, 80])
    >>> prompt_notes(notes, prompt).tolist()
    [True, False]
    """
    if not len(notes) or not len(prompt):
        return np.zeros(len(notes), np.bool_)
    if not _occur(prompt, notes).all():
        return np.zeros(len(notes), np.bool_)
    return _occur(notes, prompt)


def _occur(notes: Notes, others: Notes) -> NDArray[np.bool_]:
    """Mask of those `notes` that have one of the same pitch, at the same time within :data:`NEAR`, among `others`."""
    # One number for pitch and onset: sorted, near ones are found without comparing each with each.
    sought, there = (part.pitch * (2 * LATEST) + part.onset for part in (notes, others))
    there.sort()
    first, behind = np.searchsorted(there, sought - NEAR, "right"), np.searchsorted(there, sought + NEAR, "left")
    mask: NDArray[np.bool_] = behind > first
    return mask


def slug(system: str) -> str:
    """Folder name of a row: its own name if that is plain, else the plain part of it and a hash that keeps names apart.

    Examples
    --------
    >>> slug("music-transformer")
    'music-transformer'
    >>> slug("../LSTM")
    'lstm-38de8cd7'
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", system) and system != ORIGINAL:
        return system
    plain = re.sub(r"[^a-z0-9]+", "-", system.lower()).strip("-")[:30].strip("-")
    return f"{plain or 'system'}-{hashlib.sha256(system.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _render(source: Source, target: Target, synthesizer: Synthesizer) -> Outcome:
    """Render one source and write its record. A failure is recorded too, so that the report can give its reason."""
    record: dict[str, Any] = {"format": FORMAT, "recipe": RECIPE, "midi": file_digest(source.midi)}
    record["with"] = synthesizer.description
    error = ""
    run = source.folder.parent.parent
    make_way(run, *(file.relative_to(run).as_posix() for file in (source.mp3, source.excerpt, source.record)))
    try:
        if is_damaged(source):
            raise DataError("its MIDI file is damaged")
        notes = read_midi(source.midi)
        start, excerpt_start = _beginnings(notes, prompt_notes(notes, target.prompt))
        excerpt = Cut(source.excerpt, excerpt_start, EXCERPT, EXCERPT_KBITS, EXCERPT_RATE)
        seconds, excerpt_seconds = render(notes, [Cut(source.mp3, start, LONGEST), excerpt], synthesizer)
    except (DataError, OSError, RuntimeError) as failure:  # RuntimeError: libsndfile's
        record["error"] = error = str(failure)
        if isinstance(stored_clip(source), StoredClip):  # made anew in vain: the one that is there stays
            return Outcome(source, rendered=False, error=error)
    else:
        record["digests"] = [file_digest(source.mp3), file_digest(source.excerpt)]
        record |= {"seconds": seconds, "excerpt_seconds": excerpt_seconds}
        record |= {"start": round(start, 3), "excerpt_start": round(excerpt_start, 3)}
    write_json(source.record, record)
    return Outcome(source, rendered=not error, error=error)


def _beginnings(notes: Notes, prompt: NDArray[np.bool_]) -> tuple[float, float]:
    """Seconds at which the clip and its excerpt begin: at the first note, and shortly before the prompt ends."""
    if not len(notes):
        raise DataError("it holds no note")
    begin = max(0.0, float(notes.onset[0]) - PAUSE)
    if not prompt.any() or prompt.all():
        return begin, begin
    return begin, max(begin, float(notes.onset[~prompt][0]) - LEAD)
