"""`bench history add`, `bench history show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import OutOption, RunArgument, path_of
from bench.cli.output import check_output, find_run, make_console, print_line, tell_left_out
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.history.entry import Entry

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        parser=path_of("--file"),
        help="The history. By default history.jsonl in the reports folder.",
        show_default=False,
    ),
]


def add(
    run: RunArgument,
    file: FileOption = None,
    out: OutOption = None,
) -> None:
    """Add a run to a history, a file with one line for each run. A run that is in it already keeps its place."""
    from bench.formatting import plural
    from bench.history.entry import entry_of_run
    from bench.history.file import add, read
    from bench.scoring.score import score_run
    from bench.system.paths import Places

    reports = Places.find(out).out
    path = file or reports / "history.jsonl"
    folder = find_run(run, reports)
    table = score_run(folder)
    entry = entry_of_run(folder, table)
    if not entry.rows:
        raise UsageError(f"{run} has nothing to keep: no trial has ended well.", "Give the same `bench run` again to resume it.")
    if lacking := sum(len(row.trials) - len(row.done) for row in table.rows):
        console = make_console(stderr=True)
        print_line(
            console, f"{run} is incomplete: {plural(lacking, 'trial')} failed or did not run, and its rows lack these seeds"
        )
    added = add(path, entry)
    entries, problems = read(path)
    tell_left_out(problems)
    count = plural(len(entries), "run")
    print_line(make_console(stderr=True), f"{entry.run}: {'added' if added else 'there already, unchanged'}; {count} in all")
    print_line(make_console(), str(path))


def show(
    file: FileOption = None,
    baselines: Annotated[
        Path | None,
        typer.Option(
            metavar="PLACE",
            parser=path_of("--baselines"),
            help="Instead of a file: a baseline file in git, or a folder of these, at each commit that changed one.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=path_of("--html"), help="Write a page of trends.", show_default=False),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a short comment for a pull request.")] = False,
    out: OutOption = None,
) -> None:
    """Show trends and change points: between which runs and commits of bench what changed, and what the last run changed."""
    from bench.formatting import plural
    from bench.gate.baseline_file import save
    from bench.history import formats
    from bench.history.changes import MOST_RUNS, trends
    from bench.system.paths import Places

    check_output(html, file or Places.find(out).out / "history.jsonl", baselines)
    entries = _entries(file, baselines, out)
    if older := len(entries[:-MOST_RUNS]):
        tell_left_out([f"{plural(older, 'run')} older than the newest {MOST_RUNS:,}"])
    found = trends(entries[-MOST_RUNS:])
    console = make_console()
    text = formats.as_markdown(found) if markdown else formats.as_text(found)
    print_line(console, text.rstrip("\n"))
    if html is not None:
        save(html, formats.as_html(found))
        print_line(make_console(stderr=True), str(html))


def _entries(file: Path | None, baselines: Path | None, out: Path | None) -> tuple[Entry, ...]:
    from bench.history import file as history_file
    from bench.history import git
    from bench.system.paths import Places

    if file is not None and baselines is not None:
        raise UsageError("--file and --baselines were given; a history is one or the other.", "Leave one out.")
    if baselines is None:
        path = file or Places.find(out).out / "history.jsonl"
        entries, problems = history_file.read(path)
        tell_left_out(problems)
        if not entries:
            raise UsageError(f"{path} is empty.", f"Add a run: bench history add RUN --file {path}.")
        return entries
    entries, skipped = git.read(baselines)
    tell_left_out(skipped)
    if not entries:
        raise UsageError(f"No commit of this repository has a baseline at {baselines} that can be read.", "See `bench baseline`.")
    return entries
