"""A stochastic source of notes whose entropy is known: for each field a table of probabilities, given other fields.

A note is one symbol of each field of :data:`bench.api.FIELDS`, drawn in that order. A field's law names its parents, each a field
and how many notes back it stands (0 is this note), and holds a probability for every combination of them. Nothing is hidden, so
the probability of every note given all before it stands in the tables.

A piece begins as though two given notes stood before it. Its first note has no time shift: that field is not drawn, costs no
bits, and counts as the given note's where it is a parent.

Entropies are exact up to rounding. :func:`walk` carries the joint distribution of what the laws look back on from note to note.
The expected bits of a note are the entropy of each law's row, averaged over all that may have come before. Once the distribution
repeats itself it is the stationary one, and the bits are the entropy rate (Cover and Thomas, Elements of Information Theory,
theorem 4.2.4). No entropy is estimated from drawn notes.
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

#: A field of a note, and how many notes back.
Variable = tuple[str, int]

TIME = FIELDS.index("time")

#: Two distributions are the same where their probabilities differ by less in sum.
SAME = 1e-10
#: Notes after which a chain that has not come to rest never will.
LONGEST_WALK = 5_000


@dataclass(frozen=True)
class Law:
    """Probabilities of one field.

    Parameters
    ----------
    parents : tuple of (str, int)
        What it depends on: a field of this note (0 back) that stands before it in ``FIELDS``, or any field 1 or 2 notes back.
    table : ndarray, shape (*symbols of each parent, symbols of the field)
        The last axis adds up to 1.
    """

    parents: tuple[Variable, ...]
    table: Floats

    @cached_property
    def cumulated(self) -> Floats:
        """Upper ends of the symbols' shares of [0, 1), but for the last symbol's. Shape (*parents, symbols - 1)."""
        return np.cumsum(self.table, axis=-1)[..., :-1]

    @cached_property
    def bits(self) -> Floats:
        """Entropy of each row, shape (*parents,)."""
        return entropy(self.table)


@dataclass(frozen=True)
class Source:
    """Four laws and the notes that every piece follows on.

    Parameters
    ----------
    laws : tuple of Law
        In the order of ``FIELDS``.
    start : tuple of tuple of int
        Symbols of the note two before a piece, and of the one right before it.

    Raises
    ------
    ValueError
        If a law looks at what isn't there, or is no table of probabilities over the symbols of its parents.
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
                raise ValueError(f"{name}: a row of its table doesn't add up to 1.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Symbols of each field."""
        return tuple(law.table.shape[-1] for law in self.laws)

    @property
    def memory(self) -> tuple[Variable, ...]:
        """What decides the next note: every field of the note before, and those of the one before it that a law looks at."""
        older = [(f, 2) for f in FIELDS if any((f, 2) in law.parents for law in self.laws)]
        return (*older, *((f, 1) for f in FIELDS))

    @cached_property
    def resting(self) -> Joint:
        """The distribution of its memory in the long run, see :func:`stationary`."""
        return stationary(self)

    def draw(self, uniform: Floats) -> Symbols:
        """Pieces of n notes from numbers in [0, 1), both of shape (pieces, n, 4). More numbers make the same pieces longer."""
        pieces, n, fields = uniform.shape
        drawn = np.empty((pieces, 2 + n, fields), np.int64)
        drawn[:, :2] = self.start
        for i in range(2, 2 + n):
            for f, law in enumerate(self.laws):
                if f == TIME and i == 2:
                    drawn[:, i, f] = self.start[1][f]
                    continue
                given = tuple(drawn[:, i - back, FIELDS.index(field)] for field, back in law.parents)
                drawn[:, i, f] = (uniform[:, i - 2, f, None] >= law.cumulated[given]).sum(-1)
        return drawn[:, 2:]

    def bits(self, symbols: Symbols) -> Floats:
        """-log2 of the probability of every note of a piece given all before it, by field. Shape (n, 4), as `symbols`."""
        n = len(symbols)
        heard = np.concatenate([np.asarray(self.start, np.int64), symbols])
        cost = np.empty((n, len(FIELDS)))
        for f, law in enumerate(self.laws):
            given = tuple(heard[2 - back : 2 - back + n, FIELDS.index(field)] for field, back in law.parents)
            cost[:, f] = -np.log2(law.table[(*given, symbols[:, f])])
        cost[:1, TIME] = 0.0
        return cost


@dataclass(frozen=True)
class Step:
    """One note's expectations over all pieces.

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
    """A joint distribution: an axis a variable."""

    variables: tuple[Variable, ...]
    table: Floats

    def times(self, law: Law, field: str, keep: Iterable[Variable]) -> Joint:
        """With `field` of this note drawn as well; then only `keep` is kept."""
        everything = (*self.variables, (field, 0))
        kept = [v for v in everything if v in set(keep)]
        letter = dict(zip(everything, ascii_lowercase, strict=False))
        own, given, left = ("".join(letter[v] for v in part) for part in (self.variables, (*law.parents, (field, 0)), kept))
        return Joint(tuple(kept), np.einsum(f"{own},{given}->{left}", self.table, law.table))

    def marginal(self, variables: Sequence[Variable]) -> Floats:
        """The distribution of some variables, axes in their order."""
        letter = dict(zip(self.variables, ascii_lowercase, strict=False))
        own, left = ("".join(letter[v] for v in part) for part in (self.variables, variables))
        found: Floats = np.einsum(f"{own}->{left}", self.table)
        return found


def walk(source: Source) -> Iterator[Step]:
    """The expectations of a piece's first note, its second, and so on without end."""
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
    """Certainty of the notes that stand before every piece."""
    table = np.zeros([source.sizes[FIELDS.index(field)] for field, _ in source.memory])
    table[tuple(source.start[2 - back][FIELDS.index(field)] for field, back in source.memory)] = 1.0
    return Joint(source.memory, table)


def stationary(source: Source) -> Joint:
    """The distribution of a source's memory in the long run, by power iteration.

    Raises
    ------
    ValueError
        If it comes to no rest.
    """
    _, now = advance(source, beginning(source), first=True)
    for _ in range(LONGEST_WALK):
        _, later = advance(source, now)
        if np.abs(later.table - now.table).sum() < SAME:
            return later
        now = later
    raise ValueError(f"The source has come to no rest after {LONGEST_WALK} notes: it is periodic or nearly so.")


def advance(source: Source, before: Joint, first: bool = False) -> tuple[Step, Joint]:
    """One note: its expectations, and the distribution of the memory after it."""
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
    """Probability of a field's symbol in the note before and in this one."""
    seen = tuple(dict.fromkeys((*law.parents, (field, 1))))
    return Joint(seen, now.marginal(seen)).times(law, field, [(field, 1), (field, 0)]).table


def _unheard(source: Source) -> Law:
    """The first note's time shift: certain, whatever its parents."""
    law = source.laws[TIME]
    table = np.zeros_like(law.table)
    table[..., source.start[1][TIME]] = 1.0
    return Law(law.parents, table)


def entropy(probabilities: Floats) -> Floats:
    """Bits of each distribution along the last axis."""
    logs = np.log2(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    found: Floats = -(probabilities * logs).sum(-1)
    return found
