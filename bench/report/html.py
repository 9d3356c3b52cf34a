"""``report.html``: the complete report in one file that opens from disk and makes no request.

How texts are escaped, and the page's style and script: :mod:`bench.report.page`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import Any

from ruamel.yaml import YAML

from bench.formatting import Grid
from bench.report import budget, page, pairs, provenance, tables, verdict
from bench.report.contents import Report
from bench.report.figures import alignment, audit, copying, cost, distances, distributions, over_time, pitch, ties, training
from bench.report.figures import budget as curves
from bench.report.flags import FLAGS
from bench.report.listen import clips, silent
from bench.report.notes import notes
from bench.system.disk import file_digest


def report_html(report: Report) -> str:
    """Text of ``report.html``."""
    groups = clips(report)
    kinds = {tables.row_name(row): row.kind for row in report.table.rows}
    return (
        page.environment("bench.report")
        .get_template("report.html.j2")
        .render(
            report=report,
            tables=tables,
            flags=FLAGS,
            words=partial(notes, report),
            provenance=provenance,
            verdict=verdict.verdict(report),
            caveats=verdict.caveats(report),
            matrices=pairs.matrices(report),
            ties=ties.gallery(report),
            budgets=budget.table(report),
            curves=curves.gallery(report),
            table=page.tables(kinds),
            kinds=sorted({row.kind for row in report.table.rows}),
            progress=progress(report),
            distances=distances.gallery(report),
            alignment=alignment.gallery(report),
            cost=cost.gallery(report),
            training=training.gallery(report),
            pitch_loss=pitch.gallery(report),
            courses=over_time.courses(report),
            spread=distributions.gallery(report),
            copying=copying.gallery(report),
            heat_map=audit.heat_map(report),
            listen=groups,
            silent=silent(groups),
            spec=spec_yaml(report),
            checksums=checksums(report),
            style=page.text("page.css", "sound.css"),
            script=page.text("page.js"),
            script_hash=page.digest("page.js"),
        )
    )


def progress(report: Report) -> tuple[int, int] | None:
    """Trials that have ended, and all, of a run in progress; None for a finished run."""
    if report.run.finished:
        return None
    trials = [trial for row in report.table.rows for trial in row.trials]
    return sum(trial.status != "not run" for trial in trials), len(trials)


def spec_yaml(report: Report) -> str:
    """Format the resolved spec as YAML."""
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 100
    yaml.dump(_plain(report.spec), out)
    return out.getvalue()


def checksums(report: Report) -> Grid:
    """Digests of the run's files and plug-ins."""
    rows = [[f"plug-in {name}", str(digest)] for name, digest in sorted(report.run.plugins.items())]
    for path in ("targets.npz",):
        rows.append([path, file_digest(report.folder / path)])
    rows += [[f"dataset {report.spec['dataset']['name']}", str(report.dataset.corpus_key)]]
    return Grid(["What", "SHA-256, or its beginning"], rows, frozenset({0, 1}))


def _plain(value: Any) -> Any:
    """Convert to mappings and lists that YAML writes without tags."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
