"""`bench tune`: search for the hyperparameters of a spec's rows, the same number of trainings for each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.display import make_display
from bench.cli.options import DataOption, JobsOption, OutOption, PluginsOption, QuietOption, ScaleOption, path_of
from bench.cli.output import make_console, print_line
from bench.cli.run import names
from bench.errors import INCOMPLETE


def tune(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="Name of a shipped spec with a `search`, or a YAML file.", autocompletion=completion.specs
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", parser=path_of("--to"), help="Write the winners as a spec that extends this one."),
    ] = None,
    models: Annotated[str | None, typer.Option(metavar="A,B", help="Search only for these rows.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, max=10_000, metavar="N", help="Trainings of each row, instead of the spec's.")
    ] = None,
    scale: ScaleOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    jobs: JobsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Search for hyperparameters on the validation pieces; the same command resumes a search that was stopped.

    Exit code 3 if a training failed or a row has no winner.
    """
    from bench import benchmark, tuning
    from bench.specs.load import load_spec, shipped_specs
    from bench.specs.scales import choose_scale
    from bench.storage.files import write_data, write_named_data
    from bench.storage.run_folder import RunFolder
    from bench.system.paths import SEARCH, Places

    places = Places.find(out, data or (), plugins or ())
    chosen, _ = choose_scale(scale, spec, places.plugins, models=names(models))
    resolved = load_spec(spec, places.plugins, scale=chosen, models=names(models))
    file = None if spec in shipped_specs() else spec
    if to:
        tuning.check_target(to, _extends(spec, file, to))
    searched, rows = tuning.search_spec(resolved, trials)
    console = make_console()
    name = f"{SEARCH}{resolved.name}-{chosen}"
    with make_display(quiet, console, make_console(stderr=True)) as display:
        result = benchmark.run(
            searched,
            scale=chosen,
            data=data or (),
            plugins=plugins or (),
            out=out,
            jobs=jobs,
            sound=False,
            reports=False,
            name=name,
            if_taken="hash",
            file=file,
            display=display,
        )
    target = to or result.folder / "tuned.yaml"
    extends = _extends(spec, file, target)
    tuning.check_target(target, extends)
    trained = tuning.collect(RunFolder(result.folder), rows, resolved)
    tuning.write_trials(result.folder / "search.csv", trained)
    won = tuning.winners(trained)
    for row, winner in won.items():
        values = ", ".join(f"{name} {value}" for name, value in winner.params.items())
        beyond = tuning.beyond_budget([t for t in trained if t.row == row])
        left_out = f"; {beyond}, and can't be chosen" if beyond else ""
        print_line(console, f"{row}: {winner.score:.4g} with {values}{left_out}")
    before = tuning.written_rows(target, extends, chosen)
    tuning.write_tuned(target, extends, chosen, trained, resolved, write_named_data if to else write_data)
    after = tuning.written_rows(target, extends, chosen)
    for row in dict.fromkeys(t.row for t in trained if t.row not in won):
        why = tuning.why_none([t for t in trained if t.row == row])
        stays = f"; its winner of an earlier search stays in {target}" if row in after else ""
        print_line(console, f"{row}: nothing chosen, as {why}{stays}")
    for row in sorted(before - after):
        print_line(console, f"{row}: its winner of an earlier search was for another budget, and is no longer in {target}")
    print_line(console, str(target))
    if any(t.failed for t in trained) or len(trained) < len(rows) or len(won) < len({t.row for t in trained}):
        raise typer.Exit(INCOMPLETE)


def _extends(spec: str, file: str | None, target: Path) -> str:
    """Name the spec as the file of winners does: a shipped spec's name, or the path from there, links followed."""
    if file is None:
        return spec
    return os.path.relpath(Path(os.path.realpath(Path(file).parent), Path(file).name), os.path.realpath(target.parent))
