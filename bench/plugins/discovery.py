"""Finds plug-in files by path, reads their header without importing them, and imports one when a worker asks for it.

Folders hold plug-ins, as in benchopt: every ``*.py`` that doesn't begin with ``_`` is one. What a file declares is read from
its syntax tree, so listing costs no import of TensorFlow or PyTorch, and a header must be literals. A file is imported as a
submodule of a package made for its folder, so that its siblings are imported relatively (``from ._training import Windows``)
and no folder on ``sys.path`` can be taken for another package of the same name.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from bench.errors import PluginError, did_you_mean

Kind = Literal["model", "dataset"]
Header = dict[str, Any]

#: Name of the class, and of the folder, by kind.
CLASSES: dict[Kind, str] = {"model": "Model", "dataset": "Dataset"}
FOLDERS: dict[Kind, str] = {"model": "models", "dataset": "datasets"}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_HERE = Path(__file__).resolve().parents[1]
#: What decides a plug-in's result besides its own folder: a change here is a change of every plug-in.
_SHARED = ("api.py", "music/codec.py", "music/midi.py", "music/notes.py")


class _Missing:
    """Default of a header name that must be given."""


class _Rule(NamedTuple):
    """What one header name may hold."""

    accepts: Callable[[Any], bool]
    expected: str
    default: Any = _Missing


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(key) and _text(line) for key, line in value.items())


def _truth_or_names(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, tuple) and bool(value) and all(map(_text, value)))


def _one_of(*choices: Any, default: Any = _Missing) -> _Rule:
    # `1 == True`, so the type counts too.
    return _Rule(
        lambda value: any(value == choice and type(value) is type(choice) for choice in choices),
        "one of " + ", ".join(map(repr, choices)),
        default,
    )


_RULES: dict[Kind, dict[str, _Rule]] = {
    "model": {
        "FRAMEWORK": _one_of("tensorflow", "pytorch", "numpy"),
        "FEATURES": _Rule(_text, "a text in quotes"),
        "PROMPT": _one_of(True, False, default=True),
        "LIKELIHOOD": _one_of("exact", "bound", None, default=None),
        "SEES_TARGET": _one_of(True, False, default=False),
        # By default False: a plug-in that ignores its constraint without a word would pass for a constrained one.
        "CONSTRAINT": _Rule(_truth_or_names, "True, False or a tuple of KINDS", False),
        # A file that holds several rows, chosen by its parameter `kind`: what each is.
        "KINDS": _Rule(_texts, "a dictionary of texts", {}),
    },
    "dataset": {
        "TITLE": _Rule(_text, "a text in quotes"),
        "LICENSE": _Rule(_text, "a text in quotes"),
        "NEEDS": _one_of("nothing", "download", "folder", default="nothing"),
    },
}


class Parameter(NamedTuple):
    """A keyword argument of a plug-in's class: its annotation and its default, as they stand in the source."""

    annotation: str
    default: str


@dataclass(frozen=True)
class Plugin:
    """What a plug-in file says about itself.

    Parameters
    ----------
    kind : {"model", "dataset"}
    name : str
        The file's name without ``.py``.
    path : Path
    summary : str
        First line of the module docstring.
    header : dict
        The literals at its top, with defaults filled in.
    parameters : dict of str to Parameter
        Hyperparameters of a model, selection of a dataset.
    """

    kind: Kind
    name: str
    path: Path
    summary: str = ""
    header: Header = field(default_factory=dict)
    parameters: dict[str, Parameter] = field(default_factory=dict)


def user_folders(options: Sequence[Path] = (), environment: str | None = None) -> tuple[Path, ...]:
    """Folders named on the command line, then those in ``$BENCH_PLUGINS`` (separated as in ``$PATH``)."""
    listed = os.environ.get("BENCH_PLUGINS", "") if environment is None else environment
    return (*options, *(Path(part) for part in listed.split(os.pathsep) if part))


def shipped_folder(kind: Kind) -> Path:
    """The folder of the shipped plug-ins: inside the package when installed, in the repository's root when editable."""
    for folder in (_HERE / "_plugins" / FOLDERS[kind], _HERE.parent / FOLDERS[kind]):
        if folder.is_dir():
            return folder
    raise PluginError(
        f"The shipped {FOLDERS[kind]} are missing: neither {_HERE / '_plugins'} nor {_HERE.parent} holds {FOLDERS[kind]}/.",
        "Install the package again.",
    )


def find_plugins(kind: Kind, extra: Sequence[Path] = ()) -> dict[str, Plugin]:
    """All plug-ins of a kind, by name, without importing any.

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
    found: dict[str, Plugin] = {}
    for path in _unique(_files(kind, extra)):
        if (plugin := read_plugin(path, kind)) is None:
            continue
        if plugin.name in found:
            raise PluginError(
                f"Two {kind} plug-ins are named {plugin.name!r}: {found[plugin.name].path} and {path}.",
                "Rename one file; a plug-in's name is its file's name.",
            )
        found[plugin.name] = plugin
    return dict(sorted(found.items()))


def get_plugin(kind: Kind, name: str, extra: Sequence[Path] = ()) -> Plugin:
    """One plug-in by name; an unknown name is a PluginError that gives the nearest one."""
    plugins = find_plugins(kind, extra)
    if name not in plugins:
        raise PluginError(f"There is no {kind} plug-in named {name!r}.", did_you_mean(name, plugins))
    return plugins[name]


def read_plugin(path: Path, kind: Kind | None = None) -> Plugin | None:
    """Read one file's header by its syntax tree.

    Parameters
    ----------
    path : Path
    kind : {"model", "dataset"}, optional
        What is looked for.

    Returns
    -------
    Plugin or None
        None if the file is a sound plug-in of the other kind.

    Raises
    ------
    PluginError
        With file, line and what is expected, if it is neither or its header isn't literals.
    """
    tree = _parse(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    kinds: list[Kind] = [k for k, name in CLASSES.items() if name in classes]
    if len(kinds) != 1:
        given = "both classes" if kinds else "neither class"
        raise PluginError(
            f"{path}: a plug-in defines one class named Model or Dataset; this file defines {given}.",
            "Begin the file's name with _ if it is a helper of others.",
        )
    (own,) = kinds
    if kind is not None and own != kind:
        return None
    if not _NAME.fullmatch(path.stem):
        raise PluginError(f"{path}: a plug-in's file name holds only letters, digits, _ and -.", "Rename the file.")
    docstring = (ast.get_docstring(tree) or "").strip()
    return Plugin(
        kind=own,
        name=path.stem,
        path=path,
        summary=docstring.splitlines()[0] if docstring else "",
        header=_header(tree, path, own),
        parameters=_parameters(classes[CLASSES[own]], path),
    )


def load(plugin: Plugin) -> type[Any]:
    """Import a plug-in's file and return its class.

    Raises
    ------
    PluginError
        If the import fails, with the reason.
    """
    package = _package(plugin.path.parent)
    try:
        module = importlib.import_module(f"{package}.{plugin.path.stem}")
    except (Exception, SystemExit) as error:
        at = _line_in(error, plugin.path)
        raise PluginError(
            f"{plugin.path}{at}: importing the {plugin.kind} {plugin.name!r} failed: {type(error).__name__}: {error}",
            _missing_hint(error),
        ) from error
    loaded: type[Any] = getattr(module, CLASSES[plugin.kind])
    return loaded


def source_digest(plugin: Plugin) -> str:
    """Sha256 of the source that decides a plug-in's result: the file, its ``_*.py`` siblings, and what the engine shares.

    It does not depend on where the files lie, so a result made in a container counts on the host.
    """
    digest = hashlib.sha256()
    siblings = sorted(plugin.path.parent.glob("_*.py"))
    for path in (plugin.path, *siblings, *(_HERE / name for name in _SHARED)):
        content = path.read_bytes()
        digest.update(f"{path.name}\x1f{len(content)}\x1f".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(kind: Kind, extra: Sequence[Path]) -> Iterator[Path]:
    yield from _inside(shipped_folder(kind))
    for folder in extra:
        if folder.is_file() and folder.suffix == ".py":
            yield folder
            continue
        if not folder.is_dir():
            raise PluginError(f"There is no plug-in folder {folder}.", "Give --plugins or $BENCH_PLUGINS an existing folder.")
        subfolders = [folder / name for name in FOLDERS.values() if (folder / name).is_dir()]
        if subfolders:
            wanted = folder / FOLDERS[kind]
            yield from _inside(wanted) if wanted.is_dir() else ()
        elif files := _inside(folder):
            yield from files
        else:
            raise PluginError(
                f"The plug-in folder {folder} holds no plug-in.",
                "It needs models/ or datasets/, or *.py files of its own with a class Model or Dataset.",
            )


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith("_") and path.is_file())


def _unique(paths: Iterable[Path]) -> Iterator[Path]:
    """Each file once, although its folder may be named twice."""
    first: dict[Path, Path] = {}
    for path in paths:
        first.setdefault(path.resolve(), path)
    yield from first.values()


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except OSError as error:
        raise PluginError(f"{path} can't be read: {error.strerror}.") from error
    except SyntaxError as error:
        raise PluginError(f"{path}:{error.lineno}: not valid Python: {error.msg}.") from error
    except ValueError as error:
        raise PluginError(f"{path}: not valid Python: {error}.") from error


def _header(tree: ast.Module, path: Path, kind: Kind) -> Header:
    nodes = dict(_assignments(tree))
    rules = _RULES[kind]
    for name, (line, _) in nodes.items():
        _refuse_near_miss(name, nodes, rules, path, line)
    header = {}
    for name, rule in rules.items():
        if name not in nodes:
            if rule.default is _Missing:
                raise PluginError(
                    f"{path}:1: the header lacks {name}; expected {rule.expected}.", f"Add at the top: {name} = ..."
                )
            header[name] = rule.default
            continue
        line, node = nodes[name]
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError) as error:
            raise PluginError(
                f"{path}:{line}: {name} must be a literal, as it is read without importing the file; expected {rule.expected}."
            ) from error
        if not rule.accepts(value):
            raise PluginError(f"{path}:{line}: {name} is {value!r}; expected {rule.expected}.")
        header[name] = value
    return header


def _assignments(tree: ast.Module) -> Iterator[tuple[str, tuple[int, ast.expr]]]:
    """Top-level ``NAME = value`` and ``NAME: type = value``."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if isinstance(target, ast.Name) and target.id.isupper() and (value := getattr(node, "value", None)) is not None:
                yield target.id, (node.lineno, value)


def _refuse_near_miss(name: str, given: Iterable[str], rules: dict[str, _Rule], path: Path, line: int) -> None:
    """A file may have constants of its own, but FRAMEWROK is a slip."""
    if name in rules:
        return
    near = difflib.get_close_matches(name, set(rules) - set(given), n=1, cutoff=0.85)
    if near:
        raise PluginError(f"{path}:{line}: unknown header name {name}.", f"Did you mean {near[0]!r}?")


def _parameters(node: ast.ClassDef, path: Path) -> dict[str, Parameter]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _arguments(item, path)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return _fields(node, path)
    return {}


def _arguments(node: ast.FunctionDef, path: Path) -> dict[str, Parameter]:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    lacking = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, [*lacking, *arguments.defaults], strict=True)][1:]  # without self
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {a.arg: _parameter(a.arg, a.annotation, default, path, a.lineno) for a, default in pairs}


def _fields(node: ast.ClassDef, path: Path) -> dict[str, Parameter]:
    found = {}
    for item in node.body:
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)) or item.target.id.startswith("_"):
            continue
        if "ClassVar" in ast.unparse(item.annotation) or "init=False" in ast.unparse(item).replace(" ", ""):
            continue
        found[item.target.id] = _parameter(item.target.id, item.annotation, item.value, path, item.lineno)
    return found


def _parameter(name: str, annotation: ast.expr | None, default: ast.expr | None, path: Path, line: int) -> Parameter:
    if default is None:
        raise PluginError(f"{path}:{line}: parameter {name!r} has no default.", f"Give it one: {name}: int = 1")
    # A quoted annotation says the same as a bare one.
    quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
    text = annotation.value if quoted else ast.unparse(annotation) if annotation else "Any"  # type: ignore[union-attr]
    return Parameter(str(text), ast.unparse(default))


def _package(folder: Path) -> str:
    """Name of the package made for a folder; it is made at the first call."""
    folder = folder.resolve()
    name = "bench_plugins_" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    if name not in sys.modules:
        package = ModuleType(name, f"Plug-ins of {folder}.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


def _line_in(error: BaseException, path: Path) -> str:
    """``:12`` where the traceback last touched the plug-in's own file."""
    line, step = "", error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path.resolve()):
            line = f":{step.tb_lineno}"
        step = step.tb_next
    return line


def _missing_hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{sys.executable} has no module {error.name!r}; `bench doctor` says how to install a framework."
    return ""
