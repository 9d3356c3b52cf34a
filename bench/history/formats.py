"""A history as plain text, as a comment in Markdown for a pull request, and as a page."""

from __future__ import annotations

from bench.formatting import Grid, plain_table, visible
from bench.history import figures, grids, words
from bench.history.changes import Trends
from bench.report import markdown, page

#: Most changes that a comment lists.
MOST = 20


def as_text(trends: Trends) -> str:
    """Plain text for a terminal: the verdict, what the last run changed, the change points, the runs."""
    sentences = (words.verdict(trends), words.rows(trends), words.found(trends))
    parts = [*(visible(sentence) for sentence in sentences if sentence), ""]
    if trends.last:
        parts.append(_block("Changed by the last run", grids.last_grid(trends.last)))
    if trends.changes:
        parts.append(_block("Change points", grids.changes_grid(trends, trends.changes)))
    parts.append(_block("Runs", grids.runs_grid(trends)))
    return "\n".join(parts)


def _block(title: str, grid: Grid) -> str:
    return f"{title}\n{plain_table(grid)}\n"


def as_markdown(trends: Trends) -> str:
    """Short comment for a pull request, the verdict first."""
    template = markdown.environment("bench.history").get_template("history.md.j2")
    return template.render(trends=trends, grids=grids, words=words, most=MOST)


def as_html(trends: Trends) -> str:
    """One page that opens from disk and makes no request."""
    kinds = {series.system: series.kind for series in trends.series}
    template = page.environment("bench.history").get_template("history.html.j2")
    return template.render(
        trends=trends,
        grids=grids,
        words=words,
        drawings=figures.drawings(trends),
        table=page.tables(kinds),
        style=page.text("page.css"),
        script=page.text("page.js"),
        script_hash=page.digest("page.js"),
    )
