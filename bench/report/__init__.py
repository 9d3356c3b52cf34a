"""Reports of a run. Each is a function of the run's stored files alone, so that writing it twice gives the same bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench.report.contents import Report, build_report
from bench.report.csv import budget_csv, columns_csv, differences_csv, report_csv, trials_csv
from bench.report.html import report_html
from bench.report.markdown import report_markdown
from bench.scoring.score import score_run
from bench.scoring.table import Table
from bench.storage.files import make_way, write_text
from bench.storage.run_folder import RunFolder
from bench.system.memory import memory_shared

__all__ = ["REPORTS", "Report", "Stamp", "Written", "build_report", "stamps", "write_reports"]

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


#: How often reports are made again at most because their run ended meanwhile.
MOST_AGAIN = 3

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Written:
    """Reports that were written: the run's whole table, what they show, and the files in the order of :data:`REPORTS`."""

    table: Table
    report: Report
    files: list[Path]


def write_reports(folder: Path) -> Written:
    """Score the run in a folder, and write its reports there.

    ``report.md``, ``report.html``, ``report.csv`` (a row a system), ``trials.csv`` (a row a trial), ``budget.csv`` (a row a trial
    and part of its budget), ``differences.csv`` (a row a pair of rows) and ``columns.csv``.

    A run that ends meanwhile writes reports of its own, which these would replace by older ones: then they are made again. Before
    its end its own are still to come.

    Raises
    ------
    DataError
        If the folder holds no run.
    MachineError
        If it takes more memory than others can spare.
    """
    with memory_shared(f"the report of {folder}"):
        return _write_reports(folder)


def _write_reports(folder: Path) -> Written:
    for _ in range(1 + MOST_AGAIN):
        before = stamps(folder)
        table = score_run(folder)
        report = build_report(folder, table)
        texts = {name: text_of(report) for name, text_of in REPORTS.items()}
        if stamps(folder) == before or RunFolder(folder).read().finished is None:
            break
    make_way(folder, *REPORTS)
    for name, text in texts.items():
        write_text(folder / name, text)
    return Written(table, report, [folder / name for name in REPORTS])


def stamps(folder: Path) -> dict[str, Stamp]:
    """Inode, size and modification time of what changes when a trial or a run ends, or a clip was rendered."""
    states = {}
    for path in (folder / "run.json", *folder.glob("trials/*/outcome.json"), *folder.glob("sound/*/*.json")):
        with contextlib.suppress(FileNotFoundError):  # it is being replaced
            state = path.stat()
            states[str(path)] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return states
