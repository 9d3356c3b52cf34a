"""Pieces that are the same music: equal, transposed, at another tempo, another take, or an excerpt of one another.

A pattern is the seven intervals between eight successive notes, chords from the lowest key up, so neither key nor tempo matters.
Two pieces are alike if they have at least an eighth of the shorter one's patterns in common. Two takes of one work share 0.15 to
0.68 of them (MAESTRO), a copy without a random fifth of its notes 0.2; different works share 0.011 at most in MAESTRO and 0.05 in
POP909. Candidates are found by sorting the patterns of all pieces, not by comparing every piece with every other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes

from ._splits import UnionFind

#: Notes of a pattern, and the share of the shorter piece's patterns that makes two pieces alike.
LENGTH, SHARE = 8, 0.125

#: Fewest common patterns: fewer may be one figure that two works have in common.
FEWEST = 16

#: Patterns in more pieces, and in a larger share of all, are stock figures: they count only if half of the patterns are common.
STOCK, STOCK_SHARE, MOSTLY = 20, 0.02, 0.5

#: Pieces with parts in another that make it a medley.
MEDLEY = 4

#: Seconds between the notes of one chord, at most: hands don't strike at once.
CHORD = 0.03

#: Patterns that are sorted at once; of more, an even part is, chosen by their hashes.
MOST = 20_000_000

#: Share of the shorter piece's patterns that must stand next to each other in the sorted list for a comparison.
CANDIDATE = 0.05

Hashes = NDArray[np.uint64]


def alike(pieces: Sequence[Notes]) -> tuple[list[list[int]], list[int]]:
    """Find the groups of two and more pieces that are alike, or linked by others that are.

    Parameters
    ----------
    pieces : sequence of Notes

    Returns
    -------
    groups : list of list of int
        Indices, ascending; a piece is in one group at most. Which pieces are grouped does not depend on their order.
    medleys : list of int
        Pieces that hold parts of at least :data:`MEDLEY` others, such as an album. They are in no group: they
        would make one of all that they quote.

    Examples
    --------
    >>> def squares(prime):
    ...     return Notes.from_columns(np.arange(40.0), np.ones(40), 60 + np.arange(40) ** 2 % prime, np.full(40, 80))
    >>> theme, other = squares(37), squares(41)
    >>> higher = Notes.from_columns(theme.onset * 0.8, theme.duration, theme.pitch + 3, theme.velocity)
    >>> alike([theme, other, higher])
    ([[0, 2]], [])
    """
    hashes = [patterns(notes) for notes in pieces]
    part = max(1, math.ceil(sum(map(len, hashes)) / MOST))
    hashes = [one[one % np.uint64(part) == 0] for one in hashes]
    stock, pairs = _compare(hashes)
    linked = UnionFind(map(str, range(len(pieces))))
    links = [pair for pair in pairs if _are_alike(hashes[pair[0]], hashes[pair[1]], stock, FEWEST / part)]
    others: dict[int, list[int]] = defaultdict(list)
    for one, other in links:
        others[one].append(other)
        others[other].append(one)
    medleys = _medleys(hashes, others)
    for one, other in links:
        if one not in medleys and other not in medleys:
            linked.join(str(one), str(other))
    return sorted(sorted(map(int, group)) for group in linked.groups() if len(group) > 1), sorted(medleys)


def _medleys(hashes: Sequence[Hashes], others: Mapping[int, Collection[int]]) -> set[int]:
    """Find the pieces that hold parts of several others, none of which is in another's part.

    Those with most parts are left out first, and then are no parts of others: of albums and what they quote, the albums. Copies
    of a piece, each without some notes, lie all over it, and so over each other.
    """
    parts = {at: _parts(hashes[at], [hashes[other] for other in near]) for at, near in others.items() if len(near) >= MEDLEY}
    found: set[int] = set()
    for at in sorted(parts, key=lambda at: (-parts[at], int(hashes[at].sum()))):
        left = [hashes[other] for other in others[at] if other not in found]
        if parts[at] >= MEDLEY and _parts(hashes[at], left) >= MEDLEY:
            found.add(at)
    return found


def _parts(piece: Hashes, others: Sequence[Hashes]) -> int:
    """Count others whose patterns in a piece are, but for a tenth, in none of those counted before."""
    number, known = 0, np.zeros(len(piece), np.bool_)
    for common in sorted((_common(piece, other) for other in others), key=lambda common: (len(common), int(common.sum()))):
        places = np.searchsorted(piece, common)
        if known[places].sum() <= len(common) / 10:
            number += 1
            known[places] = True
    return number


def patterns(notes: Notes) -> Hashes:
    """Hash the distinct patterns of a piece, ascending."""
    if len(notes) < LENGTH:
        return np.zeros(0, np.uint64)
    chord = np.concatenate([[0], np.cumsum(np.diff(notes.onset) > CHORD)])
    steps = np.diff(notes.pitch[np.lexsort((notes.pitch, chord))].astype(np.int64)).astype(np.uint64)
    number = len(steps) - LENGTH + 2
    hashed = np.zeros(number, np.uint64)
    for i in range(LENGTH - 1):  # wraps at 2^64, as it should
        hashed = (hashed + steps[i : i + number] + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(29)
    return np.unique(hashed)


def _are_alike(one: Hashes, other: Hashes, stock: Hashes, fewest: float) -> bool:
    common = _common(one, other)
    shorter = min(len(one), len(other))
    if len(common) >= max(fewest, MOSTLY * shorter):
        return True
    telling = len(common) - len(_common(common, stock))
    return bool(telling >= max(fewest, SHARE * shorter))


def _common(one: Hashes, other: Hashes) -> Hashes:
    """Look up the fewer hashes in the more; both are ascending, each once. One long piece may be compared with every other."""
    few, many = (one, other) if len(one) < len(other) else (other, one)
    at = np.searchsorted(many, few)
    inside = at < len(many)
    common: Hashes = few[inside][many[at[inside]] == few[inside]]
    return common


def _compare(hashes: Sequence[Hashes]) -> tuple[Hashes, list[tuple[int, int]]]:
    """Find the stock patterns, and the pairs of pieces that share patterns with few or no other pieces between them."""
    # In an order of their content, so that the neighbours of a piece don't depend on the order of the files.
    places = sorted(range(len(hashes)), key=lambda at: (int(hashes[at].sum()), len(hashes[at])))
    sizes = np.array([len(hashes[at]) for at in places], np.int64)
    hashed = np.concatenate([np.zeros(0, np.uint64), *(hashes[at] for at in places)])
    order = np.argsort(hashed, kind="stable")
    hashed, place = hashed[order], np.repeat(np.arange(len(places)), sizes)[order]
    # Sorted, a pattern of more than `limit` pieces is equal to the one `limit` places further on.
    limit = int(max(STOCK, STOCK_SHARE * len(hashes)))
    stock = np.unique(hashed[:-limit][hashed[:-limit] == hashed[limit:]])
    pairs = [
        place[:-distance][same] * len(places) + place[distance:][same]
        for distance in (1, 2)
        for same in [hashed[:-distance] == hashed[distance:]]
    ]
    numbers, counts = np.unique(np.concatenate(pairs), return_counts=True)
    one, other = np.divmod(numbers, max(1, len(places)))
    chosen = np.flatnonzero(counts >= CANDIDATE * np.minimum(sizes[one], sizes[other]))
    return stock, [(places[one[i]], places[other[i]]) for i in chosen]
