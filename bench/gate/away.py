"""How far each piece's or seed's value is from where it should be: one number that is larger the worse, for every metric.

- With a better direction: the value itself, or its negative.
- What people do themselves (``copied_run`` beside ``copied_run_real``): by how much a piece is above what really follows its
  prompt. Below it nothing is worse: people borrow too, and whoever borrows less has not lost anything.
- Else: the distance from the metric's `ideal`; without one, from the baseline's row ``real``; without such a row, from where the
  row itself was on average.

The row ``real`` is a stretch of a training piece. So it never tells where copying should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.gate.baseline import Baseline, System
from bench.metrics import METRICS, Metric

#: The row whose values are real music's.
REAL = "real"


@dataclass(frozen=True)
class Goal:
    """Where one metric of one row should be.

    Parameters
    ----------
    kind : {"lower", "higher", "near", "not above"}
    at : float
        For ``near``.
    by_piece : mapping of int to float
        For ``not above``; 0 for other pieces.
    """

    kind: Literal["lower", "higher", "near", "not above"]
    at: float = 0.0
    by_piece: Mapping[int, float] = field(default_factory=dict)

    def away(self, places: Sequence[int], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far from it, shape (places,); a larger number is worse."""
        if self.kind == "near":
            return np.abs(values - self.at)
        if self.kind == "not above":
            above: NDArray[np.float64] = np.maximum(0.0, values - np.array([self.by_piece.get(p, 0.0) for p in places]))
            return above
        return values if self.kind == "lower" else -values

    def words(self, worsening: float, digits: int) -> str:
        """``further from 1.00``; empty where the change itself says it."""
        if self.kind == "near":
            return f"{'nearer to' if worsening < 0 else 'further from'} {self.at:.{digits}f}"
        return f"{'less' if worsening < 0 else 'more'} above real music's own" if self.kind == "not above" else ""


def goal(metric: Metric, before: Baseline, old: System, new: System, mean: float) -> Goal:
    """Where a row should be.

    Parameters
    ----------
    metric : Metric
    before : Baseline
    old, new : System
        The row, before and now.
    mean : float
        Where it was on average.
    """
    if metric.better is not None:
        return Goal(metric.better)
    if metric.counterpart:
        own = METRICS[metric.counterpart]
        series = old.metrics.get(own.id) or new.metrics.get(own.id)
        return Goal("not above", by_piece=dict(zip(series.at, series.values, strict=True)) if series else {})
    if metric.ideal is not None:
        return Goal("near", metric.ideal)
    real = before.systems.get(REAL)
    return Goal("near", real.metrics[metric.id].value if real is not None and metric.id in real.metrics else mean)
