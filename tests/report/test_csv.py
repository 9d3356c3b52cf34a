"""CSV files: stable, documented columns, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from bench.metrics import METRICS
from bench.report.csv import csv_text

from .stored_run import Stored, example, rows, written


def test_csv_columns_are_stable_and_documented(tmp_path: Path) -> None:
    from bench.report import csv as module

    header = next(csv.reader(io.StringIO(written(example(tmp_path / "run"))["report.csv"])))
    measured = {f"{m}{end}" for m in METRICS for end in ("", "_seed_sd", "_low", "_high")}
    assert measured <= set(header)
    assert [c for c in header if c in METRICS] == list(METRICS)
    plain = [c for c in header if c not in measured]
    assert all(c in (module.__doc__ or "") for c in plain if not c.startswith(("published_", "rank_")))


def test_csv_holds_no_control_characters() -> None:
    (row,) = rows(csv_text([{"error": "\x1b[31mred\x00"}]))
    assert row["error"] == "�[31mred�"


def test_csv_does_not_start_a_formula(stored: Stored) -> None:
    stored.add("lstm", 0, None, error="=HYPERLINK(1)")
    (row,) = rows(written(stored.close())["report.csv"])
    assert row["error"] == "'=HYPERLINK(1)"
