"""Discovery and import of plug-in files.

Folders hold plug-ins, as in benchopt: every ``*.py`` that doesn't begin with ``_`` is one. What a file declares is read from
its syntax tree, so listing costs no import of TensorFlow or PyTorch, and a header must be literals. A file is imported as a
submodule of a package created for its folder, so that its siblings are imported relatively (``from ._training import Windows``)
and no folder on ``sys.path`` can be taken for another package of the same name.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import PluginError, did_you_mean, import_refused
from bench.plugins.header import CLASSES, Kind, Plugin, read_plugin
from bench.plugins.uncached import import_from_source
from bench.system import frameworks
from bench.system.disk import is_file

#: Name of a kind's folder.
FOLDERS: dict[Kind, str] = {"model": "models", "dataset": "datasets"}

_HERE = Path(__file__).resolve().parents[1]


def shipped_folder(kind: Kind) -> Path:
    """Find the folder of the shipped plug-ins: in an installed package, or at the root of an editable checkout."""
    for folder in (_HERE / "_plugins" / FOLDERS[kind], _HERE.parent / FOLDERS[kind]):
        if folder.is_dir():
            return folder
    raise PluginError(
        f"The shipped {FOLDERS[kind]} are missing: neither {_HERE / '_plugins'} nor {_HERE.parent} holds {FOLDERS[kind]}/.",
        "Install the package again.",
    )


def find_plugins(kind: Kind, extra: Sequence[Path] = ()) -> dict[str, Plugin]:
    """Find all plug-ins of a kind by name, without importing any.

    Parameters
    ----------
    kind : {"model", "dataset"}
    extra : sequence of Path
        A user's folders: each holds ``models/`` and ``datasets/``, or plug-in files directly. A single file may be given.

    Raises
    ------
    PluginError
        If a folder is missing, a file can't be read as a plug-in, or two files have the same name.
    """
    return _read(kind, _unique(_files(kind, extra)))


def get_plugin(kind: Kind, name: str, extra: Sequence[Path] = ()) -> Plugin:
    """Find one plug-in, whatever is in other files: they may be written while a run is under way.

    The PluginError for an unknown name suggests the nearest one.
    """
    plugins = _read(kind, (path for path in _unique(_files(kind, extra)) if path.stem == name))
    if name not in plugins:
        raise PluginError(f"There is no {kind} plug-in named {name!r}.", did_you_mean(name, find_plugins(kind, extra)))
    return plugins[name]


def _read(kind: Kind, paths: Iterable[Path]) -> dict[str, Plugin]:
    plugins: dict[str, Plugin] = {}
    for path in paths:
        if (plugin := read_plugin(path, kind)) is None:
            continue
        if plugin.name in plugins:
            raise PluginError(
                f"Two {kind} plug-ins are named {plugin.name!r}: {plugins[plugin.name].path} and {path}.",
                "Rename one file; a plug-in's name is its file's name.",
            )
        plugins[plugin.name] = plugin
    return dict(sorted(plugins.items()))


def load(plugin: Plugin) -> Any:
    """Import a plug-in's file and return its class.

    Raises
    ------
    PluginError
        If the import fails, with the reason.
    MachineError
        If the system refused memory for it.
    """
    package = _package(plugin.path.parent)
    try:
        module = importlib.import_module(f"{package}.{plugin.path.stem}")
    except (Exception, SystemExit) as error:
        if refused := import_refused(error, f"the {plugin.kind} {plugin.name!r}"):
            raise refused from error
        at = _line_in(error, plugin.path)
        raise PluginError(
            f"{plugin.path}{at}: importing the {plugin.kind} {plugin.name!r} failed: {type(error).__name__}: {error}",
            _missing_hint(error, plugin),
        ) from error
    loaded: Any = getattr(module, CLASSES[plugin.kind])
    loaded.header = plugin.header
    return loaded


def _files(kind: Kind, extra: Sequence[Path]) -> Iterator[Path]:
    yield from _inside(shipped_folder(kind))
    for folder in extra:
        yield from files_of(kind, folder)


def files_of(kind: Kind, folder: Path) -> list[Path]:
    """List the files of a folder of plug-ins that may hold one of that kind; a file is its own.

    Raises
    ------
    PluginError
        If there is no such folder, or no plug-in in it.
    """
    if folder.is_file() and folder.suffix == ".py":
        return [folder]
    if not folder.is_dir():
        raise PluginError(f"There is no plug-in folder {folder}.", "Give --plugins or $BENCH_PLUGINS an existing folder.")
    # A folder `datasets/` of music beside the files is none of plug-ins.
    if any(_inside(folder / name) for name in FOLDERS.values()):
        return _inside(folder / FOLDERS[kind])
    if files := _inside(folder):
        return files
    raise PluginError(
        f"The plug-in folder {folder} holds no plug-in.",
        "It needs models/ or datasets/, or *.py files of its own with a class Model or Dataset.",
    )


def _inside(folder: Path) -> list[Path]:
    # Hidden files are an editor's or a file system's: `.#x.py`, `._x.py`.
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith(("_", ".")) and is_file(path))


def _unique(paths: Iterable[Path]) -> Iterator[Path]:
    """Drop repeated files: a folder may be listed twice."""
    first: dict[Path, Path] = {}
    for path in paths:
        first.setdefault(path.resolve(), path)
    yield from first.values()


def _package(folder: Path) -> str:
    """Name of the package that stands for a folder; created on first use."""
    folder = folder.resolve()
    name = "bench_plugins_" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    if name not in sys.modules:
        package = ModuleType(name, f"Plug-ins of {folder}.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
        if folder not in {shipped_folder(kind).resolve() for kind in CLASSES}:
            import_from_source(name)
    return name


def raised_by_plugin(error: BaseException) -> bool:
    """Whether an exception comes from a user's plug-in or a library that it called, not from this project's own code."""
    shipped = {shipped_folder(kind).resolve() for kind in CLASSES}
    own, step = True, error.__traceback__
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__"))
        if module.startswith("bench_plugins_"):
            own = Path(step.tb_frame.f_code.co_filename).parent in shipped
        elif module.partition(".")[0] == "bench":
            own = True
        step = step.tb_next
    return not own


def plugin_line(error: BaseException) -> str:
    """File and line of a plug-in where an exception last passed, as ``mine.py:12``; empty if it never did."""
    at = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith("bench_plugins_"):
            at = f"{Path(frame.f_code.co_filename).name}:{line}"
    return at


def _line_in(error: BaseException, path: Path) -> str:
    """Line of the plug-in's own file where an exception last passed, as ``:12``; empty if it never did."""
    line, step = "", error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path.resolve()):
            line = f":{step.tb_lineno}"
        step = step.tb_next
    return line


def _missing_hint(error: BaseException, plugin: Plugin) -> str:
    if not (isinstance(error, ModuleNotFoundError) and error.name):
        return ""
    missing = frameworks.lacking(tuple(plugin.header.get("REQUIRES", ())), sys.executable)
    if error.name.partition(".")[0] in missing:
        return f"Install what it requires: {frameworks.install_command(missing, sys.executable)}"
    return f"{sys.executable} has no module {error.name!r}" + (
        ", and REQUIRES doesn't name it." if plugin.kind == "model" else "."
    )
