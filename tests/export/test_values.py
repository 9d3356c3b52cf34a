"""The long table, read back by other programs."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import MachineError
from bench.export.contents import RunContents, read_contents
from bench.export.values import export_csv, export_parquet, records
from bench.metrics import METRICS
from bench.report.csv import csv_text
from tests.report.stored_run import Stored, moved

from .conftest import odd_run

COLUMNS = (
    *("run", "spec", "scale", "system", "kind", "model", "seed", "trial", "params"),
    *("metric", "version", "unit", "better", "over", "piece", "piece_name", "value", "reason"),
)


def lines(run: RunContents, **wanted: Any) -> Iterator[dict[str, Any]]:
    return (row for row in records(run) if all(row[name] == value for name, value in wanted.items()))


def test_one_row_a_trial_and_metric_and_one_a_piece(run: RunContents) -> None:
    found = list(lines(run, system="lstm", seed=1, metric="pitch_distance"))
    assert [(row["over"], row["piece"], row["piece_name"], row["value"]) for row in found] == [
        ("trial", None, None, 10.0),
        ("piece", 0, "a", 10.0),
        ("piece", 1, "b", 10.0),
    ]
    assert tuple(found[0]) == COLUMNS
    assert all(tuple(row) == COLUMNS for row in records(run))
    keys = [(row["trial"], row["metric"], row["over"], row["piece"]) for row in records(run)]
    assert len(keys) == len(set(keys))
    assert {row["metric"] for row in records(run)} == {*METRICS, ""} - {"pitch_skill", "velocity_skill"}


def test_an_undefined_value_says_why(run: RunContents) -> None:
    (bits,) = lines(run, system="gan", seed=0, metric="bits_per_note")
    assert (bits["value"], bits["reason"] != "") == (None, True)
    (failed,) = lines(run, system="gan", seed=1)
    assert (failed["metric"], failed["over"], failed["reason"]) == ("", "trial", "out of memory; peak was 900 MiB")


def test_csv(run: RunContents, tmp_path: Path) -> None:
    for _ in range(2):  # it is replaced, not appended to
        export_csv(run, tmp_path / "new" / "values.csv")
    with (tmp_path / "new" / "values.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    written = list(records(run))
    assert [row["value"] for row in read] == ["" if row["value"] is None else f"{row['value']:.10g}" for row in written]
    assert [row["piece"] for row in read] == ["" if row["piece"] is None else str(row["piece"]) for row in written]


def test_long_names_and_hyperparameters_are_shortened(tmp_path: Path) -> None:
    """Each is in thousands of lines."""
    stored = Stored(tmp_path / "run")
    stored.spec["name"] = "s" * 20_000
    stored.add("l" * 3000, 0, moved(1), params={"sizes": list(range(9000))}, model="lstm", key="lstm-0")
    row = next(records(read_contents(stored.close())))
    assert [len(row[name]) for name in ("spec", "system", "params")] == [1000, 1000, 10_000]


def test_a_table_is_written_in_parts(run: RunContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any number of rows: a table of a large run as one text took gigabytes."""
    export_csv(run, tmp_path / "whole.csv")
    for rows in (1, 7, len(list(records(run)))):
        monkeypatch.setattr("bench.report.csv.ROWS_AT_ONCE", rows)
        export_csv(run, tmp_path / "parts.csv")
        assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert csv_text([]) == "\n"


def test_parquet(run: RunContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="PyArrow is not installed: pip install 'midibench[parquet]'")
    for rows in (10**6, 3):
        monkeypatch.setattr("bench.export.values.ROWS_AT_ONCE", rows)
        export_parquet(run, tmp_path / "values.parquet")
    table = parquet.read_table(tmp_path / "values.parquet")
    assert table.to_pylist() == list(records(run))
    assert {str(table.schema.field(name).type) for name in ("seed", "version", "piece")} == {"int64"}
    facts = json.loads(table.schema.metadata[b"midibench"])
    assert (facts["run"], facts["tags"]["commit"]) == ("table2-cpu", "0123abc")


def test_parquet_in_pandas(run: RunContents, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="PyArrow is not installed: pip install 'midibench[parquet]'")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install -r requirements/export.txt")
    export_parquet(run, tmp_path / "values.parquet")
    frame = pandas.read_parquet(tmp_path / "values.parquet")
    means = frame[(frame.over == "trial") & (frame.metric == "pitch_distance")].groupby("system").value.mean()
    assert means["lstm"] == run.means["pitch_distance"]["lstm"]


def test_text_that_a_spreadsheet_would_evaluate(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 0, None, error="=1+1")
    export_csv(read_contents(stored.close()), tmp_path / "values.csv")
    assert (tmp_path / "values.csv").read_text().splitlines()[1].endswith(",'=1+1")


def test_names_that_are_no_text_are_replaced_in_parquet_as_in_csv(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="PyArrow is not installed: pip install 'midibench[parquet]'")
    run = odd_run(tmp_path / os.fsdecode(b"n\xff"))
    export_csv(run, tmp_path / "values.csv")
    export_parquet(run, tmp_path / "values.parquet")
    with (tmp_path / "values.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "values.parquet").to_pylist()
    names = [[(row["run"], row["system"]) for row in rows] for rows in (read, table)]
    assert names[0] == names[1] == [("n�", "odd �")]


def test_a_number_that_parquet_refuses_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="PyArrow is not installed: pip install 'midibench[parquet]'")
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 1 << 63, None, error="died")
    with pytest.raises(MachineError, match="PyArrow refused: "):
        export_parquet(read_contents(stored.close()), tmp_path / "values.parquet")
    assert not (tmp_path / "values.parquet").exists()
