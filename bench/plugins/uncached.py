"""Import of users' files from their source alone.

Python takes compiled code from ``__pycache__`` for that of a file with the same length and the same second of its last change.
A file that was edited within a second, or copied with its time, would run as it was before, under the digest of what it is now.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


class _Source(SourceFileLoader):
    """Loader that compiles each time."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


class _Finder:
    """Finder of the modules of some packages; a folder without ``__init__.py`` is left to Python's own, its modules are not."""

    def __init__(self) -> None:
        #: Folder that holds each package; empty where it is made by hand.
        self.packages: dict[str, list[str]] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if (own := self.packages.get(fullname.partition(".")[0])) is None:
            return None
        for folder in own if path is None else path:
            finder = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Source, SOURCE_SUFFIXES))
            if (spec := finder.find_spec(fullname)) is not None and spec.loader is not None:
                return spec
        return None


_FINDER = _Finder()


def import_from_source(package: str, place: Path | None = None) -> None:
    """Let no import of `package` or its submodules read or write compiled code in this process.

    Parameters
    ----------
    package : str
        Name of a package or module without dots.
    place : Path, optional
        Its folder or file, where it is imported from a path.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.packages[package] = [] if place is None else [str(place.parent)]


def import_packages_from_source(packages: Mapping[str, Sequence[str]]) -> None:
    """Let no import of the user's packages read or write compiled code, see :func:`bench.plugins.digest.imported_packages`."""
    for name, (place, *_) in packages.items():  # a namespace package's folders are found by Python, and their modules by its path
        import_from_source(name, Path(place))
