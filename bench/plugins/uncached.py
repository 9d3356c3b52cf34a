"""Import of users' files from their source alone, and as it was when their digest was taken.

Python takes compiled code from ``__pycache__`` for that of a file with the same length and the same second of its last change.
A file that was edited within a second, or copied with its time, would run as it was before, under the digest of what it is now.
One that is imported late, such as in ``generate``, may have been edited meanwhile: it would run under the digest of what it was.
So would a function whose source is read again when it is first called, as ``tf.function`` and ``torch.jit.script`` do.
"""

from __future__ import annotations

import hashlib
import io
import linecache
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import decode_source
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from bench.errors import PluginError

#: Digests of files by their real paths, and those that were to be imported after a change.
_EXPECTED, _CHANGED = dict[str, str](), list[str]()

#: Lines that were compiled, by path.
_SOURCES = dict[str, list[str]]()

_read_lines = linecache.updatecache


def _compiled_lines(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
    """Put the lines of a file into :mod:`linecache`, by which :func:`inspect.getsource` reads: those that were compiled."""
    if (lines := _SOURCES.get(filename)) is None:
        return _read_lines(filename, module_globals)
    linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)  # without a time of change it is never read again
    return lines


class _Source(SourceFileLoader):
    """Loader that compiles each time."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        data = self.get_data(path)
        _check(path, data)
        code: CodeType = self.source_to_code(data, path)
        _SOURCES[path] = io.StringIO(decode_source(data)).readlines()  # str.splitlines() ends lines where Python doesn't
        linecache.updatecache(path)
        return code


class _Extension(ExtensionFileLoader):
    """Loader of a compiled extension."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        _check(self.path, self.get_data(self.path))
        return super().create_module(spec)


class _Finder:
    """Finder of the modules of some packages; a folder without ``__init__.py`` is left to Python's own, its modules are not."""

    def __init__(self) -> None:
        #: Folder that holds each package; empty where it is made by hand.
        self.packages: dict[str, list[str]] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if (own := self.packages.get(fullname.partition(".")[0])) is None:
            return None
        for folder in own if path is None else path:
            finder = FileFinder(folder, (_Extension, EXTENSION_SUFFIXES), (_Source, SOURCE_SUFFIXES))
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
        linecache.updatecache = _compiled_lines  # tf.function drops what linecache has of a file, to read it again
    _FINDER.packages[package] = [] if place is None else [str(place.parent)]


def expect(digests: Mapping[str, str]) -> None:
    """Let no import by these finders take a file that isn't what it was, see :func:`bench.plugins.digest.file_digests`."""
    _EXPECTED.update(digests)


def check_unchanged() -> None:
    """Refuse what a plug-in did without a file that it was refused: it may have caught the error.

    Raises
    ------
    PluginError
        If a file was changed and imported then.
    """
    if _CHANGED:
        raise PluginError(f"{_CHANGED[0]} was changed during the run.", "Start the run again.")


def _check(path: str, data: bytes) -> None:
    if _EXPECTED.get(os.path.realpath(path)) not in (None, hashlib.sha256(data).hexdigest()):
        _CHANGED.append(path)
        check_unchanged()


def import_packages_from_source(packages: Mapping[str, Sequence[str]]) -> None:
    """Let no import of the user's packages read or write compiled code, see :func:`bench.plugins.digest.imported_packages`."""
    for name, (place, *_) in packages.items():  # a namespace package's folders are found by Python, and their modules by its path
        import_from_source(name, Path(place))
