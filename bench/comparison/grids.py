"""Tables of a comparison, as plain texts."""

from __future__ import annotations

from collections.abc import Sequence

from bench.comparison.changes import SIGNIFICANT, Change, Comparison
from bench.comparison.runs import Run
from bench.formatting import DASH, Cell, Grid, brief, p_text, plural
from bench.metrics import HEADLINE, METRICS, Metric
from bench.metrics.thresholds import SMALLEST
from bench.report.numbers import number_text, size_text, table_cell, value_mark

#: Metrics with a table of their own, of all rows.
MAIN = (*HEADLINE, "bits_per_note", "nats_per_frame", "nats_per_event")

#: Ratios outside of these bounds are written as factors, those inside in percent.
IN_PERCENT = (0.1, 10.0)


def runs_grid(comparison: Comparison) -> Grid:
    """List the runs by letter: folder, spec, version, when they ended, trials."""
    rows = [
        [
            run.letter,
            run.folder.resolve().name,
            run.record.spec["title"],
            _version(run),
            run.record.finished or "not yet",
            _done(run),
        ]
        for run in comparison.runs
    ]
    texts = [[brief(text, 100) for text in row] for row in rows]
    return Grid(["Run", "Folder", "Spec", "midibench", "Finished", "Trials"], texts, frozenset(range(6)))


def _version(run: Run) -> str:
    made = run.record.provenance
    commit = "" if made.git is None else f" ({made.git[:10]}{'+changes' if made.git.endswith('+changes') else ''})"
    return f"{made.bench or 'unknown'}{commit}"


def _done(run: Run) -> str:
    trials = [trial.status for row in run.table.rows for trial in row.trials]
    done = trials.count("done")
    return plural(done, "trial") if done == len(trials) else f"{done} of {plural(len(trials), 'trial')}"


def differences_grid(comparison: Comparison) -> Grid:
    """Lay out what differs between the runs."""
    rows = [[difference.what, *difference.values] for difference in comparison.differences]
    return Grid(["What differs", *_letters(comparison)], rows, _words(comparison, 1))


def rows_grid(comparison: Comparison) -> Grid:
    """List the rows: trainings in each run, and what differs between their definitions."""
    rows = [[match.system, *match.seeds, "; ".join(match.differs)] for match in comparison.rows]
    headers = ["Model", *_letters(comparison), "What differs"]
    return Grid(headers, rows, frozenset(range(len(headers))))


def significant_grid(comparison: Comparison) -> Grid:
    """Every significant change; it names the runs where there are more than two."""
    first, *others = comparison.runs
    by_letter = {run.letter: run for run in others}
    several = len(others) > 1
    rows: list[list[str | Cell]] = []
    for change in comparison.changes:
        if change.status in SIGNIFICANT:
            sides = [_value(run, change.system, change.metric) for run in (first, by_letter[change.run])]
            pair = [f"{change.run} − {first.letter}"] if several else []
            cells: list[str | Cell] = [*sides, change_cell(change), evidence(change)]
            rows.append([change.system, _title(change.metric), *pair, *cells])
    middle = ["Runs", "Before", "After"] if several else [first.letter, others[0].letter]
    headers = ["Model", "Metric", *middle, "Change", "Evidence"]
    return Grid(headers, rows, frozenset({0, 1, len(headers) - 1} | ({2} if several else set())))


def metric_grid(comparison: Comparison, metric: Metric) -> Grid:
    """One metric: all rows, the runs side by side."""
    rows: list[list[str | Cell]] = []
    for match in comparison.rows:
        if any(_has(run, match.system, metric) for run in comparison.runs):
            rows.append([match.system, *_line(comparison, match.system, metric)])
    return _strong(comparison, Grid(["Model", *_headers(comparison)], rows, _words(comparison, 0)), [metric] * len(rows))


def system_grid(comparison: Comparison, system: str) -> Grid:
    """One row: all metrics, the runs side by side."""
    metrics = [m for m in comparison.metrics if any(_has(run, system, m) for run in comparison.runs)]
    rows = [[_title(metric), *_line(comparison, system, metric)] for metric in metrics]
    return _strong(comparison, Grid(["Metric", *_headers(comparison)], rows, _words(comparison, 0)), metrics, system)


def main_metrics(comparison: Comparison) -> list[Metric]:
    """Metrics of :data:`MAIN` that any run has."""
    return [METRICS[name] for name in MAIN if METRICS[name] in comparison.metrics]


def _strong(comparison: Comparison, grid: Grid, metrics: Sequence[Metric], system: str = "") -> Grid:
    """Set significant changes in bold."""
    strong = set()
    for i, (line, metric) in enumerate(zip(grid.rows, metrics, strict=True)):
        for j, run in enumerate(comparison.runs[1:]):
            change = comparison.by_place.get((system or str(line[0]), metric.name, run.letter))
            if change is not None and change.status in SIGNIFICANT:
                strong.add((i, 3 + 3 * j))
    return Grid(grid.headers, grid.rows, grid.text_columns, frozenset(strong))


def _line(comparison: Comparison, system: str, metric: Metric) -> list[str | Cell]:
    """Cells of a row in a metric: the first run's value, then of each other its value, the change and the evidence."""
    first, *others = comparison.runs
    line: list[str | Cell] = [_value(first, system, metric)]
    for run in others:
        change = comparison.by_place.get((system, metric.name, run.letter))
        told: list[str | Cell] = (
            [DASH, _absent(first, run, system)] if change is None else [change_cell(change), evidence(change)]
        )
        line += [_value(run, system, metric), *told]
    return line


def _absent(first: Run, run: Run, system: str) -> str:
    """Say which of two runs lacks a row; empty if none does."""
    return "".join(f"no such row in {side.letter}" for side in (first, run) if system not in side.rows)


def _headers(comparison: Comparison) -> list[str]:
    first, *others = comparison.runs
    return [first.letter, *(text for run in others for text in (run.letter, f"{run.letter} − {first.letter}", "Evidence"))]


def _words(comparison: Comparison, runs: int) -> frozenset[int]:
    """Columns of words: the first, and the evidence of each later run, or the runs themselves."""
    others = len(comparison.runs) - 1
    return frozenset(range(others + 2)) if runs else frozenset({0, *(4 + 3 * j for j in range(others))})


def _letters(comparison: Comparison) -> list[str]:
    return [run.letter for run in comparison.runs]


def _title(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit not in ("", "s", "MiB") else metric.title


def _has(run: Run, system: str, metric: Metric) -> bool:
    row = run.rows.get(system)
    return row is not None and row.cells[metric.name].value is not None


def _value(run: Run, system: str, metric: Metric) -> Cell:
    row = run.rows.get(system)
    if row is None:
        return Cell(DASH)
    return table_cell(metric.name, row.cells[metric.name], interval=True, mark=value_mark(row, metric.name))


def change_cell(change: Change) -> Cell:
    """Change with its interval: in the metric's unit, or as a ratio where noise is in percent; a dash where there is none.

    Examples
    --------
    >>> from bench.gate.significance import Estimate
    >>> str(change_cell(Change("lstm", METRICS["pitch_distance"], "B", estimate=Estimate(-0.5, 0.25, 0.01, True))))
    '−0.50 [−0.75, −0.25]'
    """
    if change.size is None:
        return Cell(DASH)
    if change.status == "equal":
        return Cell("0 %" if change.relative else number_text(change.metric.name, 0.0), 0.0)
    interval = change.interval
    ends = "" if interval is None else f"[{_signed(change, interval.low)}, {_signed(change, interval.high)}]"
    part = f"on {change.count} of {plural(change.of, 'piece')}" if change.count < change.of else ""
    return Cell(_signed(change, change.size), change.size, ends, part)


def _signed(change: Change, size: float) -> str:
    """Write a difference, or a ratio in percent or as a factor."""
    if change.relative:
        low, high = IN_PERCENT
        return f"{100 * (size - 1):+.1f} %".replace("-", "−") if low <= size <= high else f"× {size:.3g}"
    if abs(size) < SMALLEST:  # it would be written with its rounding errors
        return number_text(change.metric.name, 0.0)
    return ("−" if size < 0 else "+") + size_text(change.metric.name, abs(size))


def evidence(change: Change) -> str:
    """Describe what a change rests on: ``better, p = 0.003 over 20 pieces``, or why there is no test."""
    counted = plural(change.count, change.over.removesuffix("s"))
    if change.status == "not compared":
        return change.reason
    if change.status == "equal":
        return f"equal on {counted}"
    if change.status == "untested":
        return "no test: differs from run to run" if change.metric.of_machine else f"no test over {counted}"
    p = p_text(change.p)
    told = f"p {p if p.startswith('<') else f'= {p}'} over {counted}"
    return told if change.status == "not significant" else f"{change.status}, {told}"
