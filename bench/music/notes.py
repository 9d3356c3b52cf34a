"""Notes as columns: the form in which engine, models and metrics exchange music. NumPy only."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import DataError

#: The four fields of a note in the order in which models predict them: each is conditioned on those before it.
FIELDS = ("pitch", "velocity", "time", "duration")

COLUMNS = ("onset", "duration", "pitch", "velocity")

#: What no onset and no duration reaches, seconds: 28 hours. A written MIDI file holds at most 2^28 ticks, 78 hours, between two
#: events, so a note that begins and lasts as long as notes may still fits.
LONGEST = 1e5

#: By how much two times that are the same may differ, seconds: 0.53 - 0.5 is above 0.03, and 0.63 - 0.6 is not.
ROUNDED = 1e-6


@dataclass(frozen=True, eq=False)
class Notes:
    """Notes as columns of equal length n, sorted by (onset, pitch). Immutable; columns may be views of a corpus.

    Parameters
    ----------
    onset : ndarray of float64, shape (n,)
        Seconds, at least 0.
    duration : ndarray of float64, shape (n,)
        Seconds, above 0; `onset` + `duration` is above `onset`.
    pitch : ndarray of uint8, shape (n,)
        MIDI note number, 0-127.
    velocity : ndarray of uint8, shape (n,)
        MIDI velocity, 1-127.

    Raises
    ------
    DataError
        If a column has the wrong length or range, pitches or velocities are no whole numbers, or the notes are not sorted.

    Examples
    --------
    >>> notes = Notes.from_columns(onset=[0.5, 0.0], duration=[1.0, 0.4], pitch=[64, 60], velocity=[80, 70])
    >>> notes.pitch.tolist()
    [60, 64]
    >>> len(notes[:1]), notes[:1].shifted(2.0).onset.tolist()
    (1, [2.0])
    """

    onset: NDArray[np.float64]
    duration: NDArray[np.float64]
    pitch: NDArray[np.uint8]
    velocity: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for name in COLUMNS:
            given = (_seconds if name in ("onset", "duration") else _whole)(name, getattr(self, name))
            # A caller may use its own arrays again, as for the next continuation.
            column = given.copy() if given.flags.writeable else given.view()
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        check_columns(self.onset, self.duration, self.pitch, self.velocity)

    @classmethod
    def _checked(
        cls, onset: NDArray[np.float64], duration: NDArray[np.float64], pitch: NDArray[np.uint8], velocity: NDArray[np.uint8]
    ) -> Notes:
        """Make notes of columns that are known to be valid: read-only views, neither copied nor checked again."""
        notes = object.__new__(cls)
        columns: tuple[NDArray[Any], ...] = (onset, duration, pitch, velocity)
        for name, column in zip(COLUMNS, columns, strict=True):
            view = column.view()
            view.flags.writeable = False
            object.__setattr__(notes, name, view)
        return notes

    @classmethod
    def from_columns(cls, onset: ArrayLike, duration: ArrayLike, pitch: ArrayLike, velocity: ArrayLike) -> Notes:
        """Make notes from columns in any order: sorted by (onset, pitch), ties keep their order.

        Raises
        ------
        DataError
            If a column has the wrong length or range, or pitches or velocities are no whole numbers.
        """
        onset_, duration_ = _seconds("onset", onset), _seconds("duration", duration)
        pitch_, velocity_ = _whole("pitch", pitch), _whole("velocity", velocity)
        _check_shapes((onset_, duration_, pitch_, velocity_))
        order = np.lexsort((pitch_, onset_))
        return cls(onset_[order], duration_[order], pitch_[order], velocity_[order])

    @classmethod
    def concatenate(cls, parts: Sequence[Notes]) -> Notes:
        """Merge several parts, sorted together."""
        if not parts:
            return cls.from_columns([], [], [], [])
        return cls.from_columns(*(np.concatenate([getattr(p, c) for p in parts]) for c in COLUMNS))

    def __len__(self) -> int:
        return len(self.onset)

    def __getitem__(self, index: slice) -> Notes:
        return Notes(self.onset[index], self.duration[index], self.pitch[index], self.velocity[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Notes) and all(np.array_equal(getattr(self, c), getattr(other, c)) for c in COLUMNS)

    __hash__ = None  # type: ignore[assignment]

    def shifted(self, seconds: float) -> Notes:
        """Copy the notes, `seconds` later: sorted again, as rounding may bring onsets together, and none of no length."""
        onset = self.onset + seconds
        return Notes.from_columns(onset, np.maximum(self.duration, np.spacing(onset)), self.pitch, self.velocity)


def check_columns(
    onset: NDArray[np.float64],
    duration: NDArray[np.float64],
    pitch: NDArray[np.uint8],
    velocity: NDArray[np.uint8],
    starts: NDArray[np.int64] | None = None,
) -> None:
    """Raise a DataError if columns are not notes as :class:`Notes` defines them.

    Parameters
    ----------
    onset, duration, pitch, velocity : ndarray, shape (n,)
    starts : ndarray of int, optional
        Index of each piece's first note, if the columns hold several pieces one after the other, each sorted by itself.

    Raises
    ------
    DataError
        If a column has the wrong length or range, or the notes are not sorted.
    """
    _check_shapes((onset, duration, pitch, velocity))
    n = len(onset)
    if n == 0:
        return
    # min and max propagate a NaN, so that one pass each also finds values that aren't finite.
    if not (onset.min() >= 0 and onset.max() < LONGEST):
        raise DataError(f"Notes.onset must be at least 0 s and below {LONGEST:,.0f} s.")
    if not (duration.min() > 0 and duration.max() < LONGEST):
        raise DataError(f"Notes.duration must be above 0 s and below {LONGEST:,.0f} s.")
    if not (onset + duration > onset).all():
        raise DataError("Notes.duration is too short for some note to end after its onset, in double precision.")
    if pitch.max() > 127:
        raise DataError(f"Notes.pitch has {pitch.max()}, MIDI ends at 127.")
    if velocity.min() < 1 or velocity.max() > 127:
        raise DataError("Notes.velocity must be 1-127 (0 is a note-off in MIDI).")
    unsorted = (onset[1:] < onset[:-1]) | ((onset[1:] == onset[:-1]) & (pitch[1:] < pitch[:-1]))
    if starts is not None:
        unsorted[starts[(starts > 0) & (starts < n)] - 1] = False
    if unsorted.any():
        raise DataError("Notes are not sorted by (onset, pitch); Notes.from_columns sorts.")


def _check_shapes(columns: Sequence[NDArray[Any]]) -> None:
    """Refuse columns that don't have one length."""
    shape = (columns[0].size,)
    for name, column in zip(COLUMNS, columns, strict=True):
        if column.shape != shape:
            raise DataError(f"Notes.{name} has shape {column.shape}, expected {shape} as Notes.onset.")


def _number(name: str, given: ArrayLike) -> NDArray[Any]:
    """Convert to numbers, such as fractions of music21; refuse complex numbers, truth values and text."""
    column = np.asarray(given)
    if column.dtype.kind in "fiu":
        return column
    # Objects, or a type that NumPy doesn't know, as bfloat16. It would convert text and truth values among objects.
    if (column.dtype.kind == "V" and column.dtype.names is None) or (
        column.dtype.kind == "O" and all(map(_is_real, column.flat))
    ):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return column.astype(np.float64)
    raise DataError(f"Notes.{name} has the type {column.dtype}, expected numbers.")


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool)


def _seconds(name: str, given: ArrayLike) -> NDArray[np.float64]:
    return _number(name, given).astype(np.float64, copy=False)


def _whole(name: str, given: ArrayLike) -> NDArray[np.uint8]:
    """Refuse what isn't a whole number of MIDI's: converted, 300 would be 44, and NaN 0."""
    column = np.asarray(given)
    if column.dtype == np.uint8 or not column.size:
        return column.astype(np.uint8, copy=False)
    column = _number(name, column)
    wrong = ~((column >= 0) & (column <= 127) & (column == np.trunc(column)))
    if wrong.any():
        raise DataError(f"Notes.{name} has {column[wrong][0]}, expected whole numbers from 0 to 127.")
    return column.astype(np.uint8)
