"""Many-to-one windows: a fixed number of past notes, and the note after them. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS

#: Pitch of the place before a piece's first note: one past MIDI's last.
SILENCE = 128

Codes = NDArray[np.int16]


class PastWindows:
    """Every note of some pieces as a target, with the `window` notes before it as input.

    What lies before a piece is filled with silence, so that a piece's first notes are targets too: its likelihood needs them,
    and a generation without a prompt begins there.

    Parameters
    ----------
    codes : sequence of ndarray of int16, shape (n, 4)
        A piece each, as ``NoteCodec.encode`` makes them.
    window : int
        Past notes in a window.
    """

    def __init__(self, codes: Sequence[Codes], window: int) -> None:
        self.window = window
        before = silence(window)
        self._column = np.concatenate([part for piece in codes for part in (before, piece)] or [before])
        lengths = np.array([len(piece) for piece in codes], np.int64)
        first = np.cumsum(lengths) - lengths
        # Each piece lies `window` places further back than its notes alone would, once for each piece so far.
        self._targets = np.arange(lengths.sum()) + np.repeat(window * np.arange(1, len(codes) + 1), lengths)
        #: Where each piece's targets begin and the last one's end, shape (pieces + 1,).
        self.bounds = np.concatenate([first, [lengths.sum()]]).astype(np.int64)

    def __len__(self) -> int:
        return len(self._targets)

    def take(self, index: NDArray[np.int64]) -> tuple[Codes, Codes]:
        """Windows, shape (n, window, 4), and targets, shape (n, 4), of the notes counted by `index` through all pieces."""
        at = self._targets[index]
        return self._column[at[:, None] + np.arange(-self.window, 0)], self._column[at]

    def updates(self, batch: int, stride: int = 1) -> int:
        """Batches in an epoch; with a stride the same for each of its offsets."""
        return max(1, -(-len(self) // (stride * batch)))

    def epoch(self, epoch: int, batch: int, stride: int, seed: int) -> Iterator[tuple[Codes, Codes]]:
        """Shuffled batches of one epoch, the same for the same (seed, epoch).

        The last is filled up with targets drawn again, so that shapes never change.

        Parameters
        ----------
        epoch, batch : int
        stride : int
            Each epoch takes every `stride`-th note as a target, from an offset of its own.
        seed : int
        """
        rng = np.random.default_rng([seed, epoch])
        chosen = np.arange(rng.integers(min(stride, len(self))), len(self), stride)
        wanted = self.updates(batch, stride) * batch
        order = np.concatenate([rng.permutation(chosen), rng.integers(0, len(self), max(0, wanted - len(chosen)))])
        for rows in order[:wanted].reshape(-1, batch):
            yield self.take(rows)

    def in_order(self, batch: int) -> Iterator[tuple[Codes, Codes, int]]:
        """All targets in their order: windows, targets and how many of the batch count; the last repeats its last."""
        for start in range(0, len(self), batch):
            count = min(batch, len(self) - start)
            yield *self.take(np.minimum(np.arange(start, start + batch), len(self) - 1)), count


def silence(places: int) -> Codes:
    """Codes of `places` without a note, shape (places, 4)."""
    codes = np.zeros((places, len(FIELDS)), np.int16)
    codes[:, 0] = SILENCE
    return codes


def last_notes(codes: Codes, window: int) -> Codes:
    """The last `window` of some notes, after silence where there are fewer; shape (window, 4)."""
    return np.concatenate([silence(window), codes])[-window:]


def extremes(codes: Sequence[Codes]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Least and greatest class of each field but the pitch, shape (3,) each: what MinMax scaling learns; 0 and 1 of nothing."""
    column = np.concatenate([*codes, np.zeros((0, len(FIELDS)), np.int16)])[:, 1:]
    if not len(column):
        return np.zeros(len(FIELDS) - 1, np.float32), np.ones(len(FIELDS) - 1, np.float32)
    return column.min(0).astype(np.float32), column.max(0).astype(np.float32)
