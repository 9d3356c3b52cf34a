"""Histograms of generated and real notes."""

from __future__ import annotations

import numpy as np

from bench.report.figures import distributions

from ..stored_run import REAL, Stored, built, notes


def test_shares_count_what_lies_outside_in_the_last_bin() -> None:
    velocity = next(q for q in distributions.QUANTITIES if q.name == "velocity")
    edges = np.array([50.0, 70.0, 90.0])
    assert distributions.shares(velocity, edges, [notes([60] * 4, (40, 60, 80, 120))]).tolist() == [50.0, 50.0]
    assert distributions.shares(velocity, edges, []).tolist() == [0.0, 0.0]


def test_pitch_classes_of_the_real_notes_peak_where_they_should(stored: Stored) -> None:
    stored.add("lstm", 0, {(i, 0): r for i, r in enumerate(REAL)})
    found = distributions.gallery(built(stored.close())).drawings[0]
    # 60, 62, 64, 66 and 50, 50, 54, 54: three D, three F sharp.
    assert "The real notes peak in D." in found.label
    assert found.caption == "To be moved: lstm 0 %."
