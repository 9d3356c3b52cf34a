"""`bench list`, `bench report`, `bench doctor`."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from bench.cli.options import DataOption, OutOption, PluginsOption, QuietOption, RunArgument
from bench.cli.output import find_run, make_console, print_line
from bench.errors import INCOMPLETE

What = Literal["specs", "models", "datasets", "metrics"]


def list_(
    what: Annotated[What | None, typer.Argument(help="By default all four.", show_default=False)] = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
) -> None:
    """List specs, models, datasets or metrics: what each is, what it needs, whether it is ready on this machine."""
    from bench.cli import listing
    from bench.system.paths import Places

    console = make_console()
    for number, table in enumerate(listing.tables(what, Places.find(out, data or (), plugins or ()))):
        if number:
            console.print()
        console.print(table)


def report(
    run: RunArgument,
    out: OutOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Rewrite it whenever a trial ends, until the run ends or Ctrl-C.")
    ] = False,
) -> None:
    """Rewrite a run's report from stored outcomes; nothing is trained. Exit code 3 if trials failed or are missing."""
    from bench.benchmark import report as write_report
    from bench.formatting import plural
    from bench.system.paths import Places

    console = make_console()
    folder = find_run(run, Places.find(out).out)
    if not watch:
        result = write_report(folder, lambda event: None)
        for path in result.reports:
            print_line(console, str(path))
        if result.failed:
            said = f"{folder} is incomplete: {plural(result.failed, 'trial')} failed or did not run"
            print_line(make_console(stderr=True), said)
            raise typer.Exit(INCOMPLETE)
        return
    print_line(console, str(folder / "report.html"))
    # Ctrl-C is the intended way to end it.
    with contextlib.suppress(KeyboardInterrupt):
        from bench.report.watch import watch_run

        for progress in watch_run(folder):
            print_line(console, progress.text)
        if progress.failed or progress.ended < progress.planned:
            raise typer.Exit(INCOMPLETE)


def merge(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Folders or names of runs of one spec.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the new run.")],
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Unite runs of one spec, made on several machines with other seeds or models, in a new run, and write its report.

    The runs stay as they are. Exit code 3 if trials of the united spec are missing.
    """
    from bench.benchmark import report as write_report
    from bench.merging import merge_runs
    from bench.system.paths import Places, check_run_name

    console = make_console()
    reports = Places.find(out).out
    check_run_name(name)
    merged = merge_runs([find_run(run, reports) for run in runs], reports / "runs" / name)
    for label in merged.left_out:
        print_line(console, f"left out: {label}: the united spec has no such trial")
    for label in merged.missing:
        print_line(console, f"missing: {label}: no run has done it")
    if merged.missing and merged.repeat:
        where = "" if out is None else f" {shlex.join(['--out', str(out)])}"
        print_line(console, f"`{merged.repeat}{where}` runs what is missing")
    result = write_report(merged.folder, lambda event: None)
    if not quiet:
        print_line(console, f"{merged.trials} trials are done")
    print_line(console, str(next(path for path in result.reports if path.suffix == ".html")))
    if merged.missing:
        raise typer.Exit(INCOMPLETE)


def verify(
    run: RunArgument,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Check every stored result of a run, and say what its command would make again. Exit code 3 if anything.

    Nothing is changed.
    """
    from bench.system.paths import Places
    from bench.verification import verify_run

    console = make_console()
    places = Places.find(out)
    folder = find_run(run, places.out)
    findings = list(verify_run(folder, (*places.seeds, places.cache)))
    faults = [finding for finding in findings if finding.fault]
    for finding in faults:
        print_line(console, f"{finding.part}: {finding.fault.rstrip('.')}; {finding.remedy}")
    if not quiet:
        summary = f"{len(faults)} to be made again" if faults else "all complete and undamaged"
        print_line(console, f"{folder}: {len(findings)} parts, {summary}")
    if faults:
        raise typer.Exit(INCOMPLETE)


def doctor(
    plugins: PluginsOption = None,
    out: OutOption = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Check the GPU instead, by every framework that sees it: a minute.")] = False,
) -> None:
    """Show versions, CPU, GPU per framework, and how to fix what is missing. Exit code 3 if anything is."""
    from bench.cli import doctor

    console = make_console()
    if gpu:
        return _check_gpu(console, plugins or ())
    with console.status("querying the frameworks") if console.is_terminal else contextlib.nullcontext():
        facts, problems = doctor.examine(plugins or (), out)
    console.print(doctor.table(facts))
    for problem in problems:
        console.print(Text.assemble(("missing: ", "bold red"), problem.what), soft_wrap=True)
        console.print(Text(f"  fix: {problem.fix}"), soft_wrap=True)
    if problems:
        raise typer.Exit(INCOMPLETE)
    console.print("Nothing is missing.")


def _check_gpu(console: Console, plugins: Sequence[Path]) -> None:
    from bench.cli import doctor_gpu

    with console.status("checking the GPU") if console.is_terminal else contextlib.nullcontext():
        findings = doctor_gpu.examine(plugins)
    for finding in findings:
        style = {"PASS": "bold green", "FAIL": "bold red"}.get(finding.state, "bold")
        console.print(Text.assemble((finding.state, style), f"  {finding.what}: {finding.detail}"), soft_wrap=True)
        if finding.fix:
            console.print(Text(f"  fix: {finding.fix}"), soft_wrap=True)
    if any(finding.state == "FAIL" for finding in findings):
        raise typer.Exit(INCOMPLETE)
    console.print(doctor_gpu.conclusion(findings), soft_wrap=True)
