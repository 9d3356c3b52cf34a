"""The tables of ``docs/listening-test.md`` are what the simulation prints; of the long ones the columns before the results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.listening.simulation import balance, coverage, detection, power

MANUAL = (Path(__file__).parents[2] / "docs" / "listening-test.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("part", "fixed"),
    [(balance, 6), (partial(coverage, 1), 3), (partial(power, 1), 3), (partial(detection, 20), 1)],
    ids=["balance", "coverage", "power", "detection"],
)
def test_the_manual_has_what_is_printed(part: Callable[[], None], fixed: int, capsys: pytest.CaptureFixture[str]) -> None:
    part()
    header, *rows = capsys.readouterr().out.splitlines()
    start = MANUAL.index(header) + 2
    shown = MANUAL[start : MANUAL.index("", start) if "" in MANUAL[start:] else None]
    assert [row.split("|")[1 : fixed + 1] for row in rows] == [row.split("|")[1 : fixed + 1] for row in shown]
