"""A stored run with every kind of row, and `bench export` as a user meets it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.export.contents import RunContents, read_contents
from bench.report import write_reports
from tests.report.stored_run import Stored, example

#: The example lacks a trial, as a run may: it is exported, and that is said.
LACKS = "table2-cpu is incomplete: 1 trial failed or did not run\n"

Export = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example run of the reports, with its reports, which take a second."""
    run = example(tmp_path_factory.mktemp("export") / "table2-cpu")
    write_reports(run)
    return run


@pytest.fixture
def folder(tmp_path: Path, reported: Path) -> Path:
    """A copy of it in the reports folder of `tmp_path`."""
    return shutil.copytree(reported, tmp_path / "reports" / "runs" / "table2-cpu")


@pytest.fixture
def run(folder: Path) -> RunContents:
    return read_contents(folder)


def odd_run(folder: Path) -> RunContents:
    """A run as someone else may have written it: a row whose name can't be encoded, and an integer beyond 64 bits."""
    stored = Stored(folder)
    stored.add("odd \ud800", 0, None, error="died", key="odd-0", params={"size": 10**40, "\udcff": 1})
    return read_contents(stored.close())


@pytest.fixture
def export(tmp_path: Path, folder: Path) -> Export:
    """Call `bench export` in `tmp_path`, with further variables of the environment."""

    def call(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        ours = ("BENCH_", "MLFLOW_", "TRACKIO_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours) and name != "COLUMNS"}
        command = [sys.executable, "-m", "bench", "export", *words]
        environment = {**clean, "HOME": str(tmp_path), **variables}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)

    return call
