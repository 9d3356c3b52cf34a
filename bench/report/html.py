"""``report.html``: the whole report as one file that opens from disk and asks for nothing from anywhere.

Jinja escapes every text; what is markup was made here or in :mod:`bench.report.figures`. A policy in the page forbids every
request and every script but the page's own, so that a title could do nothing even if one slipped through.
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
from bench.report import provenance, tables, verdict
from bench.report.contents import Report
from bench.report.figures import audit, copying, cost, distances, distributions, over_time, pitch, training
from bench.report.listen import clips, silent
from bench.report.notes import notes


def report_html(report: Report) -> str:
    """The text of ``report.html``."""
    script = _file("page.js")
    groups = clips(report)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            tables=tables,
            words=partial(notes, report),
            provenance=provenance,
            verdict=verdict,
            table=_tables_of(report),
            kinds=sorted({row.kind for row in report.table.rows}),
            progress=progress(report),
            distances=distances.gallery(report),
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
    """Trials that have ended, and all, of a run that is under way; None of one that came to its end."""
    if report.run.finished:
        return None
    trials = [trial for row in report.table.rows for trial in row.trials]
    return sum(trial.status != "not run" for trial in trials), len(trials)


def spec_yaml(report: Report) -> str:
    """The resolved spec as YAML."""
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 100
    yaml.dump(_plain(report.spec), out)
    return out.getvalue()


def checksums(report: Report) -> Grid:
    """What the run's files and plug-ins are known by."""
    rows = [[f"plug-in {name}", str(digest)] for name, digest in sorted(report.run.plugins.items())]
    for path in ("targets.h5",):
        rows.append([path, hashlib.sha256((report.folder / path).read_bytes()).hexdigest()])
    rows += [[f"dataset {report.spec['dataset']['name']}", str(report.dataset.corpus_key)]]
    return Grid(["What", "SHA-256, or its beginning"], rows, frozenset({0, 1}))


def finalize(value: Any) -> Any:
    """What stands between ``{{ }}``: markup as it is, anything else as visible text."""
    return value if isinstance(value, Markup) else visible(value)


def lines(text: str) -> Markup:
    """A text whose lines are kept, each as visible text."""
    indented = (f"{' ' * (len(line) - len(line.lstrip(' ')))}{visible(line)}" for line in text.splitlines())
    return Markup("\n").join(indented)


def _tables_of(report: Report) -> Callable[[Grid, str], Markup]:
    """A function that sets a grid as a table, with a name for those who hear it."""
    kinds = {tables.row_name(row): row.kind for row in report.table.rows}
    template = _environment().get_template("table.html.j2")

    def table(grid: Grid, name: str) -> Markup:
        return Markup(template.render(grid=grid, name=name, kinds=kinds))  # the template escapes

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
    """Of mappings and lists that YAML writes without tags."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
