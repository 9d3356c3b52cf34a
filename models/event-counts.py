"""Counts of performance events (Oore et al. 2018): floors that a model of events must go below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import Notes, Piece, PluginError, Run

from ._events import Events, Vocabulary, check_splits, continued, joined, segmented
from ._frames import mean_nats, validation

FEATURES = "each event by how often it comes in training: at all (order 0), or after the event before (order 1)"
PROMPT = True
LIKELIHOOD = "exact"
UNIT = "event"
CONSTRAINT = False

#: Pseudo-counts to choose from on the validation pieces.
PSEUDO_COUNTS = (0.1, 1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class Model(bench.api.Model):
    """Probability of each event from counts; those after an event are smoothed towards the frequencies of all.

    Parameters
    ----------
    order : {0, 1}
        Events before that an event depends on: none, or one.
    keys : {128, 88}
        Keys of the vocabulary: 388 events, or a piano's 308.
    window : int
        Events of a segment, the first of which follows none.

    Raises
    ------
    PluginError
        If `order` or `keys` is unknown, or `window` below 1.
    """

    def __init__(self, order: int = 1, keys: int = 128, window: int = 2048) -> None:
        if order not in (0, 1):
            raise PluginError(f"event-counts: order is {order}, must be 0 or 1.")
        if window < 1:
            raise PluginError(f"event-counts: window is {window}, must be at least 1.")
        self.order, self.window, self.vocabulary = order, window, Vocabulary(keys)
        size = self.vocabulary.size
        #: Log probability of each event after each event and after the start symbol, equal before any count.
        self.log_p = np.full((size + 1, size), -np.log(size))
        self.pseudo_count: float | None = None

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Count in one pass, whatever the budget; zero epochs leave all probabilities equal."""
        run.begin()
        if run.budget.untrained:
            return
        check_splits("event-counts", self.vocabulary, train, valid)
        segments, _ = segmented(self.vocabulary, train, self.window)
        counts = self._counts(segments)
        share = (counts.sum(0) + 1) / (counts.sum() + counts.shape[1])
        if self.order == 0:
            counts = np.zeros_like(counts)
        scores: dict[float, dict[str, float]] = {}
        for pseudo_count in PSEUDO_COUNTS:
            self.log_p = _smoothed(counts, share, pseudo_count)
            scores[pseudo_count] = validation(self.log_likelihood(valid))
        self.pseudo_count = min(PSEUDO_COUNTS, key=lambda count: scores[count]["validation_loss"])
        self.log_p = _smoothed(counts, share, self.pseudo_count)
        loss, notes = mean_nats(self.log_likelihood(train)), sum(len(piece.notes) for piece in train)
        run.log(1, loss=loss, notes=notes, share=1.0, **scores[self.pseudo_count])

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Continue each prompt by `n_notes` notes. See :class:`bench.api.Model`."""
        return continued(lambda events: self.log_p[events], self.vocabulary, prompts, n_notes, seed, most=self.window)

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each event, nats, (events,) for each piece. See :class:`bench.api.Model`."""
        segments, owners = segmented(self.vocabulary, pieces, self.window)
        return joined([self.log_p[self._before(events), events] for events in segments], owners, len(pieces))

    def facts(self) -> Mapping[str, Any]:
        """Parameter count, and the pseudo-count chosen on the validation pieces."""
        size = self.vocabulary.size
        return {"parameters": size * (1 if self.order == 0 else size + 1), "chosen_on_validation": self.pseudo_count}

    def _before(self, events: Events) -> Events:
        start: Events = np.full(1, self.vocabulary.size, np.int16)
        return np.concatenate([start, events[:-1]])

    def _counts(self, segments: Sequence[Events]) -> NDArray[np.float64]:
        """Count events by the event before: shape (size + 1, size)."""
        counts = np.zeros((self.vocabulary.size + 1, self.vocabulary.size))
        for events in segments:
            np.add.at(counts, (self._before(events), events), 1)
        return counts


def _smoothed(counts: NDArray[np.float64], share: NDArray[np.float64], pseudo_count: float) -> NDArray[np.float64]:
    """Log probabilities (events before, events) from counts and, as pseudo-counts, the `share` of each event."""
    probabilities = (counts + pseudo_count * share) / (counts.sum(1, keepdims=True) + pseudo_count)
    log_p: NDArray[np.float64] = np.log(probabilities)
    return log_p
