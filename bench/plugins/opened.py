"""Files of code that this process opens, whichever way: imported by name at run time, loaded from a path, or executed.

No syntax tree says what these are. Python tells of each file that it opens and of each extension that it loads.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from typing import Any

#: Paths that were opened to be read, and to be written: what a process made itself is no code of the user's.
_READ, _WRITTEN = set[str](), set[str]()

#: Folders in which frameworks keep code that they generate.
_GENERATED = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@functools.cache
def _hook() -> None:
    sys.addaudithook(_note)  # for as long as the process lives


def watch() -> None:
    """Note from now on what this process opens."""
    _hook()
    _READ.clear()
    _WRITTEN.clear()


def opened() -> list[Path]:
    """List the files of code that were opened or loaded since :func:`watch`, without those that the process has written."""
    generated = [Path(place).absolute() for name in _GENERATED if (place := os.environ.get(name))]
    paths = {Path(path).absolute() for path in map(_source, _READ - _WRITTEN)}
    return sorted(path for path in paths if not any(path.is_relative_to(place) for place in generated))


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str) and path.endswith((*SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)):
            (_WRITTEN if flags & (os.O_WRONLY | os.O_RDWR) else _READ).add(path)
    elif event == "import" and isinstance(arguments[1], str) and arguments[1].endswith(tuple(EXTENSION_SUFFIXES)):
        _READ.add(arguments[1])


def _source(path: str) -> str:
    """Path of the source that a compiled file was made of; others as they are."""
    with contextlib.suppress(ValueError, NotImplementedError):
        return importlib.util.source_from_cache(path)
    return path
