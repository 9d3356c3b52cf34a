"""The list of all metrics, and what a new one takes part in by being listed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from bench import metrics
from bench.cli.listing import metrics_table
from bench.gate.baseline import take
from bench.gate.verdicts import judge
from bench.metrics import METRICS, MODULES, Metric, spread
from bench.metrics.thresholds import unknown
from bench.report import build_report
from bench.report.csv import columns_csv, report_csv, trials_csv
from bench.report.tables import THEMES, definitions, themed, themes
from bench.scoring.score import score_run
from tests.report.stored_run import example


def test_every_metric_is_explained() -> None:
    assert len(METRICS) == sum(len(module.METRICS) for module in MODULES), "no name stands for two columns"
    for name, metric in METRICS.items():
        assert name == metric.name
        assert name.isidentifier()
        assert metric.title
        assert metric.definition.endswith(".")
        assert metric.source


def test_every_group_has_a_table() -> None:
    groups = {metric.group for metric in METRICS.values()} - {None}
    assert groups == {theme.group for theme in THEMES} | {"headline", "cost"}


def test_what_a_metric_refers_to_exists() -> None:
    for metric in METRICS.values():
        for other in (metric.counterpart, metric.order_free):
            assert other is None or METRICS[other].unit == metric.unit


LOWEST = Metric(
    "lowest_pitch", "Lowest pitch", "MIDI pitch", "higher", "Lowest pitch of a sample.", "this test", 1, group="spread", floor=2.0
)


def test_a_metric_is_added_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module's list and function, which these three lines stand for: all else follows."""
    measure = spread.evaluate
    monkeypatch.setattr(spread, "evaluate", lambda one, other: measure(one, other) | {LOWEST.name: float(one.pitch.min())})
    monkeypatch.setitem(metrics._BY_NAME, LOWEST.name, LOWEST)

    folder = example(tmp_path / "run")
    table = score_run(folder)
    report = build_report(folder, table)
    # A table of the report, and its glossary.
    (theme,) = (t for t in themes(report) if t.group == "spread")
    grid = themed(report, theme)
    assert grid.headers[-1] == "Lowest pitch (MIDI pitch)"
    assert next(row[-1].text for row in grid.rows if row[0] == "real") == "67.0 ± 0.0"  # twelve semitones above 60 and 50
    assert ("Lowest pitch", "lowest_pitch@1", "Lowest pitch of a sample.", "this test") in definitions(report)
    # The CSV files.
    (real,) = (row for row in csv.DictReader(report_csv(report).splitlines()) if row["system"] == "real")
    assert (real["lowest_pitch"], real["lowest_pitch_seed_sd"]) == ("67", "0")
    assert "lowest_pitch" in trials_csv(report).splitlines()[0]
    assert "lowest_pitch,lowest_pitch@1,Lowest pitch,MIDI pitch,higher" in columns_csv()
    # What the command line lists and a spec may name.
    assert any("lowest_pitch" in str(row) for row in metrics_table().rows)
    assert unknown(["lowest_*"], METRICS) is None
    # The gate, with its tolerance: 15 %, but at least its floor.
    baseline = take(folder, table)
    (verdict,) = (v for v in judge(baseline, baseline).verdicts if (v.system, v.metric) == ("real", LOWEST))
    assert (verdict.status, verdict.before, verdict.limit) == ("same", 67.0, pytest.approx(0.15 * 67))


def test_no_metric_loads_scipy_stats() -> None:
    """It takes longer to load than a trial's samples take to score, and each trial's process would wait for it."""
    code = (
        "import sys, numpy as np\n"
        "from bench.api import Notes\n"
        "from bench.metrics import evaluate_samples, evaluate_set\n"
        "pieces = [Notes.from_columns(range(9), [0.5] * 9, range(60 + i, 69 + i), [64 + i] * 9) for i in range(6)]\n"
        "evaluate_samples(pieces, pieces[::-1]), evaluate_set(pieces, pieces[::-1])\n"
        "print('scipy.stats' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
