"""Many-to-one windows: a fixed number of past notes, and the note after them. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS

#: Pitch that stands for no note before a piece's first: one above MIDI's last.
SILENCE = 128

Codes = NDArray[np.int16]


class PastWindows:
    """Every note of some pieces as a target, with the `window` notes before it as input.

    Places before a piece are filled with silence, so that its first notes are targets too: the likelihood needs them, and
    generation without a prompt begins there.

    Parameters
    ----------
    codes : sequence of ndarray of int16, shape (n, 4)
        One for each piece, as from ``NoteCodec.encode``.
    window : int
        Past notes in a window.
    """

    def __init__(self, codes: Sequence[Codes], window: int) -> None:
        self.window = window
        before = silence(window)
        self._column = np.concatenate([part for piece in codes for part in (before, piece)] or [before])
        lengths = np.array([len(piece) for piece in codes], np.int64)
        first = np.cumsum(lengths) - lengths
        # The silence before each piece moves it and all later ones back by `window` places.
        self._targets = np.arange(lengths.sum()) + np.repeat(window * np.arange(1, len(codes) + 1), lengths)
        #: Index of each piece's first target, then of the end, shape (pieces + 1,).
        self.bounds = np.concatenate([first, [lengths.sum()]]).astype(np.int64)

    def __len__(self) -> int:
        return len(self._targets)

    def take(self, index: NDArray[np.int64]) -> tuple[Codes, Codes]:
        """Return windows (n, window, 4) and targets (n, 4); `index` counts the notes through all pieces."""
        at = self._targets[index]
        return self._column[at[:, None] + np.arange(-self.window, 0)], self._column[at]

    def updates(self, batch: int, stride: int = 1) -> int:
        """Count the batches in an epoch, the same for every offset of the stride."""
        return max(1, -(-len(self) // (stride * batch)))

    def epoch(self, epoch: int, batch: int, stride: int, seed: int) -> Iterator[tuple[Codes, Codes]]:
        """Yield shuffled batches of one epoch, the same for the same (seed, epoch).

        The last is completed with targets drawn again, so that shapes never change.

        Parameters
        ----------
        epoch, batch : int
        stride : int
            Each epoch takes every `stride`-th note as a target, from a random offset.
        seed : int
        """
        rng = np.random.default_rng([seed, epoch])
        chosen = np.arange(rng.integers(min(stride, len(self))), len(self), stride)
        wanted = self.updates(batch, stride) * batch
        order = np.concatenate([rng.permutation(chosen), rng.integers(0, len(self), max(0, wanted - len(chosen)))])
        for rows in order[:wanted].reshape(-1, batch):
            yield self.take(rows)

    def in_order(self, batch: int) -> Iterator[tuple[Codes, Codes, int]]:
        """Yield all in order: windows, targets and how many of them count; the last batch is padded with its last."""
        for start in range(0, len(self), batch):
            count = min(batch, len(self) - start)
            yield *self.take(np.minimum(np.arange(start, start + batch), len(self) - 1)), count


def silence(places: int) -> Codes:
    """Codes of `places` without a note, shape (places, 4)."""
    codes = np.zeros((places, len(FIELDS)), np.int16)
    codes[:, 0] = SILENCE
    return codes


def last_notes(codes: Codes, window: int) -> Codes:
    """Last `window` of some notes, preceded by silence if there are fewer; shape (window, 4)."""
    return np.concatenate([silence(window), codes])[-window:]


def extremes(codes: Sequence[Codes]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Minimum and maximum class of each field but the pitch, (3,) each, for MinMax scaling; 0 and 1 without notes."""
    column = np.concatenate([*codes, np.zeros((0, len(FIELDS)), np.int16)])[:, 1:]
    if not len(column):
        return np.zeros(len(FIELDS) - 1, np.float32), np.ones(len(FIELDS) - 1, np.float32)
    return column.min(0).astype(np.float32), column.max(0).astype(np.float32)
