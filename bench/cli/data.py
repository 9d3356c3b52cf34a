"""`bench data fetch`, `bench data verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cli.display import make_display
from bench.cli.options import (
    DataOption,
    DatasetArgument,
    OptionOption,
    OutOption,
    PluginsOption,
    QuietOption,
    ScaleOption,
    SpecOption,
)
from bench.cli.output import make_console, print_line, show_verification
from bench.errors import UsageError, did_you_mean


def fetch(
    name: DatasetArgument,
    spec: SpecOption = None,
    scale: ScaleOption = None,
    option: OptionOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Download a dataset into the cache and check it against its published or locked checksums. Its licence is named first."""
    from bench.runner.datasets import fetch_dataset

    where = {"out": out, "data": data or (), "plugins": plugins or ()}
    options = _dataset_options(name, spec, scale, option, plugins)
    console = make_console()
    with make_display(quiet, console, make_console(stderr=True)) as display:
        folder = fetch_dataset(name, options=options, display=display, **where)
    print_line(console, f"{name} is in {folder}")


def verify(
    name: DatasetArgument,
    spec: SpecOption = None,
    scale: ScaleOption = None,
    option: OptionOption = None,
    data: DataOption = None,
    plugins: PluginsOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compare a local dataset with its published or locked checksums. Exit code 3 if anything differs, 4 if none are known."""
    from bench.runner.datasets import verify_dataset

    where = {"out": out, "data": data or (), "plugins": plugins or ()}
    options = _dataset_options(name, spec, scale, option, plugins)
    console = make_console()
    with make_display(quiet, console, make_console(stderr=True)) as display:
        verification = verify_dataset(name, options=options, display=display, **where)
    show_verification(console, quiet, name, verification)


def _dataset_options(
    name: str, spec: str | None, scale: str | None, choices: Sequence[str] | None, plugins: Sequence[Path] | None
) -> dict[str, Any]:
    """Return the selection that `bench data` was asked for, checked before anything starts."""
    from bench.plugins.discovery import find_plugins
    from bench.runner.datasets import choose_options
    from bench.system.paths import user_folders

    if scale is not None and spec is None:
        raise UsageError("--scale was given without --spec.", "It is the scale of a spec.")
    folders = user_folders(plugins or ())
    datasets = find_plugins("dataset", folders)
    if name not in datasets:
        raise UsageError(f"There is no dataset {name!r}.", did_you_mean(name, datasets))
    return choose_options(datasets[name], choices or (), spec, scale, folders)
