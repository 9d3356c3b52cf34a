"""The same spec, machine and seeds give the same report: straight, killed and gone on, and with the trials in another order."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bench.metrics import cost
from bench.specs.load import shipped_specs

from .conftest import until

pytestmark = pytest.mark.training

#: Columns that a clock or the machine decides.
CLOCKED = {f"{m.name}{end}" for m in cost.METRICS for end in ("", "_seed_sd", "_low", "_high")}


def quality(folder: Path) -> dict[str, dict[str, str]]:
    """The text of every cell of report.csv that no clock decides, by row."""
    with (folder / "report.csv").open(encoding="utf-8", newline="") as file:
        return {row["system"]: {k: v for k, v in row.items() if k not in CLOCKED} for row in csv.DictReader(file)}


def write(path: Path, *, turned: bool) -> Path:
    """The shipped smoke spec with one seed, its models and references in their order or the other way round."""
    spec = YAML(typ="safe", pure=True).load(shipped_specs()["smoke"])
    spec["seeds"] = [0]
    spec["budget"]["compute"]["updates"] = 60
    if turned:
        spec["models"] = dict(reversed(spec["models"].items()))
        spec["references"].reverse()
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(spec, file)
    return path


def start(spec: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench", "run", str(spec), "--scale", "cpu", "--out", str(out), "-q", "--no-sound"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_")} | {"BENCH_CACHE": str(out.parent / "cache")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def test_straight_killed_and_in_another_order(tmp_path: Path) -> None:
    for framework in ("torch", "tensorflow"):
        pytest.importorskip(framework)
    spec = write(tmp_path / "mine.yaml", turned=False)
    assert start(spec, tmp_path / "straight").wait(400) == 0
    straight = quality(tmp_path / "straight" / "runs" / "mine-cpu")
    assert {"lstm", "transformer", "gan", "untrained gan", "markov"} <= straight.keys()
    assert float(straight["lstm"]["bits_per_note"]) > 0

    killed = tmp_path / "killed"
    for system in ("lstm", "gan"):  # in the middle of its training
        process = start(spec, killed)
        until(lambda s=system: epochs_of(killed, s) >= 1, 300)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(spec, killed).wait(400) == 0
    assert quality(killed / "runs" / "mine-cpu") == straight

    turned = tmp_path / "turned"
    turned.mkdir()
    assert start(write(turned / "mine.yaml", turned=True), turned).wait(400) == 0
    other = quality(turned / "runs" / "mine-cpu")
    assert list(other) != list(straight), "the trials ran in another order"
    assert other == straight


def epochs_of(out: Path, system: str) -> int:
    """Epochs that the trials of a system have logged."""
    found = 0
    for file in out.glob("runs/*/trials/*/trial.json"):
        history = file.parent / "checkpoint" / "history.jsonl"
        if f'"system": "{system}"' in file.read_text() and history.exists():
            found += len(history.read_text().splitlines())
    return found
