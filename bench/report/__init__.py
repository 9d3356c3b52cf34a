"""Reports of a run. Each is a function of the run's stored files alone, so that writing it twice gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from bench.report.contents import Report, build_report
from bench.report.csv import budget_csv, columns_csv, differences_csv, report_csv, trials_csv
from bench.report.html import report_html
from bench.report.markdown import report_markdown
from bench.scoring.score import score_run
from bench.scoring.table import Table
from bench.storage.files import make_way, write_text

__all__ = ["REPORTS", "Report", "build_report", "write", "write_reports"]

#: Files in the order of writing, each with the function that gives its text.
REPORTS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {
        "report.md": report_markdown,
        "report.html": report_html,
        "report.csv": report_csv,
        "trials.csv": trials_csv,
        "budget.csv": budget_csv,
        "differences.csv": differences_csv,
        "columns.csv": lambda report: columns_csv(),
    }
)


def write_reports(folder: Path, table: Table | None = None) -> list[Path]:
    """Write the reports into a run's folder.

    ``report.md``, ``report.html``, ``report.csv`` (a row a system), ``trials.csv`` (a row a trial), ``budget.csv`` (a row a trial
    and part of its budget), ``differences.csv`` (a row a pair of rows) and ``columns.csv``.

    Parameters
    ----------
    folder : Path
    table : Table, optional
        Result of :func:`bench.scoring.score.score_run` for this folder, if available.

    Returns
    -------
    list of Path
        The files, in the order above.

    Raises
    ------
    DataError
        If the folder holds no run.
    """
    return write(build_report(folder, table if table is not None else score_run(folder)))


def write(report: Report) -> list[Path]:
    """Write what :func:`write_reports` writes, of a report that was built."""
    make_way(report.folder, *REPORTS)
    for name, text_of in REPORTS.items():
        write_text(report.folder / name, text_of(report))
    return [report.folder / name for name in REPORTS]
