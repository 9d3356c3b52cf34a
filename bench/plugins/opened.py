"""Files of code that this process uses, whichever way: imported by name at run time, loaded from a path, or executed.

No syntax tree says what these are. Python tells of each file that it opens, library that it loads and program that it starts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import os
import re
import shlex
import shutil
import string
import sys
import sysconfig
import tempfile
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from typing import IO, Any, NamedTuple

#: Paths that were opened to be read, and to be written: what a process made itself is no code of the user's.
_READ, _WRITTEN = set[str](), set[str]()

#: When :func:`watch` was called, seconds since the epoch: what is younger a trial made itself.
_began = 0.0


class _Notes(NamedTuple):
    """The process that watches, and the file in which its forks, whose memory nobody reads, note what they open."""

    process: int
    file: IO[bytes]
    token: bytes

    def are_open(self) -> bool:
        """Whether the file is open: a process may close all that it has, and open others in their place."""
        with contextlib.suppress(OSError):
            return os.pread(self.file.fileno(), len(self.token), 0) == self.token
        return False

    def read(self) -> bytes:
        """Read the notes; none if the file isn't open."""
        if not self.are_open():
            return b""
        return os.pread(self.file.fileno(), os.fstat(self.file.fileno()).st_size, len(self.token))


_forked: _Notes | None = None

#: Where libraries and programs of the system and of the interpreter are, which no user changes between two runs.
_SYSTEM = tuple(
    Path(place).resolve()
    for place in (
        *("/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/local"),
        *(f"{prefix}/{folder}" for prefix in (sys.prefix, sys.base_prefix) for folder in ("bin", "lib")),
    )
)

#: Names of the folders of installed packages, and of the cache that uv may link them to: their code changes with their version.
_INSTALLED = {"site-packages", "dist-packages", "archive-v0"}

#: Where Python's own modules are, those that it makes for the platform included.
_PYTHON = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))

#: Suffixes of code that another program may be given to run.
_SCRIPTS = (*SOURCE_SUFFIXES, ".sh", ".jl", ".R", ".r", ".pl", ".rb", ".lua", ".js", ".jar")

#: Linux's clock of the last tick, which Python has no name for.
_COARSE = 5

#: What make reads in the folder that it runs in.
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")

#: Words of a command line that are looked at, and folders among them that are looked into: of one with thousands, the first.
MOST_WORDS, MOST_FOLDERS = 500, 8

#: Shells that a command line may start one within another.
MOST_SHELLS = 8

#: Characters of a word that is taken apart as a shell does.
LONGEST_WORD = 4096

#: What parts the words of a command line: blanks, and signs of a shell and of options.
_PUNCTUATION = re.compile(r"[\s;&|()<>{}'\"`$=,]+")

#: What is in a word that is a line of a shell itself.
_SEPARATOR = re.compile(r"[\s;&|()<>`$]")

#: What Python tells, of all that it tells.
_EVENTS = frozenset({"open", "import", "ctypes.dlopen", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"})

#: Folders in which frameworks keep code that they generate.
_GENERATED = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@functools.cache
def _hook() -> None:
    sys.addaudithook(_note)  # for as long as the process lives


def watch() -> None:
    """Note from now on what this process opens, and its forks do."""
    _hook()
    global _began, _forked
    # Times of files are those of the last tick.
    _began = time.clock_gettime(_COARSE) if sys.platform == "linux" else time.time()
    notes = tempfile.TemporaryFile("ab+", buffering=0)  # noqa: SIM115 (closed with the process)
    _forked = _Notes(os.getpid(), notes, os.urandom(16))
    notes.write(_forked.token)
    _READ.clear()
    _WRITTEN.clear()


def opened() -> list[Path]:
    """List the files of code that were opened or loaded since :func:`watch`, without those that the process has written."""
    for line in (_forked.read() if _forked else b"").split(b"\0")[:-1]:
        (_WRITTEN if line[:1] == b"w" else _READ).add(os.fsdecode(line[1:]))
    generated = [Path(place).absolute() for name in _GENERATED if (place := os.environ.get(name))]
    paths = {Path(path) for path in {*map(_source, _READ - _WRITTEN)} - _WRITTEN}  # compiled of what it wrote is its own too
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
            _add(path, written=bool(flags & (os.O_WRONLY | os.O_RDWR)))
    elif event == "import" and isinstance(arguments[1], str) and arguments[1].endswith(tuple(EXTENSION_SUFFIXES)):
        _add(arguments[1])
    elif event == "ctypes.dlopen" and isinstance(arguments[0], str) and os.sep in arguments[0]:
        _note_foreign(Path(arguments[0]))
    elif event == "subprocess.Popen":
        program, words, folder, environment = arguments
        _note_command([program, words] if isinstance(words, str | bytes) else [program, *words], folder, environment)
    elif event in ("os.exec", "os.posix_spawn"):
        program, words, environment = arguments
        _note_command([program, *words], None, environment)
    elif event == "os.system":
        _note_command(arguments, None, None)


def _note_command(words: Iterable[Any], folder: Any, environment: Mapping[Any, Any] | None) -> None:
    """Note what of a command line is code: programs, scripts, modules, and what a folder that it names runs by itself.

    A shell is not imitated: each word counts, below each folder that is named. One file too many is named rather than none.
    """
    given = os.environ if environment is None else environment
    values = {os.fsdecode(name): os.fsdecode(value) for name, value in given.items()}
    lines = [os.fsdecode(word) for word in words]
    every = itertools.chain(lines, *(_parts(line, values) for line in lines))
    parts = list(itertools.islice(_distinct(every), MOST_WORDS))
    place = Path(os.fsdecode(folder)) if folder else Path()
    named = list[Path]()
    for part in parts:  # one after another, as a shell enters them
        found = [path for base in (place, *named) if _is_folder(path := base / part) and path not in named]
        named += found[: MOST_FOLDERS - len(named)]
    by_themselves = ("__main__.py", *(_MAKEFILES if any(Path(part).name in ("make", "gmake") for part in parts) else ()))
    # In the trial's own folder, where no other is named.
    for path, name in itertools.product([place, *named] if folder else named or [place], by_themselves):
        _note_script(path / name, also=_MAKEFILES)
    modules = map(Path, filter(None, values.get("PYTHONPATH", "").split(os.pathsep)))
    for path, part in itertools.product([place, *named, *modules], parts):
        module = part.replace(".", os.sep)
        for name in (part, f"{module}.py", f"{module}/__main__.py"):
            _note_script(path / name)
    for part in parts:
        if os.sep not in part and (program := shutil.which(part, path=values.get("PATH"))):
            _note_foreign(Path(program))


def _distinct(words: Iterable[str]) -> Iterator[str]:
    seen = set[str]()
    for word in words:
        if word not in seen:
            seen.add(word)
            yield word


def _parts(word: str, values: Mapping[str, str], depth: int = 0) -> Iterator[str]:
    """Yield what a word of a command line consists of if a shell reads it, with its variables."""
    line = string.Template(word).safe_substitute(values)
    if len(line) < LONGEST_WORD:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""  # a shell's comment begins at a word's beginning alone
        with contextlib.suppress(ValueError):  # a quotation mark that isn't closed
            for part in lexer:
                yield from map(_home, (part, *part.split("=")[1:]))
                if part != line and depth < MOST_SHELLS and _SEPARATOR.search(part):  # another shell's line
                    yield from _parts(part, values, depth + 1)
    yield from (_home(part) for part in _PUNCTUATION.split(line) if part)


def _home(part: str) -> str:
    return os.path.expanduser(part) if part.startswith("~") else part  # noqa: PTH111 (a word, of no path perhaps)


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # too long for a path, or with a NUL
        return path.is_dir()
    return False


def _note_script(path: Path, also: Container[str] = ()) -> None:
    with contextlib.suppress(OSError, ValueError):
        if path.is_file() and (path.suffix in _SCRIPTS or path.name in also or os.access(path, os.X_OK)):
            _note_foreign(path)


def _note_foreign(path: Path) -> None:
    """Note a library, program or script, unless it is installed or was made since :func:`watch`."""
    path = path.absolute()
    real = path.resolve()
    installed = any(real.is_relative_to(place) for place in _SYSTEM) or shutil.which(path.name) == str(path)
    if not installed and not _began <= real.stat().st_mtime <= time.time():
        _add(str(path))


def _add(name: str, written: bool = False) -> None:
    path = Path(name).absolute()  # now: the process may go on in another folder
    paths = _WRITTEN if written else _READ
    if str(path) in paths:
        return
    paths.add(str(path))
    # A child may import thousands of installed modules, and there may be hundreds of children.
    if _forked is not None and os.getpid() != _forked.process and is_users_code(path) and _forked.are_open():
        os.write(_forked.file.fileno(), b"rw"[written : written + 1] + os.fsencode(path) + b"\0")


def is_users_code(path: Path) -> bool:
    """Whether code is the user's own, not installed; a link among installed packages is what it leads to.

    Parameters
    ----------
    path : Path
        Absolute.
    """
    if _INSTALLED & {*path.parts}:
        link = next((at for at in (path, *path.parents) if at.parent.name in _INSTALLED), path)
        return link.is_symlink() and not _INSTALLED & {*Path(os.path.realpath(path)).parts}
    return not any(path.is_relative_to(place) for place in _PYTHON)


def _source(path: str) -> str:
    """Path of the source that a compiled file was made of; others as they are."""
    with contextlib.suppress(ValueError, NotImplementedError):
        return importlib.util.source_from_cache(path)
    return path
