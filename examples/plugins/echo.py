"""Repeats the prompt, each time transposed by an interval that is common in the training music."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import bench.api
from bench.api import Notes, Piece, Run

FEATURES = "repeats the prompt, transposed by common melodic intervals"
PROMPT = True


class Model(bench.api.Model):
    """Learns how often each melodic interval occurs; generates by repeating and transposing.

    Parameters
    ----------
    largest : int
        Largest interval that is learned, semitones.
    """

    def __init__(self, largest: int = 7) -> None:
        self.largest = largest
        self.intervals = np.zeros(1, int)  # untrained: the prompt as it is
        self.chances = np.ones(1)

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Count the intervals: one pass over the training notes, whatever the budget, unless it is 0 epochs."""
        if run.budget.untrained:
            return
        run.begin()
        steps = np.concatenate([np.diff(piece.notes.pitch.astype(int)) for piece in train])
        counts = Counter(steps[np.abs(steps) <= self.largest].tolist())
        self.intervals, self.chances = np.array(list(counts)), np.array(list(counts.values())) / counts.total()
        run.log(1, loss=float(-self.chances @ np.log(self.chances)), notes=len(steps), share=1.0)

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Continue each prompt by exactly `n_notes` notes, in the prompt's own clock."""
        rng = np.random.default_rng(seed)
        return [self._echo(prompt, n_notes, rng) for prompt in prompts]

    def _echo(self, prompt: Notes, n_notes: int, rng: np.random.Generator) -> Notes:
        if len(prompt) == 0:  # nothing to repeat: middle C
            prompt = Notes.from_columns([0.0], [0.5], [60], [64])
        i, repeat = np.arange(n_notes) % len(prompt), np.arange(n_notes) // len(prompt)
        length = prompt.onset[-1] - prompt.onset[0] + prompt.duration[-1]
        moves = np.cumsum(rng.choice(self.intervals, repeat[-1] + 1, p=self.chances))
        pitch = np.clip(prompt.pitch[i] + moves[repeat], 21, 108)
        return Notes.from_columns(prompt.onset[i] + length * (repeat + 1), prompt.duration[i], pitch, prompt.velocity[i])

    def facts(self) -> Mapping[str, Any]:
        """Facts worth recording."""
        return {"parameters": len(self.chances)}
