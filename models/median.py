"""Reference row: one note repeated, the training medians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import bench.api
from bench.api import Notes, Piece, Run, TrialError

from ._references import end

ROLE = "reference"
FEATURES = "one note repeated: the training medians"


class Model(bench.api.Model):
    """The training set's median pitch, velocity, time shift and duration."""

    def __init__(self) -> None:
        self.medians: Medians | None = None

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Compute the medians, whatever the budget."""
        run.begin()
        self.medians = Medians.of([p.notes for p in train])

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Repeat the note `n_notes` times after each prompt.

        Raises
        ------
        TrialError
            Before `fit`.
        """
        if self.medians is None:
            raise TrialError("The reference 'median' has counted nothing yet.", "Call fit first.")
        return [self.medians.repeated(prompt, n_notes) for prompt in prompts]


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
        # One column at a time, sorted in place: of a large corpus it is gigabytes.
        shifts, at = np.empty(sum(map(len, pieces))), 0
        for notes in pieces:
            shifts[at : at + len(notes)] = np.diff(notes.onset, prepend=notes.onset[:1])
            at += len(notes)
        shift = np.median(shifts, overwrite_input=True)
        del shifts
        duration, pitch, velocity = (
            np.median(np.concatenate(c), overwrite_input=True)
            for c in zip(*((x.duration, x.pitch, x.velocity) for x in pieces), strict=True)
        )
        return cls(float(shift), float(duration), int(pitch), int(velocity))

    def repeated(self, prompt: Notes, n: int) -> Notes:
        """Repeat the note `n` times after a prompt."""
        onset = end(prompt) + self.shift * np.arange(1 if len(prompt) else 0, n + 1, dtype=np.float64)[:n]
        return Notes(onset, np.full(n, self.duration), np.full(n, self.pitch, np.uint8), np.full(n, self.velocity, np.uint8))
