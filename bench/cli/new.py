"""`bench new model`: a plug-in to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import path_of
from bench.cli.output import make_console, print_line
from bench.errors import UsageError


def model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, and that of its file.")],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", parser=path_of("--to"), help="Folder to write it to; made if it doesn't exist.")
    ] = Path(),
) -> None:
    """Write NAME.py: a small model with comments that runs, and passes the conformance suite. Nothing is overwritten."""
    from importlib.util import find_spec

    from jinja2 import Environment, StrictUndefined

    import bench.plugins
    from bench.plugins.discovery import find_plugins
    from bench.plugins.header import NAME
    from bench.specs.schema import UNTRAINED
    from bench.system.disk import exists, write_file

    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't name a model.", "A name has letters a-z or A-Z, digits, _ and - alone, such as my-model."
        )
    if meaning := {"none": "`--models none` means no model at all", UNTRAINED: "it is the name of a reference row"}.get(name):
        raise UsageError(f"{name!r} can't name a model: {meaning}.", f"Choose another name, such as my-{name}.")
    if name in find_plugins("model"):
        raise UsageError(f"There is a model {name!r} already: it comes with bench.", "Choose another name.")
    template = Path(bench.plugins.__file__).with_name("model.py.j2").read_text(encoding="utf-8")
    text = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(template)
    path = to / f"{name}.py"
    if exists(path):
        raise UsageError(f"{path} exists, and is not overwritten.", "Choose another name, or another folder: --to DIR.")
    # A namespace package is a mere folder, which hides nothing that is imported.
    if name.isidentifier() and (module := find_spec(name)) is not None and module.origin is not None:
        raise UsageError(
            f"{name!r} is the name of a module, which {path} could hide from Python.", f"Choose another name, such as my-{name}."
        )
    write_file(path, text.render(name=name).encode())  # whole or not at all
    console = make_console()
    print_line(console, str(path))
    print_line(console, f"Try it: bench run smoke --plugins {path} --models {name}")
