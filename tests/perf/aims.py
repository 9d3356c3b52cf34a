"""What the speed tests share: how they end, what a second is worth on this machine, and where music is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.system import speed

#: Where data sets are looked for: $BENCH_DATA, else beside the repository.
DATA = os.environ.get("BENCH_DATA") or str(Path(__file__).resolve().parents[3] / "shared" / "data")


def reach(ratio: float, aim: float, *, floor: float, short: str) -> None:
    """Pass at the aim, xfail with the ratio between floor and aim, fail below the floor.

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


def yardstick_seconds(seconds: float) -> float:
    """Turn processor time measured just before into that of the standard machine, see :mod:`bench.system.speed`."""
    return seconds * speed.STANDARD / speed.measure()[1]


def performances(least: int) -> list[Path]:
    """Files of MAESTRO in :data:`DATA`, sorted; the test is skipped if there are fewer."""
    found = [file for root in DATA.split(os.pathsep) for file in Path(root).rglob("*.midi")]
    if len(found) < least:
        pytest.skip(f"needs {least} files of MAESTRO in $BENCH_DATA")
    return sorted(found)
