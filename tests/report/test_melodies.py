"""Groups of held-out pieces that share a melody."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import DisjointSet

from bench.report.melodies import SHARED, WINDOW, _join, melody_groups
from bench.storage.samples import PieceName, Target

from .stored_run import Stored, many_pieces, notes, written

#: Thirty pitches that never repeat at once; another melody; half a line of each.
LINE = (60 + np.random.default_rng(0).permutation(30)).tolist()
OTHER = (60 + np.random.default_rng(1).permutation(30)).tolist()


def target(pitch: Sequence[int]) -> Target:
    return Target(PieceName(0, "a"), notes(pitch[:5], [80] * 5), notes(pitch[5:], [80] * len(pitch), start=2.5))


def test_key_and_repeated_notes_do_not_count() -> None:
    repeated = [LINE[0], *LINE]
    pieces = [target(LINE), target(OTHER), target([p + 3 for p in LINE]), target([p - 5 for p in repeated])]
    assert melody_groups(pieces) == [[0, 2, 3], [1]]


def test_two_fifths_of_the_windows_are_needed() -> None:
    """The line has 29 intervals and 18 windows, of which 8 are 44 % and 7 are 39 %."""
    assert len(LINE) - 1 - WINDOW + 1 == 18
    assert melody_groups([target(LINE), target([*LINE[: WINDOW + 8], *OTHER[:10]])]) == [[0, 1]]
    assert melody_groups([target(LINE), target([*LINE[: WINDOW + 7], *OTHER[:11]])]) == [[0], [1]]


def test_groups_join_through_a_piece_that_shares_both() -> None:
    both = [*LINE[:25], *OTHER[:25]]
    assert melody_groups([target(LINE), target(OTHER), target(both)]) == [[0, 1, 2]]


def test_music_shorter_than_a_window_shares_nothing() -> None:
    assert melody_groups([target(LINE[:10])] * 2) == [[0], [1]]


@given(st.lists(st.sets(st.integers(0, 12).map(lambda i: (i,)), max_size=9), max_size=12))
def test_groups_are_those_of_all_pairs(melodies: list[set[tuple[int, ...]]]) -> None:
    expected = DisjointSet(range(len(melodies)))
    for a, b in combinations(range(len(melodies)), 2):
        fewer = min(len(melodies[a]), len(melodies[b]))
        if fewer and len(melodies[a] & melodies[b]) >= SHARED * fewer:
            expected.merge(a, b)
    joined = _join(melodies)
    assert all(joined.connected(a, b) == expected.connected(a, b) for a, b in combinations(range(len(melodies)), 2))


def test_thousands_of_takes_of_a_few_melodies() -> None:
    """In seconds: it took hours when all pairs were compared, and the groups written anew for each that is alike."""
    rng = np.random.default_rng(2)
    lines = [(60 + rng.permutation(30)).tolist() for _ in range(3)]
    takes = [[p + shift for p in line[cut:]] for cut in range(4) for shift in range(-9, 9) for line in lines]
    groups = melody_groups([target(take) for take in takes * 20])
    assert [group[:2] for group in groups] == [[0, 3], [1, 4], [2, 5]]
    assert sum(map(len, groups)) == 4320


def test_the_report_says_so_where_pieces_share_one(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4)
    assert "share a melody" not in written(stored.close())["report.md"]
