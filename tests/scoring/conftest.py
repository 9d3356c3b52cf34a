from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.stored_run import Stored


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path / "table2-cpu")
