"""A stochastic source of notes of known entropy: for each field a table of probabilities given other fields.

A note is one symbol of each field of :data:`bench.api.FIELDS`, drawn in that order. A field's law names its parents, each a field
and its distance in notes (0 is this note), and holds a probability for every combination of them. There is no hidden state, so
the probability of every note given all before it can be read from the tables.

A piece begins as if two fixed notes preceded it. Its first note has no time shift: that field is not drawn, costs no bits, and
counts as that of the fixed note where it is a parent.

Entropies are exact up to rounding. :func:`walk` propagates the joint distribution of all variables that the laws depend on from
note to note. The expected bits of a note are the entropy of each law's row, averaged over everything that may have preceded it.
Once the distribution no longer changes it is the stationary one, and the bits are the entropy rate (Cover and Thomas, Elements of
Information Theory, theorem 4.2.4). No entropy is estimated from samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS

Floats = NDArray[np.float64]
Symbols = NDArray[np.int64]

#: A field of a note, and its distance in notes.
Variable = tuple[str, int]

TIME = FIELDS.index("time")

#: Two distributions are considered equal if their absolute differences sum to less.
SAME = 1e-10
#: Notes after which a chain that has not converged is taken to be periodic.
LONGEST_WALK = 5_000


@dataclass(frozen=True)
class Law:
    """Probabilities of one field.

    Parameters
    ----------
    parents : tuple of (str, int)
        Its conditions: an earlier field of this note (0 back, in the order of ``FIELDS``), or any field 1 or 2 notes back.
    table : ndarray, shape (*symbols of each parent, symbols of the field)
        The last axis sums to 1.
    """

    parents: tuple[Variable, ...]
    table: Floats

    @cached_property
    def cumulated(self) -> Floats:
        """Cumulative probabilities without the last symbol's, which is 1. Shape (*parents, symbols - 1)."""
        return np.cumsum(self.table, axis=-1)[..., :-1]

    @cached_property
    def bits(self) -> Floats:
        """Entropy of each row, shape (*parents,)."""
        return entropy(self.table)


@dataclass(frozen=True)
class Source:
    """Four laws, and the notes that precede every piece.

    Parameters
    ----------
    laws : tuple of Law
        In the order of ``FIELDS``.
    start : tuple of tuple of int
        Symbols of the note two before a piece, and of the one directly before it.

    Raises
    ------
    ValueError
        If a law has an impossible parent, or isn't a table of probabilities over the symbols of its parents.
    """

    laws: tuple[Law, ...]
    start: tuple[tuple[int, ...], tuple[int, ...]]

    def __post_init__(self) -> None:
        for f, (name, law) in enumerate(zip(FIELDS, self.laws, strict=True)):
            for field, back in law.parents:
                if not (back in (1, 2) or (back == 0 and FIELDS.index(field) < f)):
                    raise ValueError(f"{name} can't depend on {field}, {back} notes back.")
            shape = tuple(self.sizes[FIELDS.index(field)] for field, _ in law.parents)
            if law.table.shape[:-1] != shape:
                raise ValueError(f"{name}: a table over {law.table.shape[:-1]}, but its parents have {shape} symbols.")
            if law.table.min() < 0 or not np.allclose(law.table.sum(-1), 1, rtol=0, atol=1e-12):
                raise ValueError(f"{name}: a row of its table doesn't sum to 1.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Symbols of each field."""
        return tuple(law.table.shape[-1] for law in self.laws)

    @property
    def memory(self) -> tuple[Variable, ...]:
        """Variables that determine the next note: all fields of the note before, and a law's parents two notes back."""
        older = [(f, 2) for f in FIELDS if any((f, 2) in law.parents for law in self.laws)]
        return (*older, *((f, 1) for f in FIELDS))

    @cached_property
    def resting(self) -> Joint:
        """Stationary distribution of its memory, see :func:`stationary`."""
        return stationary(self)

    def draw(self, uniform: Floats) -> Symbols:
        """Draw pieces of n notes by numbers in [0, 1), both of shape (pieces, n, 4). More numbers make the same pieces longer."""
        pieces, n, fields = uniform.shape
        drawn = np.empty((pieces, 2 + n, fields), np.int64)
        drawn[:, :2] = self.start
        for i in range(2, 2 + n):
            for f, law in enumerate(self.laws):
                if f == TIME and i == 2:
                    drawn[:, i, f] = self.start[1][f]
                    continue
                parents = tuple(drawn[:, i - back, FIELDS.index(field)] for field, back in law.parents)  # each (pieces,)
                drawn[:, i, f] = (uniform[:, i - 2, f, None] >= law.cumulated[parents]).sum(-1)
        return drawn[:, 2:]

    def bits(self, symbols: Symbols) -> Floats:
        """-log2 of the probability of every note of a piece given all before it, by field. Shape (n, 4), as `symbols`."""
        n = len(symbols)
        heard = np.concatenate([np.asarray(self.start, np.int64), symbols])
        cost = np.empty((n, len(FIELDS)))
        for f, law in enumerate(self.laws):
            parents = tuple(heard[2 - back : 2 - back + n, FIELDS.index(field)] for field, back in law.parents)  # each (n,)
            cost[:, f] = -np.log2(law.table[(*parents, symbols[:, f])])
        cost[:1, TIME] = 0.0
        return cost


@dataclass(frozen=True)
class Step:
    """Expectations of one note over all pieces.

    Parameters
    ----------
    bits : ndarray, shape (4,)
        Expected bits of each field given everything before it: the conditional entropy.
    pairs : tuple of ndarray, each of shape (symbols, symbols)
        Of each field, the probability of its symbol in the note before (rows) and in this one.
    """

    bits: Floats
    pairs: tuple[Floats, ...]


@dataclass(frozen=True)
class Joint:
    """A joint distribution, one axis for each variable."""

    variables: tuple[Variable, ...]
    table: Floats

    def times(self, law: Law, field: str, keep: Iterable[Variable]) -> Joint:
        """Draw `field` of this note too, then sum out all variables but those in `keep`."""
        everything = (*self.variables, (field, 0))
        kept = [v for v in everything if v in set(keep)]
        letter = dict(zip(everything, ascii_lowercase, strict=False))
        own, by_law, left = ("".join(letter[v] for v in part) for part in (self.variables, (*law.parents, (field, 0)), kept))
        return Joint(tuple(kept), np.einsum(f"{own},{by_law}->{left}", self.table, law.table))

    def marginal(self, variables: Sequence[Variable]) -> Floats:
        """Marginal distribution of some variables, axes in their order."""
        letter = dict(zip(self.variables, ascii_lowercase, strict=False))
        own, left = ("".join(letter[v] for v in part) for part in (self.variables, variables))
        table: Floats = np.einsum(f"{own}->{left}", self.table)
        return table


def walk(source: Source) -> Iterator[Step]:
    """Yield the expectations of a piece's first note, its second, and so on without end."""
    now = beginning(source)
    step, now = advance(source, now, first=True)
    yield step
    while True:
        step, later = advance(source, now)
        yield step
        if np.abs(later.table - now.table).sum() < SAME:
            break
        now = later
    while True:
        yield step


def beginning(source: Source) -> Joint:
    """Distribution of the memory at a piece's beginning: certainty of the notes that precede it."""
    table = np.zeros([source.sizes[FIELDS.index(field)] for field, _ in source.memory])
    table[tuple(source.start[2 - back][FIELDS.index(field)] for field, back in source.memory)] = 1.0
    return Joint(source.memory, table)


def stationary(source: Source) -> Joint:
    """Compute the stationary distribution of a source's memory, by power iteration.

    Raises
    ------
    ValueError
        If it doesn't converge.
    """
    _, now = advance(source, beginning(source), first=True)
    for _ in range(LONGEST_WALK):
        _, later = advance(source, now)
        if np.abs(later.table - now.table).sum() < SAME:
            return later
        now = later
    raise ValueError(f"The source has not converged after {LONGEST_WALK} notes: it is periodic or nearly so.")


def advance(source: Source, before: Joint, first: bool = False) -> tuple[Step, Joint]:
    """Compute one note's expectations, and the distribution of the memory after it."""
    laws = [_unheard(source) if first and f == TIME else law for f, law in enumerate(source.laws)]
    next_memory = [(field, back - 1) for field, back in source.memory]
    bits, pairs, now = [], [], before
    for f, (field, law) in enumerate(zip(FIELDS, laws, strict=True)):
        bits.append(float((now.marginal(law.parents) * law.bits).sum()))
        pairs.append(_pair(now, law, field))
        needed = {v for later in laws[f + 1 :] for v in later.parents} | {(later, 1) for later in FIELDS[f + 1 :]}
        now = now.times(law, field, {*next_memory, *needed})
    return Step(np.array(bits), tuple(pairs)), Joint(source.memory, now.marginal(next_memory))


def _pair(now: Joint, law: Law, field: str) -> Floats:
    """Joint probability of a field's symbols in the note before and in this one."""
    seen = tuple(dict.fromkeys((*law.parents, (field, 1))))
    return Joint(seen, now.marginal(seen)).times(law, field, [(field, 1), (field, 0)]).table


def _unheard(source: Source) -> Law:
    """Law of the first note's time shift: certain, whatever its parents."""
    law = source.laws[TIME]
    table = np.zeros_like(law.table)
    table[..., source.start[1][TIME]] = 1.0
    return Law(law.parents, table)


def entropy(probabilities: Floats) -> Floats:
    """Bits of each distribution along the last axis."""
    logs = np.log2(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    bits: Floats = -(probabilities * logs).sum(-1)
    return bits
