"""Frames of a piano: notes to frames and back, batches of whole sequences, continuation of prompts. NumPy only.

A frame is half a second, a quarter note at 120 beats a minute: each of the 88 keys of a piano sounds in it or does not. A model
gives each key of a frame a probability, as a Bernoulli variable, given all frames before. Velocities are no part of it.

A piece begins after one silent frame, from which a model learns its first frame and generates without a prompt. The likelihood
leaves the first frame out, as Bai et al. do: frames 2 to T of each piece, the sum over the keys of each
(Boulanger-Lewandowski et al. 2012; counted as in Bai et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.api import DataError, Notes, Piece

#: Keys of a piano, MIDI number of the lowest, seconds of a frame, and the velocity of generated notes.
KEYS, LOWEST, SECONDS, VELOCITY = 88, 21, 0.5, 64

#: Log odds of a key before training, the initial bias of networks: about four keys of a frame sound, as in four voices.
ODDS = -3.0

#: Silent frames in a row that generation may draw. In the next one the likeliest key sounds: a model could be silent for ever.
MOST_SILENCE = 8

#: Most equal frames in a row of a piece, 16 s: the JSB Chorales have 12 at most.
MOST_EQUAL = 32

#: Frames of a prompt that are heard: its last ones. A prompt may last for hours, and each frame takes a step.
MOST_HEARD = 512

Frames = NDArray[np.bool_]

#: Receives the frame before, shape (prompts, KEYS), and returns the log odds of each key of the next one, in the same shape. It
#: is called once a frame, first with silence, and remembers what it received.
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def to_frames(notes: Notes) -> Frames:
    """Convert notes to frames, shape (T, KEYS), from the first onset to the last end.

    Onsets and ends are rounded to whole frames; each note has one frame at least. Keys that a piano lacks are left out. Of more
    than :data:`MOST_EQUAL` equal frames in a row so many stay: a mean over frames would otherwise be that of one pause.

    Examples
    --------
    >>> to_frames(Notes.from_columns([2.0, 2.5], [1.0, 0.4], [60, 64], [64, 64]))[:, [39, 43]].tolist()
    [[True, False], [True, True]]
    """
    frames = _sounding(notes)
    changes = np.concatenate([[True], (frames[1:] != frames[:-1]).any(1)])[: len(frames)]
    at = np.arange(len(frames))
    equal: Frames = frames[at - np.maximum.accumulate(np.where(changes, at, 0)) < MOST_EQUAL]
    return equal


def _sounding(notes: Notes) -> Frames:
    if len(notes) == 0:
        return np.zeros((0, KEYS), np.bool_)
    first = np.rint((notes.onset - notes.onset[0]) / SECONDS).astype(np.int64)
    last = np.maximum(first + 1, np.rint((notes.onset + notes.duration - notes.onset[0]) / SECONDS).astype(np.int64))
    key = notes.pitch.astype(np.int64) - LOWEST
    held = (key >= 0) & (key < KEYS)
    change = np.zeros((last.max() + 1, KEYS), np.int32)
    np.add.at(change, (first[held], key[held]), 1)
    np.add.at(change, (last[held], key[held]), -1)
    sounding: Frames = change.cumsum(0, np.int32)[:-1] > 0
    return sounding


def to_notes(frames: Frames, start: float = 0.0) -> Notes:
    """Convert frames (T, KEYS) to notes, one for each key and frame, the first frame at `start` seconds."""
    frame, key = np.nonzero(frames)
    return _notes(frame, key, start)


def _notes(frame: NDArray[np.int64], key: NDArray[np.int64], start: float) -> Notes:
    n = len(frame)
    return Notes.from_columns(start + SECONDS * frame, np.full(n, SECONDS), LOWEST + key, np.full(n, VELOCITY))


def before(frames: Frames) -> Frames:
    """Return the frame before each frame: silence before the first."""
    return np.concatenate([np.zeros((1, KEYS), np.bool_), frames])[: len(frames)]


@dataclass
class Sequences:
    """Training sequences: whole pieces, longer ones in stretches of `window` frames.

    Parameters
    ----------
    pieces : sequence of Piece
    window : int
        Most frames of a sequence.
    seed : int
        For their order.
    """

    pieces: Sequence[Piece]
    window: int
    seed: int = 0

    def __post_init__(self) -> None:
        frames = [to_frames(piece.notes) for piece in self.pieces]
        self.stretches = [
            (given[at : at + self.window], part[at : at + self.window])
            for part in frames
            for given in [before(part)]
            for at in range(0, len(part), self.window)
        ]
        self.notes = int(sum(targets.sum() for _, targets in self.stretches))

    def updates(self, batch: int) -> int:
        """Count the batches in an epoch."""
        return -(-len(self.stretches) // batch)

    def epoch(self, epoch: int, batch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        """Yield the batches of one epoch, the same for the same (seed, epoch); the last one may be smaller.

        Yields
        ------
        inputs, targets : ndarray of float32, shape (batch, frames, KEYS)
            The frame before each target, and the target; shorter sequences end in zeros.
        mask : ndarray of float32, shape (batch, frames)
            1, or 0 where padded.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.stretches))
        for first in range(0, len(order), batch):
            yield padded([self.stretches[i] for i in order[first : first + batch]])


def padded(
    sequences: Sequence[tuple[Frames, Frames]],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Make one batch of sequences of (inputs, targets), see :meth:`Sequences.epoch`."""
    shape = len(sequences), max(len(targets) for _, targets in sequences)
    inputs, targets = np.zeros((2, *shape, KEYS), np.float32)
    mask = np.zeros(shape, np.float32)
    for row, (given, wanted) in enumerate(sequences):
        inputs[row, : len(given)], targets[row, : len(wanted)], mask[row, : len(wanted)] = given, wanted, 1
    return inputs, targets, mask


def batched(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Group sequences of similar lengths, `most` frames with their padding at once unless one sequence has more; indices."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    while order:
        rows = max(1, most // max(1, lengths[order[-1]]))
        yield order[-rows:]
        order = order[:-rows]


def check_splits(model: str, train: Sequence[Piece], valid: Sequence[Piece]) -> None:
    """Raise a DataError if there is no frame to train on, or to select the best evaluation by."""
    for name, pieces in (("training", train), ("validation", valid)):
        if not any(len(to_frames(piece.notes)) > 1 for piece in pieces):
            raise DataError(f"{model}: the {name} split has no piece of two frames ({SECONDS:g} s each).")


def mean_nats(parts: Sequence[NDArray[np.float64]]) -> float:
    """Mean of -log probability over all that is predicted of all pieces: nats a frame, or an event."""
    return float(-np.concatenate(parts).mean())


def validation(parts: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Mean nats of the validation pieces, and the number of predictions: means over other numbers can't be compared."""
    return {"validation_loss": mean_nats(parts), "validation_predictions": sum(map(len, parts))}


def continued(predict: Predict, prompts: Sequence[Notes], n_notes: int, seed: int, temperature: float = 1.0) -> list[Notes]:
    """Continue each prompt by exactly `n_notes` notes, all prompts together; see :class:`bench.api.Model`.

    A prompt may end within a frame. The keys of that frame above the prompt's last are drawn as well, as the keys of a frame are
    independent given the frames before. Of a frame that holds more notes than are wanted, the lowest are taken.

    Parameters
    ----------
    predict : callable
    prompts : sequence of Notes
    n_notes, seed : int
    temperature : float
        Divides the log odds.
    """
    rng = np.random.default_rng(seed)
    lanes = [_Lane(prompt, n_notes) for prompt in prompts]
    frame = np.zeros((len(lanes), KEYS), np.float32)
    at = 0
    while any(lane.lacking for lane in lanes):
        odds = predict(frame).astype(np.float64) / temperature
        drawn = np.log(rng.random(odds.shape)) < -np.logaddexp(0, -odds)
        for i, lane in enumerate(lanes):
            frame[i] = lane.add(at, drawn[i], odds[i])
        at += 1
    return [lane.notes() for lane in lanes]


class _Lane:
    """Continuation of one prompt, frame by frame."""

    def __init__(self, prompt: Notes, n_notes: int) -> None:
        self.prompt, self.lacking = prompt, n_notes
        self.start = float(prompt.onset[0]) if len(prompt) else 0.0
        last = int(np.rint((prompt.onset[-1] - self.start) / SECONDS)) if len(prompt) else -1
        first = max(0, last + 1 - MOST_HEARD)
        self.heard = _sounding(prompt)[first : last + 1]
        self.start += SECONDS * first
        self.silent = 0
        self.frames: list[NDArray[np.int64]] = []
        self.keys: list[NDArray[np.int64]] = []

    def add(self, at: int, drawn: Frames, odds: NDArray[np.float64]) -> Frames:
        """Return frame `at`: the prompt's while there is one, then the drawn one."""
        if at < len(self.heard) - 1:
            given: Frames = self.heard[at]
            return given
        heard = self.heard[at] if at < len(self.heard) else np.zeros(KEYS, np.bool_)
        if at < len(self.heard):
            drawn = drawn & ~heard & (LOWEST + np.arange(KEYS) > self.prompt.pitch[-1])
        elif drawn.any():
            self.silent = 0
        elif self.silent < MOST_SILENCE:
            self.silent += 1
        else:
            drawn = np.arange(KEYS) == odds.argmax()
            self.silent = 0
        keys = np.nonzero(drawn)[0][: self.lacking]
        self.keys.append(keys)
        self.frames.append(np.full(len(keys), at))
        self.lacking -= len(keys)
        frame: Frames = heard | drawn
        return frame

    def notes(self) -> Notes:
        """Return the continuation, on the prompt's time axis, and not before its last onset, which may lie off the grid."""
        empty = np.zeros(0, np.int64)
        notes = _notes(np.concatenate([empty, *self.frames]), np.concatenate([empty, *self.keys]), self.start)
        earliest = float(self.prompt.onset[-1]) if len(self.prompt) else 0.0
        return Notes.from_columns(np.maximum(notes.onset, earliest), notes.duration, notes.pitch, notes.velocity)
