"""Options shared by several commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.errors import UsageError


def path_of(option: str) -> Callable[[str], Path]:
    """Make the parser of a path: an empty one, as of a shell variable that isn't set, is not the current folder.

    Raises
    ------
    UsageError
        By the parser.
    """

    def path(text: str) -> Path:
        if not text:
            raise UsageError(f"{option} is empty.", "Give a path; the current folder is `.`.")
        return Path(text)

    return path


def jobs_of(text: str) -> int | None:
    """Parse a number of trials; ``auto``, the default, is none.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or not int(text):
        raise UsageError(
            f"--jobs is {text!r}; expected a number of trials, at least 1, or auto.", "By default one a core, on a GPU one."
        )
    return int(text)


# A plain string, as the messages of bench.specs.scales.choose_scale are better than Typer's.
ScaleOption = Annotated[
    str | None,
    typer.Option(
        metavar="smoke|cpu|gpu", help="Size of the run. By default gpu where a GPU is visible, else cpu.", show_default=False
    ),
]
DataOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--data", metavar="DIR", parser=path_of("--data"), help="A folder of music, searched before $BENCH_DATA. Repeatable."
    ),
]
PluginsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins",
        metavar="PATH",
        parser=path_of("--plugins"),
        help="A folder of plug-ins, or the file of one, searched before $BENCH_PLUGINS. Repeatable.",
    ),
]
DatasetArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A dataset, see `bench list datasets`.", autocompletion=completion.datasets)
]
SpecOption = Annotated[
    str | None,
    typer.Option(
        "--spec",
        metavar="SPEC",
        help="Use the dataset options of this spec: name of a shipped spec, or a YAML file.",
        autocompletion=completion.specs,
    ),
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of the dataset, as in a spec; overrides --spec. Repeatable."),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, its name, or `latest`.", autocompletion=completion.runs)
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", parser=path_of("--out"), help="The reports folder. By default $BENCH_REPORTS, else reports."
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        parser=jobs_of,
        metavar="N|auto",
        help="Number of trials run in parallel; they share the cores. By default (auto) one a core, on a GPU one.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        parser=path_of("--output"),
        help="Write to this file and create its folders; only the summary is printed.",
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="What starts the trials: local, ray, slurm, or a YAML file with `engine:` and options. By default $BENCH_ENGINE, "
        "else local.",
        show_default=False,
    ),
]
EngineOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-option",
        metavar="KEY=VALUE",
        help="An option of the engine, such as sbatch='--partition=gpu'; overrides its file. Repeatable.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only failures and the report's path.")]
SoundOption = Annotated[
    bool,
    typer.Option("--sound/--no-sound", help="Render the models' samples as MP3 at the end."),
]
