"""`bench prompts`, `bench score`: systems that run elsewhere."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from bench.cli import completion
from bench.cli.display import make_display
from bench.cli.options import DataOption, OutOption, PluginsOption, QuietOption, ScaleOption, path_of
from bench.cli.output import find_run, make_console, print_line
from bench.errors import INCOMPLETE, UsageError

if TYPE_CHECKING:
    from bench.external.score import Scored

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="Name of a shipped spec, or a YAML file.", autocompletion=completion.specs)
]
OtherDataset = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Use this dataset instead of the spec's.")]

PromptsOption = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="DIR",
        parser=path_of("--prompts"),
        help="The folder that `bench prompts` wrote: says which prompts the files continue, where they don't begin with them.",
    ),
]

PromptOption = Annotated[
    Literal["auto", "included", "absent"],
    typer.Option(help="Whether the files begin with their prompt; auto checks each, cuts it off, and refuses what is nearly it."),
]


def prompts(
    spec: SpecArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", parser=path_of("--to"), help="A new folder for the prompts.")],
    targets: Annotated[bool, typer.Option("--targets", help="Also write the true continuations, into targets/.")] = False,
    dataset: OtherDataset = None,
    scale: ScaleOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the prompts of a spec's held-out pieces as MIDI files, for another system to continue. Then: `bench score`."""
    from bench.external.prompts import export_prompts
    from bench.runner.held_out import hold_out
    from bench.specs.load import load_spec
    from bench.specs.scales import choose_scale
    from bench.system.paths import Places

    places = Places.find(out, data or (), plugins or ())
    chosen, _ = choose_scale(scale, spec, places.plugins)
    resolved = load_spec(spec, places.plugins, scale=chosen, dataset=dataset)
    console = make_console()
    with make_display(quiet, console, make_console(stderr=True)) as display:
        held_out = hold_out(resolved, places, display=display)
    again = ["bench", "score", "DIR", "--prompts", str(to), "--spec", spec, "--scale", chosen]
    again += ["--dataset", dataset] if dataset else []
    for option, folders in (("--data", data), ("--plugins", plugins)):
        again += [word for folder in folders or () for word in (option, str(folder))]
    export_prompts(held_out, to, scale=chosen, score=shlex.join([*again, "--name", "NAME"]), with_targets=targets)
    protocol = resolved.protocol
    if not quiet:
        pieces = len(held_out.targets.targets)
        print_line(
            console, f"{pieces} pieces at scale {chosen}: {protocol.prompt} notes in each prompt, {protocol.notes} to write"
        )
    print_line(console, str(to / "README.txt"))


def score(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=path_of("DIR"), help="A folder of MIDI files, one or several for each prompt.")
    ],
    spec: Annotated[str | None, typer.Option("--spec", metavar="SPEC", help="Score on this spec's held-out pieces.")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Score on this run's pieces, beside its rows.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the row; by default the folder's.")] = None,
    prompts: PromptsOption = None,
    prompt: PromptOption = "auto",
    no_velocity: Annotated[
        bool, typer.Option("--no-velocity", help="The system gives notes no velocity: leave its columns of velocity undefined.")
    ] = False,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="The test pieces may be among the system's training music: flag its row.")
    ] = False,
    dataset: OtherDataset = None,
    scale: ScaleOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Score MIDI files of any system on a spec's held-out pieces, beside its reference rows. Exit code 3 if a piece is missing.

    A file belongs to the prompt whose number is in its name: prompt-007.mid, mine-prompt-007.mid, 007.mid; several samples of a
    prompt are prompt-007-1.mid and so on. If no name has a number, files are matched in sorted order.
    """
    from bench.external.score import score_beside, score_folder
    from bench.system.paths import Places

    if (spec is None) == (run is None):
        raise UsageError(
            "Give either --spec SPEC or --run RUN.",
            "Files are scored on a spec's held-out pieces, or on a run's pieces beside its rows.",
        )
    places = Places.find(out, data or (), plugins or ())
    console, errors = make_console(), make_console(stderr=True)
    with make_display(quiet, console, errors) as display:
        if spec is not None:
            scored = score_folder(
                folder,
                spec,
                name=name,
                prompts=prompts,
                prompt=prompt,
                velocity=not no_velocity,
                pretrained=pretrained,
                scale=scale,
                dataset=dataset,
                data=data or (),
                plugins=plugins or (),
                out=out,
                display=display,
            )
        else:
            for option, setting in (("--scale", scale), ("--dataset", dataset), ("--data", data), ("--plugins", plugins)):
                if setting:
                    raise UsageError(f"{option} was given with --run.", "The run already determines it; leave the option out.")
            source = find_run(str(run), places.out)
            scored = score_beside(
                folder,
                source,
                name=name,
                prompts=prompts,
                prompt=prompt,
                velocity=not no_velocity,
                pretrained=pretrained,
                out=out,
            )
    _show(console, errors, scored, quiet)
    if not scored.complete:
        raise typer.Exit(INCOMPLETE)


def _show(console: Console, errors: Console, scored: Scored, quiet: bool) -> None:
    """Print the rows, how files were matched, and the report's path; problems with the files go to stderr, even when quiet."""
    from bench.cli import listing
    from bench.external import messages
    from bench.formatting import plural

    if not quiet:
        console.print(listing.summary(scored.result.table))
        for flag, systems in scored.result.flags.items():
            print_line(console, f"{flag}: {systems}")
        for line in messages.matched(scored.external):
            print_line(console, line)
        if scored.result.verdict:
            console.print(Text(scored.result.verdict))
    if scored.replaced:
        print_line(errors, f"It replaces the row of {scored.replaced}, which had the same name.")
    for line in messages.warnings(scored.external):
        print_line(errors, line)
    if scored.result.failed:
        print_line(errors, f"{plural(scored.result.failed, 'trial')} of other rows failed")
    print_line(console, str(scored.result.folder / "report.html"))
