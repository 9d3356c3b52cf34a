"""`bench listen`: a run's samples as sound."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import OutOption, QuietOption, RunArgument
from bench.cli.output import find_run, make_console, print_line
from bench.errors import INCOMPLETE, BenchError, UsageError, did_you_mean


class NoSoundError(BenchError):
    """Nothing to render."""

    exit_code = INCOMPLETE


def listen(
    run: RunArgument,
    systems: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these rows; also reference rows, such as markov.", show_default=False)
    ] = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Render a run's samples and their originals as MP3 again, and say where they are. Nothing is trained.

    $BENCH_SOUNDFONT names another SoundFont than the one that comes with bench. Exit code 3 if a clip could not be rendered.
    """
    from bench.report import write_reports
    from bench.report.contents import piece_name
    from bench.sound.clips import render_run
    from bench.sound.synthesizer import find_synthesizer
    from bench.storage.run_folder import RunFolder
    from bench.system.paths import Places

    folder = find_run(run, Places.find(out).out)
    planned_trials = RunFolder(folder).read().trials
    chosen = parse_systems(systems, [planned.trial["system"] for planned in planned_trials])
    synthesizer = find_synthesizer()
    console = make_console()
    if not quiet:
        print_line(console, synthesizer.description)
    outcomes = render_run(folder, synthesizer, systems=chosen, again=True)
    if not outcomes:
        hint = "Run it to the end first, or name other rows: --systems."
        if chosen is None and not any(planned.trial["kind"] == "model" for planned in planned_trials):
            raise NoSoundError("This run has no model rows; choose reference rows, for example --systems markov.")
        raise NoSoundError(f"{folder} holds no samples as MIDI yet.", hint)
    titles = [piece_name(target) for target in RunFolder(folder).read_targets().targets]
    for outcome in outcomes:
        clip = f"{outcome.source.system}, {titles[outcome.source.piece]}"
        if outcome.error:
            print_line(make_console(stderr=True), f"{clip}: {outcome.error}")
        elif not quiet:
            print_line(console, f"{clip}: {outcome.source.mp3}")
    # The report embeds the clips, so it is written again.
    print_line(console, str(next(path for path in write_reports(folder).files if path.suffix == ".html")))
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(INCOMPLETE)


def parse_systems(text: str | None, rows: list[str]) -> list[str] | None:
    """Parse ``a,b`` into rows of the run; None where none is named."""
    if text is None:
        return None
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise UsageError(f"--systems is {text!r}; expected rows such as lstm,markov.")
    for name in names:
        if name not in rows:
            raise UsageError(f"The run has no row {name!r}.", did_you_mean(name, set(rows)))
    return names
