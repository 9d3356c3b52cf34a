"""Plans: the chord under each note of a melody, and the weight of each pitch there. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Number of MIDI pitches, and of pitch classes.
PITCHES, CLASSES = 128, 12


@dataclass(frozen=True)
class Plan:
    """A key, and a sequence of chords, each under the same number of notes, repeated as long as needed.

    Parameters
    ----------
    key : str
        For display: ``C major``.
    scale : tuple of int
        The key's pitch classes, 0-11, C is 0.
    chords : tuple of tuple of int
        The pitch classes of each chord, its bass first.
    notes_per_chord : int
    """

    key: str
    scale: tuple[int, ...]
    chords: tuple[tuple[int, ...], ...]
    notes_per_chord: int

    def chord_at(self, note: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index into `chords` for each note of the melody, counted from 0."""
        return note // self.notes_per_chord % len(self.chords)

    @property
    def chord_tones(self) -> NDArray[np.bool_]:
        """Whether a pitch class belongs to each chord, shape (chords, 12)."""
        tones = np.zeros((len(self.chords), CLASSES), np.bool_)
        for row, chord in zip(tones, self.chords, strict=True):
            row[list(chord)] = True
        return tones

    @property
    def scale_tones(self) -> NDArray[np.bool_]:
        """Whether a pitch class belongs to the key, shape (12,)."""
        tones = np.zeros(CLASSES, np.bool_)
        tones[list(self.scale)] = True
        return tones

    def log_weights(self, notes: int, *, chord: float, scale: float, other: float) -> NDArray[np.float64]:
        """Log weights to add to each note's pitch log probabilities, which multiplies the probabilities.

        Parameters
        ----------
        notes : int
        chord, scale, other : float
            Weights, above 0, of the chord's tones, of the key's other tones, and of all other tones.

        Returns
        -------
        ndarray, shape (notes, 128)
        """
        classes = np.where(self.chord_tones, chord, np.where(self.scale_tones, scale, other))  # (chords, 12)
        by_chord = np.log(classes)[:, np.arange(PITCHES) % CLASSES]  # (chords, 128)
        weights: NDArray[np.float64] = by_chord[self.chord_at(np.arange(notes))]
        return weights

    def stored(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "key": self.key,
            "scale": list(self.scale),
            "chords": [list(chord) for chord in self.chords],
            "notes_per_chord": self.notes_per_chord,
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Plan:
        """Restore a plan from the result of :meth:`stored`."""
        chords = tuple(tuple(chord) for chord in stored["chords"])
        return cls(stored["key"], tuple(stored["scale"]), chords, stored["notes_per_chord"])
