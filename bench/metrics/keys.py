"""Key of some music, by Krumhansl and Schmuckler's algorithm: its pitch classes correlated with the profile of every key.

The profiles are those of Krumhansl & Kessler (1982), as published in Krumhansl (1990), *Cognitive Foundations of Musical Pitch*.
:func:`bench.music.harmony.theory.find_key` finds the same key by music21, whose import takes seconds: too slow for a metric.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes

CLASSES = 12

MODES = ("major", "minor")

_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}

#: Semitones above the tonic. Minor is natural minor and its leading tone: music in minor uses both.
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10, 11)}

#: A row a key, C major first, then the other tonics, then minor; standardised, so that a product gives correlations.
_KEYS = np.array([np.roll(_PROFILES[mode], tonic) for mode in MODES for tonic in range(CLASSES)])
_KEYS = (_KEYS - _KEYS.mean(1, keepdims=True)) / _KEYS.std(1, keepdims=True)


def correlations(notes: Notes) -> NDArray[np.float64]:
    """Correlate the pitch classes of at least one note, each by its total duration, with every key.

    Returns
    -------
    ndarray, shape (24,)
        C major, then the other tonics, then minor; 0 for all where every pitch class sounds equally long.
    """
    sounding = np.bincount(notes.pitch % CLASSES, weights=notes.duration, minlength=CLASSES)
    spread = sounding.std()
    result: NDArray[np.float64] = _KEYS @ (sounding - sounding.mean()) / (CLASSES * (spread or 1.0))
    return result


def find_key(notes: Notes) -> tuple[int, str]:
    """Estimate the key of at least one note: its tonic's pitch class, C is 0, and ``major`` or ``minor``.

    Of keys that fit equally well it is the first, major before minor.

    Examples
    --------
    >>> find_key(Notes.from_columns(range(4), [1, 1, 1, 2], [62, 66, 69, 74], [80] * 4))
    (2, 'major')
    """
    best = int(np.argmax(correlations(notes)))
    return best % CLASSES, MODES[best // CLASSES]


def in_scale(notes: Notes, key: tuple[int, str]) -> float:
    """Share of at least one note whose pitch class is in the scale of a key.

    >>> in_scale(Notes.from_columns([0, 1], [1, 1], [60, 61], [80, 80]), (0, "major"))
    0.5
    """
    tonic, mode = key
    scale = np.zeros(CLASSES, np.bool_)
    scale[[(tonic + step) % CLASSES for step in SCALES[mode]]] = True
    return float(scale[notes.pitch % CLASSES].mean())
