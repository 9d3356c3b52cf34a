"""`bench listen`: a run's samples as sound."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import OutOption, QuietOption
from bench.cli.output import INCOMPLETE, find_run, make_console, print_line
from bench.errors import BenchError, UsageError, did_you_mean


class NoSoundError(BenchError):
    """The programs that make sound are not here."""

    exit_code = INCOMPLETE


def listen(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, its name, or `latest`.")],
    systems: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these rows; also reference rows, such as markov.", show_default=False)
    ] = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Render a run's samples and their originals as MP3 again, and say where they are. Nothing is trained.

    Needs FluidSynth with a SoundFont, or TiMidity, and FFmpeg. Exit code 3 if they are not here, or a clip could not be made.
    """
    from bench.report import write_reports
    from bench.report.contents import piece_name
    from bench.sound.clips import render_run
    from bench.sound.render import Failure
    from bench.sound.synthesizer import INSTALL, Missing, find_renderer
    from bench.storage.run_folder import RunFolder
    from bench.storage.samples import read_targets
    from bench.system.paths import Places

    folder = find_run(run, Places.find(out).out)
    chosen = _systems(systems, [planned.trial["system"] for planned in RunFolder(folder).read().trials])
    renderer = find_renderer()
    if isinstance(renderer, Missing):
        raise NoSoundError(f"There are no programs to make sound: {renderer.what}.", INSTALL)
    console = make_console()
    if not quiet:
        print_line(console, renderer.words)
    made = render_run(folder, renderer, systems=chosen, again=True)
    if not made:
        raise NoSoundError(f"{folder} holds no samples as MIDI yet.", "Run it to the end first, or name other rows: --systems.")
    titles = [piece_name(target) for target in read_targets(RunFolder(folder).targets)]
    failed = [clip for clip in made if isinstance(clip.result, Failure)]
    for clip in made:
        what = f"{clip.source.system}, {titles[clip.source.piece]}"
        if isinstance(clip.result, Failure):
            print_line(make_console(stderr=True), f"{what}: {clip.result.reason}")
        elif not quiet:
            print_line(console, f"{what}: {clip.source.mp3}")
    # The report plays them: it is written again.
    print_line(console, str(next(path for path in write_reports(folder) if path.suffix == ".html")))
    if failed:
        raise typer.Exit(INCOMPLETE)


def _systems(text: str | None, there: list[str]) -> list[str] | None:
    """``a,b`` as rows of the run; None where none is named."""
    if text is None:
        return None
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise UsageError(f"--systems is {text!r}; expected rows such as lstm,markov.")
    for name in names:
        if name not in there:
            raise UsageError(f"The run has no row {name!r}.", did_you_mean(name, set(there)))
    return names
