"""Performance events of a piano: notes to events and back, segments for training, continuation of prompts. NumPy only.

The events of Oore et al. 2018 (arXiv 1808.03715) and Huang et al. 2019 (arXiv 1809.04281): a key goes down, a key goes up, time
passes (1 to 100 steps of 10 ms), the velocity of the following notes changes (32 classes of 4). Order and rounding are those of
Magenta's ``Performance``. With a piano's 88 keys there are 308 events: Magenta's 310 count two that are no music. With all 128
there are 388.

Silence before a piece's first note is left out. A segment begins after a start symbol, without a memory of the one before: a
likelihood is over segments that don't overlap, the last of which may be shorter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.api import DataError, NoProbabilityError, Notes, Piece, PluginError

#: Steps in a second, most steps of a shift, and classes of velocity.
STEPS, SHIFTS, VELOCITIES = 100, 100, 32

#: MIDI numbers of the lowest and the highest key, by the number of keys.
RANGES = {128: (0, 127), 88: (21, 108)}

#: Tempos and semitones for training, as in Hawthorne et al. 2019, arXiv 1810.12247, section 5.
STRETCHES, TRANSPOSE = (0.95, 0.975, 1.0, 1.025, 1.05), 3

#: Steps, and events, since the last note after which generation draws among notes only: a model could be silent for ever.
MOST_SILENCE, MOST_IDLE = 800, 128

#: Events after the last note in which notes that still sound may end. Then they are ended, as at the end of Magenta's sequences.
MOST_TAIL = 256

Events = NDArray[np.int16]

#: Receives the event before, shape (prompts,), and returns the log odds of each event that may follow, (prompts, events). It is
#: called once an event, first with the start symbol, and remembers what it received.
Predict = Callable[[NDArray[np.int16]], NDArray[np.float64]]


@dataclass(frozen=True)
class Vocabulary:
    """Classes of events: keys down, keys up, shifts of time, velocities; then the start symbol, which is never predicted.

    Parameters
    ----------
    keys : {128, 88}

    Raises
    ------
    PluginError
        If `keys` is another number.

    Examples
    --------
    >>> piano = Vocabulary(88)
    >>> piano.size
    308
    >>> notes = Notes.from_columns([0.5, 1.75], [0.25, 0.5], [60, 62], [64, 64])
    >>> events, first = piano.encode(notes)
    >>> events.tolist()  # velocity 60-64, key 60 down, 0.25 s, key 60 up, 1 s, key 62 down, 0.5 s, key 62 up
    [291, 39, 200, 127, 275, 41, 225, 129]
    >>> piano.decode(events, first).onset.tolist()
    [0.5, 1.75]
    """

    keys: int = 128

    def __post_init__(self) -> None:
        if self.keys not in RANGES:
            raise PluginError(f"keys is {self.keys}.", f"Valid: {' or '.join(map(str, RANGES))}.")

    @property
    def size(self) -> int:
        """Number of events, and the start symbol's place."""
        return 2 * self.keys + SHIFTS + VELOCITIES

    def encode(self, notes: Notes, stretch: float = 1.0) -> tuple[Events, int]:
        """Convert notes to events, and the step at which the first begins. Keys out of range are left out.

        Parameters
        ----------
        notes : Notes
        stretch : float
            Factor on all times.
        """
        low, high = RANGES[self.keys]
        held = (notes.pitch >= low) & (notes.pitch <= high)
        onset, pitch = notes.onset[held], notes.pitch[held].astype(np.int64) - low
        n = len(onset)
        if n == 0:
            return np.zeros(0, np.int16), 0
        start, end = (rounded(seconds * stretch) for seconds in (onset, onset + notes.duration[held]))
        steps = np.concatenate([start, np.maximum(end, start + 1)])
        order = np.lexsort((np.tile(np.arange(n), 2), steps))
        down, note = order < n, order % n
        passed = np.diff(steps[order], prepend=start[0])
        shifts = -(-passed // SHIFTS)
        level = (notes.velocity[held].astype(np.int64) - 1) // 4
        changed = np.zeros(2 * n, np.bool_)
        changed[down] = np.diff(level, prepend=-1) != 0  # keys go down in the order of the notes
        at = np.cumsum(shifts + changed + 1) - 1  # of each key's event
        events = np.full(at[-1] + 1, 2 * self.keys + SHIFTS - 1, np.int16)
        events[at] = pitch[note] + np.where(down, 0, self.keys)
        events[at[changed] - 1] = 2 * self.keys + SHIFTS + level[note[changed]]
        partial = passed > 0
        events[(at - changed)[partial] - 1] = 2 * self.keys + (passed[partial] - 1) % SHIFTS
        return events, int(start[0])

    def decode(self, events: Events, first: int = 0) -> Notes:
        """Convert events to notes, the first at step `first`. Of notes of one key the first that sounds ends first.

        As Magenta does: notes that still sound end with the last event, notes without a length are left out, and so is the end of
        a key that doesn't sound.
        """
        player = Player(self, first)
        for event in events.tolist():
            player.hear(event)
        notes = [(*note, player.step) if len(note) == 3 else note for note in player.notes]
        return columns([note for note in notes if note[3] > note[2]], RANGES[self.keys][0])


def rounded(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round to whole steps, halves up. The end of a note is a sum, which may lie a trifle below the half that it stands for."""
    return np.floor(seconds * STEPS + (0.5 + 1e-6)).astype(np.int64)


def columns(notes: Sequence[tuple[int, ...]], low: int) -> Notes:
    """Make notes of (key, class of velocity, start, end), the last two in steps."""
    key, level, start, end = np.array(notes, np.int64).reshape(-1, 4).T
    return Notes.from_columns(start / STEPS, (end - start) / STEPS, key + low, 1 + 4 * level)


class Player:
    """What sounds, and since when, event by event.

    Parameters
    ----------
    vocabulary : Vocabulary
    step : int
        Step of the first event.
    """

    def __init__(self, vocabulary: Vocabulary, step: int = 0) -> None:
        self.keys, self.step, self.level = vocabulary.keys, step, VELOCITIES // 2
        #: Key, class of velocity and start of each note, and its end if it has ended.
        self.notes: list[tuple[int, ...]] = []
        #: Places in `notes` of those that sound, by key.
        self.sounding: dict[int, list[int]] = {}

    def hear(self, event: int) -> None:
        """Play an event."""
        if event < self.keys:
            self.sounding.setdefault(event, []).append(len(self.notes))
            self.notes.append((event, self.level, self.step))
        elif event < 2 * self.keys:
            if places := self.sounding.get(event - self.keys):
                self.notes[places[0]] += (self.step,)
                del places[0]
        elif event < 2 * self.keys + SHIFTS:
            self.step += event - 2 * self.keys + 1
        else:
            self.level = event - 2 * self.keys - SHIFTS

    def may_end(self) -> list[int]:
        """Keys that may go up: those of a note that began at an earlier step, as no note is shorter than one."""
        return [key for key, places in self.sounding.items() if places and self.notes[places[0]][2] < self.step]


@dataclass
class Segments:
    """Training segments: stretches of `window` events drawn anew in each epoch, transposed, in another tempo.

    An epoch covers each piece about once: as many segments as fit, rounded up, each at a random place of its share of the piece.

    Parameters
    ----------
    pieces : sequence of Piece
    vocabulary : Vocabulary
    window : int
        Events of a segment; shorter pieces are padded.
    augment : bool
        Whether each segment is transposed by up to :data:`TRANSPOSE` semitones, as far as the keys reach, and each piece's tempo
        in an epoch is one of :data:`STRETCHES`.
    seed : int
    """

    pieces: Sequence[Piece]
    vocabulary: Vocabulary
    window: int
    augment: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = [len(self.vocabulary.encode(piece.notes)[0]) for piece in self.pieces]
        self.numbers = [-(-size // self.window) for size in sizes]
        self.notes = sum(len(piece.notes) for piece in self.pieces)

    def updates(self, batch: int) -> int:
        """Count the batches in an epoch."""
        return -(-sum(self.numbers) // batch)

    def epoch(self, epoch: int, batch: int) -> Iterator[tuple[Events, Events, NDArray[np.float32]]]:
        """Yield the batches of one epoch, the same for the same (seed, epoch); the last one may be smaller.

        Yields
        ------
        inputs, targets : ndarray of int16, shape (batch, events)
            The event before each target, at first the start symbol; padded with 0.
        mask : ndarray of float32, shape (batch, events)
            1, or 0 where padded.
        """
        rng = np.random.default_rng([self.seed, epoch])
        segments = []
        for piece, number in zip(self.pieces, self.numbers, strict=True):
            events, _ = self.vocabulary.encode(piece.notes, rng.choice(STRETCHES) if self.augment else 1.0)
            latest = max(0, len(events) - self.window)
            for at in np.floor((np.arange(number) + rng.random(number)) / max(1, number) * (latest + 1)).astype(np.int64):
                segments.append(self._transposed(events[at : at + self.window], rng))
        order = rng.permutation(len(segments))
        for first in range(0, len(order), batch):
            yield padded([segments[i] for i in order[first : first + batch]], self.vocabulary.size)

    def _transposed(self, events: Events, rng: np.random.Generator) -> Events:
        if not self.augment:
            return events
        keys = self.vocabulary.keys
        played = events < 2 * keys
        sounding = events[played] % keys
        lowest, highest = sounding.min(initial=keys - 1), sounding.max(initial=0)
        by = np.clip(rng.integers(-TRANSPOSE, TRANSPOSE + 1), -int(lowest), keys - 1 - int(highest))
        moved: Events = np.where(played, events + by, events).astype(np.int16)
        return moved


def padded(segments: Sequence[Events], start: int) -> tuple[Events, Events, NDArray[np.float32]]:
    """Make one batch of segments, each after the start symbol; see :meth:`Segments.epoch`."""
    shape = len(segments), max(map(len, segments))
    inputs, targets = np.zeros((2, *shape), np.int16)
    mask = np.zeros(shape, np.float32)
    for row, events in enumerate(segments):
        n = len(events)
        inputs[row, 0], inputs[row, 1:n], targets[row, :n], mask[row, :n] = start, events[: n - 1], events, 1
    return inputs, targets, mask


def segmented(vocabulary: Vocabulary, pieces: Sequence[Piece], window: int) -> tuple[list[Events], list[int]]:
    """Divide pieces into segments of `window` events, the last of each shorter; and the piece of each segment.

    Raises
    ------
    NoProbabilityError
        If a piece has a note that the vocabulary lacks: a likelihood without it would be too good.
    """
    check_keys(vocabulary, pieces)
    encoded = [vocabulary.encode(piece.notes)[0] for piece in pieces]
    places = [(i, at) for i, events in enumerate(encoded) for at in range(0, len(events), window)]
    return [encoded[i][at : at + window] for i, at in places], [i for i, _ in places]


def joined(parts: Sequence[NDArray[np.float64]], owners: Sequence[int], pieces: int) -> list[NDArray[np.float64]]:
    """Join what :func:`segmented` divided."""
    by_piece: list[list[NDArray[np.float64]]] = [[np.zeros(0)] for _ in range(pieces)]
    for part, owner in zip(parts, owners, strict=True):
        by_piece[owner].append(part)
    return [np.concatenate(some) for some in by_piece]


def check_splits(model: str, vocabulary: Vocabulary, train: Sequence[Piece], valid: Sequence[Piece]) -> None:
    """Raise a DataError if there is no event to train on or to select by, or a note that the vocabulary lacks."""
    for name, pieces in (("training", train), ("validation", valid)):
        if not any(len(piece.notes) for piece in pieces):
            raise DataError(f"{model}: the {name} split has no note.")
        check_keys(vocabulary, pieces)


def check_keys(vocabulary: Vocabulary, pieces: Sequence[Piece]) -> None:
    """Raise a NoProbabilityError if a piece has a note that the vocabulary lacks."""
    low, high = RANGES[vocabulary.keys]
    for piece in pieces:
        if outside := int(np.count_nonzero((piece.notes.pitch < low) | (piece.notes.pitch > high))):
            raise NoProbabilityError(
                f"The piece {piece.id!r} has {outside} note{'s' * (outside > 1)} outside of the MIDI pitches {low} to {high}: "
                f"{vocabulary.keys} keys give them no probability.",
                f"Set keys: {max(RANGES)}, or leave the piece out.",
            )


def continued(
    predict: Predict,
    vocabulary: Vocabulary,
    prompts: Sequence[Notes],
    n_notes: int,
    seed: int,
    *,
    most: int,
    temperature: float = 1.0,
) -> list[Notes]:
    """Continue each prompt by exactly `n_notes` notes, all prompts together; see :class:`bench.api.Model`.

    What a prompt leaves sounding is ended by the events drawn. Keys that don't sound can't go up. Events are drawn until the last
    of the notes has ended, at most :data:`MOST_TAIL` after it began; notes that begin in between are left out.

    Parameters
    ----------
    predict : callable
    vocabulary : Vocabulary
    prompts : sequence of Notes
    n_notes, seed : int
    most : int
        Events of a prompt that are heard: its last ones.
    temperature : float
        Divides the log odds.
    """
    rng = np.random.default_rng(seed)
    lanes = [_Lane(vocabulary, prompt, n_notes, most) for prompt in prompts]
    event = np.full(len(lanes), vocabulary.size, np.int16)
    while not all(lane.done for lane in lanes):
        odds = predict(event) / temperature
        # The largest of log odds with Gumbel noise is a draw from their softmax.
        odds = odds - np.log(-np.log(np.maximum(rng.random(odds.shape), 1e-300)))
        event = np.array([lane.next(row) for lane, row in zip(lanes, odds, strict=True)], np.int16)
    return [lane.result() for lane in lanes]


class _Lane:
    """Continuation of one prompt, event by event."""

    def __init__(self, vocabulary: Vocabulary, prompt: Notes, n_notes: int, most: int) -> None:
        self.vocabulary, self.n_notes = vocabulary, n_notes
        self.earliest = float(prompt.onset[-1]) if len(prompt) else 0.0
        events, first = vocabulary.encode(prompt)
        notes = np.flatnonzero(events < vocabulary.keys)
        # Behind its last onset nothing is known: which keys go up there, and when, isn't given.
        heard = events[: notes[-1] + 1] if len(notes) else events[:0]
        self.player = Player(vocabulary, first if len(heard) else math.ceil(self.earliest * STEPS))
        for event in heard[: max(0, len(heard) - most)].tolist():
            self.player.hear(event)
        self.heard = iter(heard[max(0, len(heard) - most) :].tolist())
        self.before = len(notes)
        self.idle, self.since, self.tail = 0, 0, 0

    @property
    def done(self) -> bool:
        """Whether there are enough notes, and those have ended, or nothing more is waited for."""
        last = self.before + self.n_notes
        notes = self.player.notes
        return len(notes) >= last and (self.tail >= MOST_TAIL or all(len(note) == 4 for note in notes[self.before : last]))

    def next(self, odds: NDArray[np.float64]) -> int:
        """Return the next event: the prompt's while there is one, then the likeliest by `odds` of those that may come."""
        event = next(self.heard, None)
        if event is None:
            if self.done:
                return 0
            event = self._drawn(odds)
        step = self.player.step
        self.player.hear(event)
        self.tail += len(self.player.notes) >= self.before + self.n_notes
        if event < self.vocabulary.keys:
            self.idle = self.since = 0
        else:
            self.idle, self.since = self.idle + 1, self.since + self.player.step - step
        return event

    def _drawn(self, odds: NDArray[np.float64]) -> int:
        keys = self.vocabulary.keys
        if self.idle >= MOST_IDLE or self.since >= MOST_SILENCE:
            return int(odds[:keys].argmax())
        allowed = odds.copy()
        allowed[keys : 2 * keys] = -np.inf
        ends = keys + np.array(self.player.may_end(), np.int64)
        allowed[ends] = odds[ends]
        return int(allowed.argmax())

    def result(self) -> Notes:
        """Return the continuation, on the prompt's time axis, and not before its last onset, which may lie off the grid."""
        ours = self.player.notes[self.before : self.before + self.n_notes]
        ended = [note if len(note) == 4 else (*note, max(self.player.step, note[2] + 1)) for note in ours]
        notes = columns(ended, RANGES[self.vocabulary.keys][0])
        return Notes.from_columns(np.maximum(notes.onset, self.earliest), notes.duration, notes.pitch, notes.velocity)
