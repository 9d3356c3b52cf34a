"""Clips of a listening test: the end of a prompt and what a system wrote after it, either of them equally loud in all clips."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError, UsageError
from bench.listening.design import CATCHES, NOISE, ORIGINAL
from bench.listening.key import ALWAYS, MOST_SYSTEMS, Contestant
from bench.music.notes import Notes
from bench.runner.contract import ONSET_TOLERANCE
from bench.scoring.crossed import FEWEST
from bench.scoring.score import planned_trials
from bench.sound.loudness import loudness
from bench.sound.render import RING, during, fade, mp3
from bench.sound.synthesizer import RATE, Synthesizer, bend
from bench.specs.trials import Trial
from bench.storage.outcome import Done
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Samples, Target, notes_digest

#: End of the prompt that a clip begins with, at most. Seconds.
LEAD = 5.0
#: A piece is in a test if a clip of its real continuation has a note for every so many seconds, of that velocity or above, and
#: that of its prompt one: of a rest original and noise are the same clip, and nobody can tell them apart.
EVERY, AUDIBLE = 3.0, 8
#: Fades at both ends of a clip, seconds.
_FADE_IN, _FADE_OUT = 0.05, 1.0
#: Loudness of prompts and of continuations, LUFS: that of EBU R 128. A piano's peaks have room above it; the few that have not
#: are bent.
LOUDNESS = -23.0
#: Bit rate and sampling rate of a clip.
_KBITS, _RATE = 32, 24_000


@dataclass(frozen=True)
class Material:
    """Music of a test.

    Parameters
    ----------
    contestants : tuple of Contestant
        Models first, then :data:`~bench.listening.key.ALWAYS`.
    prompts : tuple of int
        Pieces that are heard, indices into targets.npz.
    targets : sequence of Target
    music : mapping of (int, int) to Notes
        What follows the prompt on its time axis, by contestant (or ORIGINAL, NOISE) and piece.
    left_out : tuple of str
        Models without a finished trial.
    """

    contestants: tuple[Contestant, ...]
    prompts: tuple[int, ...]
    targets: Sequence[Target]
    music: Mapping[tuple[int, int], Notes]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Clip:
    """Sound of one clip.

    Parameters
    ----------
    audio : bytes
        MP3.
    mark : float
        Where the prompt ends, seconds from the beginning of the clip.
    seconds : float
        Length.
    """

    audio: bytes
    mark: float
    seconds: float


def gather(run: RunFolder, systems: Sequence[str] | None, prompts: int, seconds: float, seed: int) -> Material:
    """Choose contestants and prompts, and read their music.

    Parameters
    ----------
    run : RunFolder
    systems : sequence of str or None
        Rows beside :data:`~bench.listening.key.ALWAYS`; by default all models.
    prompts : int
        At most; evenly spaced over the pieces that every contestant continued, and that are heard.
    seconds : float
        Length of a continuation, at most.
    seed : int
        Of the random notes.

    Raises
    ------
    UsageError
        If the run lacks a row that every test has, or too many are asked for.
    DataError
        If too little is finished.
    """
    targets = run.read_targets().targets
    samples = _first_seeds(run, _asked(run, systems))
    left_out = tuple(name for name, found in samples.items() if found is None)
    kept = {name: found for name, found in samples.items() if found is not None}
    if missing := [name for name in (*ALWAYS, *(systems or ())) if name not in kept]:
        raise DataError(f"The row {missing[0]!r} has no finished trial.", "Run it to the end first; the same command resumes.")
    if set(kept) <= set(ALWAYS):
        raise DataError("No model of this run has a finished trial.", "Run it to the end first, or name other rows: --systems.")
    if len(kept) > MOST_SYSTEMS:
        raise UsageError(f"A listening test has {MOST_SYSTEMS} rows at most, not {len(kept)}.", "Name fewer rows: --systems.")
    continued = [i for i in range(len(targets)) if all((i, 0) in found.notes for _, found in kept.values())]
    common = [i for i in continued if is_heard(targets[i], seconds)]
    if len(common) < FEWEST:
        silent = (
            f", without {len(continued) - len(common)} that are nearly silent in a clip" if len(common) < len(continued) else ""
        )
        raise DataError(
            f"A listening test needs {FEWEST} pieces that every row continued; there are {len(common)}{silent}.",
            "Hold out more pieces: protocol.pieces.",
        )
    spaced = np.unique(np.linspace(0, len(common) - 1, min(prompts, len(common))).round().astype(int))
    chosen = tuple(common[i] for i in spaced)
    music: dict[tuple[int, int], Notes] = {}
    contestants = []
    for number, (name, (training, found)) in enumerate(kept.items()):
        music |= {(number, piece): _on_axis(found.notes[piece, 0], targets[piece].prompt) for piece in chosen}
        contestants.append(Contestant(name=name, seed=training, digest=_digest(found, chosen)))
    for piece in chosen[:CATCHES]:
        music |= {(ORIGINAL, piece): targets[piece].target, (NOISE, piece): _noise(targets[piece].target, [seed, piece])}
    return Material(tuple(contestants), chosen, targets, music, left_out)


def is_heard(target: Target, seconds: float) -> bool:
    """Whether enough is heard of the prompt's end, and within `seconds` behind it, to tell original from noise: :data:`EVERY`."""
    end = float(target.prompt.onset[-1]) if len(target.prompt) else 0.0
    soon, last = target.target, target.prompt
    heard = np.count_nonzero((soon.onset < end + seconds) & (soon.velocity >= AUDIBLE))
    led = np.count_nonzero((last.onset > end - LEAD) & (last.velocity >= AUDIBLE))
    return bool(heard >= min(max(1, int(seconds / EVERY)), len(soon)) and led >= min(1, len(last)))


def still_heard(run: RunFolder, contestants: Sequence[Contestant], prompts: Sequence[int]) -> list[Contestant | None]:
    """Replace by None each contestant whose notes in the run are no longer those that were heard."""
    seeds = {each.name: each.seed for each in contestants}
    found = _finished(run, lambda trial: seeds.get(trial.system) == trial.seed)
    digests = {trial.system: _digest(samples, prompts) for trial, samples in found}
    return [each if digests.get(each.name) == each.digest else None for each in contestants]


def _digest(samples: Samples, prompts: Sequence[int]) -> str:
    """Hash of what is heard of a training."""
    return notes_digest([samples.notes[piece, 0] for piece in prompts if (piece, 0) in samples.notes])


def _asked(run: RunFolder, systems: Sequence[str] | None) -> list[str]:
    """Rows of a test: those that are asked for, then those that every test has."""
    kinds = {trial.system: trial.kind for trial, _ in planned_trials(run.read())}
    if lacking := [name for name in ALWAYS if name not in kinds]:
        raise UsageError(
            f"The run has no row {lacking[0]!r}, which every listening test has.",
            f"Add it to the spec's references ({', '.join(ALWAYS)}); the same command resumes.",
        )
    asked = [name for name, kind in kinds.items() if kind == "model"] if systems is None else systems
    return [*(name for name in asked if name not in ALWAYS), *ALWAYS]


def _first_seeds(run: RunFolder, rows: Sequence[str]) -> dict[str, tuple[int, Samples] | None]:
    """First finished training of each row, with its samples; None where there is none."""
    first: dict[str, tuple[int, Samples] | None] = dict.fromkeys(rows)
    for trial, samples in _finished(run, lambda trial: first.get(trial.system, ()) is None):
        first[trial.system] = (trial.seed, samples)
    return first


def _finished(run: RunFolder, wanted: Callable[[Trial], bool]) -> Iterator[tuple[Trial, Samples]]:
    """Yield the wanted trainings that are finished; damaged samples cost their own."""
    for trial, folds in planned_trials(run.read()):
        if wanted(trial) and all(isinstance(run.outcome(key), Done) for key in folds.values()):
            with contextlib.suppress(DataError):
                yield trial, run.samples(*folds.values())


def _on_axis(sample: Notes, prompt: Notes) -> Notes:
    """Move what a model that takes no prompt wrote, from 0 s on, behind the prompt."""
    ahead = len(prompt) and len(sample) and sample.onset[0] < prompt.onset[-1] - ONSET_TOLERANCE
    return sample.shifted(float(prompt.onset[-1])) if ahead else sample


def _noise(target: Notes, seed: Sequence[int]) -> Notes:
    """Random keys of a piano, at random velocities, in the rhythm of the original: nobody who listens prefers it."""
    rng = np.random.default_rng(seed)
    return Notes.from_columns(
        target.onset, target.duration, rng.integers(21, 109, len(target)), rng.integers(1, 128, len(target))
    )


def play(material: Material, seconds: float, synthesizer: Synthesizer) -> dict[tuple[int, int], Clip]:
    """Play every clip, bring prompts and continuations to one loudness, and encode them.

    Either is played and levelled by itself: over both together, what follows would be the softer the louder its system plays
    in comparison with the prompt, and one prompt would sound different in two clips of a pair.

    Parameters
    ----------
    material : Material
    seconds : float
        Length of a continuation, at most.
    synthesizer : Synthesizer

    Returns
    -------
    dict of (int, int) to Clip
        As `material.music`.
    """
    clips = {}
    for (system, piece), notes in material.music.items():
        cut = _Cut.of(material.targets[piece].prompt, notes, seconds)
        samples = cut.samples(synthesizer)
        clips[system, piece] = Clip(mp3(samples, _KBITS, _RATE), cut.mark, cut.length)
    return clips


@dataclass(frozen=True)
class _Cut:
    """Notes of a clip from its beginning on, its length, and where the prompt in it ends, seconds."""

    prompt: Notes
    continuation: Notes
    length: float
    mark: float

    @classmethod
    def of(cls, prompt: Notes, continuation: Notes, seconds: float) -> _Cut:
        """Take the prompt's end and what follows."""
        end = float(prompt.onset[-1]) if len(prompt) else 0.0
        start = max(end - LEAD, float(prompt.onset[0])) if len(prompt) else 0.0
        notes = Notes.concatenate([prompt, continuation])
        length = min(end + seconds, float((notes.onset + notes.duration).max()) + RING) - start
        lead, rest = (during(part, start, start + length) for part in (prompt, continuation))
        return cls(lead, rest, length, end - start)

    def samples(self, synthesizer: Synthesizer) -> NDArray[np.float32]:
        """Play it, levelled and faded at both ends."""
        count, behind = round(self.length * RATE), round((self.length + RING) * RATE)
        notes = Notes.concatenate([self.prompt, self.continuation.shifted(behind / RATE)])
        samples = np.zeros(count, np.float32)
        if not len(notes):
            return samples
        # Played one after the other, not at once, so that each can be levelled.
        played = synthesizer.play(notes, (behind + count) / RATE)
        mark = round(self.mark * RATE)
        for part, judged in ((played[:count], slice(mark + RATE)), (played[behind:], slice(mark, None))):
            fade(part, _FADE_IN, min(_FADE_OUT, self.length / 2))
            if math.isfinite(own := loudness(part[judged])):
                samples += part * np.float32(10 ** ((LOUDNESS - own) / 20))
        bend(samples)
        return samples
