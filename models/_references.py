"""Shared by the reference rows: targets, the start of a continuation, and models of four independent chains.

They calibrate a metric: a system that can't beat `median` at a distance, or `ngram` at bits per note, learned little.

====================  ====================================================================================================
real                  notes of another real piece: the same stretch of a randomly drawn training piece, without repetition
codec                 the target encoded and decoded: what classes of time and duration cost before a model predicts anything
shuffle               the target's own notes: its onsets, its (pitch, velocity, duration) triples in random order
median                one note repeated: the training set's median pitch, velocity, time shift and duration
unigram               every field drawn independently from the training set's frequencies
markov                every field drawn given the same field of the note before, by the training set's frequencies of such pairs
ngram                 every field drawn given those before it in the note and up to 8 notes before: counts of many contexts
uniform               pitch 21-108 (a piano's keys) and velocity 1-127 drawn uniformly; time shift and duration as in `unigram`
published-sample      music that a published system wrote and the dataset holds: its first notes, the same after every prompt
====================  ====================================================================================================

`unigram`, `markov` and `ngram` have an exact likelihood over the shared codec. It is smoothed, while `unigram` and `markov` draw
from unsmoothed frequencies. An untrained network is not among them: it is that network's own model with a budget of 0 epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import FIELDS, NoteCodec, Notes, Piece, PluginError, Run

from ._chains import Chain, mean_nats

Floats = NDArray[np.float64]
Codes = NDArray[np.int16]


def end(prompt: Notes) -> float:
    """Start of a continuation: the prompt's last onset, seconds."""
    return float(prompt.onset[-1]) if len(prompt) else 0.0


def revealed(name: str, targets: Sequence[Notes], prompts: Sequence[Notes], n: int) -> list[Notes]:
    """Return the first `n` notes of each prompt's target.

    Raises
    ------
    PluginError
        If there isn't a target of at least `n` notes for each prompt.
    """
    if len(targets) != len(prompts) or any(len(t) < n for t in targets):
        raise PluginError(
            f"The reference {name!r} has {len(targets)} targets for {len(prompts)} prompts; "
            f"it needs one of at least {n} notes for each.",
            "Call reveal(targets) before generate.",
        )
    return [target[:n] for target in targets]


def continued(codec: NoteCodec, prompts: Sequence[Notes], draw: Callable[[list[Codes]], NDArray[np.int64]]) -> list[Notes]:
    """Continue each prompt by the codes that `draw` returns for all prompts' codes: shape (prompts, notes, 4)."""
    codes = draw([codec.encode(prompt) for prompt in prompts])
    if not any(map(len, prompts)):
        codes[:, :1, 2] = 0  # a piece has no silence before its first note
    return [codec.decode(c, end(p)) for c, p in zip(codes, prompts, strict=True)]


def log_fit(run: Run, nats: Callable[[Codes], Floats], train: Sequence[Codes], valid: Sequence[Codes]) -> None:
    """Log the single pass of a row that counts: nats per note of the training pieces, bits per note of the validation pieces."""
    if run.budget.untrained:  # nothing to log; it counts all the same
        return
    loss, held_out = (-mean_nats([nats(codes) for codes in part]) for part in (train, valid))
    values = {"validation_bits": held_out / math.log(2)} if any(map(len, valid)) else {}
    run.log(1, loss=loss, notes=sum(map(len, train)), **values)


class ChainRow(bench.api.Model):
    """A chain for each field, independent of the others.

    Parameters
    ----------
    time_classes, duration_classes : int
        Classes of the shared codec; bits per note compare only between models with the same classes.
    """

    def __init__(self, time_classes: int = 64, duration_classes: int = 64) -> None:
        self.codec = NoteCodec(time_classes, duration_classes)
        self.chains: tuple[Chain, ...] = ()

    def fit_chain(self, train: Sequence[Codes], valid: Sequence[Codes], size: int) -> Chain:
        """Fit the chain of one field of `size` classes; without memory, unless a subclass knows better."""
        return Chain.fit_unigram(train, valid, size)

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Count. A budget of 0 epochs makes no difference, as there are no weights."""
        run.begin()
        codes, held_out = ([self.codec.encode(p.notes) for p in part] for part in (train, valid))
        self.chains = tuple(
            self.fit_chain([c[:, f] for c in codes], [c[:, f] for c in held_out], k) for f, k in enumerate(self.codec.sizes)
        )
        if self.likelihood:
            log_fit(run, self._nats, codes, held_out)

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Exactly `n_notes` notes for each prompt; see :class:`bench.api.Model`."""
        rng = np.random.default_rng(seed)
        return continued(self.codec, prompts, lambda given: self._draw(given, n_notes, rng, constraint))

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of every note by field, nats, shape (n, 4) for each piece; exact. See :class:`bench.api.Model`."""
        return [self._nats(self.codec.encode(p.notes)) for p in pieces]

    def facts(self) -> Mapping[str, Any]:
        """Parameter count, and the smoothing chosen on the validation pieces; nothing without a likelihood."""
        if not self.likelihood:
            return {}
        return {
            "parameters": sum(chain.parameters for chain in self.chains),
            "chosen_on_validation": dict(zip(FIELDS, (chain.chosen for chain in self.chains), strict=True)),
        }

    def drawn_from(self) -> tuple[Chain, ...]:
        """Return the chains that notes are drawn from, by field."""
        return self.chains

    def _nats(self, codes: Codes) -> Floats:
        return np.stack([chain.nats(codes[:, f]) for f, chain in enumerate(self.chains)], axis=1)

    def _draw(self, given: Sequence[Codes], n: int, rng: np.random.Generator, constraint: Floats | None) -> NDArray[np.int64]:
        last = np.array([codes[-1] if len(codes) else np.full(4, -1) for codes in given], np.int64)
        codes = np.empty((len(given), n, len(FIELDS)), np.int64)
        for f, chain in enumerate(self.drawn_from()):
            codes[..., f] = chain.draw(last[:, f], n, rng, constraint if f == 0 else None)
        return codes
