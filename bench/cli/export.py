"""`bench export`: a run's numbers in a tracker or a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli.options import OutOption, RunArgument
from bench.cli.output import check_output, find_run, make_console, print_line
from bench.errors import INCOMPLETE, UsageError
from bench.formatting import plural

if TYPE_CHECKING:
    from bench.export.contents import Exported, RunContents

Target = Literal["mlflow", "tensorboard", "trackio", "csv", "parquet"]


def export(
    run: RunArgument,
    to: Annotated[Target, typer.Option("--to", help="What takes it; all but csv are optional extras of the package.")],
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Of mlflow: a folder or a tracking URI, by default MLflow's own choice. Of tensorboard: the log folder; of "
            "trackio: its folder. Of csv and parquet: the file. By default below exports/ in the reports folder; of trackio, its "
            "own choice.",
            show_default=False,
        ),
    ] = None,
    out: OutOption = None,
) -> None:
    """Export a run to a tracker or a table, by the tracker's own library. Exporting it again replaces the earlier export.

    Exit code 3 if a trial failed or did not run; it is exported without values.
    """
    from bench.export.contents import read_contents
    from bench.system.paths import Places

    if output == "":
        raise UsageError("--output is empty.", "Give a path; the current folder is `.`.")
    reports = Places.find(out).out
    folder = find_run(run, reports)
    check_output(Path(output) if output and to in ("csv", "parquet") else None, folder)
    contents = read_contents(folder)
    exported = _export(contents, to, output, reports / "exports")
    console = make_console()
    if not exported.written:
        print_line(console, "This export is there already; nothing was written.")
    print_line(console, exported.place)
    if exported.view:
        print_line(console, f"Look at it: {exported.view}")
    if lacking := sum(trial.status != "done" for row in contents.report.table.rows for trial in row.trials):
        print_line(make_console(stderr=True), f"{contents.name} is incomplete: {plural(lacking, 'trial')} failed or did not run")
        raise typer.Exit(INCOMPLETE)


def _export(run: RunContents, to: Target, place: str | None, exports: Path) -> Exported:
    if to == "mlflow":
        from bench.export import mlflow

        return mlflow.export(run, place)
    if to == "tensorboard":
        from bench.export import tensorboard

        return tensorboard.export(run, Path(place) if place else exports / "tensorboard")
    if to == "trackio":
        from bench.export import trackio

        return trackio.export(run, Path(place) if place else None)
    from bench.export import values

    write = values.export_csv if to == "csv" else values.export_parquet
    return write(run, Path(place) if place else exports / f"{run.name}.{to}")
