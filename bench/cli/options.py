"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# A plain text: bench.specs.scales.choose_scale says what is wrong with it better than typer does.
ScaleOption = Annotated[
    str | None,
    typer.Option(metavar="smoke|cpu|gpu", help="How big. By default gpu where a GPU is visible, else cpu.", show_default=False),
]
DataOption = Annotated[
    list[Path] | None, typer.Option("--data", metavar="DIR", help="A folder of music, before $BENCH_DATA. Repeatable.")
]
PluginsOption = Annotated[
    list[Path] | None,
    typer.Option("--plugins", metavar="DIR", help="A folder of plug-ins, before $BENCH_PLUGINS. Repeatable."),
]
DatasetArgument = Annotated[str, typer.Argument(metavar="NAME", help="A dataset, see `bench list datasets`.")]
SpecOption = Annotated[
    str | None, typer.Option("--spec", metavar="SPEC", help="The selection of this spec: a shipped one's name, or a YAML file.")
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="One of its options, as in a spec; over --spec. Repeatable."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The reports folder. By default $BENCH_REPORTS, else reports.")
]
JobsOption = Annotated[int, typer.Option("--jobs", "-j", min=1, metavar="N", help="Trials side by side; they share the cores.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only failures and the report's path.")]
SoundOption = Annotated[
    bool,
    typer.Option("--sound/--no-sound", help="Render the models' samples as MP3 at the end."),
]
