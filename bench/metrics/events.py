"""Events: notes that begin together, and what sounds when they do. The level on which chords and the top line are heard.

Notes that begin within :data:`TOLERANCE` after the first note of an event belong to it. People hear them as one chord, and
performers don't strike them as one: a pianist's melody leads by about 30 ms (Goebl 2001, doi 10.1121/1.1376133), in the rendered
chorales by 25 ms. 50 ms is the usual tolerance for onsets (Raffel et al. 2014, mir_eval). A note also sounds at a later event
if it outlasts that event's 50 ms: the overlap of a legato is no chord.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes
from bench.music.notes import ROUNDED

#: Seconds after an event's first onset within which a note belongs to it.
TOLERANCE = 0.05

PITCHES, CLASSES = 128, 12


@dataclass(frozen=True, eq=False)
class Events:
    """Events of some music.

    Parameters
    ----------
    notes : Notes
        The n notes.
    onset : ndarray of float64, shape (events,)
        Of each event's first note, seconds.
    event : ndarray of int, shape (n,)
        Event that each note begins at.
    sounding : ndarray of bool, shape (events, 128)
        Pitches that sound at each event.
    classes : ndarray of bool, shape (events, 12)
        Their pitch classes, C first.

    Examples
    --------
    >>> notes = Notes.from_columns([0, 0.025, 1], [2, 1, 1], [72, 60, 64], [80, 80, 80])
    >>> found = events(notes)
    >>> found.onset.tolist(), found.event.tolist(), found.voices.tolist(), found.top.tolist()
    ([0.0, 1.0], [0, 0, 1], [2, 2], [72, 72])
    """

    notes: Notes
    onset: NDArray[np.float64]
    event: NDArray[np.int64]
    sounding: NDArray[np.bool_]
    classes: NDArray[np.bool_]

    @cached_property
    def voices(self) -> NDArray[np.int64]:
        """Number of pitches that sound at each event, at least 1, shape (events,)."""
        voices: NDArray[np.int64] = np.count_nonzero(self.sounding, axis=1)
        return voices

    @cached_property
    def top(self) -> NDArray[np.int64]:
        """Highest pitch that sounds at each event, shape (events,)."""
        top: NDArray[np.int64] = PITCHES - 1 - np.argmax(self.sounding[:, ::-1], axis=1)
        return top

    @cached_property
    def line(self) -> NDArray[np.int64]:
        """Pitches of the top line: of each event whose highest pitch begins there, and is not held from an earlier one."""
        begun = np.full(len(self.onset), -1)
        np.maximum.at(begun, self.event, self.notes.pitch)
        line: NDArray[np.int64] = self.top[begun == self.top]
        return line


def events(notes: Notes) -> Events:
    """Group notes into events."""
    onsets, starts, at = notes.onset.tolist(), [], 0
    while at < len(onsets):
        starts.append(at)
        at = bisect_right(onsets, onsets[at] + TOLERANCE + ROUNDED, at)
    first = np.array(starts, np.int64)
    onset = notes.onset[first]
    event = np.repeat(np.arange(len(first)), np.diff(first, append=len(notes)))
    # The last event that a note outlasts; a short note still sounds at its own.
    last = np.maximum(np.searchsorted(onset + TOLERANCE + ROUNDED, notes.onset + notes.duration) - 1, event)
    return Events(notes, onset, event, *(_held(notes.pitch % kinds, event, last, kinds) for kinds in (PITCHES, CLASSES)))


def _held(kind: NDArray[np.uint8], first: NDArray[np.int64], last: NDArray[np.int64], kinds: int) -> NDArray[np.bool_]:
    """Whether a note of each kind sounds at each event, from the first to the last event of every note."""
    size = int(last.max(initial=-1)) + 2, kinds
    change = np.bincount(first * kinds + kind, minlength=size[0] * kinds)
    change -= np.bincount((last + 1) * kinds + kind, minlength=size[0] * kinds)
    table = change.reshape(size)[:-1]
    return np.cumsum(table, axis=0, out=table) > 0
