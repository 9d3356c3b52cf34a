"""``report.html``: the complete report in one file that opens from disk and makes no request.

Jinja escapes every text; all markup comes from here or from :mod:`bench.report.figures`. A content security policy forbids every
request and every script but the page's own, as a second defence against markup in a title.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from ruamel.yaml import YAML

from bench.formatting import Grid, plural, visible
from bench.report import budget, pairs, provenance, tables, verdict
from bench.report.contents import Report
from bench.report.figures import alignment, audit, copying, cost, distances, distributions, over_time, pitch, ties, training
from bench.report.figures import budget as curves
from bench.report.flags import FLAGS
from bench.report.listen import clips, silent
from bench.report.notes import notes
from bench.system.disk import file_digest


def report_html(report: Report) -> str:
    """Text of ``report.html``."""
    script = _file("page.js")
    groups = clips(report)
    return (
        _environment()
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
            table=_tables_of(report),
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
            style=Markup(_file("page.css") + _file("sound.css")),  # our own files
            script=Markup(script),  # our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
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


def finalize(value: Any) -> Any:
    """Value of ``{{ }}`` in a template: markup as it is, anything else as visible text."""
    return value if isinstance(value, Markup) else visible(value)


def lines(text: str) -> Markup:
    """Text of several lines, each as visible text."""
    indented = (f"{' ' * (len(line) - len(line.lstrip(' ')))}{visible(line)}" for line in text.splitlines())
    return Markup("\n").join(indented)


def _tables_of(report: Report) -> Callable[..., Markup]:
    """Make a function that writes a grid as a table, with a name for screen readers; a matrix is not sortable."""
    kinds = {tables.row_name(row): row.kind for row in report.table.rows}
    template = _environment().get_template("table.html.j2")

    def table(grid: Grid, name: str, *, sortable: bool = True) -> Markup:
        return Markup(template.render(grid=grid, name=name, kinds=kinds, sortable=sortable))  # the template escapes

    return table


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bench.report", ""),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plural": plural, "lines": lines}
    return environment


def _file(name: str) -> str:
    return resources.files("bench.report").joinpath(name).read_text(encoding="utf-8")


def _plain(value: Any) -> Any:
    """Convert to mappings and lists that YAML writes without tags."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
