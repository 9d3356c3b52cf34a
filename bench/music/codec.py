"""Note codec shared by the shipped models: a note is four classes.

It belongs to the contract, not to one model, because bits per note can be compared only between models that predict the
same classes. Pitch and velocity are MIDI's own 128 values. Time shift (from the previous onset) and duration fall into
log-spaced classes, since a difference of 10 ms matters at 20 ms and not at 2 s. A model may encode music in its own way
(its likelihood then can't be compared).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError, PluginError
from bench.music.notes import FIELDS, Notes

PITCHES = 128
VELOCITIES = 128

#: Time shifts below the first value count as a chord (class 0); the open last class begins at the second. Seconds.
TIME_SPAN = (0.004, 8.0)
#: Upper edge of the shortest and lower edge of the (open) longest duration class. Seconds.
DURATION_SPAN = (0.015, 12.0)

#: Least number of classes: the lowest, the highest, and one between them. And the most that a code has the digits for.
LEAST, MOST = 3, 2**15


@dataclass(frozen=True)
class NoteCodec:
    """Conversion of notes to four class indices each, and back.

    Parameters
    ----------
    time_classes, duration_classes : int
        Number of log-spaced classes of the time shift and the duration, 3 to 32,768.

    Raises
    ------
    PluginError
        If they are others.

    Examples
    --------
    >>> codec = NoteCodec()
    >>> codec.sizes
    (128, 128, 64, 64)
    >>> codes = codec.encode(Notes.from_columns(onset=[0.0, 0.5], duration=[0.5, 0.5], pitch=[60, 64], velocity=[80, 80]))
    >>> codes.tolist()
    [[60, 80, 0, 33], [64, 80, 40, 33]]
    >>> codec.decode(codes).onset.round(2).tolist()
    [0.0, 0.51]
    """

    time_classes: int = 64
    duration_classes: int = 64

    def __post_init__(self) -> None:
        for name in ("time_classes", "duration_classes"):
            given = getattr(self, name)
            if not (isinstance(given, int | np.integer) and LEAST <= given <= MOST):
                raise PluginError(f"{name} is {given!r}; a note codec needs a whole number from {LEAST} to {MOST:,}.")
            object.__setattr__(self, name, int(given))

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Number of classes of each field, in the order of :data:`bench.music.notes.FIELDS`."""
        return (PITCHES, VELOCITIES, self.time_classes, self.duration_classes)

    @cached_property
    def time_edges(self) -> NDArray[np.float64]:
        """Inner edges of the time-shift classes, seconds, shape (time_classes - 1,)."""
        return np.geomspace(*TIME_SPAN, self.time_classes - 1)

    @cached_property
    def duration_edges(self) -> NDArray[np.float64]:
        """Inner edges of the duration classes, seconds, shape (duration_classes - 1,)."""
        return np.geomspace(*DURATION_SPAN, self.duration_classes - 1)

    @cached_property
    def time_values(self) -> NDArray[np.float64]:
        """Value that each time-shift class decodes to, seconds; class 0 is a chord, 0 s. Shape (time_classes,)."""
        return np.concatenate([[0.0], _centres(self.time_edges)])

    @cached_property
    def duration_values(self) -> NDArray[np.float64]:
        """Value that each duration class decodes to, seconds, shape (duration_classes,)."""
        ratio = self.duration_edges[1] / self.duration_edges[0]
        return np.concatenate([[self.duration_edges[0] / np.sqrt(ratio)], _centres(self.duration_edges)])

    def encode(self, notes: Notes, previous_onset: float | None = None) -> NDArray[np.int16]:
        """Encode each note as class indices.

        Parameters
        ----------
        notes : Notes
            n notes.
        previous_onset : float, optional
            Onset of the note before the first, seconds. Without it the first note has time shift 0: silence before a piece
            is not music.

        Returns
        -------
        ndarray of int16, shape (n, 4)
            Columns in the order of :data:`bench.music.notes.FIELDS`.
        """
        codes = np.empty((len(notes), len(FIELDS)), np.int16)
        if len(notes) == 0:
            return codes
        first = notes.onset[0] if previous_onset is None else previous_onset
        shift = np.diff(notes.onset, prepend=first)
        codes[:, 0] = notes.pitch
        codes[:, 1] = notes.velocity
        codes[:, 2] = np.searchsorted(self.time_edges, shift, side="right")
        codes[:, 3] = np.searchsorted(self.duration_edges, notes.duration, side="right")
        return codes

    def decode(self, codes: NDArray[np.integer], start: float = 0.0) -> Notes:
        """Decode class indices to notes.

        Parameters
        ----------
        codes : ndarray of int, shape (n, 4)
            As from :meth:`encode`. A velocity of 0 (note-off in MIDI) becomes 1.
        start : float
            Onset that the first time shift is added to, seconds.

        Returns
        -------
        Notes
            n notes, sorted by (onset, pitch).

        Raises
        ------
        DataError
            If a code is none of its field's classes.
        """
        codes = np.asarray(codes)
        for column, (field, size) in enumerate(zip(FIELDS, self.sizes, strict=True)):
            if len(codes) and not (codes[:, column].min() >= 0 and codes[:, column].max() < size):  # -1 would be the last class
                raise DataError(f"A code of {field} isn't from 0 to {size - 1}.")
        return Notes.from_columns(
            onset=start + np.cumsum(self.time_values[codes[:, 2]]),
            duration=self.duration_values[codes[:, 3]],
            pitch=codes[:, 0],
            velocity=np.maximum(codes[:, 1], 1),
        )


def _centres(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Geometric centres of log-spaced classes, the open last class taken to be as wide as the others."""
    centres: NDArray[np.float64] = edges * np.sqrt(edges[1] / edges[0])
    return centres
