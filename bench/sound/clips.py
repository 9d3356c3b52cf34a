"""Clips in a run's folder: which there are to be, making them, and finding them again.

Beside each ``sound/<system>/piece-000.mp3`` (at most a minute) lies an excerpt for the report's page and a record of what they
were made from. A clip whose record names other MIDI, or another recipe, is made again; all else is left alone, so that going
on with a run costs nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.music.midi import read_midi
from bench.music.notes import Notes
from bench.sound.render import RECIPE, Cut, Failure, Rendered, render
from bench.sound.synthesizer import Renderer
from bench.storage.files import FORMAT, read_json, write_json
from bench.storage.records import Done
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Target, read_targets

#: What the written continuation is called beside the systems'.
ORIGINAL = "original"

#: At most so much of a piece is rendered, seconds.
LONGEST = 60.0
#: The excerpt in the report: so long, and so much of it is the end of the prompt, seconds.
EXCERPT, LEAD = 20.0, 4.0
#: Its quality: 20 s are 80 kB, which a page can hold twenty times. Nothing above 12 kHz, as 32 kbit/s have nothing to spare.
EXCERPT_KBITS, EXCERPT_RATE = 32, 24_000
#: Silence kept before the first note, seconds.
PAUSE = 0.5

#: A note of the prompt is found again in a MIDI file within so much, seconds: a tick of 120 quarter notes a minute is 1 ms.
NEAR = 0.002


@dataclass(frozen=True)
class Source:
    """A MIDI file of a run that can be heard.

    Parameters
    ----------
    system : str
        The row, or :data:`ORIGINAL`.
    piece : int
        As counted in targets.h5.
    midi : Path
    folder : Path
        Where its clip lies.
    original : bool
        Whether it is what people wrote.
    """

    system: str
    piece: int
    midi: Path
    folder: Path
    original: bool = False

    @property
    def mp3(self) -> Path:
        """At most :data:`LONGEST` seconds."""
        return self.folder / f"piece-{self.piece:03}.mp3"

    @property
    def excerpt(self) -> Path:
        """What the report's page plays."""
        return self.folder / f"piece-{self.piece:03}.excerpt.mp3"

    @property
    def record(self) -> Path:
        """What both were made from."""
        return self.folder / f"piece-{self.piece:03}.json"


@dataclass(frozen=True)
class Kept:
    """A clip as it lies in the run's folder.

    Parameters
    ----------
    seconds, excerpt_seconds : float
        How long the two files play.
    excerpt_start : float
        Where in the MIDI file the excerpt begins, seconds.
    """

    seconds: float
    excerpt_start: float
    excerpt_seconds: float


@dataclass(frozen=True)
class Made:
    """What became of one source: rendered now, there already, or failed with a reason."""

    source: Source
    result: Rendered | Failure | None


def sources(folder: Path, systems: Sequence[str] | None = None) -> list[Source]:
    """What can be heard of a run: the originals, then each model's first seed that ended well, piece by piece.

    Parameters
    ----------
    folder : Path
        The run's.
    systems : sequence of str, optional
        These rows instead of the models: a reference row can be heard too.

    Raises
    ------
    DataError
        If the folder holds no run.
    """
    run = RunFolder(folder)
    first: dict[str, str] = {}
    for planned in run.read().trials:
        key, trial = planned.key, planned.trial
        wanted = trial["kind"] == "model" if systems is None else trial["system"] in systems
        if wanted and trial["system"] not in first and isinstance(run.outcome(key), Done):
            first[trial["system"]] = key
    found = []
    for target in sorted((folder / "midi").glob("target-[0-9][0-9][0-9].mid")) if first else []:
        piece = int(target.stem.removeprefix("target-"))
        found.append(Source(ORIGINAL, piece, target, folder / "sound" / ORIGINAL, original=True))
        for system, key in first.items():
            midi = run.trial_dir(key) / "midi" / f"piece-{piece:03}.mid"
            if midi.is_file():
                found.append(Source(system, piece, midi, folder / "sound" / slug(system)))
    return found


def render_run(
    folder: Path,
    renderer: Renderer,
    *,
    systems: Sequence[str] | None = None,
    again: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Made]:
    """Render what isn't rendered yet.

    Parameters
    ----------
    folder : Path
        The run's.
    renderer : Renderer
    systems : sequence of str, optional
        See :func:`sources`.
    again : bool
        Also what is there already.
    progress : callable
        Takes how many are done and how many there are.

    Returns
    -------
    list of Made
        One a source. After a program that took too long, nothing more is tried.
    """
    wanted, targets = sources(folder, systems), read_targets(RunFolder(folder).targets)
    made: list[Made] = []
    stuck = ""
    for number, source in enumerate(wanted, 1):
        if not again and isinstance(kept(source), Kept):
            made.append(Made(source, None))
        elif stuck:
            made.append(Made(source, Failure(f"not tried, as {stuck}")))
        else:
            result = _make(source, targets[source.piece], renderer)
            stuck = result.reason if isinstance(result, Failure) and result.timed_out else ""
            made.append(Made(source, result))
        progress(number, len(wanted))
    return made


def kept(source: Source) -> Kept | str:
    """The clip of a source, or why there is none, for people."""
    try:
        record = read_json(source.record)
    except DataError:
        return "not rendered yet"
    if record.get("midi") != _digest(source.midi.read_bytes()) or record.get("recipe") != RECIPE:
        return "rendered from other notes: out of date"
    if record.get("error"):
        return str(record["error"])
    numbers = [record.get(name) for name in ("seconds", "excerpt_start", "excerpt_seconds")]
    if not all(isinstance(x, int | float) for x in numbers) or not (source.mp3.is_file() and source.excerpt.is_file()):
        return "not rendered yet"
    return Kept(*map(float, numbers))  # type: ignore[arg-type]


def prompt_notes(notes: Notes, prompt: Notes) -> NDArray[np.bool_]:
    """Which notes of a MIDI file are the prompt's, shape (n,).

    Told by the notes, not by what a plug-in declares: all False unless every note of the prompt is there. Of two that strike one
    key at once a MIDI file holds one, so one is enough.
    """
    if not len(notes) or not len(prompt):
        return np.zeros(len(notes), np.bool_)
    same = (notes.pitch[:, None] == prompt.pitch) & (np.abs(notes.onset[:, None] - prompt.onset) < NEAR)  # (n, P)
    if not same.any(axis=0).all():
        return np.zeros(len(notes), np.bool_)
    found: NDArray[np.bool_] = same.any(axis=1)
    return found


def slug(system: str) -> str:
    """A row's name as a folder's: the name itself if it is plain, else what is plain of it and a hash that tells it apart."""
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", system) and system != ORIGINAL:
        return system
    plain = re.sub(r"[^a-z0-9]+", "-", system.lower()).strip("-")[:30].strip("-")
    return f"{plain or 'system'}-{hashlib.sha256(system.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _make(source: Source, target: Target, renderer: Renderer) -> Rendered | Failure:
    """Render one source and write its record, also of a failure: the report then says why there is no sound."""
    midi = source.midi.read_bytes()
    result: Rendered | Failure
    try:
        notes = read_midi(midi)
        begin, first = _beginnings(notes, prompt_notes(notes, target.prompt))
    except DataError as error:
        result, begin, first = Failure(error.message), 0.0, 0.0
    else:
        excerpt = Cut(source.excerpt, first, EXCERPT, EXCERPT_KBITS, EXCERPT_RATE)
        result = render(midi, [Cut(source.mp3, begin, LONGEST), excerpt], renderer)
    record: dict[str, Any] = {"format": FORMAT, "recipe": RECIPE, "midi": _digest(midi), "with": renderer.words}
    if isinstance(result, Failure):
        record["error"] = result.reason
    else:
        record |= dict(zip(("seconds", "excerpt_seconds"), result.seconds, strict=True))
        record |= {"start": round(begin, 3), "excerpt_start": round(first, 3)}
    write_json(source.record, record)
    return result


def _beginnings(notes: Notes, prompt: NDArray[np.bool_]) -> tuple[float, float]:
    """Where the whole clip and the excerpt begin, seconds: at the first note, and shortly before the prompt ends."""
    if not len(notes):
        raise DataError("it holds no note")
    begin = max(0.0, float(notes.onset[0]) - PAUSE)
    if not prompt.any() or prompt.all():
        return begin, begin
    return begin, max(begin, float(notes.onset[~prompt][0]) - LEAD)


def _digest(midi: bytes) -> str:
    return hashlib.sha256(midi).hexdigest()
