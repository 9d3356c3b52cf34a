"""MuSpy's descriptors of a sample (Dong et al. 2020): range, entropies, scale, polyphony, empty time, groove.

MuSpy counts integer steps, beats and bars. A performance has none, so all times are put on one fixed grid: 120 beats a minute,
24 steps a beat, 4 beats a bar, hence 48 steps a second, beats of 0.5 s and bars of 2 s. Step 0 is the first onset; onsets and
ends go to the nearest step; a note lasts at least one. On this grid a "beat" is half a second, whatever the music's own beat.

Where MuSpy 0.5.0's rule is odd, its number has the prefix ``muspy_`` and serves comparison only; a sound one has the plain name:

- Polyphony rate: MuSpy's text says "multiple pitches", its default counts steps with more than 2. Ours counts 2 or more.
- Empty beats and bars: in MuSpy a note fills the beat that begins as it ends, and one more beat is counted when the music ends
  with one. Ours takes a note as the half-open [onset, end), and the beats up to the end.
- Groove: MuSpy's last bar is the one that holds the end of the last note. It may have no onset, or no music at all. Ours ends
  with the bar of the last onset.
- No notes: MuSpy returns 0, returns NaN or raises. Here every metric is undefined, with a reason.

The number of pitches used is :mod:`bench.metrics.spread`'s ``unique_pitches``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes
from bench.metrics.distributions import entropy, pitch_classes
from bench.metrics.metric import Metric, Undefined, Value

STEPS_PER_SECOND = 48
#: In steps.
BEAT, BAR = 24, 96

SOURCE = "MuSpy (Dong et al. 2020)"
ODD = "MuSpy 0.5.0 as it is, for comparison only (Dong et al. 2020)"
GRID = "48 steps a second"

METRICS = (
    Metric(
        "pitch_range",
        "Pitch range",
        "semitones",
        None,
        "Highest minus lowest pitch of a sample.",
        SOURCE,
        1,
        group="descriptors",
        tolerance=36,  # Three octaves: one stray note decides it. It finds models that play all over the keyboard.
        floor=2.0,
    ),
    Metric(
        "unique_pitch_classes",
        "Unique pitch classes",
        "classes",
        None,
        "Number of different pitch classes in a sample.",
        SOURCE,
        1,
        group="descriptors",
        tolerance=1,
        floor=0.5,
    ),
    Metric(
        "pitch_entropy",
        "Pitch entropy",
        "bits",
        None,
        "Shannon entropy of the shares of a sample's pitches.",
        SOURCE,
        group="descriptors",
        tolerance=0.3,
        floor=0.1,
    ),
    Metric(
        "pitch_class_entropy",
        "Pitch class entropy",
        "bits",
        None,
        "Shannon entropy of the shares of the 12 pitch classes in a sample.",
        "Wu & Yang 2020; MuSpy (Dong et al. 2020)",
        group="descriptors",
        tolerance=0.3,
        floor=0.1,
    ),
    Metric(
        "scale_consistency",
        "Scale consistency",
        "",
        None,
        "Largest share of a sample's notes in one major or natural minor scale.",
        "Mogren 2016; MuSpy (Dong et al. 2020)",
        3,
        group="descriptors",
        tolerance=0.05,
        floor=0.02,
    ),
    Metric(
        "polyphony",
        "Polyphony",
        "pitches",
        None,
        f"Mean number of different pitches that sound, over the steps in which any does; {GRID}.",
        SOURCE,
        group="descriptors",
        floor=0.2,
    ),
    Metric(
        "polyphony_rate",
        "Polyphony rate",
        "",
        None,
        f"Share of steps, first onset to last end, in which 2 or more pitches sound; {GRID}.",
        "Dong et al. 2018; MuSpy (Dong et al. 2020)",
        3,
        group="descriptors",
        tolerance=0.05,
        floor=0.02,
    ),
    Metric(
        "empty_beat_rate",
        "Empty beats",
        "",
        None,
        f"Share of beats of 0.5 s, first onset to last end, in which nothing sounds; {GRID}.",
        SOURCE,
        3,
        group="descriptors",
        tolerance=0.05,
        floor=0.02,
    ),
    Metric(
        "empty_measure_rate",
        "Empty bars",
        "",
        None,
        f"Share of bars of 2 s, first onset to last end, in which nothing sounds; {GRID}.",
        "Dong et al. 2018; MuSpy (Dong et al. 2020)",
        3,
        tolerance=0.05,
        floor=0.02,
    ),
    Metric(
        "groove_consistency",
        "Groove consistency",
        "",
        None,
        "1 minus the mean share of steps in which one of two neighbouring bars has an onset and the other not, over bars of 2 s "
        f"up to that of the last onset; {GRID}.",
        "Wu & Yang 2020; MuSpy (Dong et al. 2020)",
        3,
        group="descriptors",
        tolerance=0.05,
        floor=0.02,
        occasional=True,
    ),
    Metric(
        "muspy_polyphony_rate",
        "MuSpy polyphony rate",
        "",
        None,
        "Polyphony rate, but of 3 or more pitches.",
        ODD,
        3,
        tolerance="off",
        floor=0.02,
    ),
    Metric(
        "muspy_empty_beat_rate",
        "MuSpy empty beats",
        "",
        None,
        "Empty beats, but a note also fills the beat that begins at its end.",
        ODD,
        3,
        tolerance="off",
        floor=0.02,
    ),
    Metric(
        "muspy_empty_measure_rate",
        "MuSpy empty bars",
        "",
        None,
        "Empty bars, but a note also fills the bar that begins at its end.",
        ODD,
        3,
        tolerance="off",
        floor=0.02,
    ),
    Metric(
        "muspy_groove_consistency",
        "MuSpy groove consistency",
        "",
        None,
        "Groove consistency, but up to the bar that holds or begins at the end of the last note, whether it has onsets or not.",
        ODD,
        3,
        tolerance="off",
        floor=0.02,
        occasional=True,
    ),
)

Steps = NDArray[np.int64]

#: Whether the major scale on the root (row) has the pitch class (column). Natural minor scales have the same notes. (12, 12)
SCALES = np.isin((np.arange(12) - np.arange(12)[:, None]) % 12, (0, 2, 4, 5, 7, 9, 11))


def scale_consistency(notes: Notes) -> float:
    """Largest share of at least one note in one major or natural minor scale.

    >>> scale_consistency(Notes.from_columns(range(4), [1] * 4, [60, 62, 64, 61], [80] * 4))  # C D E, and C sharp
    0.75
    """
    return float((SCALES @ pitch_classes(notes)).max()) / len(notes)


def quantised(notes: Notes) -> tuple[Steps, Steps]:
    """Round the onsets, ascending, and ends of at least one note to the grid, in steps after the first onset.

    >>> quantised(Notes.from_columns([5, 5.5], [0.25, 0.001], [60, 62], [80, 80]))
    (array([ 0, 24]), array([12, 25]))
    """
    onset = np.rint((notes.onset - notes.onset[0]) * STEPS_PER_SECOND).astype(np.int64)
    end = np.rint((notes.onset + notes.duration - notes.onset[0]) * STEPS_PER_SECOND).astype(np.int64)
    return onset, np.maximum(end, onset + 1)


def steps_by_pitches(onset: Steps, end: Steps, pitch: NDArray[np.uint8]) -> list[float]:
    """Count the steps, first onset to last end, in which exactly k different pitches sound: at index k, from 0 on.

    Notes of one pitch that overlap count once. The cost depends on the number of notes, not of steps.

    >>> steps_by_pitches(np.array([0, 4]), np.array([6, 8]), np.array([60, 64], np.uint8))
    [0.0, 6.0, 2.0]
    """
    # Each pitch in a span of its own: one running maximum finds what still sounds of the same pitch.
    span = pitch.astype(np.int64) * (end.max() + 1)
    order = (onset + span).argsort()
    span = span[order]
    begins, ends = onset[order] + span, np.maximum.accumulate(end[order] + span)
    begins[1:] = np.maximum(begins[1:], ends[:-1])
    # Even is a beginning, odd an end: what begins as another ends is sorted before it, and the count never goes below 0.
    events = np.concatenate([2 * (begins - span), 2 * (ends - span) + 1])
    events.sort()
    sounding = (1 - 2 * (events & 1)).cumsum()
    counted: list[float] = np.bincount(sounding[:-1], weights=np.diff(events >> 1)).tolist()
    return counted


def silences(onset: Steps, end: Steps) -> tuple[Steps, Steps]:
    """Silences between notes: the ends of what sounded before, and the next onsets."""
    reach, following = np.maximum.accumulate(end[:-1]), onset[1:]
    silent = following > reach
    return reach[silent], following[silent]


def empty_rate(since: Steps, until: Steps, last: int, unit: int) -> float:
    """Share of the units (beats, bars) of `unit` steps, from step 0 to step `last`, that lie between `since` and `until`.

    Parameters
    ----------
    since, until : ndarray of int, shape (silences,)
        The last step that is filled before each silence, and the first one after it.
    last, unit : int
    """
    return float(np.maximum(until // unit - since // unit - 1, 0).sum()) / (last // unit + 1)


def repeats(onset: Steps) -> int:
    """Count the steps with an onset, each listed once and ascending, that also have one a bar later."""
    later = onset + BAR
    at = onset.searchsorted(later)
    return int(np.count_nonzero(onset[np.minimum(at, len(onset) - 1)] == later))


def groove(onset: Steps, repeated: int, bars: int) -> Value:
    """1 minus the mean Hamming distance, as a share of a bar, between the onsets of neighbours among the first `bars` bars.

    Parameters
    ----------
    onset : ndarray of int, shape (n,)
        Steps with an onset, each once, ascending.
    repeated : int
        Their :func:`repeats`.
    bars : int
    """
    if bars < 2:
        return Undefined("less than two bars of 2 s")
    # Each onset is in two pairs of bars, in the first and the last bar in one.
    once = int(onset.searchsorted(BAR)) + len(onset) - int(onset.searchsorted((bars - 1) * BAR))
    return 1 - (2 * len(onset) - once - 2 * repeated) / (BAR * (bars - 1))


def _of_pitches(notes: Notes) -> dict[str, Value]:
    classes = pitch_classes(notes)
    return {
        "pitch_range": float(notes.pitch.max()) - float(notes.pitch.min()),
        "unique_pitch_classes": float(np.count_nonzero(classes)),
        "pitch_entropy": entropy(np.bincount(notes.pitch)),
        "pitch_class_entropy": entropy(classes),
        "scale_consistency": scale_consistency(notes),
    }


def _of_times(notes: Notes) -> dict[str, Value]:
    onset, end = quantised(notes)
    length = int(end.max())
    steps = steps_by_pitches(onset, end, notes.pitch)
    since, until = silences(onset, end)
    begun = onset[np.append(True, onset[1:] > onset[:-1])]
    repeated = repeats(begun)
    return {
        "polyphony": sum(k * n for k, n in enumerate(steps)) / sum(steps[1:]),
        "polyphony_rate": sum(steps[2:]) / length,
        "empty_beat_rate": empty_rate(since - 1, until, length - 1, BEAT),
        "empty_measure_rate": empty_rate(since - 1, until, length - 1, BAR),
        "groove_consistency": groove(begun, repeated, int(onset[-1]) // BAR + 1),
        "muspy_polyphony_rate": sum(steps[3:]) / length,
        "muspy_empty_beat_rate": empty_rate(since, until, length, BEAT),
        "muspy_empty_measure_rate": empty_rate(since, until, length, BAR),
        "muspy_groove_consistency": groove(begun, repeated, length // BAR + 1),
    }


def evaluate(generated: Notes, real: Notes) -> dict[str, Value]:
    """Compute every metric of this module, of `generated` alone; of empty music they are undefined."""
    if not len(generated):
        return dict.fromkeys((m.name for m in METRICS), Undefined("no notes"))
    return _of_pitches(generated) | _of_times(generated)
