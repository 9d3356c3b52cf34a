"""Comes trained: fit changes nothing, whatever the budget."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import Notes

FEATURES = "trained elsewhere"
PRETRAINED = True


class Model(bench.api.Model):
    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        rng, made = np.random.default_rng(seed), []
        for prompt in prompts:
            start = prompt.onset[-1] if len(prompt) else 0.0
            onset = start + np.cumsum(rng.uniform(0.05, 0.4, n_notes))
            made.append(Notes.from_columns(onset, np.full(n_notes, 0.2), rng.integers(40, 80, n_notes), np.full(n_notes, 64)))
        return made
