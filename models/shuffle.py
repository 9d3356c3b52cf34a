"""Reference row: the target's own notes in random order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import bench.api
from bench.api import Notes

from ._references import Floats, revealed

ROLE = "reference"
FEATURES = "the target's own notes in random order"
SEES_TARGET = True


class Model(bench.api.Model):
    """The target's onsets, with its (pitch, velocity, duration) triples in random order."""

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Return the first `n_notes` notes of each target, shuffled."""
        rng = np.random.default_rng(seed)
        targets = revealed("shuffle", self.targets, prompts, n_notes)
        return [_shuffled(prompt, target, rng) for prompt, target in zip(prompts, targets, strict=True)]


def _shuffled(prompt: Notes, target: Notes, rng: np.random.Generator) -> Notes:
    order = rng.permutation(len(target))
    onset = _apart(target.onset) - (0.0 if len(prompt) else target.onset[0])
    return Notes(onset, target.duration[order], target.pitch[order], target.velocity[order])


def _apart(onset: Floats) -> Floats:
    """Spread the notes of a chord by 1 microsecond each, so that sorting by pitch doesn't undo its shuffling."""
    ramp = 1e-6 * np.arange(len(onset))
    spread: Floats = np.maximum.accumulate(onset - ramp) + ramp
    return spread
