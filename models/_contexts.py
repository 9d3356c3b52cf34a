"""Contexts in which the reference row `ngram` counts: what was played before a note, coarser or finer.

Each is a viewpoint in the sense of Conklin & Witten (1995, Journal of New Music Research 24(1)). Pitches are seen as intervals
from the note before, together with its octave, so that a context is the same in all keys of about the same register. Without the
octave, drawn notes would wander off to where no music was ever heard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS, NoteCodec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Notes before the predicted one that a context may look at.
WINDOW = 8
#: Pitch that the first interval of a piece is counted from: middle C.
FIRST = 60
#: Stands for the interval to a note before the beginning of the piece.
NO_NOTE = -999
#: Time shifts of this class or below belong to the chord before; with 64 classes those under 8.4 ms.
CHORD = 6
#: Largest place in a chord that contexts tell apart.
LAST_PLACE = 5


def window(codes: NDArray[np.integer]) -> Ints:
    """Take the last notes of a piece, the newest first; -1 before its beginning. Shape (WINDOW, 4), from (n, 4)."""
    newest = np.full((WINDOW, len(FIELDS)), -1, np.int64)
    newest[: len(codes)] = codes[::-1][:WINDOW]
    return newest


@dataclass(frozen=True)
class View:
    """What contexts are made of: m notes to predict, and the notes before each.

    Parameters
    ----------
    codec : NoteCodec
    past : ndarray of int64, shape (m, WINDOW, 4)
        Classes of the notes before, see :func:`window`.
    now : ndarray of int64, shape (m, 4)
        Classes of the notes to predict. A context of one field reads only the fields before it.
    """

    codec: NoteCodec
    past: Ints
    now: Ints

    @classmethod
    def of(cls, codec: NoteCodec, pieces: Sequence[NDArray[np.integer]]) -> View:
        """View every note of `pieces`, classes of shape (n, 4) each."""
        now = np.concatenate([np.empty((0, len(FIELDS)), np.int64), *pieces])
        past = np.full((len(now), WINDOW, len(FIELDS)), -1, np.int64)
        end = 0
        for codes in pieces:
            part = past[end : end + len(codes)]
            for ago in range(1, WINDOW + 1):
                part[ago:, ago - 1] = codes[:-ago]
            end += len(codes)
        return cls(codec, past, now)

    def pitch(self, ago: int) -> Ints:
        """Pitch so many notes ago, -1 for none."""
        return self.past[:, ago - 1, 0]

    def velocity(self, ago: int) -> Ints:
        """Velocity so many notes ago, -1 for none."""
        return self.past[:, ago - 1, 1]

    def time(self, ago: int) -> Ints:
        """Class of the time shift so many notes ago, -1 for none."""
        return self.past[:, ago - 1, 2]

    def duration(self, ago: int) -> Ints:
        """Class of the duration so many notes ago, -1 for none."""
        return self.past[:, ago - 1, 3]

    def mean(self, field: int, notes: int, step: int) -> Ints:
        """Mean class of a field over the last notes, in steps of `step`."""
        mean: Ints = self.past[:, :notes, field].sum(1) // (notes * step)
        return mean

    @cached_property
    def last(self) -> Ints:
        """Pitch of the note before, from which intervals are counted."""
        return np.where(self.pitch(1) < 0, FIRST, self.pitch(1))

    @cached_property
    def octave(self) -> Ints:
        """Octave of the note before."""
        return self.last // 12

    @cached_property
    def interval(self) -> Ints:
        """Interval from the note before to the note to predict."""
        return self.now[:, 0] - self.last

    @cached_property
    def _intervals(self) -> Ints:
        """Intervals from the note before to each of the notes before. Shape (m, WINDOW)."""
        return np.where(self.past[..., 0] < 0, NO_NOTE, self.past[..., 0] - self.last[:, None])

    def intervals(self, *ago: int) -> tuple[Ints, ...]:
        """Intervals from the note before to those so many notes ago."""
        return tuple(self._intervals[:, k - 1] for k in ago)

    def chord(self, notes: int) -> tuple[Ints, ...]:
        """Return the last notes as intervals from the note before, in ascending order."""
        return tuple(np.sort(self._intervals[:, :notes], axis=1).T)

    def classes(self, notes: int) -> Ints:
        """Pitch classes of the last notes above the note before, as the bits of a number."""
        intervals = self._intervals[:, :notes]
        bits: Ints = np.bitwise_or.reduce(np.where(intervals == NO_NOTE, 0, 1 << (intervals % 12)), axis=1)
        return bits

    @cached_property
    def place(self) -> Ints:
        """Place of the note before in its chord, from 0."""
        begins = self.past[..., 2] > CHORD
        place: Ints = np.minimum(np.where(begins.any(1), begins.argmax(1), WINDOW), LAST_PLACE)
        return place

    @cached_property
    def _left(self) -> Floats:
        """Seconds for which each note before sounds after the last onset; not above 0 for one that has ended."""
        shifts = self.codec.time_values[self.past[..., 2]]
        age = np.cumsum(shifts, axis=1) - shifts
        left: Floats = np.where(self.past[..., 3] < 0, 0.0, self.codec.duration_values[self.past[..., 3]] - age)
        return left

    @cached_property
    def release(self) -> Ints:
        """Class of the time shift to the end of the sounding note that ends first."""
        first: Floats = np.where(self._left > 0, self._left, np.inf).min(1)
        return np.searchsorted(self.codec.time_edges, first, side="right")

    @cached_property
    def sounding(self) -> tuple[Ints, ...]:
        """Intervals to the notes before that still sound."""
        return tuple(np.where(self._left > 0, self._intervals, NO_NOTE).T)

    def nearest(self, field: int) -> Ints:
        """Class of a field of the note before with the nearest pitch; the newest of several."""
        away = np.where(self.past[..., 0] < 0, -NO_NOTE, np.abs(self.past[..., 0] - self.now[:, :1]))
        nearest: Ints = self.past[np.arange(len(self.past)), away.argmin(1), field]
        return nearest


Context = Callable[[View], Sequence[NDArray[np.integer] | NDArray[np.bool_]]]

PITCH: Mapping[str, Context] = {
    "note": lambda v: (v.last,),
    "2 notes": lambda v: (v.octave, *v.intervals(2)),
    "3 notes": lambda v: (v.octave, v.place, *v.intervals(2, 3)),
    "5 notes": lambda v: (v.octave, v.place, *v.intervals(2, 3, 4, 5)),
    "6 notes": lambda v: (v.octave, *v.intervals(2, 3, 4, 5, 6)),
    "8 notes": lambda v: (v.octave, *v.intervals(2, 3, 4, 5, 6, 7, 8)),
    "every 4th note": lambda v: (v.octave, v.place, *v.intervals(4, 8)),
    "sounding": lambda v: (v.octave, *v.sounding, *v.intervals(2)),
    "chord of 3": lambda v: (v.octave, *v.chord(3)),
    "chord of 4": lambda v: (v.octave, v.place, *v.chord(4)),
    "chord of 6": lambda v: (v.octave, *v.chord(6)),
    "pitch classes": lambda v: (v.octave, v.classes(6)),
    "register, pitch classes": lambda v: (v.last, v.mean(0, 8, 6), v.classes(8)),
    "register, 3 notes": lambda v: (v.last, v.place, *v.intervals(2, 3)),
    "register": lambda v: (v.last, v.mean(0, 8, 6)),
    "range": lambda v: (v.octave, v.past[..., 0].max(1) - v.last, v.past[..., 0].min(1) - v.last),
}
VELOCITY: Mapping[str, Context] = {
    "note": lambda v: (v.velocity(1), v.interval),
    "coarse note": lambda v: (v.velocity(1) // 2, v.interval // 3),
    "pitches": lambda v: (v.velocity(1) // 4, v.now[:, 0], v.pitch(1)),
    "2 notes": lambda v: (v.velocity(1) // 4, v.velocity(2) // 4, v.interval // 3),
    "mean of 4": lambda v: (v.mean(1, 4, 2), v.now[:, 0] - v.mean(0, 4, 1), v.place),
    "mean of 8": lambda v: (v.mean(1, 8, 2), (v.now[:, 0] - v.mean(0, 8, 1)) // 3),
    "mean of 8, note": lambda v: (v.mean(1, 8, 4), v.velocity(1) // 4, v.interval // 3),
    "nearest": lambda v: (v.nearest(1) // 4, v.velocity(1) // 4),
    "nearest, interval": lambda v: (v.nearest(1) // 4, v.velocity(1) // 4, v.interval // 3),
    "nearest, mean": lambda v: (v.nearest(1) // 2, v.mean(1, 4, 4)),
}
TIME: Mapping[str, Context] = {
    "release": lambda v: (v.release, v.place, v.interval > 0, v.time(1), v.time(2)),
    "release, duration": lambda v: (v.release, v.place, v.interval > 0, v.time(1), v.time(2), v.duration(1)),
    "release, 4 notes": lambda v: (v.release, v.place, v.interval > 0, *(v.time(k) for k in (1, 2, 3, 4))),
    "3 notes": lambda v: [v.time(k) for k in (1, 2, 3)],
    "4 coarse notes": lambda v: (v.interval // 3, *(v.time(k) // 8 for k in (1, 2, 3, 4))),
    "mean of 8": lambda v: (v.mean(2, 8, 4), v.time(1) // 4, v.time(2) // 4),
    "mean of 8, interval": lambda v: (v.mean(2, 8, 4), v.time(1) // 4, v.interval),
    "velocity": lambda v: (v.now[:, 1] // 4, v.velocity(1) // 4, v.time(1) // 8),
}
DURATION: Mapping[str, Context] = {
    "note": lambda v: (v.now[:, 2], v.duration(1)),
    "2 notes": lambda v: (v.now[:, 2], v.duration(1), v.duration(2)),
    "2 notes, place": lambda v: (v.now[:, 2], v.duration(1), v.duration(2), v.place),
    "2 notes, times": lambda v: (v.now[:, 2], v.time(1), v.time(2), v.duration(1), v.duration(2)),
    "release": lambda v: (v.now[:, 2], v.duration(1), v.release, v.place),
    "nearest": lambda v: (v.nearest(3) // 2, v.now[:, 2] > CHORD, v.duration(1) // 2),
    "mean of 8": lambda v: (v.mean(3, 8, 4), v.now[:, 1] // 8, v.now[:, 2] > CHORD, v.now[:, 0] // 8),
    "velocity": lambda v: (v.now[:, 2] // 4, v.duration(1) // 2, v.now[:, 1] // 8),
}

#: Contexts of each field by name, in the order of :data:`bench.api.FIELDS`. Those that help are chosen on the validation pieces.
CONTEXTS = (PITCH, VELOCITY, TIME, DURATION)
