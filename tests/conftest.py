"""What holds for all tests."""

import os
import sys

import pytest
from hypothesis import settings

# A deadline is an absolute time, and the first example may pay for an import. Examples are the same in each run, so that nobody's
# change fails by one that chance drew: `pytest --hypothesis-profile explore` draws others.
settings.register_profile("untimed", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("untimed")


def pytest_xdist_auto_num_workers() -> int:
    """Give tests a process more than there are cores: many of them wait, for a cluster, a browser, a disk or a stopped run."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an unforeseen exception in scoring be seen, with its traceback; where a test starts a process, it is a failed row."""
    if (score := sys.modules.get("bench.scoring.score")) is not None:  # most tests score nothing, and need not import it
        monkeypatch.setattr(score, "UNFORESEEN", ())
