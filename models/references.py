"""Reference rows that learn nothing or very little: real, shuffled, constant and random notes, Markov chains (Shannon 1948).

Each `kind` calibrates a metric: a system that can't beat `median` at a distance, or `ngram` at bits per note, learned little.

==========  =====================================================================================================
real        notes of another real piece: the same stretch of a randomly drawn training piece, without repetition
codec       the target encoded and decoded: what classes of time and duration cost before a model predicts anything
shuffle     the target's own notes: its onsets, its (pitch, velocity, duration) triples in random order
median      one note repeated: the training set's median pitch, velocity, time shift and duration
unigram     every field drawn independently from the training set's frequencies
markov      every field drawn given the same field of the note before, from the training set's frequencies of such pairs
ngram       every field drawn given those before it in the note and up to 8 notes before: interpolated counts of many contexts
uniform     pitch 21-108 (a piano's keys) and velocity 1-127 drawn uniformly; time shift and duration as in `unigram`
==========  =====================================================================================================

`published-sample` is music that a published system wrote and the dataset holds: its first notes, the same after every prompt.

`unigram`, `markov` and `ngram` have an exact likelihood over the shared codec. It is smoothed, while `unigram` and `markov` draw
from unsmoothed frequencies. The others have none and :attr:`Model.likelihood` is None.
An untrained network is not among them: it is that network's own model with a budget of 0 epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api import FIELDS, NoteCodec, Notes, Piece, PluginError, Run, TrialError

from ._chains import Chain, mean_nats
from ._ngram import Ngram

FRAMEWORK = "numpy"
FEATURES = "a reference row, not a model"
PROMPT = True
LIKELIHOOD = "exact"
SEES_TARGET = True
SEES_SAMPLES = True
CONSTRAINT = ("unigram", "markov", "ngram", "uniform")

#: Table 2's last column by kind, read without importing this file.
KINDS = {
    "real": "another real piece: a stretch of a training piece",
    "codec": "the target itself, encoded and decoded",
    "shuffle": "the target's own notes in random order",
    "median": "one note repeated: the training medians",
    "unigram": "each field drawn from its training frequencies",
    "markov": "first-order Markov chain for each field",
    "ngram": "counts of notes in several contexts, interpolated",
    "published-sample": "what the published system wrote: one piece, the same for every prompt",
    "uniform": "pitch 21-108 and velocity 1-127 drawn evenly",
}

#: Kinds that know the probability of a note.
PROBABILISTIC = ("unigram", "markov", "ngram")

#: A piano's keys, and the velocities that sound.
PIANO_KEYS = (21, 108)
SOUNDING = (1, 127)

Floats = NDArray[np.float64]
Codes = NDArray[np.int16]


class Model:
    """One reference row.

    Parameters
    ----------
    kind : str
        One of the kinds listed at the top of this file.
    time_classes, duration_classes : int
        Classes of the shared codec; bits per note compare only between models with the same classes.

    Raises
    ------
    PluginError
        If `kind` is unknown.
    """

    def __init__(self, kind: str = "median", time_classes: int = 64, duration_classes: int = 64) -> None:
        if kind not in KINDS:
            raise PluginError(f"references has no kind {kind!r}.", f"Valid: {', '.join(KINDS)}.")
        self.kind = kind
        self.codec = NoteCodec(time_classes, duration_classes)
        self.train: tuple[Piece, ...] = ()
        self.samples: tuple[Piece, ...] = ()
        self.targets: tuple[Notes, ...] = ()
        self.chains: tuple[Chain, ...] = ()
        self.ngram: Ngram | None = None
        self.medians: Medians | None = None

    @property
    def likelihood(self) -> str | None:
        """``"exact"`` for the kinds that have one, else None: overrides the header, which is for all kinds."""
        return LIKELIHOOD if self.kind in PROBABILISTIC else None

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Count. A budget of 0 epochs makes no difference, as there are no weights."""
        run.begin()
        self.train = tuple(train)
        if self.kind == "median":
            self.medians = Medians.of([p.notes for p in train])
        if self.kind not in CONSTRAINT:
            return
        codes = [self.codec.encode(p.notes) for p in train]
        held_out = [self.codec.encode(p.notes) for p in valid]
        if self.kind == "ngram":
            self.ngram = Ngram.fit(self.codec, codes, held_out)
        else:
            fit = Chain.fit if self.kind == "markov" else Chain.fit_unigram
            self.chains = tuple(fit(_column(codes, f), _column(held_out, f), k) for f, k in enumerate(self.codec.sizes))
        if self.likelihood:
            loss, bits = (-mean_nats([self._nats(c) for c in part]) for part in (codes, held_out))
            values = {"validation_bits": bits / math.log(2)} if any(map(len, held_out)) else {}
            run.log(1, loss=loss, notes=sum(map(len, codes)), **values)

    def reveal(self, targets: Sequence[Notes]) -> None:
        """Set the targets of the next `generate`, in the order of its prompts. Only `codec` and `shuffle` use them."""
        self.targets = tuple(targets)

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Exactly `n_notes` notes for each prompt; see :class:`bench.api.Model`.

        Raises
        ------
        PluginError
            If `constraint` is given to a kind that draws no pitch, or if `codec` or `shuffle` has no targets.
        """
        rng = np.random.default_rng(seed)
        if self.kind in CONSTRAINT:
            return self._draw(prompts, n_notes, rng, constraint)
        if constraint is not None:
            raise PluginError(f"The reference {self.kind!r} draws no pitch, so no constraint can steer it.")
        if self.kind == "codec":
            return [self._coded(*pair) for pair in zip(prompts, self._revealed(prompts, n_notes), strict=True)]
        if self.kind == "shuffle":
            pairs = zip(prompts, self._revealed(prompts, n_notes), strict=True)
            return [self._shuffled(prompt, target, rng) for prompt, target in pairs]
        if self.kind == "published-sample":
            return [self._published(p, n_notes) for p in prompts]
        if self.kind == "median":
            return [self._median(p, n_notes) for p in prompts]
        return self._excerpts(prompts, n_notes, rng)

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of every note by field, nats, shape (n, 4) for each piece; exact. See :class:`bench.api.Model`.

        Raises
        ------
        PluginError
            If this kind has none.
        """
        if self.likelihood is None:
            raise PluginError(f"The reference {self.kind!r} has no likelihood.")
        return [self._nats(self.codec.encode(p.notes)) for p in pieces]

    def facts(self) -> Mapping[str, Any]:
        """Parameter count, and the smoothing chosen on the validation pieces."""
        if self.ngram is not None:
            return {"parameters": self.ngram.parameters, "chosen_on_validation": self.ngram.chosen}
        if not self.likelihood:
            return {}
        return {
            "parameters": sum(chain.parameters for chain in self.chains),
            "chosen_on_validation": dict(zip(FIELDS, (chain.chosen for chain in self.chains), strict=True)),
        }

    def _nats(self, codes: Codes) -> Floats:
        if self.ngram is not None:
            return self.ngram.nats(codes)
        return np.stack([chain.nats(codes[:, f]) for f, chain in enumerate(self.chains)], axis=1)

    def _draw(self, prompts: Sequence[Notes], n: int, rng: np.random.Generator, constraint: Floats | None) -> list[Notes]:
        given = [self.codec.encode(prompt) for prompt in prompts]
        codes = (
            self.ngram.draw(given, n, rng, constraint) if self.ngram is not None else self._draw_chains(given, n, rng, constraint)
        )
        if not any(map(len, prompts)):
            codes[:, :1, 2] = 0  # a piece has no silence before its first note
        return [self.codec.decode(c, _end(p)) for c, p in zip(codes, prompts, strict=True)]

    def _draw_chains(
        self, given: Sequence[Codes], n: int, rng: np.random.Generator, constraint: Floats | None
    ) -> NDArray[np.int64]:
        chains = self.chains
        if self.kind == "uniform":
            chains = (Chain.even(PIANO_KEYS, self.codec.sizes[0]), Chain.even(SOUNDING, self.codec.sizes[1]), *chains[2:])
        last = np.array([codes[-1] if len(codes) else np.full(4, -1) for codes in given], np.int64)
        codes = np.empty((len(given), n, len(FIELDS)), np.int64)
        for f, chain in enumerate(chains):
            codes[..., f] = chain.draw(last[:, f], n, rng, constraint if f == 0 else None)
        return codes

    def _revealed(self, prompts: Sequence[Notes], n: int) -> list[Notes]:
        """Return the first `n` notes of each prompt's target."""
        if len(self.targets) != len(prompts) or any(len(t) < n for t in self.targets):
            raise PluginError(
                f"The reference {self.kind!r} has {len(self.targets)} targets for {len(prompts)} prompts; "
                f"it needs one of at least {n} notes for each.",
                "Call reveal(targets) before generate.",
            )
        return [target[:n] for target in self.targets]

    def _coded(self, prompt: Notes, target: Notes) -> Notes:
        return self.codec.decode(self.codec.encode(target, prompt.onset[-1] if len(prompt) else None), _end(prompt))

    def _shuffled(self, prompt: Notes, target: Notes, rng: np.random.Generator) -> Notes:
        order = rng.permutation(len(target))
        onset = _apart(target.onset) - (0.0 if len(prompt) else target.onset[0])
        return Notes(onset, target.duration[order], target.pitch[order], target.velocity[order])

    def _published(self, prompt: Notes, n: int) -> Notes:
        sample = next((piece.notes[:n] for piece in self.samples if len(piece.notes) >= n), None)
        if sample is None:
            raise TrialError(
                f"The dataset has no published sample of at least {n} notes.",
                "Only mon2025 has one (`bench data fetch mon2025`); elsewhere leave published-sample out of the references.",
            )
        return sample.shifted(_end(prompt) - sample.onset[0])

    def _median(self, prompt: Notes, n: int) -> Notes:
        if self.medians is None:
            raise TrialError("The reference 'median' has counted nothing yet.", "Call fit first.")
        m = self.medians
        onset = _end(prompt) + m.shift * np.arange(1 if len(prompt) else 0, n + 1, dtype=np.float64)[:n]
        return Notes(onset, np.full(n, m.duration), np.full(n, m.pitch, np.uint8), np.full(n, m.velocity, np.uint8))

    def _excerpts(self, prompts: Sequence[Notes], n: int, rng: np.random.Generator) -> list[Notes]:
        """Take an excerpt for each prompt. No piece repeats until all are used, so samples differ; short ones are joined."""
        pieces = [p.notes for p in self.train if len(p.notes) >= n]
        if not pieces:
            return [self._excerpt(prompt, self._joined(len(prompt) + n, rng), n) for prompt in prompts]
        rounds = -(-len(prompts) // len(pieces))
        order = np.concatenate([np.empty(0, np.int64), *(rng.permutation(len(pieces)) for _ in range(rounds))])
        return [self._excerpt(prompt, pieces[i], n) for prompt, i in zip(prompts, order, strict=False)]

    def _excerpt(self, prompt: Notes, piece: Notes, n: int) -> Notes:
        """Take the stretch after as many notes as the prompt has, or the last that fits."""
        start = min(len(prompt), len(piece) - n)
        part = piece[start : start + n]
        lead = part.onset[0] - piece.onset[start - 1] if start and len(prompt) else 0.0
        return Notes(_end(prompt) + lead + (part.onset - part.onset[0]), part.duration, part.pitch, part.velocity)

    def _joined(self, n: int, rng: np.random.Generator) -> Notes:
        """Join pieces in random order until there are `n` notes."""
        pieces = [piece.notes for piece in self.train if len(piece.notes)]
        parts: list[Notes] = []
        end, order = 0.0, iter(())
        while sum(map(len, parts)) < n:
            if (at := next(order, None)) is None:
                order = iter(rng.permutation(len(pieces)))
                continue
            parts.append(pieces[at].shifted(end - pieces[at].onset[0]))
            end = float((parts[-1].onset + parts[-1].duration).max())
        return Notes.concatenate(parts)


@dataclass(frozen=True)
class Medians:
    """Medians of the training notes, seconds and MIDI numbers; the latter are rounded down to integers."""

    shift: float
    duration: float
    pitch: int
    velocity: int

    @classmethod
    def of(cls, pieces: Sequence[Notes]) -> Medians:
        """Compute the medians over all notes of all pieces."""
        shift = np.median(np.concatenate([np.diff(x.onset, prepend=x.onset[:1]) for x in pieces]))
        duration, pitch, velocity = (
            np.median(np.concatenate(c)) for c in zip(*((x.duration, x.pitch, x.velocity) for x in pieces), strict=True)
        )
        return cls(float(shift), float(duration), int(pitch), int(velocity))


def _column(codes: Sequence[Codes], field: int) -> list[Codes]:
    return [c[:, field] for c in codes]


def _apart(onset: Floats) -> Floats:
    """Spread the notes of a chord by 1 microsecond each, so that sorting by pitch doesn't undo its shuffling."""
    ramp = 1e-6 * np.arange(len(onset))
    spread: Floats = np.maximum.accumulate(onset - ramp) + ramp
    return spread


def _end(prompt: Notes) -> float:
    """Start of a continuation: the prompt's last onset, seconds."""
    return float(prompt.onset[-1]) if len(prompt) else 0.0
