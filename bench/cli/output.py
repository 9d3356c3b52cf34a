"""Output of the commands: consoles, plain lines, errors."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from bench.errors import INCOMPLETE, NOT_COMPARABLE, BenchError, StoppedError, UsageError, did_you_mean, machine_error, refusal
from bench.formatting import clean
from bench.system.disk import exists, is_file, is_folder
from bench.system.paths import SEARCH

if TYPE_CHECKING:  # only shown here; a command that verifies has loaded it
    from bench.api import Verified


class CleanConsole(Console):
    """Console that cleans every text (see :func:`bench.formatting.clean`), whoever printed it.

    It goes quiet when its reader goes away (`bench list | head`); the work continues.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, and clean all but Rich's own escape sequences."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(clean(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Discard further output."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2 if self.stderr else 1)
        os.close(nowhere)


#: What of a run's folder `bench report` doesn't make again: of a listening test only its key says whose clips were heard.
_STORED = {"run.json", "targets.npz", "trials", "midi", "prepare.json", "listening"}


def make_console(stderr: bool = False) -> Console:
    """Create a Rich console, 120 columns wide where it is no terminal and no width is set."""
    console = CleanConsole(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120
    return console


def prepare_output() -> None:
    """Make sure that everything can be printed, before the first console is made.

    A terminal of unknown size may set $COLUMNS and $LINES to 0, which Rich and Typer take for no room at all: they are ignored
    unless they are a size. A character that the terminal's encoding lacks is printed as a question mark. What goes to a closed
    stream (``2>&-``) is dropped.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (stays open)
    for name in ("COLUMNS", "LINES"):
        if not re.fullmatch("[1-9][0-9]{0,4}", os.environ.get(name, "")):
            os.environ.pop(name, None)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")


def print_line(console: Console, text: str) -> None:
    """Print a line without markup or wrapping."""
    console.print(Text(text), soft_wrap=True)


def tell_left_out(problems: Sequence[str]) -> None:
    """Say on stderr what of the input isn't used, and why: a line for each."""
    for problem in problems:
        print_line(make_console(stderr=True), f"left out: {problem}")


def show_error(console: Console, error: BenchError | StoppedError, prefix: str = "") -> None:
    """Print an error's message and its hint."""
    console.print(Text.assemble(("error: ", "bold red"), prefix + error.message), soft_wrap=True)
    if error.hint:
        print_line(console, error.hint)


def show_verification(console: Console, quiet: bool, name: str, verification: Verified) -> None:
    """Print what differs from known checksums; leave with :data:`INCOMPLETE` if anything does, without checksums with 4."""
    from bench.runner.datasets import verification_text

    for line in verification.differences:
        print_line(console, line)
    if not quiet:
        print_line(console, f"{name}: {verification_text(verification)}")
        if verification.remark:
            print_line(console, verification.remark)
    if verification.differences:
        raise typer.Exit(INCOMPLETE)
    if not verification.compared:
        raise typer.Exit(NOT_COMPARABLE)


def as_bench_error(error: BenchError | OSError | MemoryError) -> BenchError:
    """Put an error of the system that no module expects, such as a full disk, in words."""
    if isinstance(error, BenchError):
        return error
    known = machine_error(error)
    if isinstance(error, OSError) and error.filename is None and (why := _homeless()):
        return UsageError(f"The current folder can't be used: {why}.", "It was removed or closed: change to another one (cd).")
    if isinstance(error, OSError):
        return refusal(error, UsageError(known.message, "Give another place, or change its permissions."))
    return known


def _homeless() -> str:
    """Why paths can't be taken from the current folder; empty if they can."""
    try:
        Path.cwd()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def check_output(output: Path | None, *read: Path | None) -> None:
    """Refuse to write over what the command reads, or what a run has stored: nothing makes that again.

    Parameters
    ----------
    output : Path or None
    *read : Path or None
        Files, folders of runs, and folders of baselines.

    Raises
    ------
    UsageError
    """
    if output is None or not exists(output):
        return
    at = output.resolve()
    for place in (path.resolve() for path in read if path is not None):
        if at == place or (at.suffix == ".json" and at.is_relative_to(place) and not is_file(place / "run.json")):
            raise UsageError(f"{output} is read by this command, which would write over it.", "Name another file for the output.")
    for folder in at.parents:
        if at.relative_to(folder).parts[0] in _STORED and is_file(folder / "run.json"):
            raise UsageError(f"{output} belongs to a stored run, and would be lost.", "Name another file for the output.")


def find_run(run: str, reports: Path) -> Path:
    """Find the folder of a run by its path, its name or `latest`, which is never the folder of a search.

    Raises
    ------
    UsageError
        If there is none, or the system can't say: what can't be entered may be the latest run.
    """
    if not run:
        raise UsageError("RUN is empty.", "Give a run's folder, its name, or `latest`.")
    runs, here = _folders(reports / "runs"), Path(run)
    wanted = [name for name in runs if not name.startswith(SEARCH)] if run == "latest" else [run] if run in runs else []
    found = max((runs[name] for name in wanted if _holds_run(runs[name])), key=_written, default=None)
    if _holds_run(here):
        if found is not None and not found.samefile(here):
            raise UsageError(
                f"{run!r} is the run {found}, and a folder here that holds a run.",
                f"Give the folder as ./{run}, the run as {found}.",
            )
        return here
    if found is not None:
        return found
    robbed = next((folder for folder in (runs.get(run), here) if folder is not None and is_folder(folder / "trials")), None)
    if robbed is not None:
        raise UsageError(f"{robbed} has no run.json.", "`bench run` with the run's spec and options makes it again.")
    names = [name for name, folder in runs.items() if is_file(folder / "run.json")]
    hint = did_you_mean(run, names) if names else f"{reports / 'runs'} holds no run."
    raise UsageError(f"There is no run {run!r}.", f"{hint} Or give --out DIR.")


def _folders(runs: Path) -> dict[str, Path]:
    try:
        return {name: runs / name for name in sorted(os.listdir(runs)) if not name.startswith(".")}  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unread(runs, error) from error


def _holds_run(folder: Path) -> bool:
    try:
        return exists(folder / "run.json") and is_file(folder / "run.json")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no file can have that name
            return False
        raise _unread(folder, error) from error


def _written(run: Path) -> float:
    return (run / "run.json").stat().st_mtime


def _unread(folder: Path, error: OSError) -> BenchError:
    return refusal(error, UsageError(f"{folder} can't be read: {error.strerror}.", "Let bench enter it, or move it away."))
