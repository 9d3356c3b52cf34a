"""Digest of the code that decides a plug-in's result: its file, what that imports from its folder, and the user's packages."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from bench.plugins.discovery import shipped_folder
from bench.plugins.header import CLASSES, Plugin
from bench.plugins.opened import is_users_code, opened
from bench.plugins.source import parse
from bench.system.disk import is_file

_HERE = Path(__file__).resolve().parents[1]
#: What decides a plug-in's result besides its own folder: a change here is a change of every plug-in.
_SHARED = ("api/*.py", "music/codec.py", "music/midi.py", "music/notes.py", "music/ticks.py")
#: Names of modules that are no package of the user's, wherever they lie.
_OTHERS = {"bench", "__main__", "__mp_main__", "sitecustomize", "usercustomize"}

#: Beginnings of the names of modules of code that the key covers: plug-ins, and what ``tf.function`` makes of their functions.
_MADE = ("bench_plugins_", "__autograph_generated_file")


def source_digest(plugin: Plugin, packages: Mapping[str, Sequence[str]] | None = None) -> str:
    """Hash the source that decides a plug-in's result.

    That is its file, its ``_*.py`` siblings, what these import relatively, `packages`, and the modules that all plug-ins share.
    The digest does not depend on where the files lie, so a result made in a container counts on the host.

    Parameters
    ----------
    plugin : Plugin
    packages : mapping of str to sequence of str, optional
        Paths of the user's packages that it imports, by name; by default :func:`imported_packages`.
    """
    digest = hashlib.sha256()
    shared = [(path.name, path) for name in _SHARED for path in sorted(_HERE.glob(name))]
    for name, path in (*_files(plugin, packages), *shared):
        content = path.read_bytes()
        digest.update(f"{name}\x1f{len(content)}\x1f".encode())
        digest.update(content)
    return digest.hexdigest()


def file_digests(plugin: Plugin, packages: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Hash each file of the user's that :func:`source_digest` covers, by its real path."""
    files = [path for _, path in _files(plugin, packages)]
    return {os.path.realpath(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _files(plugin: Plugin, packages: Mapping[str, Sequence[str]] | None) -> Iterator[tuple[str, Path]]:
    followed = _followed(plugin)
    yield from _own_files(plugin, followed)
    yield from _files_of(_packages_of(followed) if packages is None else packages)


def imported_packages(plugin: Plugin) -> dict[str, list[str]]:
    """Find the packages and modules that a plug-in imports and that are neither Python's, nor bench's, nor installed.

    Such are those of ``$PYTHONPATH`` and of editable installations: their code changes without a version. Each has one path; a
    namespace package, which may lie in several checkouts, has one in each. What these import in turn from other such packages
    isn't followed; :func:`unknown_code` finds it once it was imported.
    """
    return _packages_of(_followed(plugin))


def installed_imports(plugin: Plugin) -> list[str]:
    """Find the installed modules that a plug-in of the user's imports: none is in its digest, so their versions are recorded."""
    return [name for name, places in _imports(_followed(plugin)).items() if places and not any(map(is_users_code, places))]


def _imports(followed: Mapping[Path, ast.Module]) -> dict[str, list[Path]]:
    """Find the modules that are neither Python's nor bench's, with their places."""
    names = {name for tree in followed.values() for name in _absolute_imports(tree)}
    return {name: _places(name) for name in sorted(names - sys.stdlib_module_names - {"bench"})}


def _packages_of(followed: Mapping[Path, ast.Module]) -> dict[str, list[str]]:
    places = _imports(followed)
    return {name: users for name, found in places.items() if (users := [str(place) for place in found if is_users_code(place)])}


def unknown_code(plugin: Plugin, packages: Mapping[str, Sequence[str]]) -> list[str]:
    """Name the user's code that this process used and that no digest covers: packages, and other files.

    Parameters
    ----------
    plugin : Plugin
        A file in its folder is named by its path from there, another one by its whole path.
    packages : mapping of str to sequence of str
        Those that the digest covers, see :func:`imported_packages`.

    Returns
    -------
    list of str
        Sorted; of files those that were opened since :func:`bench.plugins.opened.watch`.
    """
    folder = plugin.path.parent.absolute()
    unknown = _unknown_packages([Path(place) for places in packages.values() for place in places])
    known = {os.path.realpath(path) for _, path in _files(plugin, packages)}
    named = [
        _HERE,
        *(shipped_folder(kind).resolve() for kind in CLASSES),
        *(place.resolve() for places in unknown.values() for place in places),
    ]
    real = {path: Path(os.path.realpath(path)) for path in opened() if is_users_code(path)}
    files = [path for path, at in real.items() if str(at) not in known and not any(at.is_relative_to(place) for place in named)]
    return sorted([*unknown, *(str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in files)])


def _unknown_packages(known: Sequence[Path]) -> dict[str, list[Path]]:
    """Find the packages of the user's that were imported from none of the `known` places, with their places."""
    unknown: dict[str, list[Path]] = {}
    for name, module in list(sys.modules.items()):
        if not isinstance(name, str) or "." in name or name in _OTHERS or name.startswith(_MADE):
            continue
        try:
            found = (getattr(module, "__file__", None), *getattr(module, "__path__", ()))
            places = [Path(place).absolute() for place in found if place is not None]
        except Exception:  # what a library puts there in place of a module may have anything for these
            continue
        for path in places:
            if is_users_code(path) and not any(path.is_relative_to(package) for package in known):
                unknown.setdefault(name, []).append(path)
    return unknown


def _is_shipped(plugin: Plugin) -> bool:
    return plugin.path.parent.resolve() in {shipped_folder(kind).resolve() for kind in CLASSES}


def _followed(plugin: Plugin) -> dict[Path, ast.Module]:
    """Parse the plug-in's file and what it imports relatively, and so on; nothing of a shipped one.

    The shipped files import nothing but helpers and what is installed, and a trial's start doesn't wait for them.
    """
    folder, trees, waiting = plugin.path.parent, dict[Path, ast.Module](), [plugin.path]
    if _is_shipped(plugin):
        return trees
    while waiting:
        path = waiting.pop()
        if path not in trees:
            trees[path] = parse(path)
            waiting += _relative_imports(trees[path], path, folder)
    return trees


def _own_files(plugin: Plugin, followed: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the plug-in's file, its helpers, those `followed` from it and all in their subfolders, with their paths in it.

    What is imported by name at run time, as from a registry, is hashed too, and not parsed: it may be unfinished.
    """
    folder = plugin.path.parent
    subfolders = {parts[0] for path in followed if len(parts := path.relative_to(folder).parts) > 1}
    below = sorted(file for name in subfolders for file in _code_below(folder / name))
    helpers = sorted(filter(is_file, folder.glob("_*.py")))  # of a pipe of such a name nothing would ever come
    files = dict.fromkeys([plugin.path, *helpers, *sorted(followed), *below])
    yield from ((path.relative_to(folder).as_posix(), path) for path in files)


def _relative_imports(tree: ast.Module, path: Path, folder: Path) -> Iterator[Path]:
    """Yield the files in `folder` that a file's relative imports may execute, wherever in it they stand."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parents = [path.parent, *path.parent.parents][node.level - 1 :]
        if not parents or not parents[0].is_relative_to(folder):
            continue
        base, parts = parents[0], (node.module or "").split(".") if node.module else []
        modules = [parts[:i] for i in range(1, len(parts) + 1)] + [[*parts, alias.name] for alias in node.names]
        for module in modules:
            place = base.joinpath(*module)
            yield from (file for file in (place.with_name(f"{place.name}.py"), place / "__init__.py") if file.is_file())


def _absolute_imports(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level names of what a file imports, wherever in it the imports stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def _places(name: str) -> list[Path]:
    """Folders or file of an importable package or module, in their order; empty if there is none, or it isn't of files.

    The finder of an editable installation may name a folder that isn't there.
    """
    try:
        spec = importlib.util.find_spec(name)  # of a top-level name: imports nothing
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    folders = [Path(place).absolute() for place in spec.submodule_search_locations or () if Path(place).exists()]
    return folders or ([Path(spec.origin).absolute()] if spec.has_location and spec.origin and Path(spec.origin).exists() else [])


def _files_of(packages: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Path]]:
    for name, places in sorted(packages.items()):
        for root in map(Path, places):
            files = sorted(_code_below(root)) if root.is_dir() else [root]
            yield from ((f"{name}/{file.relative_to(root).as_posix()}", file) for file in files)


def _code_below(root: Path) -> Iterator[Path]:
    """Yield the modules in a folder and those in it, compiled extensions and linked folders included, each folder once."""
    entered = set[str]()
    for folder, below, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in entered:
            below.clear()
            continue
        entered.add(real)
        # No module's name begins with a dot: such files are an editor's or a file system's.
        code = (name for name in files if name.endswith((".py", *EXTENSION_SUFFIXES)) and not name.startswith("."))
        yield from filter(is_file, (Path(folder, name) for name in code))
