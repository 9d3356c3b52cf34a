"""Reproducible splits: by a hash of the composition, never by performance or file order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence


class UnionFind:
    """Disjoint groups that can be joined.

    Parameters
    ----------
    names : iterable of str
        Each starts as a group of its own.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {n: n for n in names}

    def find(self, name: str) -> str:
        """Find the representative of the group of `name`."""
        while self._parent[name] != name:
            self._parent[name] = name = self._parent[self._parent[name]]
        return name

    def join(self, a: str, b: str) -> None:
        """Join the groups of `a` and `b`."""
        self._parent[self.find(a)] = self.find(b)

    def groups(self) -> list[list[str]]:
        """All groups, sorted."""
        groups: dict[str, list[str]] = {}
        for name in sorted(self._parent):
            groups.setdefault(self.find(name), []).append(name)
        return sorted(groups.values())


def fill_shares(groups: Sequence[Sequence[str]], shares: Mapping[str, float]) -> dict[str, str]:
    """Assign whole groups to splits, in the order of their hash, until each split holds its share of the names.

    Parameters
    ----------
    groups : sequence of sequence of str
    shares : mapping of str to float
        In the order in which the splits are filled; the last takes the rest. The shares sum to 1.

    Returns
    -------
    dict of str to str
        Split of each name.
    """
    total = sum(map(len, groups))
    split: dict[str, str] = {}
    names, held, used = list(shares), 0, 0.0
    at = 0
    for group in sorted(groups, key=lambda g: unit_hash(min(g))):
        while at < len(names) - 1 and held >= (used + shares[names[at]]) * total:
            used += shares[names[at]]
            at += 1
        split |= dict.fromkeys(group, names[at])
        held += len(group)
    return split


def unit_hash(text: str | bytes) -> float:
    """Hash `text` to a number in [0, 1)."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.sha256(raw).digest()[:7], "big") / 2**56
