"""Trackio's own database, read back by its own API and by SQLite."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import LACKS, Export

pytest.importorskip("trackio", reason="Trackio is not installed: pip install 'midibench[trackio]'")


def metrics(folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """What was logged, by run and step."""
    with sqlite3.connect(folder / "midibench-table2.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for name, step, logged in rows:
        assert step not in runs.setdefault(name, {}), f"{name} has step {step} twice"
        runs[name][step] = json.loads(logged)
    return runs


def test_a_run_for_each_trial(export: Export, tmp_path: Path) -> None:
    answer = export("latest", "--to", "trackio", "--output", "tracked")
    assert (answer.returncode, answer.stderr) == (3, LACKS)
    assert answer.stdout.splitlines() == [
        str(tmp_path / "tracked"),
        f"Look at it: TRACKIO_DIR={tmp_path}/tracked trackio show --project midibench-table2",
    ]
    runs = metrics(tmp_path / "tracked")
    lstm = runs["table2-cpu: lstm, seed 1"]
    assert [(step, logged["training/validation_bits"]) for step, logged in lstm.items()] == [(1, 13.0), (2, 12.0)]
    assert "pitch_distance" not in lstm[1]
    assert (lstm[2]["pitch_distance"], lstm[2]["bits_per_note"]) == (10.0, 16.0)
    assert runs["table2-cpu: real, seed 0"][2]["pitch_distance"] == 12.0
    script = (
        "import json, trackio; runs = trackio.Api().runs('midibench-table2');"
        "print(json.dumps({run.name: run.config for run in runs}))"
    )
    read = subprocess.run(
        [sys.executable, "-c", script], env={"TRACKIO_DIR": str(tmp_path / "tracked")}, capture_output=True, text=True, check=True
    )
    configs = json.loads(read.stdout)
    assert len(configs) == 11
    assert (
        configs["table2-cpu: lstm, seed 1"] | {"seed": 1, "kind": "model", "device": "Test CPU", "_Group": "table2-cpu"}
        == (configs["table2-cpu: lstm, seed 1"])
    )
    failed = configs["table2-cpu: gan, seed 1"]
    assert (failed["status"], failed["error"]) == ("failed", "out of memory; peak was 900 MiB")


def test_twice_is_once(export: Export, tmp_path: Path) -> None:
    export("latest", "--to", "trackio", TRACKIO_DIR=str(tmp_path / "own"))
    before = metrics(tmp_path / "own")
    assert export("latest", "--to", "trackio", TRACKIO_DIR=str(tmp_path / "own")).returncode == 3
    assert metrics(tmp_path / "own") == before


def test_nothing_is_sent_to_a_server(export: Export, tmp_path: Path) -> None:
    place = {"TRACKIO_DIR": str(tmp_path / "own"), "TRACKIO_SERVER_URL": "http://127.0.0.1:9", "TRACKIO_SPACE_ID": "me/space"}
    assert export("latest", "--to", "trackio", **place).returncode == 3
    assert len(metrics(tmp_path / "own")) == 11


def test_a_place_that_is_none(export: Export, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = export("latest", "--to", "trackio", "--output", "file")
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
