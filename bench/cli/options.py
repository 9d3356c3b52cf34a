"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# A plain string, as the messages of bench.specs.scales.choose_scale are better than Typer's.
ScaleOption = Annotated[
    str | None,
    typer.Option(
        metavar="smoke|cpu|gpu", help="Size of the run. By default gpu where a GPU is visible, else cpu.", show_default=False
    ),
]
DataOption = Annotated[
    list[Path] | None, typer.Option("--data", metavar="DIR", help="A folder of music, searched before $BENCH_DATA. Repeatable.")
]
PluginsOption = Annotated[
    list[Path] | None,
    typer.Option("--plugins", metavar="DIR", help="A folder of plug-ins, searched before $BENCH_PLUGINS. Repeatable."),
]
DatasetArgument = Annotated[str, typer.Argument(metavar="NAME", help="A dataset, see `bench list datasets`.")]
SpecOption = Annotated[
    str | None,
    typer.Option("--spec", metavar="SPEC", help="Use the dataset options of this spec: name of a shipped spec, or a YAML file."),
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of the dataset, as in a spec; overrides --spec. Repeatable."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The reports folder. By default $BENCH_REPORTS, else reports.")
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        metavar="N",
        help="Number of trials run in parallel; they share the cores. By default one a core, on a GPU one.",
        show_default=False,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only failures and the report's path.")]
SoundOption = Annotated[
    bool,
    typer.Option("--sound/--no-sound", help="Render the models' samples as MP3 at the end."),
]
