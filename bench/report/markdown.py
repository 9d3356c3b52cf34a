"""``report.md``: the report's texts and tables in GitHub's Markdown. Jinja escapes every text."""

from __future__ import annotations

from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.formatting import Markdown, escape, plural, table
from bench.report import budget, pairs, provenance, tables, verdict
from bench.report.contents import Report
from bench.report.figures import pitch
from bench.report.flags import FLAGS
from bench.report.notes import notes


def code_block(text: str) -> Markdown:
    """Indented block of one line: nothing in it is markup."""
    return Markdown("    " + " ".join(text.split()))


def link(text: object, path: str) -> Markdown:
    """Link to a file in the run's folder, whose paths need no escape."""
    return Markdown(f"[{escape(text)}]({path})")


def environment(package: str) -> Environment:
    """Make the environment of a package's templates in Markdown."""
    made = Environment(
        loader=PackageLoader(package, ""),
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"table": table, "code_block": code_block, "link": link, "plural": plural}
    return made


def report_markdown(report: Report) -> str:
    """Text of ``report.md``."""
    return (
        environment("bench.report")
        .get_template("report.md.j2")
        .render(
            report=report,
            tables=tables,
            flags=FLAGS,
            words=partial(notes, report),
            provenance=provenance,
            verdict=verdict.verdict(report),
            caveats=verdict.caveats(report),
            matrices=pairs.matrices(report),
            budgets=budget.table(report),
            pitch_alone=pitch.note(report),
        )
    )
