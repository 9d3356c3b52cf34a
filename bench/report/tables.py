"""Tables of a report, as plain texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.formatting import DASH, Cell, Grid, brief
from bench.metrics import HEADLINE, METRICS, in_group
from bench.metrics.metric import Group
from bench.report.contents import NGRAM, Report
from bench.report.findings import amounts
from bench.report.harmony import constraint
from bench.report.numbers import headline_cell, table_cell, value_mark
from bench.scoring.crossed import Interval, rerun_interval, seeds_interval
from bench.scoring.grid_search import SCORES, Search
from bench.scoring.ranking import rank_text
from bench.scoring.table import Row
from bench.specs.schema import BudgetChoice

#: Most columns of a grid search's own hyperparameters.
MOST_SEARCHED = 32


@dataclass(frozen=True)
class Theme:
    """Columns that answer one question.

    Parameters
    ----------
    group : str
        Group of the metrics.
    title : str
        Heading of their table.
    question : str
        What they answer, one sentence.
    leads : bool
        Whether it is the subject of a spec that has it: it then follows right after Table 2.
    metrics : tuple of str
        Those of its group that any row has a value for.
    """

    group: Group
    title: str
    question: str
    leads: bool = False
    metrics: tuple[str, ...] = ()


#: Tables between Table 2 and the costs.
THEMES = (
    Theme(
        "hearing",
        "Chords, voices, key and melody",
        "Computed from the notes; nobody listened. None is better high or low: compare with the row real; the scale, which "
        "is that of the prompt's key, with the column of the real continuation.",
    ),
    Theme(
        "alignment",
        "Other alignments",
        "The pitch distance by other rules than the index.",
    ),
    Theme(
        "spread",
        "What the distance does not show",
        "Whether notes are as varied as real ones. Skill is the share by which the distance is below that of the median row; a "
        "ratio of 1 is as varied as the real notes, 0 is one note repeated; W1 compares the values, ignoring their order.",
    ),
    Theme(
        "harmony",
        "Harmony",
        "How many notes fit the chord plan that the constrained rows follow (Algorithm 2). The other rows do not use it: "
        "their shares are what comes without a constraint.",
        leads=True,
    ),
    Theme(
        "likelihood",
        "How well held-out music is predicted",
        "Bits per note, in total and by field, each field given those before it in the note. One note repeated can't win it; "
        "copied music lowers it only as far as held-out music shares passages with the training music.",
    ),
    Theme(
        "prediction",
        "Against published values",
        "What each model needs to predict held-out music in its own units, as published tables count it. A published value is "
        "that of one training: it is inside if it lies in the range in which a further training of ours falls "
        "(95 %); of an upper bound (≤) nothing is said.",
        leads=True,
    ),
    Theme(
        "distributions",
        "Distributions against the real ones",
        "The first three compare each sample with its own target, the others all samples with all targets.",
    ),
    Theme(
        "originality",
        "Originality and diversity",
        "What is copied from the training music or the prompt, beside what the real continuations share with it, as composers "
        "borrow too.",
    ),
    Theme(
        "descriptors",
        "What the samples are like",
        "Descriptors of the samples alone. None is better high or low: compare with the row real.",
    ),
)


def table2(report: Report, *, flags_below: bool = False) -> Grid:
    """Table 2: the paper's columns and bits with intervals, ranks and flags, the published values beside ours.

    Flags are a column of their own, or `flags_below` the rows' names, where they are read at any width of a page.
    """
    table, known = [row for row in report.table.rows if row.kind != "untrained"], _known(report)
    flags = [", ".join(flag.name for flag in report.flags[row.system]) for row in table]
    headers, strong = ["Model"], set()
    rows: list[list[str | Cell]] = [
        [Cell(row_name(row), note=raised if flags_below else "")] for row, raised in zip(table, flags, strict=True)
    ]
    for metric in known:
        standing = report.standings.get(metric)
        headers += [_heading(metric), *(["Rank"] if standing else [])]
        for i, (line, row) in enumerate(zip(rows, table, strict=True)):
            if standing and row.system == standing.best:
                strong.add((i, len(line)))
            line += [_measured(report, row, metric), *([_rank(standing.ranks.get(row.system))] if standing else [])]
        if report.published and any(report.published_value(row, metric) is not None for row in table):
            headers.append(report.published.short)
            for line, row in zip(rows, table, strict=True):
                value = report.published_value(row, metric)
                line.append(Cell(DASH if value is None else f"{value:.2f}", value))
    headers += ["Training time", *([] if flags_below else ["Flags"]), "Features"]
    for line, row, raised in zip(rows, table, flags, strict=True):
        line.append(table_cell("training_seconds", row.cells["training_seconds"]))
        line += [*([] if flags_below else [raised]), report.features(row)]
    return Grid(headers, rows, frozenset({0, *([] if flags_below else [len(headers) - 2]), len(headers) - 1}), frozenset(strong))


def untrained(report: Report) -> Grid:
    """Table of the networks before their first step, in the columns of Table 2."""
    rows = [row for row in report.table.rows if row.kind == "untrained"]
    known = _known(report)
    return Grid(["Model", *map(_heading, known)], [[row_name(r), *(_measured(report, r, m) for m in known)] for r in rows])


def _known(report: Report) -> list[str]:
    """Metrics of Table 2: the distances, and bits where any row has them."""
    return [*HEADLINE, *(m for m in ("bits_per_note", "bits_pitch") if _anyone_has(report, m))]


def _measured(report: Report, row: Row, metric: str) -> Cell:
    """Mean with its interval and the range of a rerun."""
    return headline_cell(metric, row.cells[metric], brief=metric not in report.standings, mark=value_mark(row, metric))


def themes(report: Report) -> list[Theme]:
    """Themes that any row has a value for, each with only such metrics."""
    kept = [replace(t, metrics=tuple(m for m in in_group(t.group) if _anyone_has(report, m))) for t in THEMES]
    return [theme for theme in kept if theme.metrics]


def themed(report: Report, theme: Theme) -> Grid:
    """Table of a theme."""
    if theme.group == "prediction":
        return _anchored(report, theme)
    bits = "bits_per_note" in theme.metrics
    saved = {row.system: report.bits_below_ngram(row) for row in report.table.rows if row.system != NGRAM} if bits else {}
    compared = any(percent is not None for percent in saved.values())
    headers = ["Model", *map(_heading, theme.metrics), *([f"Fewer bits than {NGRAM} (%)"] if compared else [])]
    rows: list[list[str | Cell]] = []
    for row in report.table.rows:
        if row.done and all(row.cells[m].value is None for m in theme.metrics):
            continue
        cells = [table_cell(m, row.cells[m], mark=value_mark(row, m), of=row.pieces) for m in theme.metrics]
        if compared:
            percent, least = saved.get(row.system), "≥ " if row.bounded("bits_per_note") else ""
            cells.append(Cell(DASH if percent is None else f"{least}{percent:.1f}".replace("-", "−"), percent))
        rows.append([row_name(row), *cells])
    return Grid(headers, rows)


def _anchored(report: Report, theme: Theme) -> Grid:
    """Table of predictions, each beside its published value with the difference, and whether a further training may give it."""
    rows: list[list[str | Cell]] = []
    for row in report.table.rows:
        if row.done and all(row.cells[m].value is None for m in theme.metrics):
            continue
        line: list[str | Cell] = [row_name(row)]
        for metric in theme.metrics:
            cell, digits = row.cells[metric], METRICS[metric].digits
            seeds = [] if row.pretrained else list(cell.seed_means.values())  # draws tell nothing of trainings
            line += [table_cell(metric, cell, mark=value_mark(row, metric)), _range(seeds_interval(seeds), digits)]
            if not _is_published(report, metric):
                continue
            further = rerun_interval(seeds, trainings=1)
            published = report.published_value(row, metric)
            line += [_range(further, digits), Cell(DASH if published is None else f"{published:.2f}", published)]
            if published is None or cell.value is None:
                line += [Cell(DASH), DASH]
            else:
                difference = cell.value - published
                told = further is not None and report.published is not None and report.published.same_pieces
                told = told and not row.bounded(metric)
                inside = DASH if not told or further is None else "no" if further.excludes(published) else "yes"
                line += [Cell(f"{difference:+.2f}".replace("-", "−"), difference), inside]
        rows.append(line)
    headers = ["Model"]
    for metric in theme.metrics:
        headers += [_heading(metric), "95 % interval over trainings"]
        if _is_published(report, metric):
            headers += ["A further training", report.published.short if report.published else "", "Difference", "Inside"]
    return Grid(headers, rows)


def _is_published(report: Report, metric: str) -> bool:
    return any(report.published_value(row, metric) is not None for row in report.table.rows)


def _range(interval: Interval | None, digits: int) -> Cell:
    return Cell(DASH if interval is None else f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]")


def cost(report: Report) -> Grid:
    """Cost of each system."""
    shown = [m for m in in_group("cost") if _anyone_has(report, m)]
    rows: list[list[str | Cell]] = []
    for row in report.table.rows:
        done, planned = len(row.done), len(row.trials)
        seeds = Cell(f"{done} of {planned}" if done < planned else str(done), done)
        cells = [table_cell(m, row.cells[m], mark=value_mark(row, m)) for m in shown]
        rows.append([row_name(row), *cells, seeds, Cell(str(row.pieces), row.pieces)])
    # Times and sizes say their own units in each cell.
    headers = [METRICS[m].title if METRICS[m].unit in ("s", "MiB") else _heading(m) for m in shown]
    return Grid(["Model", *headers, "Seeds", "Pieces"], rows)


def settings(report: Report) -> Grid:
    """Hyperparameters and budget of each model, as the spec sets them."""
    rows = []
    for row in report.table.rows:
        if row.kind != "model":
            continue
        trial = row.trials[0].trial
        params = ", ".join(f"{name} {value}" for name, value in trial.params.items()) or "the plug-in's defaults"
        if row.harmony:
            params += f"; harmony: {', '.join(constraint(row))}"
        budget = trial.budget
        limits = [f"{budget.epochs} epochs" if budget.compute is None else _compute(budget)]
        if budget.patience is not None:
            limits.append(f"patience {budget.patience}")
        if budget.max_seconds is not None:
            limits.append(f"{budget.max_seconds:g} s")
        plugin = row.model if row.model == row.system else f"{row.system} ({row.model})"
        rows.append([plugin, params, ", ".join(limits)])
    return Grid(["Model", "Hyperparameters", "Budget"], rows, frozenset({0, 1, 2}))


def grid_search(search: Search) -> Grid:
    """Cells of one grid search: their validation score, which chooses, and their held-out results.

    What was searched has a column a name; of more names than a page has room for, each cell tells its own in one.
    """
    given: dict[str, list[str]] = {}
    for cell in search.cells:
        for name, value in cell.params.items():
            given.setdefault(name, []).append(str(value))
    searched = [name for name, values in given.items() if len({*values}) > 1 or len(values) < len(search.cells)]
    shown = [m for m in (*HEADLINE, "bits_per_note", "epochs", "training_seconds") if _any_value(search.cells, m)]
    many = len(searched) > MOST_SEARCHED
    leading = ["Hyperparameters"] if many else searched
    rows: list[list[str | Cell]] = []
    strong = set()
    for i, cell in enumerate(search.cells):
        told = ", ".join(f"{name} {value}" for name, value in cell.params.items())
        params = [told] if many else [_param(cell.params.get(name, DASH)) for name in searched]
        rows.append([*params, _score(search.mean(i)), *(table_cell(m, cell.cells[m]) for m in shown)])
        if cell is search.chosen:
            strong |= {(i, column) for column in range(len(leading) + 1)}
    headers = [*leading, SCORES.get(search.score, "validation").capitalize(), *(METRICS[m].title for m in shown)]
    return Grid(headers, rows, frozenset(), frozenset(strong))


def failures(report: Report) -> Grid:
    """Trials that failed or did not run: why, and where their log is."""
    rows = [
        [row.system, str(t.trial.seed), brief(t.error) or "it has not finished", f"trials/{t.key}/stderr.log"]
        for row in report.table.rows  # a cell of a grid search that lacks a trial is never a loser: it is here
        for t in row.trials
        if t.status != "done"
    ]
    return Grid(["Model", "Seed", "Why", "Log"], rows, frozenset({0, 2, 3}))


def definitions(report: Report) -> list[tuple[str, str, str, str]]:
    """Title, id, definition and source of every metric shown."""
    shown = [m for theme in themes(report) for m in theme.metrics]
    metrics = [METRICS[m] for m in (*HEADLINE, *shown, *in_group("cost")) if m in HEADLINE or _anyone_has(report, m)]
    return [(metric.title, metric.id, metric.definition, metric.source) for metric in metrics]


def row_name(row: Row) -> str:
    """Row name, with the seeds or pieces that its numbers lack."""
    if row.status == "done":
        return f"{row.system} ({row.coverage})" if row.coverage else row.system
    if row.status == "partly failed":
        return f"{row.system} ({len(row.done)} of {len(row.trials)} seeds; the others failed)"
    if row.status == "partly done":
        return f"{row.system} ({len(row.done)} of {len(row.trials)} seeds)"
    return f"{row.system} ({row.status})"


def _compute(budget: BudgetChoice) -> str:
    """Budget in its unit, and the updates that yardstick-seconds are frozen as."""
    (text,) = amounts(budget.compute.model_dump() if budget.compute else {})
    return text if budget.updates is None else f"{text} = {budget.updates:,} updates"


def _rank(rank: tuple[int, int] | None) -> Cell:
    return Cell(rank_text(rank, DASH), rank and rank[0])


def _param(value: object) -> Cell:
    return Cell(str(value), float(value) if isinstance(value, int | float) else None)


def _score(mean: tuple[float, float | None] | None) -> Cell:
    """Mean and standard deviation of a grid search's validation score."""
    if mean is None:
        return Cell(DASH)
    value, sd = mean
    return Cell(f"{value:.3f}" if sd is None else f"{value:.3f} ± {sd:.3f}", value)


def _anyone_has(report: Report, metric: str) -> bool:
    return _any_value(report.table.rows, metric)


def _any_value(rows: Sequence[Row], metric: str) -> bool:
    return any(row.cells[metric].value is not None for row in rows if metric in row.cells)


def _heading(metric: str) -> str:
    """Title, and the unit where the title does not say it."""
    column = METRICS[metric]
    in_title = ("", "pitches", "classes", "notes", "bits", column.title.lower())
    return column.title if column.unit in in_title else f"{column.title} ({column.unit})"
