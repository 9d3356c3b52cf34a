"""Lower bounds of bits per note on a source of notes: its entropy, and the bounds for models with less memory. All exact.

=================  ==================================================================================================
`rate`             bits per note of an endless piece: the minimum for any model
`expected`         the same for pieces of n notes, which begin in a fixed way
`separate_chains`  the minimum for a first-order Markov chain for each field, given only the same field of the note before
`note_chain`       the minimum for any model that sees only this note's earlier fields and the note before
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
    """Bits per note that the source itself expects for a piece of `notes` notes, by field, shape (4,)."""
    bits: Floats = np.mean([step.bits for step in islice(walk(source), notes)], axis=0)
    return bits


def separate_chains(source: Source, notes: int) -> Floats:
    """Minimal bits per note of separate chains for the fields on pieces of `notes` notes, by field, shape (4,).

    The chain is the `markov` reference's: the first note by the frequencies of all notes, every later one given the same field
    of the note before, with the probabilities that infinitely many training pieces of this length yield. The first note's time
    shift is a symbol of its own, as in the codec.
    """
    steps = list(islice(walk(source), notes))
    return np.array([_chain([step.pairs[f] for step in steps], begins=f == TIME) for f in range(len(FIELDS))])


def note_chain(source: Source) -> float:
    """Entropy of a note given only the note before it, bits, in the long run.

    It bounds every first-order model from below.
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
    possible = unigram > 0
    opening = -float(shares[0][possible] @ np.log2(unigram[possible]))
    moves = float((after.sum(1) * entropy(_rows(after))).sum())
    return (opening + moves) / len(pairs)


def _rows(counts: Floats) -> Floats:
    total = counts.sum(1, keepdims=True)
    rows: Floats = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    return rows
