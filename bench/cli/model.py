"""`bench model fetch`, `bench model verify`: the weights that a model comes with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import completion
from bench.cli.display import make_display
from bench.cli.options import OutOption, PluginsOption, QuietOption
from bench.cli.output import make_console, print_line, show_verification
from bench.errors import UsageError, did_you_mean

ModelArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A model, see `bench list models`.", autocompletion=completion.models)
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="A hyperparameter of the model, as in a spec. Repeatable."),
]


def fetch(
    name: ModelArgument,
    option: ParameterOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Download the weights that a model comes with into the cache, and check them. A run never downloads them."""
    from bench.runner.models import fetch_weights

    params = _hyperparameters(name, option, plugins)
    console = make_console()
    with make_display(quiet, console, make_console(stderr=True)) as display:
        folder = fetch_weights(name, params=params, display=display, out=out, plugins=plugins or ())
    print_line(console, f"{name} is in {folder}")


def verify(
    name: ModelArgument,
    option: ParameterOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compare a model's local weights with their known checksums. Exit code 3 if anything differs, 4 if none are known."""
    from bench.runner.models import verify_weights

    params = _hyperparameters(name, option, plugins)
    console = make_console()
    with make_display(quiet, console, make_console(stderr=True)) as display:
        verification = verify_weights(name, params=params, display=display, out=out, plugins=plugins or ())
    show_verification(console, quiet, name, verification)


def _hyperparameters(name: str, choices: Sequence[str] | None, plugins: Sequence[Path] | None) -> dict[str, Any]:
    """Return the hyperparameters that were given, checked before anything starts."""
    from bench.plugins.discovery import find_plugins
    from bench.runner.datasets import choose_options
    from bench.system.paths import user_folders

    models = find_plugins("model", user_folders(plugins or ()))
    if name not in models:
        raise UsageError(f"There is no model {name!r}.", did_you_mean(name, models))
    return choose_options(models[name], choices or ())
