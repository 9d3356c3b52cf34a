"""Alignment: the pitch distance by other rules than the index, each of which puts the rows in its own order.

An index-aligned distance compares note i with note i, so that one note too many moves all that follow. The rules here align by
time or by pitch. Times count from each side's first note, at each side's own tempo. All are symmetric and 0 for a copy.

- **onset**: each note with the nearest event of the other side, and there with the nearest pitch; the mean of both directions.
- **soprano**: the highest pitch that sounds, from event to event, over the time that the longer side lasts.
- **warping**: dynamic time warping of the two series of pitches, Sakoe & Chiba's symmetric form: a diagonal step counts twice,
  the sum is divided by the number of notes of both sides. It is never above the index-aligned distance, the diagonal path.
- **sounding**: no pitch distance but the share of two piano rolls that they don't have in common, 1 minus Poliner & Ellis's
  accuracy without a grid. A key struck again ends the note before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes
from bench.metrics.events import PITCHES, Events
from bench.metrics.metric import Metric, Undefined, Value
from bench.music.notes import ROUNDED

#: More than any sum of costs, and twice it fits into 32 bits.
_NEVER = 1 << 29

#: Notes of a side that are warped, at most: the time grows with those of both, and a stored run is anyone's.
MOST_WARPED = 4096

#: Pairs that are warped at once: so few that their rows stay in the processor's cache.
_BLOCK = 64

METRICS = (
    Metric(
        "pitch_by_onset",
        "Pitch distance by onset",
        "semitones",
        "lower",
        "Mean over the notes of both sides of the distance to the nearest pitch at the other side's nearest event in time.",
        "this suite",
        group="alignment",
        tolerance="12%",
        floor=0.2,
        version=2,
    ),
    Metric(
        "pitch_by_soprano",
        "Pitch distance by soprano",
        "semitones",
        "lower",
        "Mean over time of the distance between the highest sounding pitches, each held until the next event.",
        "this suite; top line: skyline, Uitdenbogerd & Zobel 1999, doi 10.1145/319463.319470",
        group="alignment",
        tolerance="15%",
        floor=0.2,
        version=2,
    ),
    Metric(
        "pitch_by_warping",
        "Pitch distance by warping",
        "semitones",
        "lower",
        "Pitch distance after dynamic time warping of the two series of pitches; of series of one length never above the "
        "index-aligned distance.",
        "Sakoe & Chiba 1978, doi 10.1109/TASSP.1978.1163055, symmetric form, no slope constraint",
        group="alignment",
        tolerance="8%",
        floor=0.2,
        version=2,
    ),
    Metric(
        "roll_distance",
        "Piano-roll distance",
        "%",
        "lower",
        "Share of the time that pitches sound, on either side, during which they don't sound on both; a key struck again ends "
        "the note before.",
        "1 - accuracy of Poliner & Ellis 2007, doi 10.1155/2007/48317",
        1,
        group="alignment",
        tolerance=3,
        floor=1.0,
    ),
)


#: Pitch, start and end of strokes, by pitch and start; those of one pitch don't overlap.
_Strokes = tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]


def by_onset(one: Events, other: Events) -> float:
    """Mean distance to the nearest pitch at the nearest event, both directions, semitones; of two events as near, the earlier."""
    return (_one_way(one, other) + _one_way(other, one)) / 2


def _one_way(of: Events, to: Events) -> float:
    """Mean over the notes of one side of the distance to the nearest pitch at the other side's nearest event."""
    there = to.onset - to.onset[0]
    midway = (there[1:] + there[:-1]) / 2 + ROUNDED  # where music is on a grid, ties are the rule
    nearest = np.searchsorted(midway, of.onset - of.onset[0])[of.event]  # (notes of `of`,)
    # Pitches of each event in one ascending list: the nearest is the one before or behind the place where a note's own would be.
    far = 4 * PITCHES
    known = np.unique(to.event * far + to.notes.pitch)
    wanted = nearest * far + of.notes.pitch
    behind = np.searchsorted(known, wanted)
    around = known[np.maximum(behind - 1, 0)], known[np.minimum(behind, len(known) - 1)]
    apart = np.minimum(*(np.abs(other - wanted) for other in around))  # of another event it is farther than any of its own
    return float(apart.mean())


def by_soprano(one: Events, other: Events) -> float:
    """Mean over time of the distance between the top lines, semitones."""
    starts = [side.onset - side.onset[0] for side in (one, other)]
    end = max(float((side.notes.onset + side.notes.duration).max() - side.onset[0]) for side in (one, other))
    times = np.unique(np.concatenate(starts))
    tops = [side.top[np.searchsorted(start, times, "right") - 1] for side, start in zip((one, other), starts, strict=True)]
    return float(np.abs(tops[0] - tops[1]) @ np.diff(times, append=end)) / end


def roll_distance(one: Notes, other: Notes) -> float:
    """Share of sounding pitch and time that two pieces of at least one note don't have in common, percent.

    >>> one = Notes.from_columns([0, 0], [2, 2], [60, 64], [80, 80])
    >>> other = Notes.from_columns([0, 1], [1, 1], [60, 64], [80, 80])
    >>> roll_distance(one, other)
    50.0
    """
    (start, end, pitch), (start_, end_, pitch_) = _strokes(one), _strokes(other)
    left, right = _overlapping((pitch, start, end), (pitch_, start_, end_))
    common = np.minimum(end[left], end_[right]) - np.maximum(start[left], start_[right])
    both = float(np.maximum(common, 0.0).sum())
    either = float((end - start).sum() + (end_ - start_).sum()) - both
    return min(100.0, max(0.0, 100 * (1 - both / either)))


def _overlapping(one: _Strokes, other: _Strokes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pairs of strokes of both sides that sound together, by their indices: about as many as there are strokes."""
    times, ranks = np.unique(np.concatenate([*one[1:], *other[1:]]), return_inverse=True)
    sizes = len(one[0]), len(one[0]), len(other[0]), len(other[0])
    start, end, start_, end_ = np.split(ranks, np.cumsum(sizes)[:-1])
    pitch, pitch_ = (side[0].astype(np.int64) * len(times) for side in (one, other))  # a rank is of its pitch
    first = np.searchsorted(pitch_ + end_, pitch + start, "right")
    number = np.maximum(np.searchsorted(pitch_ + start_, pitch + end, "left") - first, 0)
    left = np.repeat(np.arange(len(pitch)), number)
    return left, np.arange(len(left)) + np.repeat(first - np.cumsum(number) + number, number)


def _strokes(notes: Notes) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
    """Start, end and pitch of each note by pitch; a note ends where its pitch begins again."""
    start, end = notes.onset - notes.onset[0], notes.onset + notes.duration - notes.onset[0]
    order = np.lexsort((end, start, notes.pitch))
    start, end, pitch = start[order], end[order], notes.pitch[order]
    again = np.append(np.where(pitch[1:] == pitch[:-1], start[1:], np.inf), np.inf)
    return start, np.minimum(end, again), pitch


def by_warping(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Warp pairs of pitch series, all pairs at once.

    Parameters
    ----------
    ones : ndarray of uint8, shape (pairs, n)
    others : ndarray of uint8, shape (pairs, m)

    Returns
    -------
    ndarray of float64, shape (pairs,)
        Distance of each pair, semitones.

    Examples
    --------
    >>> by_warping(np.array([[60, 62, 64]], np.uint8), np.array([[60, 60, 65]], np.uint8))
    array([0.66666667])
    """
    # Pairs come last, so that every operation below runs along memory.
    left, right = ones.T.astype(np.int32), np.ascontiguousarray(others.T, np.int32)
    (n, pairs), m = left.shape, len(right)
    total = np.full((m + 1, pairs), _NEVER, np.int32)  # least sum up to each note of the other side; [0] is before its first
    total[0] = 0
    for note in left:
        cost = np.abs(right - note)  # (m, pairs)
        entered = np.minimum(total[1:], total[:-1] + cost) + cost
        # Steps along the row: total[j] = min(entered[j], total[j - 1] + cost[j]), a running minimum of what is left of `along`.
        along = np.cumsum(cost, axis=0, dtype=np.int32)
        total[1:] = np.minimum.accumulate(entered - along, axis=0) + along
        total[0] = _NEVER
    result: NDArray[np.float64] = total[-1] / (n + m)
    return result


def evaluate_samples(heard: Sequence[Events], real: Sequence[Events]) -> list[dict[str, Value]]:
    """Compute every metric of this module for each sample and its target; of empty music they are undefined.

    Pairs of the same two lengths are warped together, as one pair alone takes about ten times as long as its share of a block.
    """
    values: list[dict[str, Value]] = []
    shapes: dict[tuple[int, int], list[int]] = {}
    for i, (one, other) in enumerate(zip(heard, real, strict=True)):
        if len(one.notes) and len(other.notes):
            distances = by_onset(one, other), by_soprano(one, other), roll_distance(one.notes, other.notes)
            values.append(dict(zip(("pitch_by_onset", "pitch_by_soprano", "roll_distance"), distances, strict=True)))
            if max(len(one.notes), len(other.notes)) <= MOST_WARPED:
                shapes.setdefault((len(one.notes), len(other.notes)), []).append(i)
            else:
                values[i]["pitch_by_warping"] = Undefined(f"more than {MOST_WARPED:,} notes are not warped")
        else:
            values.append(dict.fromkeys((m.name for m in METRICS), Undefined("no notes to compare")))
    blocks = [members[at : at + _BLOCK] for members in shapes.values() for at in range(0, len(members), _BLOCK)]
    for members in blocks:
        sides = (np.stack([side[i].notes.pitch for i in members]) for side in (heard, real))
        for i, distance in zip(members, by_warping(*sides).tolist(), strict=True):
            values[i]["pitch_by_warping"] = distance
    return values
