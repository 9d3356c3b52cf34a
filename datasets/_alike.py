"""Pieces that are the same music: equal, transposed, at another tempo, another take, or an excerpt of one another.

A pattern is the seven intervals between eight successive notes, chords from the lowest key up and each key once, so neither key
nor tempo matters, nor a track that is there twice.
Two pieces are alike if they have at least an eighth of the shorter one's patterns in common. Two takes of one work share 0.15 to
0.68 of them (MAESTRO), a copy without a random fifth of its notes 0.2; different works share 0.011 at most in MAESTRO and 0.05 in
POP909. Short pieces and loops, which have few patterns, are alike if most notes of both lie in the common ones. Candidates are
found by sorting the patterns of all pieces, not by comparing every piece with every other.

Patterns of many pieces may be stock figures, or one work in many takes. Takes have them in the same order from beginning to end.
"""

from __future__ import annotations

import bisect
import functools
import heapq
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes, Progress

from ._splits import UnionFind

#: Notes of a pattern, and the share of the shorter piece's patterns that makes two pieces alike.
LENGTH, SHARE = 8, 0.125

#: Fewest common patterns: fewer may be one figure that two works have in common, unless they are this share of both works', or
#: of both works' notes.
FEWEST, NEARLY = 16, 0.9

#: Fewest common patterns that are enough if they hold most notes of both, and fewest where both repeat them: a loop has as many
#: patterns as notes, however often it is played. Fewer are a trill or a note that is struck again.
PASSAGE, LOOP = 8, 4

#: Patterns in more pieces, and in a larger share of all, are stock: they count only if half of the patterns are common, or if
#: those in the same order lie in half of this many equal parts of the shorter piece.
STOCK, STOCK_SHARE, MOSTLY, PARTS = 20, 0.02, 0.5, 16

#: Pieces with parts in another that make it a medley, and fewest if these are most of the pieces: fewer may be its excerpts.
MEDLEY, EXCERPTS = 4, 8

#: Seconds between the notes of one chord, at most: hands don't strike at once.
CHORD = 0.03

#: Patterns that are compared; of more, an even part is, chosen by their hashes.
MOST = 20_000_000

#: Patterns that are sorted at once, about: sorting takes five times their memory.
SORTED = 2_000_000

#: Notes that are hashed at once, as many as a processor's cache holds.
AT_ONCE = 1 << 15

#: Share of the shorter piece's patterns that must stand next to each other in the sorted list for a comparison.
CANDIDATE = 0.05

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


def quiet(done: int, total: int, what: str) -> None:
    """Show no progress."""


def alike(pieces: Sequence[Notes], progress: Progress = quiet) -> tuple[list[list[int]], dict[int, list[int]]]:
    """Find the groups of two and more pieces that are alike, or linked by others that are.

    Parameters
    ----------
    pieces : sequence of Notes
    progress : callable, optional

    Returns
    -------
    groups : list of list of int
        Indices, ascending; a piece is in one group at most. Which pieces are grouped does not depend on their order.
    medleys : dict of int to list of int
        Pieces that hold parts of at least :data:`MEDLEY` others, such as an album, and these others. They are in no group: they
        would make one of all that they quote.

    Examples
    --------
    >>> def squares(prime):
    ...     return Notes.from_columns(np.arange(40.0), np.ones(40), 60 + np.arange(40) ** 2 % prime, np.full(40, 80))
    >>> theme, other = squares(37), squares(41)
    >>> higher = Notes.from_columns(theme.onset * 0.8, theme.duration, theme.pitch + 3, theme.velocity)
    >>> alike([theme, other, higher])
    ([[0, 2]], {})
    """
    part = max(1, math.ceil(sum(max(0, len(notes) - LENGTH + 1) for notes in pieces) / MOST))
    hashes: list[Hashes] = []
    for batch in _batches(pieces):
        progress(len(hashes), len(pieces), "comparing pieces")
        hashes += [_distinct(one[one % np.uint64(part) == 0] if part > 1 else one) for one in _in_order(batch)]
    medleys: dict[int, list[int]] = {}
    # Again without those found: they may have stood between two takes of a work, or between a work and another medley.
    while found := _medleys(pieces, hashes, others := _Comparison(pieces, hashes, FEWEST / part).neighbours()):
        medleys |= {at: sorted(others[at]) for at in found}
        for at in found:
            hashes[at] = hashes[at][:0]
    linked = UnionFind(map(str, range(len(pieces))))
    for one, near in others.items():
        for other in near:
            linked.join(str(one), str(other))
    return sorted(sorted(map(int, group)) for group in linked.groups() if len(group) > 1), dict(sorted(medleys.items()))


class _Comparison:
    """Comparison of pieces by their patterns.

    Parameters
    ----------
    pieces : sequence of Notes
    hashes : sequence of ndarray
        Patterns of each piece, ascending.
    fewest : float
        Fewest common patterns of two that are alike.
    """

    def __init__(self, pieces: Sequence[Notes], hashes: Sequence[Hashes], fewest: float) -> None:
        self._pieces, self.hashes, self.fewest = pieces, hashes, fewest
        self.stock, self.candidates = _compare(hashes)
        self._first = functools.lru_cache(1024)(lambda at: _first_places(pieces[at], hashes[at]))

    def neighbours(self) -> dict[int, set[int]]:
        """Find the pieces that each piece is alike to, if any."""
        others: dict[int, set[int]] = defaultdict(set)
        for one, other in self.candidates:
            if self.are_alike(one, other):
                others[one].add(other)
                others[other].add(one)
        return dict(others)

    def are_alike(self, one: int, other: int) -> bool:
        """Whether two pieces are the same music."""
        shorter, longer = sorted((one, other), key=lambda at: (len(self.hashes[at]), at))
        few, many = self.hashes[shorter], self.hashes[longer]
        common = _common(few, many)
        enough = max(self.fewest, SHARE * len(few))
        if len(common) < enough:
            if len(common) >= NEARLY * len(many) > 0:
                return True
            return 0 < len(common) < self.fewest and self._fill(common, shorter, longer)
        if len(common) >= MOSTLY * len(few) or len(common) - len(_common(common, self.stock)) >= enough:
            return True
        in_shorter, in_longer = (self._first(at)[np.searchsorted(self.hashes[at], common)] for at in (shorter, longer))
        return _run_along(in_shorter, in_longer, len(self._pieces[shorter]), enough)

    def _fill(self, common: Hashes, *pieces: int) -> bool:
        """Whether most notes of both pieces lie in the few patterns that they have in common."""
        begins = [np.isin(hashed, common) for hashed in _in_order([self._pieces[at] for at in pieces])]
        repeated = all(np.count_nonzero(each) > len(common) for each in begins)
        share = MOSTLY if len(common) >= (LOOP if repeated else PASSAGE) else NEARLY
        return all(np.mean(np.convolve(each, np.ones(LENGTH)) > 0) >= share for each in begins)


def _medleys(pieces: Sequence[Notes], hashes: Sequence[Hashes], others: Mapping[int, Collection[int]]) -> set[int]:
    """Find the pieces that hold parts of several others, none of which is in another's part.

    Those with most parts are left out first, and then are no parts of others: of albums and what they quote, the albums. Copies
    of a piece, each without some notes, lie all over it, and so over each other. A piece that many short files quote holds parts
    of them as well: of the two, the one that consists of more parts for its length goes, unless it has less than half as many:
    a few files, however long, that quote many pieces cost themselves.
    """
    found: set[int] = set()

    def density(at: int, beside: int, least: float) -> float:
        """Parts for each pattern: of one piece, and of others that go on outside and have nothing in common with that one.

        0 if they are one part, or fewer than `least`.
        """
        apart = [hashes[near] for near in others[at] if near not in found and near not in others[beside]]
        quoted = [other for other in apart if 2 * len(_common(hashes[at], other)) <= len(other)]
        number = _parts(pieces[at], hashes[at], quoted) if len(quoted) > 1 else 0  # `beside` is among them
        return number / len(hashes[at]) if number > 1 and number >= least else 0.0

    # First a piece's most parts, as many as its neighbours, then those counted, with the number of neighbours among which.
    queue = [(-len(near), int(hashes[at].sum()), at, 0) for at, near in others.items()]
    heapq.heapify(queue)
    while queue:
        parts, content, at, counted = heapq.heappop(queue)
        if at in found:
            continue
        left = [other for other in others[at] if other not in found]
        if counted and counted == len(left):
            quoting = [(density(other, at, -parts / 2), int(hashes[other].sum()), other) for other in left]
            *_, medley = max((-parts / len(hashes[at]), content, at), *quoting)
            found.add(medley)
            if medley != at:
                heapq.heappush(queue, (1 - len(left), content, at, 0))
        elif len(left) >= MEDLEY and (number := _parts(pieces[at], hashes[at], [hashes[other] for other in left])) >= MEDLEY:
            heapq.heappush(queue, (-number, content, at, len(left)))
    return found


def _parts(notes: Notes, piece: Hashes, others: Sequence[Hashes]) -> int:
    """Count others in places of their own: each is mostly far from those counted before, and these are mostly far from it.

    One with hardly a pattern of the others' counts wherever it lies: a collage may take turns between all that it quotes.

    A few excerpts that leave most of the piece out don't count: an album goes on with other music, a work with its own. Of many,
    nothing says that they are of one work, and without the piece they have nothing in common.

    Mostly, because several may share a figure, which comes first in one place. Places are near if their patterns may have a note
    in common: a copy without some notes lies everywhere, with gaps between, and has patterns in common with other copies.
    """
    first = _first_places(notes, piece)
    owner = np.full(len(notes) + 2 * LENGTH, -1)
    sizes = np.zeros(len(others), np.int64)
    known = np.zeros(len(piece), np.bool_)
    number = 0
    commons = [_common(piece, other) for other in others]
    quotes = [common for common, other in zip(commons, others, strict=True) if 2 * len(common) <= len(other)]
    if len(commons) - len(quotes) < EXCERPTS and 2 * len(_distinct(np.concatenate(commons))) < len(piece):
        commons = quotes
    for common in sorted(commons, key=lambda common: (len(common), int(common.sum()))):
        at = np.searchsorted(piece, common)
        places = first[at] + LENGTH
        near, held = np.unique(owner[places], return_counts=True)
        near, held = near[near >= 0], held[near >= 0]
        apart = 2 * held.sum() < len(places) and (2 * held < sizes[near]).all()
        if apart or np.count_nonzero(known[at]) < SHARE * len(at):
            owner[places[:, None] + np.arange(-LENGTH, LENGTH + 1)] = number
            sizes[number] = len(places)
            number += 1
        known[at] = True
    return number


def _first_places(notes: Notes, piece: Hashes) -> Places:
    """Find where each of a piece's patterns, ascending, begins first: its number among the notes."""
    (hashed,) = _in_order([notes])
    order = np.argsort(hashed, kind="stable")
    places: Places = order[np.searchsorted(hashed[order], piece)]
    return places


def _batches(pieces: Sequence[Notes]) -> Iterator[Sequence[Notes]]:
    """Divide pieces into batches of about :data:`AT_ONCE` notes: NumPy takes as long for ten notes as for a thousand."""
    ends = np.cumsum([len(notes) for notes in pieces])
    at = 0
    while at < len(pieces):
        to = int(np.searchsorted(ends, (ends[at - 1] if at else 0) + AT_ONCE, side="right"))
        yield pieces[at : (at := max(at + 1, to))]


def patterns(notes: Notes) -> Hashes:
    """Hash the distinct patterns of a piece, ascending."""
    (hashed,) = _in_order([notes])
    return _distinct(hashed)


def _distinct(hashed: Hashes) -> Hashes:
    hashed = np.sort(hashed)  # np.unique takes thirty times as long: it puts them into a table
    distinct: Hashes = hashed[np.diff(hashed, prepend=~hashed[:1]) != 0]
    return distinct


def _in_order(pieces: Sequence[Notes]) -> list[Hashes]:
    """Hash the patterns of each piece as they follow one another."""
    onset = np.concatenate([notes.onset for notes in pieces])
    pitch = np.concatenate([notes.pitch for notes in pieces])
    sizes = np.array([len(notes) for notes in pieces], np.int64)
    begins = np.cumsum(sizes) - sizes
    new_chord = np.diff(onset, prepend=0.0) > CHORD
    new_chord[begins[sizes > 0]] = True
    # Within a chord from the lowest key up.
    keys = np.sort(np.cumsum(new_chord) << 7 | pitch)
    once = np.diff(keys, prepend=-1) != 0
    sizes = np.bincount(np.repeat(np.arange(len(pieces)), sizes)[once], minlength=len(pieces))
    begins = np.cumsum(sizes) - sizes
    steps = np.diff(keys[once] & 127).astype(np.uint64)
    hashed = np.zeros(max(0, len(steps) - LENGTH + 2), np.uint64)
    for i in range(LENGTH - 1):  # wraps at 2^64, as it should
        hashed = (hashed + steps[i : i + len(hashed)] + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(29)
    return [hashed[begin : max(begin, begin + size - LENGTH + 1)] for begin, size in zip(begins, sizes, strict=True)]


def _run_along(shorter: Places, longer: Places, length: int, enough: float) -> bool:
    """Whether enough of the common patterns follow one another in both pieces, all through the shorter one.

    Stock figures come in any order, or, as a common beginning does, in one place.

    Parameters
    ----------
    shorter, longer : ndarray, shape (common,)
        Where the common patterns begin first in each.
    length : int
        Notes of the shorter piece.
    enough : float
    """
    order = np.argsort(shorter)
    chain = _longest_rise(longer[order].tolist())
    begins = shorter[order][chain]
    parts = np.unique(begins * PARTS // length)
    return bool(len(chain) >= enough and len(parts) >= PARTS / 2)


def _longest_rise(values: Sequence[int]) -> list[int]:
    """Find the places of a longest rising part of a sequence (Schensted 1961)."""
    ends: list[int] = []  # the least value that a rising part of each length may end with
    at: list[int] = []  # its place
    before: list[int] = []
    for place, value in enumerate(values):
        length = bisect.bisect_left(ends, value)
        ends[length : length + 1], at[length : length + 1] = [value], [place]
        before.append(at[length - 1] if length else -1)
    chain = at[-1:]
    while chain and before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return chain[::-1]


def _common(one: Hashes, other: Hashes) -> Hashes:
    """Look up the fewer hashes in the more; both are ascending, each once. One long piece may be compared with every other."""
    few, many = (one, other) if len(one) < len(other) else (other, one)
    at = np.searchsorted(many, few)
    inside = at < len(many)
    common: Hashes = few[inside][many[at[inside]] == few[inside]]
    return common


def _ranges(pieces: Sequence[Hashes]) -> Iterator[Sequence[Hashes]]:
    """Divide the hashes of all pieces into ranges of about :data:`SORTED` hashes, the lowest first."""
    number = max(1, math.ceil(sum(map(len, pieces)) / SORTED))
    bounds = np.array([k * 2**64 // number for k in range(1, number)], np.uint64)
    cuts = [[0, *np.searchsorted(piece, bounds).tolist(), len(piece)] for piece in pieces]
    for k in range(number):
        yield [piece[cut[k] : cut[k + 1]] for piece, cut in zip(pieces, cuts, strict=True)]


def _compare(hashes: Sequence[Hashes]) -> tuple[Hashes, list[tuple[int, int]]]:
    """Find the stock patterns, and the pairs of pieces that share patterns with few or no other pieces between them.

    The pieces are in the order of their length, so that a medley of complete works does not stand between two takes of one. Of a
    pattern in many pieces, the shortest and the longest are also paired with all the others: so is a work with all albums.
    """
    places = sorted(range(len(hashes)), key=lambda at: (len(hashes[at]), int(hashes[at].sum())))
    sizes = np.array([len(hashes[at]) for at in places], np.int64)
    limit = int(max(STOCK, STOCK_SHARE * len(hashes)))
    stock, pairs = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for part in _ranges([hashes[at] for at in places]):
        hashed = np.concatenate([np.zeros(0, np.uint64), *part])
        order = np.argsort(hashed, kind="stable")
        hashed, place = hashed[order], np.repeat(np.arange(len(part)), [len(one) for one in part])[order]
        # Sorted, a pattern of more than `limit` pieces is equal to the one `limit` places further on.
        stock.append(np.unique(hashed[:-limit][hashed[:-limit] == hashed[limit:]]))
        for distance in (1, 2):
            same = hashed[:-distance] == hashed[distance:]
            pairs.append(place[:-distance][same] * len(places) + place[distance:][same])
        begin = np.flatnonzero(hashed[:-3] == hashed[3:])  # places with another of the same pattern three and more further on
        first, last = np.searchsorted(hashed, hashed[begin]), np.searchsorted(hashed, hashed[begin], "right") - 1
        pairs += [place[first] * len(places) + place[begin + 3], (place[begin] * len(places) + place[last])[begin > first]]
    numbers, counts = np.unique(np.concatenate(pairs), return_counts=True)
    one, other = np.divmod(numbers, max(1, len(places)))
    chosen = np.flatnonzero(counts >= CANDIDATE * np.minimum(sizes[one], sizes[other]))
    return np.concatenate(stock), [(places[one[i]], places[other[i]]) for i in chosen]
