"""Every value of a run in one long table: a row for each trial and metric, and for each trial, metric and piece.

====================  ======================  ====================================================================================
run, spec, scale      text                    the run's folder, its spec and scale
system, kind, model   text                    row of the report; ``model``, ``untrained`` or ``reference``; the plug-in
seed                  integer                 training seed
trial                 text                    key of the trial; with folds, of the first
params                text                    hyperparameters that the spec sets, JSON; of more than 10,000 characters the first
metric, version       text, integer           column of ``report.csv``, and the version of its definition
unit, better          text                    unit; ``lower``, ``higher`` or empty
over                  text                    what the value belongs to: ``trial``, ``piece`` or ``held-out piece``
piece                 integer, may be empty   number of the piece: of those that were continued, or of all held-out ones
piece_name            text, may be empty      its id in the data set, of a piece that was continued
value                 number, may be empty    mean over the piece's samples, or the trial's value; empty where it is undefined
reason                text                    why there is no value; empty otherwise
====================  ======================  ====================================================================================

Values of a piece are as scored; where pieces weigh by their notes (bits per note), the trial's value is no plain mean of theirs.
A trial that failed has one row, without a metric, whose reason is why. CSV and Parquet hold the same; Parquet keeps the types.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.export.contents import Exported, RunContents, failures_of, optional
from bench.formatting import clean, shortened
from bench.gate.baseline_file import save
from bench.metrics import METRICS, Undefined, Value
from bench.report.csv import csv_parts
from bench.scoring.table import WEIGHTED, Row, TrialScore
from bench.system.disk import write_named_file

#: Rows of a table that are written at once.
ROWS_AT_ONCE = 10_000

#: Characters of the hyperparameters that each row repeats.
LONGEST_PARAMS = 10_000

#: Columns that aren't text.
INTEGERS, NUMBERS = ("seed", "version", "piece"), ("value",)


def export_csv(run: RunContents, place: Path) -> Exported:
    """Write the table as CSV, in UTF-8."""
    save(place, (part.encode("utf-8", "replace") for part in csv_parts(records(run))), write_named_file)
    return Exported(str(place))


def export_parquet(run: RunContents, place: Path) -> Exported:
    """Write the table as Parquet; what holds for the whole run is in the file's metadata, under ``midibench``.

    Raises
    ------
    UsageError
        If PyArrow is not installed, or the place can't be written.
    MachineError
        If PyArrow refuses.
    """
    arrow, parquet = optional("pyarrow", "parquet"), optional("pyarrow.parquet", "parquet")
    types = {**dict.fromkeys(INTEGERS, arrow.int64()), **dict.fromkeys(NUMBERS, arrow.float64())}
    rows = ({name: _encodable(value) for name, value in record.items()} for record in records(run))
    facts = json.dumps({"run": run.name, "identity": run.identity, "params": run.params, "tags": run.tags})
    with failures_of("PyArrow", "Was the run's folder changed by hand? --to csv takes any name and number."):
        part = list(itertools.islice(rows, ROWS_AT_ONCE))
        schema = arrow.schema([(name, types.get(name, arrow.string())) for name in part[0]], metadata={"midibench": facts})
        out = arrow.BufferOutputStream()
        with parquet.ParquetWriter(out, schema) as writer:
            while part:
                writer.write_table(arrow.Table.from_pylist(part, schema))
                part = list(itertools.islice(rows, ROWS_AT_ONCE))
    save(place, out.getvalue().to_pybytes(), write_named_file)
    return Exported(str(place))


def _encodable(value: Any) -> Any:
    """Replace what can't be encoded or shown, such as bytes of a folder's name that are no UTF-8, as in CSV."""
    return clean(value) if isinstance(value, str) else value


def records(run: RunContents) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table, in the order of the report's rows, seeds and metrics."""
    whole = {"run": run.name, "spec": shortened(run.spec), "scale": run.report.run.scale}
    names = [shortened(target.piece.id) for target in run.report.targets]
    for row in run.report.all_rows:
        for trial in row.trials:
            if trial.status != "not run":
                yield from ({**whole, **record} for record in _of_trial(row, trial, names))


def _of_trial(row: Row, trial: TrialScore, names: list[str]) -> Iterator[dict[str, Any]]:
    own = {
        "system": row.system,
        "kind": row.kind,
        "model": row.model,
        "seed": trial.trial.seed,
        "trial": trial.key,
        "params": shortened(json.dumps(trial.trial.params, sort_keys=True), LONGEST_PARAMS),
    }
    if trial.status != "done":
        yield {**own, "metric": "", "version": None, "unit": "", "better": "", **_cells("trial", Undefined(trial.error))}
        return
    for name, metric in METRICS.items():
        if name not in trial.values:  # a function of another row, such as skill
            continue
        column = {"metric": name, "version": metric.version, "unit": metric.unit, "better": metric.better or ""}
        yield {**own, **column, **_cells("trial", trial.values[name])}
        for piece, value in trial.by_piece.get(name, {}).items():
            of = ("held-out piece", value, piece) if name in WEIGHTED else ("piece", value, piece, names[piece])
            yield {**own, **column, **_cells(*of)}


def _cells(over: str, value: Value, piece: int | None = None, name: str | None = None) -> dict[str, Any]:
    number, reason = (None, value.reason) if isinstance(value, Undefined) else (float(value), "")
    return {"over": over, "piece": piece, "piece_name": name, "value": number, "reason": reason}
