"""``report.md``: the report's texts and tables in GitHub's Markdown. Everything from outside is escaped here, and only here."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from tabulate import tabulate

from bench.report import commentary, provenance, tables
from bench.report.contents import Report, visible
from bench.report.figures import pitch
from bench.report.numbers import plural
from bench.report.tables import Grid

#: What could start a mark anywhere in a line, or a link that GitHub makes of a bare address.
_MARKS = re.compile(r"[\\`*_{}\[\]<>|~$!#@&]|(?<=\w):(?=//)|(?<=\bwww)\.", re.IGNORECASE)
#: What makes a list or a heading at the start of a line.
_LEADING = re.compile(r"^([-+=])(?=[-=\s]|$)|^(\d+)([.)])(?=\s|$)")


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def escape(text: object) -> str:
    """Plain text as Markdown that shows just that: no markup, no HTML, no link, no line break, no control character."""
    if isinstance(text, Markdown):
        return text
    marked = _MARKS.sub(lambda m: f"\\{m[0]}", visible(text))
    return _LEADING.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", marked)


def table(grid: Grid) -> Markdown:
    """A pipe table, its columns padded so that the source reads well too."""
    headers = [escape(cell) for cell in grid.headers]
    rows = [[_cell(escape(x), (i, j) in grid.strong) for j, x in enumerate(line)] for i, line in enumerate(grid.rows)]
    sides = ["left" if i in grid.text_columns else "right" for i in range(len(headers))]
    return Markdown(tabulate(rows, headers, tablefmt="pipe", colalign=sides, disable_numparse=True))


def _cell(text: str, strong: bool) -> str:
    return f"**{text}**" if strong else text


def code_block(text: str) -> Markdown:
    """An indented block of one line: nothing in it is markup."""
    return Markdown("    " + " ".join(text.split()))


def link(text: object, path: str) -> Markdown:
    """A link to a file of the run's folder, whose paths hold no character that would need an escape."""
    return Markdown(f"[{escape(text)}]({path})")


def report_markdown(report: Report) -> str:
    """The text of ``report.md``."""
    environment = Environment(
        loader=PackageLoader("bench.report", ""),
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"table": table, "code_block": code_block, "link": link, "plural": plural}
    return environment.get_template("report.md.j2").render(
        report=report, tables=tables, words=commentary, provenance=provenance, pitch_alone=pitch.note(report)
    )
