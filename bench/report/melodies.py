"""Held-out pieces that share a melody: they are no independent evidence, however different their harmony is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.metrics.events import events
from bench.music.notes import Notes
from bench.storage.samples import Target

#: Length of a window of intervals, and the share of the windows of the piece with fewer that makes two melodies one.
WINDOW, SHARED = 12, 0.4


def melody_groups(targets: Sequence[Target]) -> list[list[int]]:
    """Group the pieces that share a melody, directly or through others; indices into `targets`.

    The melody is the top line of prompt and target, as intervals without repeated notes: key and rhythm don't count. Pieces that
    share another part of their melody than the compared one are not found.

    References
    ----------
    Uitdenbogerd & Zobel 1999, doi 10.1145/319463.319470 (skyline).
    """
    windows = [_windows(events(Notes.concatenate([t.prompt, t.target])).line) for t in targets]
    group = list(range(len(targets)))
    for a, b in combinations(range(len(targets)), 2):
        fewer = min(len(windows[a]), len(windows[b]))
        if fewer and len(windows[a] & windows[b]) >= SHARED * fewer:
            group = [group[a] if g == group[b] else g for g in group]
    return [[i for i, g in enumerate(group) if g == first] for first in dict.fromkeys(group)]


def _windows(line: NDArray[np.int64]) -> set[tuple[int, ...]]:
    moves = np.diff(line.astype(np.int64))
    moves = moves[moves != 0].tolist()
    return {tuple(moves[i : i + WINDOW]) for i in range(len(moves) - WINDOW + 1)}
