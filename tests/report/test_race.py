"""Reports that are written while a run is still going on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bench.report
from bench.report import Report, write_reports
from bench.scoring.table import Table
from bench.storage.files import write_json

from .stored_run import Stored, moved


@pytest.mark.parametrize("ended", [True, False])
def test_older_reports_replace_none_of_a_run_that_ended_meanwhile(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """Those of a run that goes on are written as they are: it need not wait, and the run's own come."""
    stored.add("lstm", 0, moved(1))
    stored.add("lstm", 1, None)
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {**run, "finished": None})
    build, built = bench.report.build_report, []

    def slow(folder: Path, table: Table) -> Report:
        report = build(folder, table)
        built.append(report)
        if len(built) == 1:  # the last trial ends and, after it, the run
            error: dict[str, Any] = {"kind": "Died", "message": "it crashed"}
            failed = {"format": run["format"], "key": "lstm-1", "status": "failed", "error": error}
            write_json(folder / "trials/lstm-1/outcome.json", failed)
            if ended:
                write_json(folder / "run.json", run)
                write_reports(folder)
        return report

    monkeypatch.setattr(bench.report, "build_report", slow)
    written = write_reports(folder)
    assert ("it crashed" in (folder / "report.html").read_text()) == ended
    assert [trial.status for row in written.table.rows for trial in row.trials] == ["done", "failed" if ended else "not run"]
    assert len(built) == (3 if ended else 1)


def test_a_run_that_never_settles_is_reported_all_the_same(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    looks = iter(range(100))
    monkeypatch.setattr(bench.report, "stamps", lambda _: {"run.json": (next(looks), 0, 0)})
    assert [path.name for path in write_reports(folder).files if path.stat().st_size] == [*bench.report.REPORTS]
