"""Small music that the tests of several modules measure."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np

from bench.api import Notes


def notes(pitches: list[int], velocities: list[int] | None = None, onset: list[float] | None = None) -> Notes:
    """Notes of 0.25 s, by default every 0.5 s and of velocity 80."""
    n = len(pitches)
    at = np.arange(n) * 0.5 if onset is None else np.asarray(onset)
    return Notes.from_columns(at, np.full(n, 0.25), pitches, velocities or [80] * n)


pitches = st.lists(st.integers(0, 127), min_size=1, max_size=40)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Notes, Notes]:
    """Two pieces with the same number of notes."""
    n = draw(st.integers(1, 40))
    one, other = (
        notes(
            draw(st.lists(st.integers(0, 127), min_size=n, max_size=n)),
            draw(st.lists(st.integers(1, 127), min_size=n, max_size=n)),
        )
        for _ in range(2)
    )
    return one, other
