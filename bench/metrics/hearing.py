"""Hearing: what a listener notices at once, measured on chords, voices, key and melody instead of notes of the same index.

All are shares of a sample's own events (:mod:`bench.metrics.events`), notes or patterns. Real music is neither at 0 nor at 100 %
in any, so none is better high or low: compare with the row ``real``. Only the scale is of the prompt's key, which another piece
is not in: `prompt_scale_real` has the share of the real continuation.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bench.api import Notes
from bench.metrics.events import CLASSES, Events
from bench.metrics.keys import find_key, in_scale
from bench.metrics.metric import Metric, Undefined, Value

#: Notes of a pattern of the top line.
PATTERN = 5

#: Semitones above the root: triads, sevenths, and the sevenths that are complete without their fifth.
CHORDS = (
    *((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 8)),
    *((0, 4, 7, 10), (0, 4, 7, 11), (0, 3, 7, 10), (0, 3, 6, 10), (0, 3, 6, 9)),
    *((0, 4, 10), (0, 4, 11), (0, 3, 10)),
)

METRICS = (
    Metric(
        "semitone_clashes",
        "Semitone clashes",
        "%",
        None,
        "Share of events at which two pitch classes a semitone apart sound, in any octave (interval class 1, so also a major "
        "seventh or a minor ninth).",
        "this suite; interval classes: Forte 1973, The Structure of Atonal Music",
        1,
        group="hearing",
        tolerance=8,
        floor=1.0,
        version=2,
    ),
    Metric(
        "chord_events",
        "Triads and sevenths",
        "%",
        None,
        "Share of the events with three or more pitch classes whose pitch classes are exactly those of a triad (major, minor, "
        "diminished, augmented) or a seventh chord (major, dominant, minor, half-diminished, diminished), which may lack its "
        "perfect fifth.",
        "this suite",
        1,
        group="hearing",
        tolerance=8,
        floor=1.0,
        occasional=True,
        version=2,
    ),
    Metric(
        "extra_voices",
        "Extra voices",
        "%",
        None,
        "Share of events at which more pitches sound than at any event of the real continuation (more than 4 in a chorale).",
        "this suite",
        1,
        group="hearing",
        tolerance=6,
        floor=1.0,
        version=2,
    ),
    Metric(
        "prompt_scale",
        "In the prompt's scale",
        "%",
        None,
        "Share of notes in the scale of the prompt's key, as estimated from the prompt: major, or natural minor and its leading "
        "tone.",
        "this suite; key: Krumhansl 1990 (Krumhansl-Schmuckler)",
        1,
        group="hearing",
        tolerance=8,
        floor=1.0,
        counterpart="prompt_scale_real",
        near_counterpart=True,
    ),
    Metric(
        "prompt_scale_real",
        "In the prompt's scale (real)",
        "%",
        None,
        "The same of the real continuation.",
        "this suite; key: Krumhansl 1990 (Krumhansl-Schmuckler)",
        1,
        group="hearing",
        tolerance="off",
        floor=1.0,
    ),
    Metric(
        "repeated_melody",
        "Repeated melody",
        "%",
        None,
        f"Share of the top line's patterns of {PATTERN} pitches in a row that occurred before in the same sample.",
        "this suite; top line: skyline, Uitdenbogerd & Zobel 1999, doi 10.1145/319463.319470",
        group="hearing",
        tolerance=3,
        floor=1.0,
        occasional=True,
        version=2,
    ),
)

_BITS = 1 << np.arange(CLASSES)


def _chord_table() -> NDArray[np.bool_]:
    """Whether a set of pitch classes, bit i for class i, is a chord on any root, shape (4096,)."""
    table = np.zeros(1 << CLASSES, np.bool_)
    for chord in CHORDS:
        for root in range(CLASSES):
            table[sum(1 << (root + tone) % CLASSES for tone in chord)] = True
    return table


_IS_CHORD = _chord_table()


def semitone_clashes(heard: Events) -> float:
    """Share of events with two pitch classes a semitone apart, percent."""
    classes = heard.classes
    return 100 * float((classes & np.roll(classes, 1, axis=1)).any(axis=1).mean())


def chord_events(heard: Events) -> Value:
    """Share of the events with at least three pitch classes that form a chord, percent; undefined without such an event."""
    full = heard.classes[np.count_nonzero(heard.classes, axis=1) >= 3]
    if not len(full):
        return Undefined("no event has three pitch classes")
    return 100 * float(_IS_CHORD[full @ _BITS].mean())


def extra_voices(heard: Events, real: Events) -> float:
    """Share of events with more voices than the real continuation ever has, percent."""
    return 100 * float((heard.voices > real.voices.max()).mean())


def repeated_melody(line: NDArray[np.int64]) -> Value:
    """Share of the patterns of 5 pitches that occurred before, percent; patterns overlap.

    >>> repeated_melody(np.array([60, 62, 64, 65, 67, 60, 62, 64, 65, 67]))  # the last of six
    16.666666666666664
    """
    if len(line) < PATTERN:
        return Undefined(f"the top line has fewer than {PATTERN} notes")
    patterns = sliding_window_view(line.astype(np.uint8), PATTERN)
    return 100 * (1 - len({pattern.tobytes() for pattern in patterns}) / len(patterns))


def evaluate(heard: Events, real: Events, prompt: Notes | None) -> dict[str, Value]:
    """Compute every metric of this module.

    Parameters
    ----------
    heard, real : Events
        Of the sample and of its target.
    prompt : Notes or None
        Notes before both; without any, there is no key to compare with.
    """
    if not len(heard.notes) or not len(real.notes):
        return dict.fromkeys((m.name for m in METRICS), Undefined("no notes to compare"))
    if prompt is None or not len(prompt):
        scales: tuple[Value, Value] = (Undefined("no prompt has a key"),) * 2
    else:
        key = find_key(prompt)
        scales = 100 * in_scale(heard.notes, key), 100 * in_scale(real.notes, key)
    return {
        "semitone_clashes": semitone_clashes(heard),
        "chord_events": chord_events(heard),
        "extra_voices": extra_voices(heard, real),
        "prompt_scale": scales[0],
        "prompt_scale_real": scales[1],
        "repeated_melody": repeated_melody(heard.line),
    }
