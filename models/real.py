"""Reference row: another real piece, a stretch of a training piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import bench.api
from bench.api import Notes, Piece, Run

from ._references import end

ROLE = "reference"
FEATURES = "another real piece: a stretch of a training piece"


class Model(bench.api.Model):
    """The same stretch of a randomly drawn training piece, without repetition."""

    def __init__(self) -> None:
        self.train: tuple[Piece, ...] = ()

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Keep the training pieces, whatever the budget."""
        run.begin()
        self.train = tuple(train)

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Take an excerpt for each prompt. No piece repeats until all are used, so samples differ; short ones are joined."""
        rng = np.random.default_rng(seed)
        pieces = [p.notes for p in self.train if len(p.notes) >= n_notes]
        if not pieces:
            return [_excerpt(prompt, self._joined(len(prompt) + n_notes, rng), n_notes) for prompt in prompts]
        rounds = -(-len(prompts) // len(pieces))
        order = np.concatenate([np.empty(0, np.int64), *(rng.permutation(len(pieces)) for _ in range(rounds))])
        return [_excerpt(prompt, pieces[i], n_notes) for prompt, i in zip(prompts, order, strict=False)]

    def _joined(self, n: int, rng: np.random.Generator) -> Notes:
        """Join pieces in random order until there are `n` notes."""
        pieces = [piece.notes for piece in self.train if len(piece.notes)]
        parts: list[Notes] = []
        ends, order = 0.0, iter(())
        while sum(map(len, parts)) < n:
            if (at := next(order, None)) is None:
                order = iter(rng.permutation(len(pieces)))
                continue
            parts.append(pieces[at].shifted(ends - pieces[at].onset[0]))
            ends = float((parts[-1].onset + parts[-1].duration).max())
        return Notes.concatenate(parts)


def _excerpt(prompt: Notes, piece: Notes, n: int) -> Notes:
    """Take the stretch after as many notes as the prompt has, or the last that fits."""
    start = min(len(prompt), len(piece) - n)
    part = piece[start : start + n]
    lead = part.onset[0] - piece.onset[start - 1] if start and len(prompt) else 0.0
    return Notes.from_columns(end(prompt) + lead + (part.onset - part.onset[0]), part.duration, part.pitch, part.velocity)
