"""`bench baseline`, `bench check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli.options import OutOption, OutputOption, RunArgument, path_of
from bench.cli.output import check_output, find_run, make_console, print_line, tell_left_out
from bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from bench.gate.baseline import Baseline
    from bench.gate.compare import Earlier
    from bench.scoring.table import Table

Format = Literal["text", "markdown", "junit"]


def baseline(
    run: RunArgument,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--file"),
            help="By default baselines/<run>.json in the reports folder.",
            show_default=False,
        ),
    ] = None,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Also if trials failed or did not run; they are left out.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a baseline of other music, or any other file.")] = False,
    out: OutOption = None,
) -> None:
    """Keep a run's numbers in a file that later runs are checked against. Exit code 3 if the run is incomplete.

    A baseline of the same dataset, protocol and scale is replaced; any other file is overwritten only with --force.
    """
    from bench.formatting import listed, plural
    from bench.gate.baseline import take
    from bench.gate.baseline_file import differences, read, write
    from bench.system.paths import Places

    reports = Places.find(out).out
    folder = find_run(run, reports)
    taken = take(folder)
    if taken.incomplete and not allow_incomplete:
        name, why = next(iter(taken.incomplete.items()))
        raise DataError(
            f"{folder} is incomplete: {name}, {why.splitlines()[0].rstrip('.')}.",
            "The same `bench run` makes again what failed or is damaged; --allow-incomplete takes the run as it is.",
        )
    path = file or reports / "baselines" / f"{taken.run}.json"
    other = differences(path, taken) if (replaced := path.is_file()) else []
    if other:
        check_output(path)
    if other and not force:
        why = "; ".join(other)
        unreadable = why.removeprefix(f"{path} ")
        raise UsageError(
            f"{path} exists, and {f'differs from this run: {why}' if unreadable == why else unreadable}.",
            "Give another --file, or --force to overwrite it.",
        )
    gone = [] if other or not replaced else sorted(read(path).systems.keys() - taken.systems.keys())
    write(path, taken)
    kept = ", ".join([plural(len(taken.systems), "row"), plural(len(taken.pieces), "piece"), f"seeds {_seeds(taken)}"])
    without = f", without {listed(gone)}, which nothing checks any more" if gone else ""
    print_line(make_console(stderr=True), f"{kept}; {'replaced' if replaced else 'new'}{without}")
    print_line(make_console(), str(path))


def _seeds(baseline: Baseline) -> str:
    return ", ".join(map(str, sorted({seed for system in baseline.systems.values() for seed in system.seeds})))


def check(
    run: RunArgument,
    baseline: Annotated[
        Path, typer.Option(metavar="FILE", parser=path_of("--baseline"), help="A file that `bench baseline` wrote.")
    ],
    format: Annotated[Format, typer.Option(help="Format of the output.")] = "text",
    output: OutputOption = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--history"),
            help="A history (`bench history add`) whose runs of the same rows, code and machine tell more of their noise.",
            show_default=False,
        ),
    ] = None,
    only_regressions: Annotated[bool, typer.Option("--only-regressions", help="Only what is worse or missing.")] = False,
    out: OutOption = None,
) -> None:
    """Compare a run with its baseline. Exit code 0 nothing is worse, 1 worse, 2 wrong usage, 3 incomplete, 4 not comparable."""
    from bench.gate import junit, text
    from bench.gate.baseline import take
    from bench.gate.baseline_file import read, save
    from bench.gate.verdicts import FINE, judge
    from bench.scoring.score import score_run
    from bench.storage.run_folder import RunFolder
    from bench.system.paths import Places

    before = read(baseline)
    folder = find_run(run, Places.find(out).out)
    check_output(output, baseline, history, folder)
    if run == "latest":
        print_line(make_console(stderr=True), f"run: {folder}")
    table = score_run(folder)
    now = take(folder, table)
    earlier = None if history is None else _earlier(history, before, now, folder, table)
    judgement = judge(before, now, RunFolder(folder).read().spec.get("gate"), earlier=earlier)
    result = {"text": text.text, "markdown": text.markdown, "junit": junit.junit}[format](judgement, only_regressions)
    console = make_console()
    if output is None:
        print_line(console, result.rstrip("\n"))
    else:
        save(output, result)
        print_line(console, text.summary(judgement))
    if judgement.exit_code != FINE:
        raise typer.Exit(judgement.exit_code)


def _earlier(history: Path, before: Baseline, now: Baseline, folder: Path, table: Table) -> Earlier:
    """Collect what a history tells of the noise, and say how much that is."""
    from bench.formatting import plural
    from bench.history.entry import entry_of_run
    from bench.history.file import read
    from bench.history.noise import earlier_trainings

    entries, problems = read(history)
    tell_left_out(problems)
    found = earlier_trainings(entries, before, now, entry_of_run(folder, table))
    rows: dict[str, int] = {}
    for (system, _), groups in found.items():
        rows[system] = max(rows.get(system, 0), sum(map(len, groups)))
    told = ", ".join(f"{system} {count}" for system, count in rows.items())
    more = f"{plural(sum(rows.values()), 'more training')} ({told})" if rows else "no training of the same rows, code and machine"
    print_line(make_console(stderr=True), f"{history}: {more}")
    return found
