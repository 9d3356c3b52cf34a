"""Reference row: a first-order Markov chain for each field (Shannon 1948)."""

from __future__ import annotations

from collections.abc import Sequence

from ._chains import Chain
from ._references import ChainRow, Codes

ROLE = "reference"
FEATURES = "first-order Markov chain for each field"
LIKELIHOOD = "exact"
CONSTRAINT = True


class Model(ChainRow):
    """Four chains, each field given the same field of the note before."""

    def fit_chain(self, train: Sequence[Codes], valid: Sequence[Codes], size: int) -> Chain:
        """See :class:`ChainRow`."""
        return Chain.fit(train, valid, size)
