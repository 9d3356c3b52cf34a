"""The sustain pedal: notes that it holds, as long as they sound.

As Magenta's ``apply_sustain_control_changes`` prepares the performances of Oore et al. 2018 and Huang et al. 2019: a note whose
key is released while the pedal is down ends when the pedal rises, or where the same key is struck again. While the pedal is down,
a key struck again also ends a note that is still held.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Number of the pedal's controller, and the least value at which it is down.
CONTROLLER, DOWN = 64, 64


def sustained(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    pitch: NDArray[np.int64],
    time: NDArray[np.int64],
    value: NDArray[np.int64],
    last: int,
) -> NDArray[np.int64]:
    """Compute where notes end if the pedal holds them.

    Parameters
    ----------
    start, end, pitch : ndarray of int, shape (n,)
        Notes of one instrument, in ticks.
    time, value : ndarray of int, shape (m,)
        Ticks and values of its pedal's events. Of several at one tick the pedal is up if one of them raises it.
    last : int
        Tick at which notes end that the pedal holds until the end.

    Returns
    -------
    ndarray of int, shape (n,)
        Equal to `start` for a note that is struck twice at one tick: the other one remains.

    Examples
    --------
    >>> start, end, pitch, time, value = map(np.array, ([0, 50, 60], [10, 55, 90], [60, 62, 60], [5, 70], [127, 0]))
    >>> sustained(start, end, pitch, time, value, 90).tolist()
    [60, 70, 90]
    """
    ticks = np.unique(time)
    raised = np.zeros(len(ticks), np.bool_)
    np.logical_or.at(raised, np.searchsorted(ticks, time), value < DOWN)
    rises = np.append(ticks[raised], last)
    # Before the first event the pedal is up.
    up = np.append(True, raised)
    held = ~up[np.searchsorted(ticks, end, side="right")]
    longest = np.where(held, np.maximum(end, rises[np.searchsorted(rises[:-1], end, side="right")]), end)
    struck = ~up[np.searchsorted(ticks, start, side="right")]
    order = np.lexsort((np.arange(len(start)), start, pitch))
    again = _next(struck[order], pitch[order], start[order])
    result = np.empty_like(end)
    result[order] = np.minimum(longest[order], again)
    return result


def _next(chosen: NDArray[np.bool_], pitch: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start of the next note after each that is `chosen` and has its pitch; of notes sorted by pitch, then by start."""
    n = len(start)
    at = np.where(chosen, np.arange(n), n)
    following = np.append(np.minimum.accumulate(at[::-1])[::-1][1:], n)
    same = (following < n) & (np.append(pitch, -1)[following] == pitch)
    return np.where(same, np.append(start, 0)[following], np.iinfo(np.int64).max)
