"""Interpolated counts of notes in several contexts, for the reference row `ngram`.

The four classes of a note (see :class:`bench.api.NoteCodec`) are predicted in the codec's order, each given those before it in
the note and the notes before. Each context c in turn refines the distribution p' of the contexts before it::

    p(x | c) = (max(n(c, x) - d, 0) + (d t(c) + s) p'(x)) / (n(c) + s)

n(c, x) counts x after c in training, n(c) all classes and t(c) the different ones. With s = 0 this is absolute discounting, which
Kneser & Ney (1995, ICASSP) interpolate with lower orders (Chen & Goodman 1999, Computer Speech & Language 13(4), compare the
variants); with d = 0 it is the pseudo-counts of MacKay & Peto (1995, Natural Language Engineering 1(3)). Both together are the
predictive rule of Teh (2006, ACL). That t(c) tells how much is left for classes never seen is from Witten & Bell (1991, IEEE
Transactions on Information Theory 37(4)). Pearce & Wiggins (2004, Journal of New Music Research 33(4)) compare such models of
music.

The contexts, their order, d and s are chosen on the validation pieces alone: one context after another, while it saves bits.

In a context, pitches are counted as intervals from the note before, modulo 128, so that the probabilities of the 128 pitches sum
to 1. Counting intervals in contexts of intervals is like counting the training music in other keys too, here within an octave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS, NoteCodec

from ._chains import choose
from ._contexts import CONTEXTS, Context, Floats, Ints, View, window

Hashes = NDArray[np.uint64]
Codes = NDArray[np.integer]

#: n(c, x), n(c) and t(c), of shapes that broadcast to each other.
Evidence = tuple[Floats, Floats, Floats]

#: Candidates for d and s; the first of each where there is no validation piece.
DISCOUNTS = (0.7, 0.4, 0.9, 0.0)
STRENGTHS = (8.0, 0.5, 2.0, 32.0, 128.0, 512.0, 2048.0)
#: Bits per note that a further context must save on the validation pieces.
LEAST_GAIN = 0.005
#: Name of the first level, which counts classes in no context.
ANY = "any"


def interpolate(lower: Floats, evidence: Evidence, discount: float, strength: float) -> Floats:
    """Refine probabilities by the counts of one context, see the top of this module.

    Parameters
    ----------
    lower : ndarray of float64
        Probabilities p' without this context.
    evidence : three ndarrays of float64
        n(c, x), n(c) and t(c). A context never seen changes nothing.
    discount, strength : float
        d, at least 0 and below 1; s, above 0.

    Examples
    --------
    >>> counts = np.array([2.0, 1.0, 0.0])
    >>> interpolate(np.array([0.5, 0.25, 0.25]), (counts, np.array(3.0), np.array(2.0)), discount=0.5, strength=1.0).tolist()
    [0.625, 0.25, 0.125]
    """
    times, total, kinds = evidence
    refined: Floats = (np.maximum(times - discount, 0) + (discount * kinds + strength) * lower) / (total + strength)
    return refined


@dataclass(frozen=True)
class Counts:
    """Counts of K symbols by context, from one note or more.

    Parameters
    ----------
    size : int
        K.
    contexts : ndarray of uint64, shape (c,)
        Hashes of the contexts seen, ascending. Two contexts of one hash are one context.
    pairs : ndarray of int64, shape (p,)
        Index of a context times K plus the symbol, ascending.
    times : ndarray of int64, shape (p,)
        How often each pair occurred.
    """

    size: int
    contexts: Hashes
    pairs: Ints
    times: Ints

    @classmethod
    def of(cls, contexts: Hashes, symbols: Ints, size: int) -> Counts:
        """Count symbols, each after its context. Shapes (m,)."""
        seen, index = np.unique(contexts, return_inverse=True)
        return cls(size, seen, *np.unique(index * size + symbols, return_counts=True))

    @cached_property
    def starts(self) -> Ints:
        """First pair of each context, and the number of pairs. Shape (c + 1,)."""
        return np.searchsorted(self.pairs, self.size * np.arange(len(self.contexts) + 1))

    @cached_property
    def totals(self) -> Ints:
        """How often each context occurred. Shape (c,)."""
        totals: Ints = np.add.reduceat(self.times, self.starts[:-1])
        return totals

    def of_symbols(self, contexts: Hashes, symbols: Ints) -> Evidence:
        """Evidence for one symbol in each context. Shapes (m,)."""
        index = self._find(contexts)
        pairs = index * self.size + symbols
        at = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        times = np.where((index >= 0) & (self.pairs[at] == pairs), self.times[at], 0)
        return times.astype(np.float64), *self._of_contexts(index)

    def of_all(self, contexts: Hashes) -> Evidence:
        """Evidence for every symbol in each context. Shapes (m, K), (m, 1), (m, 1)."""
        index = self._find(contexts)
        times = np.zeros((len(index), self.size))
        for row in np.flatnonzero(index >= 0):
            own = slice(self.starts[index[row]], self.starts[index[row] + 1])
            times[row, self.pairs[own] - index[row] * self.size] = self.times[own]
        total, kinds = self._of_contexts(index)
        return times, total[:, None], kinds[:, None]

    def _find(self, contexts: Hashes) -> Ints:
        """Index of each context, -1 for one never seen. Shape (m,)."""
        at = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        return np.where(self.contexts[at] == contexts, at, -1)

    def _of_contexts(self, index: Ints) -> tuple[Floats, Floats]:
        total, kinds = self.totals[index], self.starts[index + 1] - self.starts[index]
        return np.where(index < 0, 0.0, total), np.where(index < 0, 0.0, kinds)


@dataclass(frozen=True)
class Level:
    """One context of a field: its counts and its smoothing."""

    name: str
    context: Context
    counts: Counts
    discount: float
    strength: float


@dataclass(frozen=True)
class FieldModel:
    """Distribution of the K classes of one field: even, then refined by each level in turn."""

    field: int
    size: int
    levels: tuple[Level, ...]

    @classmethod
    def fit(cls, field: int, train: View, valid: View) -> FieldModel:
        """Count, and choose the levels on the validation notes; without any, count each class after no context at all."""
        size = train.codec.sizes[field]
        left: dict[str, Context] = {ANY: lambda view: (), **CONTEXTS[field]}
        counts = {name: Counts.of(_hashes(train, c), _symbols(train, field, name), size) for name, c in left.items()}
        evidence = {name: counts[name].of_symbols(_hashes(valid, c), _symbols(valid, field, name)) for name, c in left.items()}
        p = np.full(len(valid.now), 1 / size)
        levels: list[Level] = []
        while left:
            names = list(left) if levels else [ANY]
            bits, name, discount, strength = min(_smoothed(p, evidence[name], name) for name in names)
            if levels and not bits < _bits(p) - LEAST_GAIN:
                break
            p = interpolate(p, evidence[name], discount, strength)
            levels.append(Level(name, left.pop(name), counts[name], discount, strength))
        return cls(field, size, tuple(levels))

    def nats(self, view: View) -> Floats:
        """Log probability of each note's class. Shape (m,)."""
        p = np.full(len(view.now), 1 / self.size)
        for level in self.levels:
            evidence = level.counts.of_symbols(_hashes(view, level.context), _symbols(view, self.field, level.name))
            p = interpolate(p, evidence, level.discount, level.strength)
        nats: Floats = np.log(p)
        return nats

    def probabilities(self, view: View) -> Floats:
        """Probability of every class for each note. Shape (m, K)."""
        p = np.full((len(view.now), self.size), 1 / self.size)
        intervals = (np.arange(self.size) - view.last[:, None]) % self.size  # (m, K): from the note before to each pitch
        for level in self.levels:
            times, total, kinds = level.counts.of_all(_hashes(view, level.context))
            if _counts_intervals(self.field, level.name):
                times = np.take_along_axis(times, intervals, axis=1)
            p = interpolate(p, (times, total, kinds), level.discount, level.strength)
        return p


@dataclass(frozen=True)
class Ngram:
    """Distribution of a note given the notes before, by a :class:`FieldModel` for each field.

    Examples
    --------
    >>> scale = np.array([[60 + i, 80, 20, 30] for i in (0, 2, 4, 5, 7, 9, 11, 12)] * 9)
    >>> model = Ngram.fit(NoteCodec(), train=[scale] * 3, valid=[scale])
    >>> bool(np.exp(model.nats(scale)).prod(axis=1)[8:].min() > 0.9)
    True
    """

    codec: NoteCodec
    fields: tuple[FieldModel, ...]

    @classmethod
    def fit(cls, codec: NoteCodec, train: Sequence[Codes], valid: Sequence[Codes]) -> Ngram:
        """Count the training pieces and choose on the validation pieces: classes of shape (n, 4) each."""
        ours, theirs = View.of(codec, train), View.of(codec, valid)
        return cls(codec, tuple(FieldModel.fit(f, ours, theirs) for f in range(len(FIELDS))))

    def nats(self, codes: Codes) -> Floats:
        """Log probability of every note of a piece by field. Shape (n, 4)."""
        view = View.of(self.codec, [codes])
        return np.stack([field.nats(view) for field in self.fields], axis=1)

    def draw(self, prompts: Sequence[Codes], n: int, rng: np.random.Generator, constraint: Floats | None = None) -> Ints:
        """Draw `n` notes after each prompt, classes of shape (length, 4).

        Parameters
        ----------
        prompts : sequence of ndarray
        n : int
        rng : Generator
        constraint : ndarray, shape (n, 128), optional
            Log weights added to each note's pitch log probabilities.

        Returns
        -------
        ndarray of int64, shape (prompts, n, 4)
        """
        drawn = np.zeros((len(prompts), n, len(FIELDS)), np.int64)
        past = np.array([window(prompt) for prompt in prompts])  # (prompts, WINDOW, 4)
        for i in range(n):
            now = drawn[:, i]
            for f, field in enumerate(self.fields):
                chances = field.probabilities(View(self.codec, past, now))
                if f == 0 and constraint is not None:
                    chances *= np.exp(constraint[i] - np.max(constraint[i]))
                now[:, f] = choose(chances, rng)
            past = np.concatenate([now[:, None], past[:, :-1]], axis=1)
        return drawn

    @property
    def parameters(self) -> int:
        """Number of counts."""
        return sum(len(level.counts.times) for field in self.fields for level in field.levels)

    @property
    def chosen(self) -> dict[str, dict[str, list[float]]]:
        """Contexts of each field in their order, each with its discount and strength."""
        return {
            name: {level.name: [level.discount, level.strength] for level in field.levels}
            for name, field in zip(FIELDS, self.fields, strict=True)
        }


def _counts_intervals(field: int, name: str) -> bool:
    """Whether a level counts intervals: those of the pitch do that have a context."""
    return field == 0 and name != ANY


def _symbols(view: View, field: int, name: str) -> Ints:
    """Return what a level counts: the classes of the field, or intervals. Shape (m,)."""
    return view.interval % view.codec.sizes[0] if _counts_intervals(field, name) else view.now[:, field]


def _hashes(view: View, context: Context) -> Hashes:
    """Hash the context of each note to 64 bits, by multiplication and shift. Shape (m,)."""
    mixed = np.full(len(view.now), 0x243F6A8885A308D3, np.uint64)
    for column in context(view):
        mixed = (mixed ^ column.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _smoothed(p: Floats, evidence: Evidence, name: str) -> tuple[float, str, float, float]:
    """Choose the discount and strength with which a context leaves the fewest bits: bits, the context's name, d, s."""
    pairs = [(d, s) for s in STRENGTHS for d in DISCOUNTS]
    bits = [_bits(interpolate(p, evidence, d, s)) for d, s in pairs]
    return min(bits), name, *pairs[bits.index(min(bits))]


def _bits(p: Floats) -> float:
    return -float(np.log2(p).mean()) if len(p) else 0.0
