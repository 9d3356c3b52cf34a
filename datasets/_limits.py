"""What can be reached on a source of notes: its entropy, and the best that models with less memory can do. All exact.

=================  ==================================================================================================
`rate`             bits per note of an endless piece: no model of any kind does better on average
`expected`         the same for pieces of n notes, which begin in a known way
`separate_chains`  the best of a first-order Markov chain for each field by itself: each given its own symbol before
`note_chain`       the best of any model that sees this note's earlier fields and the whole note before, nothing else
=================  ==================================================================================================
"""

from __future__ import annotations

from itertools import islice

import numpy as np

from bench.api import FIELDS

from ._source import TIME, Floats, Source, advance, entropy, walk


def rate(source: Source) -> Floats:
    """Entropy rate by field, bits per note, shape (4,): each given the fields before it in the note and all notes before."""
    step, _ = advance(source, source.resting)
    return step.bits


def expected(source: Source, notes: int) -> Floats:
    """Expected bits per note of a piece of `notes` notes under the source itself, by field, shape (4,)."""
    bits: Floats = np.mean([step.bits for step in islice(walk(source), notes)], axis=0)
    return bits


def separate_chains(source: Source, notes: int) -> Floats:
    """Least bits per note that a chain for each field by itself can come to on pieces of `notes` notes, by field, shape (4,).

    The chain is the `markov` reference's: the first note by the frequencies of all notes, every later one given the same field
    of the note before; the probabilities are those that endless training pieces of this length give. The first note's time shift
    is a symbol of its own, as it is in the codec.
    """
    steps = list(islice(walk(source), notes))
    return np.array([_chain([step.pairs[f] for step in steps], begins=f == TIME) for f in range(len(FIELDS))])


def note_chain(source: Source) -> float:
    """Entropy of a note given only the note before it, bits, in the long run.

    No first-order model gets below it, whatever it makes of that note.
    """
    now = source.resting
    before = [(field, 1) for field in FIELDS]
    for f, (field, law) in enumerate(zip(FIELDS, source.laws, strict=True)):
        needed = {v for later in source.laws[f + 1 :] for v in later.parents}
        now = now.times(law, field, {*before, *needed, *((done, 0) for done in FIELDS[: f + 1])})
    both = now.marginal([*before, *((field, 0) for field in FIELDS)])
    return float(entropy(both.ravel()) - entropy(now.marginal(before).ravel()))


def _chain(pairs: list[Floats], begins: bool) -> float:
    """Bits per note of one field's chain; `begins` if the first note's symbol is one that no other note has."""
    size = len(pairs[0])
    shares = np.stack([pair.sum(0) for pair in pairs])  # (notes, symbols)
    if begins:
        first = np.zeros(size + 1)
        first[size] = 1.0
        shares = np.pad(shares, ((0, 0), (0, 1)))
        shares[0] = first
    after = np.zeros((size + 1, size))
    for i, pair in enumerate(pairs[1:], 1):
        if begins and i == 1:
            after[size] += pair.sum(0)
        else:
            after[:size] += pair
    unigram = shares.mean(0)
    known = unigram > 0
    opening = -float(shares[0][known] @ np.log2(unigram[known]))
    moves = float((after.sum(1) * entropy(_rows(after))).sum())
    return (opening + moves) / len(pairs)


def _rows(counts: Floats) -> Floats:
    total = counts.sum(1, keepdims=True)
    rows: Floats = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    return rows
