"""How a speed test ends: passed at its aim, xfailed with the ratio between floor and aim, failed below the floor."""

from __future__ import annotations

import pytest


def reach(ratio: float, aim: float, *, floor: float, short: str) -> None:
    """Compare a measured ratio with what was aimed at.

    Parameters
    ----------
    ratio, aim : float
        Both count upwards: more is better.
    floor : float
        What no machine should fall below: under it the code got slower, whatever the machine.
    short : str
        Why the aim may be out of reach where the floor is not. It is printed with the ratio.
    """
    assert ratio >= floor, f"{ratio:.3g}, below {floor:g}: slower than it was; the aim is {aim:g}"
    if ratio < aim:
        pytest.xfail(f"{ratio:.3g}, aimed at {aim:g}: {short}")
