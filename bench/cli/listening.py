"""`bench listen-test`: a page of blind pairs made from a run, and the analysis of its listeners' votes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.cli.listen import parse_systems
from bench.cli.options import OutOption, QuietOption, RunArgument, path_of
from bench.cli.output import find_run, make_console, print_line
from bench.errors import UsageError

#: Metrics that are printed; results.md has all.
_METRICS = 5


def listen_test(
    run: RunArgument,
    votes: Annotated[
        Path | None,
        typer.Option("--votes", metavar="DIR", parser=path_of("--votes"), help="Analyse the votes that listeners saved."),
    ] = None,
    systems: Annotated[
        str | None, typer.Option(metavar="A,B", help="Rows beside real and ngram; by default all models.", show_default=False)
    ] = None,
    prompts: Annotated[int | None, typer.Option(min=5, max=1000, help="Most prompts; 12 by default.", show_default=False)] = None,
    questions: Annotated[
        int | None,
        typer.Option(min=4, max=200, help="Pairs for each listener, beside checks; 20 by default.", show_default=False),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, max=120, help="Longest continuation; 12 by default.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the design; 0 by default.", show_default=False)] = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make a listening test of a run: one page of blind pairs, to be opened from disk. With --votes, analyse what came back.

    The page lies in the run's folder, below listening/, beside the key that says which clip is whose. Send the page alone.
    """
    from bench.system.paths import Places

    folder = find_run(run, Places.find(out).out)
    console = make_console()
    chosen = {"systems": systems, "prompts": prompts, "questions": questions, "seconds": seconds, "seed": seed}
    options = {name: value for name, value in chosen.items() if value is not None}
    if votes is None:
        _make(folder, options, console, quiet)
    elif options:
        raise UsageError(
            f"--{next(iter(options))} was given with --votes.", "The test already determines it; leave the option out."
        )
    else:
        _analyse(folder, votes, console, quiet)


def _make(folder: Path, options: dict[str, Any], console: Console, quiet: bool) -> None:
    """Make the test, and say how to use it and what it can show."""
    from bench.cli import listing
    from bench.formatting import listed, plural
    from bench.listening.page import Choices, make_test
    from bench.listening.power import power
    from bench.sound.synthesizer import find_synthesizer
    from bench.storage.run_folder import RunFolder

    if "systems" in options:
        rows = [planned.trial["system"] for planned in RunFolder(folder).read().trials]
        options["systems"] = parse_systems(options["systems"], rows)
    synthesizer = find_synthesizer()
    if not quiet:
        print_line(console, "Playing and encoding the clips, which takes a minute or more")
    made = make_test(folder, Choices(**options), synthesizer)
    for name in made.left_out:
        print_line(make_console(stderr=True), f"{name} is left out: it has no finished trial")
    if not quiet:
        names = [contestant.name for contestant in made.key.contestants]
        prompts, questions = len(made.key.prompts), len(made.key.forms[0])
        pairs = sum(question.kind == "pair" for question in made.key.forms[0])
        test = f"{plural(prompts, 'prompt')}, {plural(questions, 'question')} a listener, about {made.minutes:.0f} minutes"
        print_line(console, f"{listed(names)}; {test}")
        print_line(console, "Of two systems, how often one must be preferred (ties left out) for 4 of 5 tests to show it:")
        console.print(listing.grid(power(len(names), prompts, pairs)))
        print_line(console, "Send the page alone, and give each listener a number, from 1 on: it balances who hears what.")
        print_line(console, "Collect the files that listeners save in a folder; then:")
        print_line(console, f"  bench listen-test {shlex.quote(str(folder))} --votes FOLDER")
    print_line(console, str(made.page))


def _analyse(folder: Path, votes: Path, console: Console, quiet: bool) -> None:
    """Analyse the votes, and print the order of the systems."""
    from bench.cli import listing
    from bench.listening.results import analyse, metrics_table, ranking, summary, write_results

    result = analyse(folder, votes)
    for problem in result.problems:
        print_line(make_console(stderr=True), problem)
    written = write_results(result)
    if not quiet:
        for line in summary(result):
            print_line(console, line)
        console.print(listing.grid(ranking(result)))
        console.print(listing.grid(metrics_table(result), _METRICS))
    print_line(console, str(written[0]))
