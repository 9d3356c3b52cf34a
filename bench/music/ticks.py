"""Notes in ticks of a tempo, and as symusic scores: what tokenisers and notation tools take."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.music.midi import MOST_TICKS, RESOLUTION, notes_of
from bench.music.notes import Notes


class Ticks(NamedTuple):
    """Columns of notes in ticks, as those of :class:`Notes`: ``onset`` and ``duration`` are whole numbers, shape (n,)."""

    onset: NDArray[np.int64]
    duration: NDArray[np.int64]
    pitch: NDArray[np.uint8]
    velocity: NDArray[np.uint8]


def to_ticks(notes: Notes, ticks_per_quarter: int = RESOLUTION, tempo: float = 120.0) -> Ticks:
    """Round notes to ticks of ``60 / tempo / ticks_per_quarter`` seconds; a note lasts at least one.

    Parameters
    ----------
    notes : Notes
    ticks_per_quarter : int
    tempo : float
        Quarter notes a minute.

    Raises
    ------
    DataError
        If a number isn't above 0, or a note ends after 2^28 ticks, more than a MIDI file holds.

    Examples
    --------
    >>> notes = Notes.from_columns(onset=[0.0, 0.26], duration=[0.25, 0.001], pitch=[60, 64], velocity=[80, 80])
    >>> ticks = to_ticks(notes, ticks_per_quarter=4, tempo=60)
    >>> ticks.onset.tolist(), ticks.duration.tolist()
    ([0, 1], [1, 1])
    """
    per_second = _per_second(ticks_per_quarter, tempo)
    start = np.rint(notes.onset * per_second)
    length = np.maximum(np.rint(notes.duration * per_second), 1)
    if len(start) and (start + length).max() >= MOST_TICKS:
        raise DataError(f"A note ends after {MOST_TICKS / per_second:,.0f} s, more than 2^28 ticks.", "Use fewer ticks a second.")
    return Ticks(start.astype(np.int64), length.astype(np.int64), notes.pitch, notes.velocity)


def from_ticks(ticks: Ticks, ticks_per_quarter: int = RESOLUTION, tempo: float = 120.0) -> Notes:
    """Make notes from ticks, in any order; the inverse of :func:`to_ticks` for notes on its grid.

    Raises
    ------
    DataError
        If a number isn't above 0, or a column is no column of :class:`Notes`.
    """
    per_second = _per_second(ticks_per_quarter, tempo)
    return Notes.from_columns(ticks.onset / per_second, ticks.duration / per_second, ticks.pitch, ticks.velocity)


def to_score(notes: Notes, ticks_per_quarter: int = RESOLUTION, tempo: float = 120.0) -> Any:
    """Make a ``symusic.Score`` of one piano track with a tempo; see :func:`to_ticks`."""
    from symusic import Note, Score, Tempo, Track

    columns = to_ticks(notes, ticks_per_quarter, tempo)
    score: Any = Score(ticks_per_quarter)
    score.tempos.append(Tempo(time=0, qpm=tempo))
    track: Any = Track(program=0, is_drum=False, name="")
    for onset, duration, pitch, velocity in zip(*(column.tolist() for column in columns), strict=True):
        track.notes.append(Note(time=onset, duration=duration, pitch=pitch, velocity=velocity))
    score.tracks.append(track)
    return score


def from_score(score: Any) -> Notes:
    """Make notes of a ``symusic.Score``, by its tempo map: all pitched tracks merged, drums left out.

    Raises
    ------
    DataError
        If its times are no times of :class:`Notes`.
    """
    score = score.to("Tick")
    return notes_of(score, [track.notes.numpy() for track in score.tracks if not track.is_drum and len(track.notes)])


def _per_second(ticks_per_quarter: int, tempo: float) -> float:
    if not (ticks_per_quarter > 0 and 0 < tempo < np.inf):
        raise DataError(f"{ticks_per_quarter} ticks a quarter note at a tempo of {tempo} give no grid; both must be above 0.")
    return ticks_per_quarter * tempo / 60
