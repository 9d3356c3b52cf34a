"""Controlled corruptions of a continuation, each at five strengths. All keep the number of notes.

Draws are seeded by piece and corruption, not by strength, and a weaker corruption changes a part of the notes that a stronger one
changes, so that strengths differ in strength alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bench.api import seed_for
from bench.music.notes import COLUMNS, Notes

Integers = NDArray[np.int64]

LONGEST_SHIFT = 16

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Context:
    """A continuation and the music that may replace its notes.

    Parameters
    ----------
    notes : Notes
        The continuation, N notes.
    following : Notes
        Notes that come after it, at least N and :data:`LONGEST_SHIFT`: those of the piece, which begins again where it ends.
    training : Notes
        N notes of a training piece.
    median : tuple of (int, int)
        The training set's median pitch and velocity.
    name : str
        Name of the piece; it seeds the draws.
    """

    notes: Notes
    following: Notes
    training: Notes
    median: tuple[int, int]
    name: str


@dataclass(frozen=True)
class Corruption:
    """One way to damage music.

    Parameters
    ----------
    name, title : str
    strengths : tuple of float
        Five, increasing.
    unit : str
        Meaning of a strength.
    apply : callable
        Takes a context and a strength.
    """

    name: str
    title: str
    strengths: tuple[float, ...]
    unit: str
    apply: Callable[[Context, float], Notes]


def transpose(context: Context, semitones: float) -> Notes:
    """Transpose up; a note that would leave MIDI's range goes down instead."""
    pitch = context.notes.pitch.astype(np.int64) + int(semitones)
    return _replaced(context.notes, pitch=np.where(pitch > 127, pitch - 2 * int(semitones), pitch))


def stretch(context: Context, factor: float) -> Notes:
    """Multiply durations, and onsets relative to the first, by a factor."""
    notes = context.notes
    start = notes.onset[0] if len(notes) else 0.0
    return _replaced(notes, onset=start + (notes.onset - start) * factor, duration=notes.duration * factor)


def jitter(context: Context, seconds: float) -> Notes:
    """Move every onset by normal noise of this standard deviation, never before 0; notes are sorted again."""
    notes = context.notes
    noise = _rng(context, "jitter").standard_normal(len(notes))
    return _replaced(notes, onset=np.maximum(notes.onset + seconds * noise, 0.0))


def flatten_velocity(context: Context, share: float) -> Notes:
    """Move velocities this share of the way to their mean."""
    velocity = context.notes.velocity.astype(np.float64)
    mean = velocity.mean() if len(velocity) else 0.0
    return _replaced(context.notes, velocity=np.rint(velocity + share * (mean - velocity)))


def shuffle_velocity(context: Context, share: float) -> Notes:
    """Shuffle the velocities of this share of the notes."""
    at, order = _shuffled(context, "shuffle_velocity", share)
    velocity = context.notes.velocity.copy()
    velocity[at] = velocity[at[order]]
    return _replaced(context.notes, velocity=velocity)


def drop(context: Context, share: float) -> Notes:
    """Drop this share of the notes; as many of the following notes are appended."""
    dropped = _chosen(context, "drop", share)
    keep = np.setdiff1d(np.arange(len(context.notes)), dropped)
    return Notes.concatenate([_at(context.notes, keep), context.following[: len(dropped)]])


def shift(context: Context, notes: float) -> Notes:
    """Take the music that begins this number of notes later."""
    by, n = int(notes), len(context.notes)
    return Notes.concatenate([context.notes[by:], context.following[max(0, by - n) : by]])


def shuffle_order(context: Context, share: float) -> Notes:
    """Shuffle pitch, velocity and duration of this share of the notes together; onsets stay.

    Within a chord the lowest comes first again, as in every file. The reference row ``shuffle`` leaves even that order random.
    """
    at, order = _shuffled(context, "shuffle_order", share)
    columns = {name: getattr(context.notes, name).copy() for name in ("pitch", "velocity", "duration")}
    for column in columns.values():
        column[at] = column[at[order]]
    return _replaced(context.notes, **columns)


def repeat(context: Context, times: float) -> Notes:
    """Repeat the first part of the music; each copy begins one inter-onset interval after the last onset."""
    notes, n = context.notes, len(context.notes)
    length = -(-n // int(times))
    if length >= n:
        return notes
    # A part of one chord has a period of 0, which would put all copies at the same time.
    period = min(float(notes.onset[length] - notes.onset[0]) or 1.0, LONGEST_PERIOD)
    return Notes.concatenate([notes[:length].shifted(i * period) for i in range(-(-n // length))])[:n]


def train(context: Context, share: float) -> Notes:
    """Replace this share of the notes, at the end, by notes of a training piece."""
    n = len(context.notes)
    kept = n - _count(share, n)
    new = context.training[: n - kept]
    start = float(context.notes.onset[kept]) if kept < n else 0.0
    return Notes.concatenate([context.notes[:kept], new.shifted(start - float(new.onset[0])) if len(new) else new])


def median(context: Context, share: float) -> Notes:
    """Set this share of the notes to the training set's median pitch and velocity; onsets and durations stay."""
    at = _chosen(context, "median", share)
    pitch, velocity = context.notes.pitch.copy(), context.notes.velocity.copy()
    pitch[at], velocity[at] = context.median
    return _replaced(context.notes, pitch=pitch, velocity=velocity)


#: Most seconds between the copies of :func:`repeat`: a pause of hours would take its 31 copies beyond what notes may have.
LONGEST_PERIOD = 1000.0

#: Every corruption, by name, in the order of the tables.
CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        c.name: c
        for c in (
            Corruption("transpose", "transposed", (1, 2, 3, 4, 6), "semitones", transpose),
            Corruption("stretch", "time stretched", (1.05, 1.1, 1.25, 1.5, 2), "times as long", stretch),
            Corruption("jitter", "onsets jittered", (0.01, 0.02, 0.05, 0.1, 0.2), "s of standard deviation", jitter),
            Corruption("flatten_velocity", "velocity flattened", SHARES, "of the way to the mean", flatten_velocity),
            Corruption("shuffle_velocity", "velocity shuffled", SHARES, "of the notes", shuffle_velocity),
            Corruption("drop", "notes dropped", (0.02, 0.05, 0.1, 0.25, 0.5), "of the notes", drop),
            Corruption("shift", "shifted by notes", (1, 2, 4, 8, LONGEST_SHIFT), "notes", shift),
            Corruption("shuffle_order", "order shuffled", SHARES, "of the notes", shuffle_order),
            Corruption("repeat", "segment repeated", (2, 4, 8, 16, 32), "times", repeat),
            Corruption("train", "replaced by training piece", SHARES, "of the notes", train),
            Corruption("median", "constant median", SHARES, "of the notes", median),
        )
    }
)


def _replaced(notes: Notes, **columns: NDArray[np.generic]) -> Notes:
    return Notes.from_columns(**{name: columns.get(name, getattr(notes, name)) for name in COLUMNS})


def _at(notes: Notes, index: Integers) -> Notes:
    return Notes(*(getattr(notes, name)[index] for name in COLUMNS))


def _rng(context: Context, corruption: str) -> np.random.Generator:
    return np.random.default_rng(seed_for("audit", corruption, context.name))


def _count(share: float, n: int) -> int:
    return round(share * n)


def _chosen(context: Context, corruption: str, share: float) -> Integers:
    """Choose this share of the notes, as ascending indices; a smaller share is a part of a larger one."""
    n = len(context.notes)
    return np.sort(_rng(context, corruption).permutation(n)[: _count(share, n)])


def _shuffled(context: Context, corruption: str, share: float) -> tuple[Integers, Integers]:
    """Choose notes, and the order in which they trade places."""
    at = _chosen(context, corruption, share)
    return at, np.random.default_rng(seed_for("audit", corruption, context.name, "order")).permutation(len(at))
