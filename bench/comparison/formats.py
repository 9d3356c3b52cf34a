"""A comparison as plain text, Markdown, a page of HTML, or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from bench.comparison import grids, words
from bench.comparison.changes import SIGNIFICANT, Change, Comparison
from bench.comparison.runs import Run
from bench.formatting import Grid, plain_table, visible
from bench.report import markdown, page
from bench.scoring.table import Row

#: Version of the JSON.
FORMAT = 1


def as_text(comparison: Comparison) -> str:
    """Plain text for a terminal: what differs, the main columns and every significant change."""
    parts = [*words.summary(comparison), *words.cautions(comparison), ""]
    parts += [_block("Runs", grids.runs_grid(comparison)), _block("What differs", grids.differences_grid(comparison))]
    parts += [_block("Rows", grids.rows_grid(comparison))]
    parts += [_block(metric.title, grids.metric_grid(comparison, metric)) for metric in grids.main_metrics(comparison)]
    parts += [_block("Significant changes", grids.significant_grid(comparison))]
    parts += ["All values: --format html, markdown or json."]
    return "\n".join(part if part.endswith("\n") else visible(part) for part in parts) + "\n"


def _block(title: str, grid: Grid) -> str:
    return f"{visible(title)}\n{plain_table(grid) if grid.rows else '(none)'}\n"


def as_markdown(comparison: Comparison) -> str:
    """Markdown, with all values."""
    template = markdown.environment("bench.comparison").get_template("comparison.md.j2")
    return template.render(comparison=comparison, grids=grids, words=words)


def as_html(comparison: Comparison) -> str:
    """One page that opens from disk and makes no request, with all values."""
    template = page.environment("bench.comparison").get_template("comparison.html.j2")
    kinds = {match.system: match.kind for match in comparison.rows}
    return template.render(
        comparison=comparison,
        grids=grids,
        words=words,
        table=page.tables(kinds),
        style=page.text("page.css"),
        script=page.text("page.js"),
        script_hash=page.digest("page.js"),
    )


def as_json(comparison: Comparison) -> str:
    """JSON, with all values and their tests."""
    value = {
        "bench_comparison": FORMAT,
        "runs": [_run(run) for run in comparison.runs],
        "differences": [asdict(difference) for difference in comparison.differences],
        "rows": [asdict(match) for match in comparison.rows],
        "values": [_value(run, row, name) for run in comparison.runs for row in run.table.rows for name in _names(comparison)],
        "changes": [_change(change) for change in comparison.changes],
        "tests": comparison.tests,
    }
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _names(comparison: Comparison) -> list[str]:
    return [metric.name for metric in comparison.metrics]


def _run(run: Run) -> dict[str, Any]:
    made = run.record.provenance
    return {
        "letter": run.letter,
        "folder": str(run.folder),
        "title": run.record.spec["title"],
        "scale": run.record.scale,
        "bench": made.bench,
        "commit": made.git,
        "started": run.record.started,
        "finished": run.record.finished,
    }


def _value(run: Run, row: Row, name: str) -> dict[str, Any]:
    cell = row.cells[name]
    return {
        "run": run.letter,
        "system": row.system,
        "metric": name,
        "mean": cell.value,
        "low": cell.interval and cell.interval.low,
        "high": cell.interval and cell.interval.high,
        "seed_sd": cell.seed_sd,
        "seeds": cell.seeds,
        "pieces": cell.pieces,
        "bound": row.bounded(name),
        "reason": cell.reason,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "run": change.run,
        "system": change.system,
        "metric": change.metric.name,
        "status": change.status,
        "reason": change.reason,
        "before": change.before,
        "now": change.now,
        "as": "ratio" if change.relative else "difference",
        "change": change.size,
        "low": change.interval and change.interval.low,
        "high": change.interval and change.interval.high,
        "p_holm": change.p if change.status in (*SIGNIFICANT, "not significant") else None,
        "over": change.over,
        "count": change.count,
    }


#: By name of the format.
FORMATS: Mapping[str, Callable[[Comparison], str]] = MappingProxyType(
    {"text": as_text, "markdown": as_markdown, "html": as_html, "json": as_json}
)
