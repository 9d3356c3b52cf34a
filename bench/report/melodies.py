"""Held-out pieces that share a melody: they are no independent evidence, however different their harmony is."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from bench.metrics.events import events
from bench.music.notes import Notes
from bench.storage.samples import Target

#: Length of a window of intervals, and the share of the windows of the piece with fewer that makes two melodies one.
WINDOW, SHARED = 12, 0.4

Window = tuple[int, ...]


def melody_groups(targets: Sequence[Target]) -> list[list[int]]:
    """Group the pieces that share a melody, directly or through others; indices into `targets`.

    The melody is the top line of prompt and target, as intervals without repeated notes: key and rhythm don't count. Pieces that
    share another part of their melody than the compared one are not found.

    References
    ----------
    Uitdenbogerd & Zobel 1999, doi 10.1145/319463.319470 (skyline); Chaudhuri, Ganti & Kaushik 2006, doi 10.1109/ICDE.2006.9
    (prefix filtering).
    """
    melodies = [_windows(events(Notes.concatenate([t.prompt, t.target])).line) for t in targets]
    joined = _join(melodies)
    groups: dict[int, list[int]] = {}
    for piece in range(len(targets)):
        groups.setdefault(joined[piece], []).append(piece)
    return list(groups.values())


def _windows(line: NDArray[np.int64]) -> set[Window]:
    moves = np.diff(line.astype(np.int64))
    moves = moves[moves != 0].tolist()
    return {tuple(moves[i : i + WINDOW]) for i in range(len(moves) - WINDOW + 1)}


def _join(melodies: Sequence[set[Window]]) -> DisjointSet:
    """Join the melodies that share enough, in about linear time where many do: within a group none is compared again."""
    number = Counter(window for melody in melodies for window in melody)
    joined = DisjointSet(range(len(melodies)))
    holders: defaultdict[Window, dict[int, list[int]]] = defaultdict(dict)  # melodies that have a window, by group
    for piece in sorted(range(len(melodies)), key=lambda piece: -len(melodies[piece])):
        own = melodies[piece]
        enough = math.ceil(SHARED * len(own))
        compared: set[int] = set()
        # A longer melody that shares enough of its windows must have one of any that are more than the rest.
        for window in sorted(own, key=number.__getitem__)[: len(own) - enough + 1]:
            _merge_groups(holders[window], joined)
            for group, others in holders[window].items():
                for other in others:
                    if joined.connected(group, piece):
                        break
                    if other not in compared and len(own & melodies[other]) >= enough:
                        joined.merge(other, piece)
                    compared.add(other)
        for window in own:
            holders[window].setdefault(joined[piece], []).append(piece)
    return joined


def _merge_groups(holders: dict[int, list[int]], joined: DisjointSet) -> None:
    """Join the lists of groups that were joined."""
    for group in [group for group in holders if joined[group] != group]:
        holders.setdefault(joined[group], []).extend(holders.pop(group))
