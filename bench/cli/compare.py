"""`bench compare`: runs side by side."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bench.cli import completion
from bench.cli.options import OutOption, OutputOption
from bench.cli.output import check_output, find_run, make_console, print_line
from bench.errors import NOT_COMPARABLE

Format = Literal["text", "markdown", "html", "json"]


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN...", help="Folders or names of runs, or `latest`.", autocompletion=completion.runs),
    ],
    format: Annotated[Format, typer.Option(help="Format of the output; text leaves out the columns of minor interest.")] = "text",
    output: OutputOption = None,
    out: OutOption = None,
) -> None:
    """Show runs side by side: what differs, and each value against the first run's. Exit code 4 if no value can be compared."""
    from bench.comparison import words
    from bench.comparison.changes import compare
    from bench.comparison.formats import FORMATS
    from bench.comparison.runs import read_runs
    from bench.gate.baseline_file import save
    from bench.system.paths import Places

    reports = Places.find(out).out
    folders = [find_run(run, reports) for run in runs]
    check_output(output, *folders)
    comparison = compare(read_runs(folders))
    result = FORMATS[format](comparison)
    console = make_console()
    if output is None:
        print_line(console, result.rstrip("\n"))
    else:
        save(output, result)
        for sentence in words.summary(comparison):
            print_line(console, sentence)
    if not comparison.comparable:
        raise typer.Exit(NOT_COMPARABLE)
