"""Where music and results lie: the command's arguments, then the environment. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError


@dataclass(frozen=True)
class Places:
    """Where things are looked for and written.

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
    """

    out: Path
    cache: Path
    seeds: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()
    plugins: tuple[Path, ...] = ()

    @classmethod
    def find(cls, out: Path | str | None = None, data: Sequence[Path | str] = (), plugins: Sequence[Path | str] = ()) -> Places:
        """The arguments first, then the environment: BENCH_REPORTS, BENCH_CACHE, BENCH_CACHE_SEED, BENCH_DATA, BENCH_PLUGINS.

        Raises
        ------
        UsageError
            If a data folder isn't there.
        """
        given = [Path(d) for d in data]
        for folder in given:
            if not folder.is_dir():
                raise UsageError(f"There is no folder {folder}.", "Give --data an existing folder.")
        reports = Path(out or os.environ.get("BENCH_REPORTS") or "reports").absolute()
        cache = Path(os.environ.get("BENCH_CACHE") or reports / ".cache").absolute()
        return cls(
            out=reports,
            cache=cache,
            seeds=_folders("BENCH_CACHE_SEED"),
            data=tuple(f.absolute() for f in (*given, *_folders("BENCH_DATA"))),
            plugins=tuple(f.absolute() for f in user_folders([Path(p) for p in plugins])),
        )

    @property
    def downloads(self) -> Path:
        """Where datasets are fetched to."""
        return self.cache / "downloads"

    def job(self) -> dict[str, Any]:
        """The part of a dataset's job that says where things are."""
        return {
            "cache": str(self.cache),
            "seeds": list(map(str, self.seeds)),
            "data": list(map(str, self.data)),
            "plugins": list(map(str, self.plugins)),
        }


def user_folders(options: Sequence[Path] = (), environment: str | None = None) -> tuple[Path, ...]:
    """Folders named on the command line, then those in ``$BENCH_PLUGINS`` (separated as in ``$PATH``)."""
    listed = os.environ.get("BENCH_PLUGINS", "") if environment is None else environment
    return (*options, *(Path(part) for part in listed.split(os.pathsep) if part))


def _folders(variable: str) -> tuple[Path, ...]:
    """Folders that an environment variable names, separated as in ``$PATH``."""
    return tuple(Path(part).absolute() for part in os.environ.get(variable, "").split(os.pathsep) if part)
