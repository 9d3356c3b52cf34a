"""Loudness: what ITU-R BS.1770 states of its algorithm, and the signals of EBU Tech 3341 that one channel can play."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.sound.loudness import loudness
from bench.sound.synthesizer import RATE


def sine(level: float, seconds: float, frequency: float = 1000.0) -> np.ndarray:
    """A sine whose two channels together would have `level` LUFS: one channel has 3 LU less."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (10 ** (level / 20) * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def test_full_scale_at_997_hz() -> None:
    assert loudness(sine(0.0, 5, 997.0)) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23, 20)], -23.0),  # EBU Tech 3341, case 1
        ([(-33, 20)], -33.0),  # case 2
        ([(-36, 10), (-23, 60), (-36, 10)], -23.0),  # case 3: the relative gate
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),  # case 4: the absolute gate too
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),  # case 5: what is gated in
    ],
)
def test_ebu_signals(parts: list[tuple[float, float]], expected: float) -> None:
    samples = np.concatenate([sine(level, seconds) for level, seconds in parts])
    assert loudness(samples) + 3.01 == pytest.approx(expected, abs=0.1)


def test_low_notes_count_less_and_high_ones_more() -> None:
    low, middle, high = (loudness(sine(-23, 3, frequency)) for frequency in (30.0, 500.0, 4000.0))
    assert low < middle - 5
    assert middle + 3 < high < middle + 4.5


def test_a_gain_of_a_decibel_is_one_unit() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 3 * RATE).astype(np.float32)
    assert loudness(noise * np.float32(10 ** (7 / 20))) - loudness(noise) == pytest.approx(7.0, abs=1e-3)


def test_silence_and_less_than_a_block() -> None:
    assert loudness(np.zeros(RATE, np.float32)) == -math.inf
    assert loudness(np.zeros(0, np.float32)) == -math.inf
    assert loudness(sine(-10, 0.2)) == pytest.approx(loudness(sine(-10, 2)) - 3.01, abs=0.5)
