"""Reference row: counts of notes in several contexts, interpolated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import NoteCodec, Notes, Piece, Run, TrialError

from ._ngram import Ngram
from ._references import continued, log_fit

ROLE = "reference"
FEATURES = "counts of notes in several contexts, interpolated"
LIKELIHOOD = "exact"
CONSTRAINT = True


class Model(bench.api.Model):
    """Every field given those before it in the note and up to 8 notes before.

    Parameters
    ----------
    time_classes, duration_classes : int
        Classes of the shared codec; bits per note compare only between models with the same classes.
    """

    def __init__(self, time_classes: int = 64, duration_classes: int = 64) -> None:
        self.codec = NoteCodec(time_classes, duration_classes)
        self._ngram: Ngram | None = None

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Count. A budget of 0 epochs makes no difference, as there are no weights."""
        run.begin()
        codes, held_out = ([self.codec.encode(p.notes) for p in part] for part in (train, valid))
        self._ngram = Ngram.fit(self.codec, codes, held_out)
        log_fit(run, self._ngram.nats, codes, held_out)

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Exactly `n_notes` notes for each prompt; see :class:`bench.api.Model`."""
        rng = np.random.default_rng(seed)
        return continued(self.codec, prompts, lambda given: self.ngram.draw(given, n_notes, rng, constraint))

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of every note by field, nats, shape (n, 4) for each piece; exact. See :class:`bench.api.Model`."""
        return [self.ngram.nats(self.codec.encode(p.notes)) for p in pieces]

    def facts(self) -> Mapping[str, Any]:
        """Parameter count, and the smoothing chosen on the validation pieces."""
        return {"parameters": self.ngram.parameters, "chosen_on_validation": self.ngram.chosen}

    @property
    def ngram(self) -> Ngram:
        """The counts.

        Raises
        ------
        TrialError
            Before `fit`.
        """
        if self._ngram is None:
            raise TrialError("The reference 'ngram' has counted nothing yet.", "Call fit first.")
        return self._ngram
