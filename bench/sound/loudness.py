"""Loudness of mono sound by ITU-R BS.1770: K-weighting, then the mean square of gated blocks.

Reference: ITU-R BS.1770-5 (2023), Algorithms to measure audio programme loudness and true-peak audio level, annex 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.sound.synthesizer import RATE

#: K-weighting as second-order sections at 48 kHz, our rate: the acoustic effect of the head (table 1), a high-pass (table 2).
_K_WEIGHTING = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585),
    (1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621),
)

#: Length of a block and distance between the beginnings of two, seconds.
_BLOCK, _HOP = 0.4, 0.1
#: Quieter blocks do not count: below the first, LUFS, and by the second below the mean of the blocks above the first, LU.
_ABSOLUTE, _RELATIVE = -70.0, -10.0


def loudness(samples: NDArray[np.float32]) -> float:
    """Compute the gated loudness of mono sound, LUFS; minus infinity for silence.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        At :data:`~bench.sound.synthesizer.RATE`. Less than a block is one block, the rest of it silence.

    Examples
    --------
    A full-scale sine of 997 Hz has -3.01 LUFS by definition:

    >>> time = np.arange(2 * RATE) / RATE
    >>> round(loudness(np.sin(2 * np.pi * 997 * time).astype(np.float32)), 2)
    -3.01
    """
    from scipy.signal import sosfilt

    block, hop = round(_BLOCK * RATE), round(_HOP * RATE)
    padded = np.pad(samples.astype(np.float64), (0, max(0, block - len(samples))))
    squares = np.concatenate([[0.0], np.cumsum(sosfilt(_K_WEIGHTING, padded) ** 2)])
    starts = np.arange(0, len(padded) - block + 1, hop)
    power = (squares[starts + block] - squares[starts]) / block
    power = power[_lufs(power) > _ABSOLUTE]
    if not len(power):
        return -math.inf
    power = power[_lufs(power) > _lufs(power.mean()) + _RELATIVE]
    return float(_lufs(power.mean()))


def _lufs(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-20))
