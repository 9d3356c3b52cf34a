"""Plug-in headers, read from the syntax tree, so that listing plug-ins imports no framework."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.errors import PluginError, refusal
from bench.plugins.parameters import Parameter

Kind = Literal["model", "dataset"]
Header = dict[str, Any]

#: Name of a plug-in's class, by kind.
CLASSES: dict[Kind, str] = {"model": "Model", "dataset": "Dataset"}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class _Missing:
    """Default of a required header name."""


class _Rule(NamedTuple):
    """Valid values of one header name."""

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
        "UNIT": _one_of("note", "frame", "event", default="note"),
        "SEES_TARGET": _one_of(True, False, default=False),
        "SEES_SAMPLES": _one_of(True, False, default=False),
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


@dataclass(frozen=True)
class Plugin:
    """A plug-in as its file declares it.

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


def read_plugin(path: Path, kind: Kind | None = None) -> Plugin | None:
    """Read the header of one file.

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
        classes_in_file = "both classes" if kinds else "neither class"
        raise PluginError(
            f"{path}: a plug-in defines one class named Model or Dataset; this file defines {classes_in_file}.",
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


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except OSError as error:
        raise refusal(error, PluginError(f"{path} can't be read: {error.strerror}.")) from error
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


def _refuse_near_miss(name: str, present: Iterable[str], rules: dict[str, _Rule], path: Path, line: int) -> None:
    """Refuse a name one letter off a header name: FRAMEWROK is a slip, although a file may have constants of its own."""
    if name in rules:
        return
    near = difflib.get_close_matches(name, set(rules) - set(present), n=1, cutoff=0.85)
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
    fields = {}
    for item in node.body:
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)) or item.target.id.startswith("_"):
            continue
        if "ClassVar" in ast.unparse(item.annotation) or "init=False" in ast.unparse(item).replace(" ", ""):
            continue
        fields[item.target.id] = _parameter(item.target.id, item.annotation, item.value, path, item.lineno)
    return fields


def _parameter(name: str, annotation: ast.expr | None, default: ast.expr | None, path: Path, line: int) -> Parameter:
    if default is None:
        raise PluginError(f"{path}:{line}: parameter {name!r} has no default.", f"Give it one: {name}: int = 1")
    # A quoted annotation says the same as a bare one.
    quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
    text = annotation.value if quoted else ast.unparse(annotation) if annotation else "Any"  # type: ignore[union-attr]
    return Parameter(str(text), ast.unparse(default))
