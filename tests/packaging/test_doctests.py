"""Every example in a docstring is run, and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def documented() -> list[str]:
    """Modules of bench with an example."""
    paths = [path for path in sorted((ROOT / "bench").rglob("*.py")) if ">>> " in path.read_text()]
    names = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    return [".".join(name[:-1] if name[-1] == "__init__" else name) for name in names]


@pytest.mark.parametrize("name", documented())
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # an example leaves its folder behind
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0, "an example that is not in a docstring is not run"
    assert result.failed == 0
