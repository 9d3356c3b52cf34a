"""Quality against training time."""

from __future__ import annotations

from bench.report.figures import cost


def test_the_mean_of_trainings_ends_with_the_shortest() -> None:
    assert cost.mean_line([[(1.0, 10.0), (2.0, 8.0), (3.0, 7.0)], [(3.0, 12.0), (6.0, 9.0)]]) == [(2.0, 11.0), (4.0, 8.5)]
