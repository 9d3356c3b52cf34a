"""Pitch and velocity over time."""

from __future__ import annotations

import numpy as np

from bench.report.figures import over_time

from ..stored_run import Stored, built, moved, notes


def test_a_course_says_the_samples_own_distance(stored: Stored) -> None:
    stored.add("lstm", 0, moved(3))
    first, second = over_time.courses(built(stored.close())).pieces
    label = first.drawings[0].label
    assert "Mean pitch: generated 66.0, original 63.0, mean distance 3.00 semitones." in label
    assert second.title == "b"


def test_the_line_over_time_is_a_mean_over_seconds() -> None:
    onset = np.array([0.0, 0.0, 1.0, 2.5, 9.0])
    at, mean = over_time.smoothed(onset, np.array([60, 64, 68, 72, 10]))
    assert at.tolist() == [0.0, 1.0, 2.5, 9.0]
    assert mean.tolist() == [64.0, 66.0, 70.0, 10.0]


def test_the_axes_over_time_hold_every_mean_and_forgive_single_notes() -> None:
    original = notes([60] * 16, (100,) * 16)
    loud = notes([60] * 15 + [127], (20,) * 16)
    frame = over_time.framed([original, loud])
    assert frame.until == original.onset[-1] - original.onset[0]
    assert frame.limits["velocity"] == (20 - 4, 100 + 16)
    low, high = frame.limits["pitch"]
    assert low == 60 - 12
    assert 72 <= high < 127
