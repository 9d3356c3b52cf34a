"""Reference row: what the published system wrote, its first notes, the same after every prompt."""

from __future__ import annotations

from collections.abc import Sequence

import bench.api
from bench.api import Notes, TrialError

from ._references import end

ROLE = "reference"
FEATURES = "what the published system wrote: one piece, the same for every prompt"
SEES_SAMPLES = True


class Model(bench.api.Model):
    """A sample that comes with the dataset."""

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Return the first `n_notes` notes of the sample, after each prompt.

        Raises
        ------
        TrialError
            If the dataset has no sample of at least `n_notes` notes.
        """
        sample = next((piece.notes[:n_notes] for piece in self.samples if len(piece.notes) >= n_notes), None)
        if sample is None:
            raise TrialError(
                f"The dataset has no published sample of at least {n_notes} notes.",
                "Only mon2025 has one (`bench data fetch mon2025`); elsewhere leave published-sample out of the references.",
            )
        return [sample.shifted(end(prompt) - sample.onset[0]) for prompt in prompts]
