from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.comparison.changes import Comparison, compare
from bench.comparison.runs import read_runs
from tests.report.stored_run import Stored

Make = Callable[..., Stored]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Begin a run of twelve pieces; its name and parts of its spec."""

    def begin(name: str, **spec: object) -> Stored:
        stored = Stored(tmp_path / "reports" / "runs" / name, **spec)
        stored.enlarge(12)
        stored.dataset["remarks"] = [f"of the run {name}"]  # a run.json that is the same is that of a copy
        return stored

    return begin


def compared(*folders: Path) -> Comparison:
    return compare(read_runs(folders))
