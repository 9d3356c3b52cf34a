"""The number that a cell of a table is sorted by, read from its text as :mod:`bench.report.numbers` wrote it."""

from __future__ import annotations

import re

_TIME = re.compile(r"(?:(\d+) h )?(?:(\d+) min)?(?: ?(\d+(?:\.\d+)?) s)?")
_NUMBER = re.compile(r"[−-]?\d[\d,]*(?:\.\d+)?(?:e[−+-]?\d+)?")


def sort_value(text: str) -> float | None:
    """The number a cell begins with, times in seconds and sizes in MiB; None where it holds none.

    A mark before the number, such as ``≤`` or ``<``, doesn't count.
    """
    plain = text.lstrip("≤<~ ")
    time = _TIME.match(plain)
    if time is not None and (time[1] or time[2]):
        return 3600 * float(time[1] or 0) + 60 * float(time[2] or 0) + float(time[3] or 0)
    found = _NUMBER.match(plain)
    if found is None:
        return None
    value = float(found[0].replace(",", "").replace("−", "-"))
    return 1024 * value if re.match(r" GiB\b", plain[found.end() :]) else value
