"""`bench prompts`, `bench score`: systems that run elsewhere."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bench.commands._options import DataOption, OutOption, PluginsOption, QuietOption, ScaleOption
from bench.commands._output import INCOMPLETE, find_run, make_console, print_line
from bench.display import clean, make_display
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.scored import Scored

#: Files and pieces that are named in the terminal; outcome.json has all.
LISTED = 20

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A shipped spec's name, or a YAML file.")]
OtherDataset = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Another dataset.")]


def prompts(
    spec: SpecArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new folder for them.")],
    targets: Annotated[bool, typer.Option("--targets", help="Also write what really follows, into targets/.")] = False,
    dataset: OtherDataset = None,
    scale: ScaleOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the prompts of a spec's held-out pieces as MIDI files, for another system to continue. Then: `bench score`."""
    from bench.heldout import hold_out
    from bench.places import Places
    from bench.prompts import export_prompts
    from bench.runner import choose_scale
    from bench.spec import load_spec

    places = Places.find(out, data or (), plugins or ())
    chosen, _ = choose_scale(scale)
    resolved = load_spec(spec, places.plugins, dataset=dataset).at(chosen)
    console = make_console()
    with make_display(quiet, console, make_console(stderr=True)) as display:
        held_out = hold_out(resolved, places, display=display)
    again = ["bench", "score", "DIR", "--spec", spec, "--scale", chosen, *(["--dataset", dataset] if dataset else [])]
    export_prompts(held_out, to, scale=chosen, score=shlex.join([*again, "--name", "NAME"]), with_targets=targets)
    protocol = resolved.protocol
    if not quiet:
        pieces = len(held_out.targets.targets)
        print_line(console, f"{pieces} pieces at scale {chosen}: {protocol.prompt} notes given, {protocol.notes} to write")
    print_line(console, str(to / "README.txt"))


def score(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of MIDI files: one or several for each prompt.")],
    spec: Annotated[str | None, typer.Option("--spec", metavar="SPEC", help="Against this spec's held-out pieces.")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Beside this run's rows, on its pieces.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The row's; by default the folder's.")] = None,
    dataset: OtherDataset = None,
    scale: ScaleOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Score MIDI files of any system on a spec's held-out pieces, beside its reference rows. Exit code 3 if a piece is missing.

    A file belongs to the prompt whose number its name has: prompt-007.mid, mine-prompt-007.mid, 007.mid; of several samples
    prompt-007-1.mid and so on. If no name has a number, sorted order decides.
    """
    from bench.places import Places
    from bench.scored import score_beside, score_folder

    if (spec is None) == (run is None):
        raise UsageError("Give either --spec SPEC or --run RUN.", "A spec's held-out pieces, or those of a run and its rows.")
    places = Places.find(out, data or (), plugins or ())
    console = make_console()
    with make_display(quiet, console, make_console(stderr=True)) as display:
        if spec is not None:
            scored = score_folder(
                folder,
                spec,
                name=name,
                scale=scale,
                dataset=dataset,
                data=data or (),
                plugins=plugins or (),
                out=out,
                display=display,
            )
        else:
            for option, given in (("--scale", scale), ("--dataset", dataset), ("--data", data), ("--plugins", plugins)):
                if given:
                    raise UsageError(f"{option} was given with --run.", "The run has its own.")
            scored = score_beside(folder, find_run(str(run), places.out), name=name, out=out)
    _show(console, scored, quiet)
    if not scored.complete:
        raise typer.Exit(INCOMPLETE)


def _show(console: Console, scored: Scored, quiet: bool) -> None:
    """The rows; which file was what; what is bad or missing; where the report is."""
    from bench import listing
    from bench.report.numbers import plural

    external = scored.external
    if not quiet:
        console.print(listing.summary(scored.result.table))
        for line in _matched(scored):
            print_line(console, line)
    for file, reason in list(external.bad.items())[:LISTED]:
        print_line(console, f"can't be used: {clean(file)}: {reason}")
    if (more := len(external.bad) - LISTED) > 0:
        print_line(console, f"can't be used: {more} more")
    if external.missing:
        shown = ", ".join(f"{piece:03}" for piece in external.missing[:LISTED])
        rest = f" and {len(external.missing) - LISTED} more" if len(external.missing) > LISTED else ""
        print_line(console, f"missing: {plural(len(external.missing), 'piece')}: {shown}{rest}")
    if scored.result.failed:
        print_line(console, f"{plural(scored.result.failed, 'trial')} of other rows failed")
    print_line(console, str(scored.result.folder / "report.html"))


def _matched(scored: Scored) -> list[str]:
    external = scored.external
    files, cut = len(external.files), sum(f.prompt_cut for f in external.files)
    rule = "by the number in its name" if external.by_name else "in sorted order: no file's name has a piece's number"
    said = [f"{files} files count, {external.samples} a piece, each matched {rule}"]
    if cut == files:
        said.append("every file begins with its prompt, which was cut off")
    elif cut == 0:
        said.append("no file begins with its prompt: all notes count as continuation")
    else:
        shorter = cut <= files - cut
        names = [f.name for f in external.files if f.prompt_cut == shorter]
        shown = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
        said.append(f"{cut} files begin with their prompt, which was cut off; {files - cut} hold the continuation alone")
        said.append(f"{'with' if shorter else 'without'} prompt: {shown}")
    if surplus := sum(f.surplus > 0 for f in external.files):
        said.append(f"{surplus} files are longer than needed; their first notes count")
    return said + [f"{f.name}: {f.remark}" for f in external.files if f.remark]
