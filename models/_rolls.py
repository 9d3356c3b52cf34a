"""Piano rolls in bars of sixteen steps: the grid of a performance, its cells, and notes from them. NumPy only.

Performances have no bar lines and no steady tempo. The step is found for each piece, a sixteenth at 50 to 100 quarters a minute,
and follows the tempo from chord to chord: the time between two chords is a whole number of steps, rounded once, so that a ritard
doesn't add up to an error. A bar is any sixteen steps in a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes

#: Steps of a bar, and pitches of a step.
STEPS, PITCHES = 16, 128
#: Value of a cell in which a note sounds on; a note's first cell has its velocity, silence is 0.
HELD = 128
#: Notes that begin within this time of each other belong to one chord, seconds.
CHORD = 0.05
#: Shortest step of a piece, seconds, and up to its double: one octave, so that halves and doubles of a pulse do not compete.
SHORTEST = 0.15
#: Candidates for a piece's step as factors on the first estimate, and the step where nothing tells, seconds.
NEARBY, DEFAULT = np.geomspace(1 / 1.1, 1.1, 41), 0.2
#: Share of a deviation from the pulse by which the step follows the tempo; it stays within a factor of the piece's step.
FOLLOW, DRIFT = 0.5, 1.5
#: Longest time between two chords and longest note, steps: longer silences are shortened.
LONGEST_STEPS = 4 * STEPS

Roll = NDArray[np.uint8]


@dataclass(frozen=True)
class Grid:
    """Notes on the grid of their piece.

    Parameters
    ----------
    step, length : ndarray of int, shape (n,)
        Step in which each note begins, from 0, and number of its steps, at least 1.
    seconds : float
        Length of a step at the end of the piece, seconds.
    articulation : float
        Median of the notes' sounding share of their steps.
    lead : float
        Median time by which a chord's highest note begins before its others, seconds (melody lead, Goebl 2001).
    """

    step: NDArray[np.int64]
    length: NDArray[np.int64]
    seconds: float
    articulation: float
    lead: float = 0.0


def pulse(times: NDArray[np.float64], otherwise: float = DEFAULT) -> float:
    """Find the step that the times of chords are multiples of, seconds; `otherwise` if there are fewer than two.

    First by the distances' phase within the octave, the same for a step and its halves and doubles: equal distances could be
    three or five steps as well as four. Then by the fit of all distances nearby, where short ones count for more, as a change of
    tempo moves long ones by more of a step.

    >>> round(pulse(np.array([0.0, 0.4, 1.2, 1.6, 1.8])), 2)
    0.2
    """
    apart = np.diff(times)
    if not len(apart):
        return otherwise
    phase = np.angle(np.exp(2j * np.pi * np.log2(apart / SHORTEST)).sum()) / (2 * np.pi) % 1
    nearby = SHORTEST * 2**phase * NEARBY
    fit = np.cos(2 * np.pi * apart / nearby[:, None]) @ (1 / apart)  # (candidates,)
    return float(nearby[fit.argmax()])


def to_grid(notes: Notes, otherwise: float = DEFAULT) -> Grid:
    """Place notes on the grid of their own tempo; `otherwise` is the step of a piece that has but one chord, seconds."""
    begins = np.diff(notes.onset, prepend=-1.0) > CHORD
    times = notes.onset[begins]
    step = seconds = pulse(times, otherwise)
    at, local = [0], [step]
    for apart in np.diff(times).tolist():
        steps = max(1, round(apart / seconds))
        seconds = min(step * DRIFT, max(step / DRIFT, seconds * (apart / (steps * seconds)) ** FOLLOW))
        at.append(at[-1] + min(steps, LONGEST_STEPS))
        local.append(seconds)
    chord = np.cumsum(begins) - 1
    share = notes.duration / np.array(local)[chord]
    length = np.clip(np.rint(share), 1, LONGEST_STEPS).astype(np.int64)
    articulation = float(np.median(share / length)) if len(notes) else 1.0
    return Grid(np.array(at, np.int64)[chord], length, seconds, articulation, _lead(notes, chord))


def _lead(notes: Notes, chord: NDArray[np.int64]) -> float:
    """Median lead of the highest note in the chords of two or more notes, seconds; 0 without any."""
    sizes = np.bincount(chord)
    order = np.lexsort((notes.pitch, chord))
    top = order[np.cumsum(sizes) - 1]  # (chords,)
    others = np.bincount(chord, notes.onset) - notes.onset[top]
    leads = (others / np.maximum(sizes - 1, 1) - notes.onset[top])[sizes > 1]
    return float(np.median(leads)) if len(leads) else 0.0


def to_roll(notes: Notes, grid: Grid) -> Roll:
    """Draw notes as a roll, shape (steps, 128); a note that begins cuts an earlier one of its pitch."""
    change = np.zeros((int((grid.step + grid.length).max(initial=0)) + 1, PITCHES), np.int32)
    np.add.at(change, (grid.step, notes.pitch), 1)
    np.add.at(change, (grid.step + grid.length, notes.pitch), -1)
    np.cumsum(change, 0, out=change)  # in place: the roll of a long piece takes hundreds of megabytes
    roll: Roll = np.multiply(change[:-1] > 0, HELD, dtype=np.uint8)
    roll[grid.step, notes.pitch] = notes.velocity
    return roll


def last_bar(notes: Notes, grid: Grid) -> Roll:
    """Sixteen steps up to the last chord's, shape (16, 128); silence where there are fewer."""
    roll = np.concatenate([np.zeros((STEPS, PITCHES), np.uint8), to_roll(notes, grid)])
    end = STEPS + int(grid.step.max(initial=-1)) + 1
    return roll[end - STEPS : end]


def from_roll(roll: Roll, n_notes: int, start: float, seconds: float, articulation: float, lead: float = 0.0) -> Notes:
    """Read the first `n_notes` notes of a roll (steps, 128); a cell that sounds on after silence is silent too.

    Parameters
    ----------
    start, seconds : float
        Time of the first step and length of each, seconds.
    articulation : float
        Sounding share of a note's steps.
    lead : float
        Time by which a chord's highest note begins before its others, seconds.
    """
    held = np.zeros((len(roll) + 1, PITCHES), np.int64)  # steps that each cell sounds on, itself included
    for at in range(len(roll) - 1, -1, -1):
        held[at] = np.where(roll[at] == HELD, held[at + 1] + 1, 0)
    step, pitch = np.nonzero((roll > 0) & (roll < HELD))
    step, pitch = step[:n_notes], pitch[:n_notes]
    duration = (1 + held[step + 1, pitch]) * (seconds * articulation)
    # Notes are in the order of steps, then pitches.
    leads = (np.diff(step, append=-1) != 0) & (np.diff(step, prepend=-1) == 0)
    return Notes.from_columns(np.maximum(start + step * seconds - lead * leads, 0), duration, pitch, roll[step, pitch])


class Bars:
    """Training bars: sixteen steps and the bar before, from every place of the pieces.

    Parameters
    ----------
    pieces : sequence of Notes
    seed : int
    """

    def __init__(self, pieces: Sequence[Notes], seed: int) -> None:
        self.seed = seed
        #: Number of training notes.
        self.notes = sum(map(len, pieces))
        self.grids = [to_grid(notes) for notes in pieces]
        # Only the cells that sound: a roll of all pieces would take a gigabyte for a data set of 200 hours.
        first, places, pitches, values = STEPS, [], list[NDArray[np.uint8]](), list[NDArray[np.uint8]]()
        starts: list[NDArray[np.int64]] = []
        for notes, grid in zip(pieces, self.grids, strict=True):
            roll = to_roll(notes, grid)
            step, pitch = np.nonzero(roll)
            places.append(step + first)
            pitches.append(pitch.astype(np.uint8))
            values.append(roll[step, pitch])
            # As in generation: in the step after a chord's, and a bar later. A piece's own first bar follows silence.
            after = np.concatenate([[0], grid.step + 1, grid.step + 1 + STEPS])
            starts.append(first + np.unique(after[after <= max(0, len(roll) - STEPS)]))
            first += len(roll) + 2 * STEPS
        self._place, self._pitch, self._value = np.concatenate(places), np.concatenate(pitches), np.concatenate(values)
        self._starts = np.concatenate(starts)
        self._steps = first - STEPS - 2 * STEPS * len(pieces)

    @cached_property
    def seconds(self) -> float:
        """Median step of the pieces, seconds."""
        return float(np.median([grid.seconds for grid in self.grids]))

    @cached_property
    def articulation(self) -> float:
        """Median articulation of the pieces."""
        return float(np.median([grid.articulation for grid in self.grids]))

    @cached_property
    def lead(self) -> float:
        """Median lead of the pieces, seconds."""
        return float(np.median([grid.lead for grid in self.grids]))

    def updates(self, batch: int) -> int:
        """Count the batches in an epoch, in which each step belongs to about one bar."""
        return max(1, -(-self._steps // (STEPS * batch)))

    def epoch(self, epoch: int, batch: int) -> Iterator[Roll]:
        """Yield the batches of an epoch, the same for the same (seed, epoch), shape (batch, 32, 128): bar before, and bar."""
        rng = np.random.default_rng([self.seed, epoch])
        for _ in range(self.updates(batch)):
            yield self.windows(rng.choice(self._starts, batch))

    def count(self, rolls: Roll) -> int:
        """Count the notes of a batch of :meth:`epoch` that are trained on: those of its second bars."""
        bars = rolls[:, STEPS:]
        return int(((bars > 0) & (bars < HELD)).sum())

    def windows(self, starts: NDArray[np.int64]) -> Roll:
        """Draw the bars from `starts`, with the bars before, shape (bars, 32, 128)."""
        rolls = np.zeros((len(starts), 2 * STEPS, PITCHES), np.uint8)
        edges = np.searchsorted(self._place, [starts - STEPS, starts + STEPS])
        for roll, start, (low, high) in zip(rolls, starts - STEPS, edges.T, strict=True):
            roll[self._place[low:high] - start, self._pitch[low:high]] = self._value[low:high]
        return rolls
