"""What a shell offers for a word that is being typed: the names of specs, models, datasets and runs as they are now.

None of it prints or raises: a shell shows nothing where nothing is found. Names of files may be others', and shells evaluate what
they are offered: only names that no shell takes for more are.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from bench.errors import BenchError
from bench.plugins.header import Kind

_PLAIN = re.compile(r"\w[\w.+-]*")


def _offered(names: Callable[[typer.Context], Iterable[str]]) -> Callable[[typer.Context, str], list[str]]:
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        with contextlib.suppress(BenchError, OSError):
            return sorted(name for name in names(ctx) if name.startswith(incomplete) and _PLAIN.fullmatch(name))
        return []

    return complete


def _specs(ctx: typer.Context) -> Iterable[str]:
    from bench.specs.load import shipped_specs

    return [*shipped_specs(), *(path.name for path in Path().glob("*.y*ml"))]


def _runs(ctx: typer.Context) -> Iterable[str]:
    from bench.system.paths import Places

    names = [file.parent.name for file in (Places.find(ctx.params.get("out")).out / "runs").glob("[!.]*/run.json")]
    return [*names, "latest"] if names else []


def _plugins(ctx: typer.Context, kind: Kind) -> Iterable[str]:
    from bench.plugins.discovery import find_plugins
    from bench.system.paths import user_folders

    return find_plugins(kind, user_folders(ctx.params.get("plugins") or ()))


def _listed(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of several names with commas between."""
    before, comma, last = incomplete.rpartition(",")
    chosen = before.split(",")
    return [before + comma + name for name in models(ctx, last) if name not in chosen]


specs = _offered(_specs)
runs = _offered(_runs)
models = _offered(lambda ctx: _plugins(ctx, "model"))
datasets = _offered(lambda ctx: _plugins(ctx, "dataset"))
model_list = _listed
