"""How much of a sample is copied: from the training pieces and from its own prompt. NumPy only.

Only the order of pitches is looked at: notes sorted by (onset, pitch), exact pitches. A copy in another key or with other chords
between passes as new, and a chord whose notes are played in another order breaks a run; rhythm and velocity are nothing to it.
What it finds is verbatim. Real pieces share runs too, so the figures of held-out music stand beside those of samples.

A window is a number of consecutive notes of one piece. Windows of up to 8 notes are compared exactly (eight pitches are eight
bytes of one 64-bit key). A longer one is compared by a 64-bit hash that grows by a note at a time, and only at places where the
shorter one was found; with 5 million training notes and 15 000 windows asked for, the chance of one false match is 1 in 10^8 a
length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes, Piece

if TYPE_CHECKING:  # h5py comes with it, which a list of metrics doesn't need
    from bench.storage.samples import Target

#: Notes of a pattern: as many pitches as a 64-bit key holds.
PATTERN = 8

#: Training windows that are looked up at once; bounds memory.
CHUNK = 1 << 19

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Copied:
    """How much of one sample is copied.

    Parameters
    ----------
    longest_training_run : int
        Most consecutive notes of the sample whose pitches stand consecutively in one training piece.
    longest_prompt_run : int or None
        The same for its prompt; None where it has none.
    known_patterns : float or None
        Share of its windows of 8 notes whose pitches stand consecutively in a training piece, 0 to 1, repeated windows counted
        each time; None for a sample of fewer than 8 notes.
    """

    longest_training_run: int
    longest_prompt_run: int | None
    known_patterns: float | None


class TrainingIndex:
    """The pitch sequences of the training pieces, ready to be searched.

    Parameters
    ----------
    train : sequence of Piece
        Takes 13 bytes a note.
    """

    def __init__(self, train: Sequence[Piece]) -> None:
        self._windows = Windows([piece.notes for piece in train])

    def measure(self, samples: Sequence[Notes], prompts: Sequence[Notes]) -> list[Copied]:
        """How much of each sample is copied.

        Parameters
        ----------
        samples : sequence of Notes
        prompts : sequence of Notes
            One a sample; empty where its system took none.

        Returns
        -------
        list of Copied
            One a sample.
        """
        ours = Windows(samples)
        found = _common(ours, self._windows, PATTERN)
        runs = _longest_runs(ours, self._windows, found)
        windows, known = (np.bincount(ours.owner[at], minlength=len(samples)) for at in (ours.starts(PATTERN), found[0]))
        return [
            Copied(
                longest_training_run=int(run),
                longest_prompt_run=longest_common_run(sample, prompt) if len(prompt) else None,
                known_patterns=int(k) / int(n) if n else None,
            )
            for sample, prompt, run, n, k in zip(samples, prompts, runs, windows, known, strict=True)
        ]


class Windows:
    """Windows of notes by where they start, in several pieces laid end to end; none crosses the end of its piece.

    Parameters
    ----------
    parts : sequence of Notes
        A piece each; n notes together.

    Attributes
    ----------
    lengths : ndarray of int64, shape (parts,)
    pitch : ndarray of uint8, shape (n,)
    left : ndarray of int32, shape (n,)
        Notes from each one to the end of its piece, itself included.
    owner : ndarray of int64, shape (n,)
        Index of its piece.
    keys : ndarray of uint64, shape (n,)
        The pitches of the 8 notes from each one on, the first in the highest byte; what lies after the piece is of no meaning.
    """

    def __init__(self, parts: Sequence[Notes]) -> None:
        self.lengths = lengths = np.array([len(part) for part in parts], np.int64)
        n = int(lengths.sum())
        self.pitch = np.concatenate([np.empty(0, np.uint8), *(part.pitch for part in parts)])
        ends = np.cumsum(lengths, dtype=np.int64).astype(np.int32)
        self.left = np.repeat(ends, lengths) - np.arange(n, dtype=np.int32)
        padded = np.concatenate([self.pitch, np.zeros(PATTERN, np.uint8)])
        self.keys = np.zeros(n, np.uint64)
        for i in range(PATTERN):
            self.keys <<= np.uint64(8)
            self.keys |= padded[i : i + n]

    @property
    def owner(self) -> Places:
        """Index of each note's piece, shape (n,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def starts(self, length: int) -> Places:
        """Where a window of `length` notes fits."""
        return np.flatnonzero(self.left >= length)

    def named(self, length: int) -> Keys:
        """The pitches of the windows of up to 8 notes at :meth:`starts`, as numbers that are equal where the pitches are."""
        return self.keys[self.left >= length] >> np.uint64(8 * (PATTERN - length))


def longest_common_run(one: Notes, other: Notes) -> int:
    """Most consecutive notes of `one` whose pitches stand consecutively in `other`.

    Time grows with the product of their lengths.
    """
    best = 0
    ending = np.zeros(len(one) + 1, np.int64)  # at i + 1: the longest run that ends with note i of `one`
    for pitch in other.pitch:
        ending[1:] = np.where(one.pitch == pitch, ending[:-1] + 1, 0)
        best = max(best, int(ending.max()))
    return best


def measure_trial(
    train: Sequence[Piece], samples: Sequence[Notes], prompts: Sequence[Notes], targets: Sequence[tuple[Notes, Notes]]
) -> dict[str, dict[str, list[Any]]]:
    """What a trial's outcome stores: the samples' figures, and real held-out music's own to read them by.

    Parameters
    ----------
    train : sequence of Piece
    samples : sequence of Notes
    prompts : sequence of Notes
        One a sample; empty where the system took none.
    targets : sequence of (Notes, Notes)
        Each held-out piece's prompt and what really follows it.

    Returns
    -------
    dict
        ``samples`` and ``targets``, each a dict of lists: the fields of :class:`Copied`.
    """
    real_prompts, real = [list(part) for part in zip(*targets, strict=True)] if targets else ([], [])
    found = TrainingIndex(train).measure([*samples, *real], [*prompts, *real_prompts])
    parts = {"samples": found[: len(samples)], "targets": found[len(samples) :]}
    return {name: {f.name: [getattr(c, f.name) for c in part] for f in fields(Copied)} for name, part in parts.items()}


def measure_samples(
    train: Sequence[Piece], samples: Mapping[tuple[int, int], Notes], targets: Sequence[Target], takes_prompt: bool = True
) -> dict[str, dict[str, list[Any]]]:
    """:func:`measure_trial` of stored samples: by (piece, sample), taken in the order of these keys.

    Parameters
    ----------
    train : sequence of Piece
    samples : mapping of (int, int) to Notes
    targets : sequence of Target
        All held-out pieces of the run.
    takes_prompt : bool
        Whether the system was given the prompts.
    """
    keys = sorted(samples)
    prompts = [targets[piece].prompt[: None if takes_prompt else 0] for piece, _ in keys]
    return measure_trial(train, [samples[k] for k in keys], prompts, [(t.prompt, t.target) for t in targets])


def _common(ours: Windows, theirs: Windows, length: int) -> tuple[Places, Places]:
    """Where windows of `length` <= 8 notes start that both have, in each."""
    at, names = ours.starts(length), ours.named(length)
    wanted = np.unique(names)
    parts = [np.empty(0, np.int64)]
    for begin in range(0, len(theirs.keys), CHUNK):
        part = slice(begin, begin + CHUNK)
        keys = theirs.keys[part] >> np.uint64(8 * (PATTERN - length))
        parts.append(begin + np.flatnonzero(_among(keys, wanted) & (theirs.left[part] >= length)))
    there = np.concatenate(parts)
    held = np.unique(theirs.keys[there] >> np.uint64(8 * (PATTERN - length)))
    return at[_among(names, held)], there


def _longest_runs(ours: Windows, theirs: Windows, found: tuple[Places, Places]) -> NDArray[np.int64]:
    """Notes of the longest run of each of our pieces, from where common windows of 8 notes start."""
    owner = ours.owner
    runs = np.zeros(len(ours.lengths), np.int64)
    here, there = found
    runs[owner[here]] = PATTERN
    names, held = _mixed(ours.keys[here]), _mixed(theirs.keys[there])
    length = PATTERN
    while len(here) and len(there):
        length += 1
        here, names = _grown(ours, here, names, length)
        there, held = _grown(theirs, there, held, length)
        kept, also = _among(names, np.unique(held)), _among(held, np.unique(names))
        here, names, there, held = here[kept], names[kept], there[also], held[also]
        runs[owner[here]] = length
    for shorter in range(PATTERN - 1, 0, -1):
        if (runs > shorter).all():
            break
        found_in = np.unique(owner[_common(ours, theirs, shorter)[0]])
        runs[found_in] = np.maximum(runs[found_in], shorter)
    return runs


def _grown(windows: Windows, at: Places, names: Keys, length: int) -> tuple[Places, Keys]:
    """The windows that have another note, and their names with it: now of `length` notes."""
    fits = windows.left[at] >= length
    at = at[fits]
    return at, _mixed(names[fits] + windows.pitch[at + (length - 1)])


def _mixed(keys: Keys) -> Keys:
    """A one-to-one scramble of 64-bit numbers: the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _among(values: Keys, known: Keys) -> NDArray[np.bool_]:
    """Which `values` are among `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(values), np.bool_)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: NDArray[np.bool_] = known[place] == values
    return found
