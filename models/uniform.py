"""Reference row: pitch 21-108 and velocity 1-127 drawn evenly; time shift and duration by their frequencies."""

from __future__ import annotations

from ._chains import Chain
from ._references import ChainRow

ROLE = "reference"
FEATURES = "pitch 21-108 and velocity 1-127 drawn evenly"
CONSTRAINT = True

#: A piano's keys, and the velocities that sound.
PIANO_KEYS = (21, 108)
SOUNDING = (1, 127)


class Model(ChainRow):
    """Noise with the rhythm of `unigram`; it has no likelihood."""

    def drawn_from(self) -> tuple[Chain, ...]:
        """See :class:`ChainRow`."""
        return (Chain.even(PIANO_KEYS, self.codec.sizes[0]), Chain.even(SOUNDING, self.codec.sizes[1]), *self.chains[2:])
