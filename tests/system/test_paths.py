"""Folders from arguments and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.errors import UsageError
from bench.system.paths import Places


@pytest.mark.parametrize("empty", [{"out": ""}, {"data": [""]}, {"plugins": [""]}])
def test_an_empty_text_is_no_folder(empty: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path takes it for the current folder, and `or` for none."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is an empty text"):
        bench.run("smoke", **empty)
    assert not list(tmp_path.iterdir())


def test_results_go_to_the_argument_or_the_variable_or_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_REPORTS", raising=False)
    assert Places.find().out == tmp_path / "reports"
    monkeypatch.setenv("BENCH_REPORTS", "there")
    assert Places.find().out == tmp_path / "there"
    assert Places.find(out=".").out == tmp_path
