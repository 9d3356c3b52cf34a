"""Values of metrics as people read them."""

from __future__ import annotations

import pytest

from bench.report.numbers import size_text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (size_text("bits_per_note", 0.0043), "0.0043"),
        (size_text("bits_per_note", 0.043), "0.043"),
        (size_text("bits_per_note", 0.43), "0.43"),
        (size_text("pitch_distance", 4.203), "4.20"),
    ],
)
def test_a_size_has_two_significant_digits_at_least(shown: str, expected: str) -> None:
    assert shown == expected
