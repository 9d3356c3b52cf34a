"""Files of code that this process uses, whichever way: imported by name at run time, loaded from a path, or executed.

No syntax tree says what these are. Python tells of each file that it opens, library that it loads and program that it starts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from typing import Any

#: Paths that were opened to be read, and to be written: what a process made itself is no code of the user's.
_READ, _WRITTEN = set[str](), set[str]()

#: When :func:`watch` was called, seconds since the epoch: what is younger a trial made itself.
_began = 0.0

#: Where libraries and programs of the system and of the interpreter are, which no user changes between two runs.
_SYSTEM = tuple(
    Path(place).resolve()
    for place in (
        *("/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/local"),
        *(f"{prefix}/{folder}" for prefix in (sys.prefix, sys.base_prefix) for folder in ("bin", "lib")),
    )
)

#: Suffixes of code that another program may be given to run.
_SCRIPTS = (*SOURCE_SUFFIXES, ".sh", ".jl", ".R", ".r", ".pl", ".rb", ".lua", ".js", ".jar")

#: What Python tells, of all that it tells.
_EVENTS = frozenset({"open", "import", "ctypes.dlopen", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"})

#: Folders in which frameworks keep code that they generate.
_GENERATED = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@functools.cache
def _hook() -> None:
    sys.addaudithook(_note)  # for as long as the process lives


def watch() -> None:
    """Note from now on what this process opens."""
    _hook()
    global _began
    _began = time.time()
    _READ.clear()
    _WRITTEN.clear()


def opened() -> list[Path]:
    """List the files of code that were opened or loaded since :func:`watch`, without those that the process has written."""
    generated = [Path(place).absolute() for name in _GENERATED if (place := os.environ.get(name))]
    paths = {Path(path).absolute() for path in map(_source, _READ - _WRITTEN)}
    return sorted(path for path in paths if not any(path.is_relative_to(place) for place in generated))


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _EVENTS:
        return
    with contextlib.suppress(Exception):  # else what is noted would fail
        _note_it(event, arguments)


def _note_it(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str) and path.endswith((*SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)):
            (_WRITTEN if flags & (os.O_WRONLY | os.O_RDWR) else _READ).add(path)
    elif event == "import" and isinstance(arguments[1], str) and arguments[1].endswith(tuple(EXTENSION_SUFFIXES)):
        _READ.add(arguments[1])
    elif event == "ctypes.dlopen" and isinstance(arguments[0], str) and os.sep in arguments[0]:
        _note_foreign(Path(arguments[0]))
    elif event == "subprocess.Popen":
        program, words, folder, _ = arguments
        _note_command([program, words] if isinstance(words, str | bytes) else [program, *words], folder)
    elif event in ("os.exec", "os.posix_spawn"):
        _note_command([arguments[0], *arguments[1]], None)
    elif event == "os.system":
        _note_command(arguments, None)


def _note_command(words: Iterable[Any], folder: Any) -> None:
    """Note what of a command line is code: the program, and scripts and programs that it is given, also through a shell."""
    place = os.fsdecode(folder) if folder else ""
    for word in map(os.fsdecode, words):
        parts = [word]
        with contextlib.suppress(ValueError):  # a quote that isn't closed
            parts += shlex.split(word)
        for part in parts:
            path = Path(place, part)
            with contextlib.suppress(OSError):  # too long for a path
                if path.is_file() and (path.suffix in _SCRIPTS or os.access(path, os.X_OK)):
                    _note_foreign(path)


def _note_foreign(path: Path) -> None:
    """Note a library, program or script, unless it is installed or was made since :func:`watch`."""
    path = path.absolute()
    real = path.resolve()
    installed = any(real.is_relative_to(place) for place in _SYSTEM) or shutil.which(path.name) == str(path)
    if not installed and real.stat().st_mtime < _began:
        _READ.add(str(path))


def _source(path: str) -> str:
    """Path of the source that a compiled file was made of; others as they are."""
    with contextlib.suppress(ValueError, NotImplementedError):
        return importlib.util.source_from_cache(path)
    return path
