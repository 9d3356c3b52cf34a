"""First-order chains of single fields, for the reference rows `unigram`, `markov` and `uniform`.

A chain's likelihood is smoothed, because held-out music holds classes that the training music lacks. Its draws are not: smoothing
would play notes that nobody wrote, up to a third of all on a small corpus.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

#: Candidates tried on the validation pieces. Pseudo-counts of the unigram, of the bigram, and the bigram's weight.
UNIGRAM_COUNTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
BIGRAM_COUNTS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
WEIGHTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)

#: Weight of the smoothed probabilities beside the frequencies under a constraint, far below that of any class ever counted.
RESORT = 1e-9

T = TypeVar("T")
Floats = NDArray[np.float64]
Codes = NDArray[np.int16]


@dataclass(frozen=True)
class Chain:
    """Probabilities of one field's K classes: unconditional, and given the class before.

    Parameters
    ----------
    unigram : ndarray, shape (K,)
        Smoothed probabilities.
    bigram : ndarray, shape (K, K), optional
        ``bigram[x, y]`` is the smoothed probability of y after x; None for a chain without memory.
    frequencies : ndarray, shape (K,)
        Shares of the classes in training, from which the unigram is drawn.
    successors : ndarray, shape (K, K), optional
        Shares of the classes after each class in training, from which the bigram is drawn. A class that nothing followed has the
        frequencies.
    chosen : dict
        Smoothing chosen on the validation pieces.
    """

    unigram: Floats
    bigram: Floats | None
    frequencies: Floats
    successors: Floats | None
    chosen: Mapping[str, float]

    @classmethod
    def fit_unigram(cls, train: Sequence[Codes], valid: Sequence[Codes], size: int) -> Chain:
        """Fit class frequencies with the pseudo-count that makes the validation pieces most probable."""
        counts = np.bincount(_joint(train), minlength=size).astype(np.float64)
        held_out = np.bincount(_joint(valid), minlength=size)

        def smoothed(extra: float) -> Floats:
            shares: Floats = (counts + extra) / (counts.sum() + extra * size)
            return shares

        extra = _best(UNIGRAM_COUNTS, lambda a: float(held_out @ np.log(smoothed(a))))
        return cls(smoothed(extra), None, counts / max(counts.sum(), 1.0), None, {"unigram_count": extra})

    @classmethod
    def fit(cls, train: Sequence[Codes], valid: Sequence[Codes], size: int) -> Chain:
        """Fit bigrams on top of :meth:`fit_unigram`, of the form ``w (c(x, y) + b u(y)) / (c(x) + b) + (1 - w) u(y)``.

        The pseudo-count b trusts frequent x more than rare ones, the weight w is the same for all (Jelinek and Mercer 1980;
        MacKay and Peto 1995). Both are chosen on the validation pieces from a grid.
        """
        base = cls.fit_unigram(train, valid, size)
        counts = _pairs(train, size).astype(np.float64)
        held_out = _pairs(valid, size)
        seen = np.nonzero(held_out)
        times = held_out[seen]

        def smoothed(extra: float, weight: float) -> Floats:
            total = counts.sum(1, keepdims=True) + extra
            ahead = np.divide(counts + extra * base.unigram, total, out=np.tile(base.unigram, (size, 1)), where=total > 0)
            mixed: Floats = weight * ahead + (1 - weight) * base.unigram
            return mixed

        grid = [(b, w) for b in BIGRAM_COUNTS for w in WEIGHTS if b > 0 or w < 1]  # b = 0, w = 1: no smoothing at all
        extra, weight = _best(grid, lambda bw: float(times @ np.log(smoothed(*bw)[seen])))
        followed = counts.sum(1, keepdims=True)
        successors = np.divide(counts, followed, out=np.tile(base.frequencies, (size, 1)), where=followed > 0)
        chosen = {**base.chosen, "bigram_count": extra, "bigram_weight": weight}
        return cls(base.unigram, smoothed(extra, weight), base.frequencies, successors, chosen)

    @classmethod
    def even(cls, span: tuple[int, int], size: int) -> Chain:
        """Make a chain with all classes from the first to the last of `span` equally probable."""
        unigram = np.zeros(size)
        unigram[span[0] : span[1] + 1] = 1 / (span[1] - span[0] + 1)
        return cls(unigram, None, unigram, None, {})

    @property
    def parameters(self) -> int:
        """Number of free probabilities."""
        return self.unigram.size - 1 + (0 if self.bigram is None else self.bigram.shape[0] * (self.bigram.shape[1] - 1))

    def nats(self, codes: Codes) -> Floats:
        """Log probability of each class of one piece, the first by the unigram. Shape (n,)."""
        nats: Floats = np.log(self.unigram[codes])
        if self.bigram is not None:
            nats[1:] = np.log(self.bigram[codes[:-1], codes[1:]])
        return nats

    def draw(self, last: NDArray[np.int64], n: int, rng: np.random.Generator, constraint: Floats | None) -> NDArray[np.int64]:
        """Draw classes of `n` notes for each prompt, given its last class (-1: no prompt). Shape (prompts, n).

        They are drawn from the frequencies. Only where a constraint leaves none of the frequent pitches do the smoothed
        probabilities decide.
        """
        drawn = np.empty((len(last), n), np.int64)
        for i in range(n):
            chances = _after(last, self.frequencies, self.successors)
            if constraint is not None:
                chances = chances + RESORT * _after(last, self.unigram, self.bigram)
                chances *= np.exp(constraint[i] - np.max(constraint[i]))
            last = choose(chances, rng)
            drawn[:, i] = last
        return drawn


def choose(chances: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a class for each row of weights. Shape (m,), from (m, K)."""
    below = np.cumsum(chances, axis=1)
    # A draw in [0, total) selects the first class whose cumulative weight exceeds it, so never one of weight 0.
    classes: NDArray[np.int64] = np.argmax(below > rng.random((len(chances), 1)) * below[:, -1:], axis=1)
    return classes


def mean_nats(nats: Sequence[Floats]) -> float:
    """Mean log probability of a note, from arrays of shape (n, 4); NaN for no note."""
    notes = sum(map(len, nats))
    return float(sum(part.sum() for part in nats)) / notes if notes else math.nan


def _after(last: NDArray[np.int64], unigram: Floats, bigram: Floats | None) -> Floats:
    """Probabilities after each class: of the bigram if there is one, else (or after no class, -1) of the unigram."""
    chances = np.tile(unigram, (len(last), 1))  # (prompts, K)
    if bigram is not None:
        chances[last >= 0] = bigram[last[last >= 0]]
    return chances


def _best(candidates: Sequence[T], score: Callable[[T], float]) -> T:
    return max(candidates, key=score)


def _joint(codes: Sequence[Codes]) -> Codes:
    return np.concatenate([np.empty(0, np.int16), *codes])


def _pairs(codes: Sequence[Codes], size: int) -> NDArray[np.int64]:
    """Count how often y follows x within a piece. Shape (size, size)."""
    flat = np.concatenate([np.empty(0, np.int64), *(c[:-1].astype(np.int64) * size + c[1:] for c in codes)])
    return np.bincount(flat, minlength=size * size).reshape(size, size)
