"""Numbers of a run as CSV, for scripts. Column names stay the same between versions; what is undefined is empty.

``report.csv`` has one row a system, at its end those cells of a grid search that were not chosen:

===========================  ==========================================================================================
system, kind, model          row, ``model``, ``untrained`` or ``reference``, and the plug-in
status                       ``done``, ``partly done``, ``partly failed``, ``failed`` or ``not run``
seeds, seeds_planned         training seeds that the numbers are over, and that the spec asks for
pieces, pieces_planned       held-out pieces that the distances are over, and that were to be continued
<metric>, <metric>_seed_sd   every metric of :data:`bench.metrics.METRICS`: mean, and SD between seeds
<metric>_low, <metric>_high  its 95 % interval over training seeds and pieces; over seeds for what belongs to a whole trial
rank_<metric>_first, _last   ranks that the row may have in a tested column, 1 the best
published_<metric>           the published value of the two distances, of nats per frame and of nats per event
bits_below_ngram_percent     how many percent fewer bits per note than the ngram row
likelihood                   ``exact`` or ``bound``
flags                        names of the flags, joined by a semicolon
features                     one line about the model family
error                        why trials failed
===========================  ==========================================================================================

``columns.csv`` explains the metrics' columns of both: name@version, unit, better direction, definition, source.

``trials.csv`` has one row a trial: ``key, system, kind, model, seed, status, device, threads, stopped, best_evaluation,
resumed``, every metric, ``error, log``.

``differences.csv`` has one row a pair of rows in a tested column: ``column, one, other, pieces, difference`` (mean of `one` minus
mean of `other`), ``low, high`` (its 95 % interval), ``p_holm``, ``wins_of_one, training_pairs`` (of all pairs of a training of
`one` and one of `other`, in how many that of `one` has the better mean, ties half), ``bounds`` (which of the two values are upper
bounds, joined by a semicolon; where the larger one is, the pair is undecided and p is empty, as where the pieces are too few) and
``better`` (the significantly better row, if any).

``budget.csv`` has one row a trial and part of its budget: ``key, system, seed, share, updates, seconds, notes``, and the metrics
measured there, by the first sample of each piece at the whole budget (share 1) too; ``trials.csv`` has all samples.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.formatting import clean
from bench.metrics import HEADLINE, METRICS, Undefined, prediction
from bench.report import budget, pairs
from bench.report.contents import Report
from bench.report.histories import best_entry
from bench.scoring.table import Row, TrialScore
from bench.storage.outcome import Done, Training

#: Rows of a table that are written at once.
ROWS_AT_ONCE = 1000


def report_csv(report: Report) -> str:
    """Text of ``report.csv``."""
    return csv_text([_row(report, row) for row in report.all_rows])


def trials_csv(report: Report) -> str:
    """Text of ``trials.csv``."""
    return csv_text([_trial(t) for row in report.all_rows for t in row.trials])


def differences_csv(report: Report) -> str:
    """Text of ``differences.csv``."""
    return csv_text(pairs.records(report.standings))


def budget_csv(report: Report) -> str:
    """Text of ``budget.csv``."""
    return csv_text(budget.records(report))


def columns_csv() -> str:
    """Text of ``columns.csv``, which explains the metrics' columns."""
    return csv_text(
        [
            {
                "column": metric.name,
                "metric": metric.id,
                "title": metric.title,
                "unit": metric.unit,
                "better": metric.better,
                "definition": metric.definition,
                "source": metric.source,
            }
            for metric in METRICS.values()
        ]
    )


def _row(report: Report, row: Row) -> dict[str, Any]:
    errors = dict.fromkeys(t.error for t in row.trials if t.error)
    return {
        "system": row.system,
        "kind": row.kind,
        "model": row.model,
        "status": row.status,
        "seeds": len(row.done),
        "seeds_planned": len(row.trials),
        "pieces": row.pieces,
        "pieces_planned": len(report.targets),
        **{column: number for name in METRICS for column, number in row.cells[name].columns(name).items()},
        **{
            f"rank_{name}_{end}": rank[i] if rank else None
            for name, standing in report.standings.items()
            for rank in [standing.ranks.get(row.system)]
            for i, end in enumerate(("first", "last"))
        },
        **{f"published_{name}": report.published_value(row, name) for name in (*HEADLINE, *prediction.BY_UNIT.values())},
        "bits_below_ngram_percent": report.bits_below_ngram(row),
        "likelihood": row.likelihood_kind or row.prediction_kind,
        "flags": "; ".join(flag.name for flag in report.flags[row.system]),
        "features": report.features(row),
        "error": "; ".join(errors),
    }


def _trial(trial: TrialScore) -> dict[str, Any]:
    outcome = trial.outcome
    training = outcome.training if isinstance(outcome, Done) else Training(resumed=None)
    values = {name: trial.values.get(name) for name in METRICS}
    return {
        "key": trial.key,
        "system": trial.trial.system,
        "kind": trial.trial.kind,
        "model": trial.trial.model,
        "seed": trial.trial.seed,
        "status": trial.status,
        **{name: (outcome.provenance if outcome else {}).get(name) for name in ("device", "threads")},
        "stopped": training.stopped,
        "best_evaluation": training.best_epoch if training.folds else training.best_epoch or best_entry(training.history),
        "resumed": training.resumed,
        **{name: None if isinstance(value, Undefined) else value for name, value in values.items()},
        "error": trial.error,
        "log": f"trials/{trial.key}/stderr.log",
    }


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Text of a table, whose columns are the keys of its first row; a text that a spreadsheet would evaluate is quoted."""
    return "".join(csv_parts(rows))


def csv_parts(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the same in parts, each of some rows."""
    rest = iter(rows)
    part = list(itertools.islice(rest, ROWS_AT_ONCE))
    head: list[list[str]] = [list(part[0]) if part else []]
    while part or head:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([*head, *(_cells(row.values()) for row in part)])
        yield out.getvalue()
        head, part = [], list(itertools.islice(rest, ROWS_AT_ONCE))


def _cells(values: Iterable[Any]) -> list[str]:
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    text = " ".join(clean(value).split())
    # A spreadsheet would evaluate such a text as a formula.
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text
