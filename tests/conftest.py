"""What holds for all tests."""

import sys

import pytest
from hypothesis import settings

# A deadline is an absolute time, and the first example may pay for an import.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an unforeseen exception in scoring be seen, with its traceback; where a test starts a process, it is a failed row."""
    if (score := sys.modules.get("bench.scoring.score")) is not None:  # most tests score nothing, and need not import it
        monkeypatch.setattr(score, "UNFORESEEN", ())
