"""`bench all`, `bench run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from bench.cli import completion
from bench.cli.display import make_display
from bench.cli.options import (
    DataOption,
    EngineOption,
    EngineOptionsOption,
    JobsOption,
    OutOption,
    PluginsOption,
    QuietOption,
    ScaleOption,
    SoundOption,
)
from bench.cli.output import as_bench_error, make_console, print_line, show_error
from bench.errors import INCOMPLETE, BenchError, UsageError

if TYPE_CHECKING:
    from bench.benchmark import RunResult


def run_all(
    scale: ScaleOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    jobs: JobsOption = None,
    engine: EngineOption = None,
    engine_option: EngineOptionsOption = None,
    sound: SoundOption = True,
    quiet: QuietOption = False,
) -> None:
    """Run every shipped spec that suits this machine.

    A spec that can't be run is reported, and the others are run. Exit code 3 if anything is incomplete.
    """
    from bench.runner.engines.choice import engine_options
    from bench.runner.engines.remote import SubmittedError
    from bench.specs.load import load_spec, shipped_specs
    from bench.specs.scales import choose_scale
    from bench.system.paths import Places

    # Wrong options are reported once, before anything starts, not for every spec.
    places = Places.find(out, data or (), plugins or ())
    specs = {name: load_spec(name, places.plugins, scale=None) for name in shipped_specs()}
    chosen = {name: choose_scale(scale, name, places.plugins) for name in specs}
    console, errors = make_console(), make_console(stderr=True)
    for each, why in dict.fromkeys(chosen.values()):
        _print_scale(console, quiet, each, why)
    suited = [name for name, spec in specs.items() if chosen[name][0] in spec.suits]
    started = {"engine": engine, "engine_options": engine_options(engine, engine_option or ())}
    incomplete = False
    for name in suited:
        if not quiet:
            console.print(Text(f"\n{specs[name].title} ({name})", style="bold"))
        try:
            where = {"data": data or (), "plugins": plugins or (), "out": out}
            result = _run(console, quiet, name, scale=scale, jobs=jobs, sound=sound, **where, **started)
        except SubmittedError as submitted:
            print_line(console, f"{name}: {submitted}")
        except (BenchError, OSError, MemoryError) as error:
            incomplete = True
            show_error(errors, as_bench_error(error), f"{name}: ")
        else:
            incomplete |= _show_result(console, quiet, result)
    if incomplete:
        raise typer.Exit(INCOMPLETE)


def run(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="Name of a shipped spec (see `bench list specs`), or a YAML file.",
            autocompletion=completion.specs,
        ),
    ],
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Run only these models (any plug-in); `none` runs only the references.",
            autocompletion=completion.model_list,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Use this dataset instead of the spec's, see `bench list datasets`.",
            autocompletion=completion.datasets,
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N|A,B", help="Number of seeds (3 means 0,1,2), or a list (0,1,2; a single seed: `5,`).")
    ] = None,
    scale: ScaleOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name of the run's folder, instead of <spec>-<scale>.", show_default=False),
    ] = None,
    jobs: JobsOption = None,
    engine: EngineOption = None,
    engine_option: EngineOptionsOption = None,
    sound: SoundOption = True,
    quiet: QuietOption = False,
) -> None:
    """Run one spec; the same command resumes a run that was stopped."""
    from bench.runner.engines.choice import engine_options
    from bench.runner.engines.remote import SubmittedError
    from bench.specs.load import load_spec
    from bench.specs.scales import choose_scale
    from bench.system.paths import user_folders

    overrides: dict[str, Any] = {"models": names(models), "dataset": dataset, "seeds": _seeds(seeds)}
    load_spec(spec, user_folders(plugins or ()), scale=None, **overrides)  # mistakes are reported before anything else
    chosen, why = choose_scale(scale, spec, user_folders(plugins or ()), **overrides)
    console = make_console()
    _print_scale(console, quiet, chosen, why)
    places = {"data": data or (), "plugins": plugins or (), "out": out}
    started = {"engine": engine, "engine_options": engine_options(engine, engine_option or ())}
    try:
        result = _run(console, quiet, spec, name=name, scale=scale, jobs=jobs, sound=sound, **started, **overrides, **places)
    except SubmittedError as submitted:
        print_line(console, str(submitted))
        return
    if _show_result(console, quiet, result):
        raise typer.Exit(INCOMPLETE)


def _run(console: Console, quiet: bool, spec: str, **arguments: Any) -> RunResult:
    from bench import benchmark

    with make_display(quiet, console, make_console(stderr=True)) as display:
        return benchmark.run(spec, display=display, **arguments)


def _print_scale(console: Console, quiet: bool, scale: str, why: str) -> None:
    if not quiet:
        print_line(console, f"scale {scale}: {why}")


def _show_result(console: Console, quiet: bool, result: RunResult) -> bool:
    """Print the main columns and the report's path; return whether a trial failed."""
    if not quiet:
        from bench.cli import listing

        console.print(listing.summary(result.table))
        for flag, systems in result.flags.items():
            print_line(console, f"{flag}: {systems}")
        if result.verdict:
            console.print(Text(result.verdict))
        if result.failed:
            print_line(console, f"{result.failed} failed; the same command tries them again")
    pages = [path for path in result.reports if path.suffix == ".html"]
    print_line(console, str((pages or [result.folder])[0]))
    return result.failed > 0


def names(text: str | None) -> list[str] | None:
    """Parse ``a,b`` as a list, ``none`` as an empty one."""
    if text is None:
        return None
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise UsageError(f"--models is {text!r}; expected names such as lstm,gan.", "`none` runs only the references.")
    if "none" in names and len(names) > 1:
        raise UsageError(f"--models is {text!r}: `none` means no model at all.", "Leave it out, or give it alone.")
    return [] if names == ["none"] else names


def _seeds(text: str | None) -> int | list[int] | None:
    """Parse a number of seeds, ``3``, or a list, ``0,1,2`` and ``5,``."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 19]
    listed = len(parts) > 1
    if len(numbers) < len([part for part in parts if part]) or not numbers or (not listed and numbers[0] == 0):
        raise UsageError(f"--seeds is {text!r}; expected how many, such as 3, or which, such as 0,1,2 (one: 0,).")
    return numbers if listed else numbers[0]
