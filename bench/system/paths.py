"""Folders of music, plug-ins, caches and results, from arguments and environment variables. Imports nothing heavy."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.music.folders import LINKED, folders

#: Names of specs and runs, which are names of folders too: no path leads out of one.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$"

#: Beginning of the name of a search's folder, see `bench tune`.
SEARCH = "tune-"


def check_run_name(name: object) -> None:
    """Refuse a name that is no folder's, that stands for a run, or that says that the folder is a search's.

    Raises
    ------
    UsageError
    """
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or name == "latest" or name.startswith(SEARCH):
        raise UsageError(
            f"The name {name!r} can't name a run.",
            f"Give at most 100 letters, digits and _ . + -, beginning with no sign, and not latest or {SEARCH}…",
        )


def check_spec_name(name: str | None) -> None:
    """Refuse a spec whose runs would have names of searches, which are never the latest run.

    Raises
    ------
    UsageError
    """
    if name and f"{name}-".startswith(SEARCH):
        raise UsageError(
            f"Runs of the spec {name!r} would be named {SEARCH}…, as folders of searches are, which are never the latest run.",
            "Rename its file, or name the run: --name.",
        )


@dataclass(frozen=True)
class Places:
    """Folders that a run reads from and writes to.

    Parameters
    ----------
    out : Path
        The reports folder; runs are in ``runs/``.
    cache : Path
        Parsed corpora and downloads.
    seeds : tuple of Path
        Caches that are only read, such as one baked into an image.
    data : tuple of Path
        The user's folders of music.
    plugins : tuple of Path
        The user's plug-in folders.
    weights : tuple of Path
        The user's folders of models' weights.
    """

    out: Path
    cache: Path
    seeds: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()
    plugins: tuple[Path, ...] = ()
    weights: tuple[Path, ...] = ()

    @classmethod
    def find(cls, out: Path | str | None = None, data: Sequence[Path | str] = (), plugins: Sequence[Path | str] = ()) -> Places:
        """Resolve the folders: arguments first, then the environment variables.

        These are BENCH_REPORTS, BENCH_CACHE, BENCH_CACHE_SEED, BENCH_DATA, BENCH_PLUGINS and BENCH_WEIGHTS.

        Raises
        ------
        UsageError
            If a data folder doesn't exist, or a path is an empty text.
        """
        if out == "":
            raise UsageError("The folder for results is an empty text.", "Give a path; the current folder is `.`.")
        if "" in [str(folder) for folder in (*data, *plugins)]:  # which Path takes for the current folder
            raise UsageError("A folder of music or plug-ins is an empty text.", "Give a path; the current folder is `.`.")
        data_folders = [Path(d) for d in data]
        for folder in data_folders:
            if not folder.is_dir():
                raise UsageError(f"There is no folder {folder}.", "Give --data an existing folder.")
        reports = Path(out or os.environ.get("BENCH_REPORTS") or "reports").absolute()
        cache = Path(os.environ.get("BENCH_CACHE") or reports / ".cache").absolute()
        return cls(
            out=reports,
            cache=cache,
            seeds=_folders("BENCH_CACHE_SEED"),
            data=tuple(f.absolute() for f in (*data_folders, *_folders("BENCH_DATA"))),
            plugins=tuple(f.absolute() for f in user_folders([Path(p) for p in plugins])),
            weights=_folders("BENCH_WEIGHTS"),
        )

    @property
    def downloads(self) -> Path:
        """Folder that datasets are downloaded into."""
        return self.cache / "downloads"

    def job(self) -> dict[str, Any]:
        """Build the part of a task's job that names these folders."""
        return {
            "cache": str(self.cache),
            "seeds": list(map(str, self.seeds)),
            "data": list(map(str, self.data)),
            "plugins": list(map(str, self.plugins)),
            "weights": list(map(str, self.weights)),
        }


def user_folders(options: Sequence[Path] = (), environment: str | None = None) -> tuple[Path, ...]:
    """List plug-in folders: those of the command line, then those in ``$BENCH_PLUGINS`` (separated as in ``$PATH``)."""
    listed = os.environ.get("BENCH_PLUGINS", "") if environment is None else environment
    return (*options, *(Path(part) for part in listed.split(os.pathsep) if part))


def closed_folders(roots: Sequence[Path], depth: int | None = None) -> list[tuple[Path, str]]:
    """List the folders below some others that aren't entered, and why; hidden ones count as left out anyway.

    Parameters
    ----------
    roots : sequence of Path
    depth : int, optional
        Levels below the roots that are searched, links to folders too; None searches all that are no links.
    """
    errors: list[OSError] = []
    for root in roots:
        for folder, below, _ in folders(root, errors.append):
            deep = depth is not None and len(Path(folder).relative_to(root).parts) >= depth
            below[:] = [] if deep else [name for name in below if not name.startswith(".")]
    left_out = [(Path(os.fsdecode(error.filename)), error.strerror or str(error)) for error in errors]
    return [(folder, why) for folder, why in left_out if depth is None or why != LINKED]


def _folders(variable: str) -> tuple[Path, ...]:
    """List the folders in an environment variable, separated as in ``$PATH``."""
    return tuple(Path(part).absolute() for part in os.environ.get(variable, "").split(os.pathsep) if part)
