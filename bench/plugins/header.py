"""Plug-in headers, read from the syntax tree, so that listing plug-ins imports no framework."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.errors import PluginError, did_you_mean
from bench.plugins.parameters import Parameter
from bench.plugins.source import class_parameters, parse, too_deep

Kind = Literal["model", "dataset"]
Header = dict[str, Any]

#: Name of a plug-in's class, by kind.
CLASSES: dict[Kind, str] = {"model": "Model", "dataset": "Dataset"}

#: Names of plug-ins, which are names of files and rows.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class _Missing:
    """Default of a required header name."""


class _Rule(NamedTuple):
    """Valid values of one header name."""

    accepts: Callable[[Any], bool]
    expected: str
    default: Any = _Missing


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _modules(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) and _MODULE.fullmatch(name) for name in value)


def _names(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_text, value))


def _hyperparameters(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value))


def _one_of(*choices: Any, default: Any = _Missing) -> _Rule:
    # `1 == True`, so the type counts too.
    return _Rule(
        lambda value: any(value == choice and type(value) is type(choice) for choice in choices),
        "one of " + ", ".join(map(repr, choices)),
        default,
    )


_RULES: dict[Kind, dict[str, _Rule]] = {
    "model": {
        "FEATURES": _Rule(_text, "a text in quotes"),
        "REQUIRES": _Rule(_modules, 'a tuple of importable modules, such as ("torch",)', ()),
        "ROLE": _one_of("model", "reference", default="model"),
        "PRETRAINED": _one_of(True, False, default=False),
        "NEEDS": _one_of("nothing", "download", "folder", default="nothing"),
        "PROMPT": _one_of(True, False, default=True),
        "GIVES_VELOCITY": _one_of(True, False, default=True),
        "LIKELIHOOD": _one_of("exact", "bound", None, default=None),
        "UNIT": _one_of("note", "frame", "event", default="note"),
        "SEES_TARGET": _one_of(True, False, default=False),
        "SEES_SAMPLES": _one_of(True, False, default=False),
        # By default False: a plug-in that ignores its constraint without a word would pass for a constrained one.
        "CONSTRAINT": _one_of(True, False, default=False),
        "WEIGHTS": _Rule(_names, "a tuple of hyperparameters' names", ()),
        "TINY": _Rule(_hyperparameters, "a dictionary of hyperparameters", {}),
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
    try:
        return _read_plugin(path, kind)
    except RecursionError as error:
        raise too_deep(path) from error


def _read_plugin(path: Path, kind: Kind | None) -> Plugin | None:
    tree = parse(path)
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
    if not NAME.fullmatch(path.stem):
        raise PluginError(f"{path}: a plug-in's file name holds only letters, digits, _ and -.", "Rename the file.")
    _refuse_first_edition(classes[CLASSES[own]], tree, path)
    docstring = (ast.get_docstring(tree) or "").strip()
    plugin = Plugin(
        kind=own,
        name=path.stem,
        path=path,
        summary=docstring.splitlines()[0] if docstring else "",
        header=_header(tree, path, own),
        parameters=class_parameters(classes[CLASSES[own]], tree, path),
    )
    if own == "model" and not plugin.header["GIVES_VELOCITY"] and plugin.header["LIKELIHOOD"] and plugin.header["UNIT"] == "note":
        raise PluginError(
            f"{path}: GIVES_VELOCITY is False, but the LIKELIHOOD of a note is that of its velocity too.",
            'Set LIKELIHOOD = None, or UNIT to "frame" or "event".',
        )
    for name in ("SEES_TARGET", "SEES_SAMPLES"):
        if plugin.header.get(name) and plugin.header["ROLE"] != "reference":
            raise PluginError(
                f"{path}: {name} is True, and ROLE isn't reference: a model predicts what it hasn't seen.",
                f'Set ROLE = "reference", or leave {name} out.',
            )
    for name in ("TINY", "WEIGHTS"):
        if unknown := set(plugin.header.get(name, ())) - plugin.parameters.keys():
            raise PluginError(
                f"{path}: {name} names {min(unknown)!r}, which is no hyperparameter of its Model.",
                did_you_mean(min(unknown), plugin.parameters),
            )
    return plugin


#: What the header of the first edition of the contract had as FRAMEWORK, as REQUIRES.
_FRAMEWORKS = {"pytorch": '("torch",)', "tensorflow": '("tensorflow",)', "numpy": "()"}


def _refuse_first_edition(node: ast.ClassDef, tree: ast.Module, path: Path) -> None:
    """Refuse a plug-in of the contract's first edition with all that has to change, in one message."""
    constants = {name: value for name, (_, value) in _assignments(tree)}
    changes = []
    if not node.bases:
        changes.append(f"`class {node.name}:` to `class {node.name}(bench.api.{node.name}):`, with `import bench.api` above")
    if (framework := constants.get("FRAMEWORK")) is not None and "REQUIRES" not in constants:
        name = framework.value if isinstance(framework, ast.Constant) else ""
        required = _FRAMEWORKS.get(str(name), '("torch",)')
        changes.append(f"FRAMEWORK = {ast.unparse(framework)} to REQUIRES = {required}, the modules that it imports")
    if "KINDS" in constants and ("FRAMEWORK" in constants or not node.bases):
        changes.append('KINDS and the parameter `kind` to a file for each, with ROLE = "reference" where it is a reference row')
    if isinstance(constants.get("CONSTRAINT"), ast.Tuple):
        changes.append("CONSTRAINT to True in the files of those that follow their constraint, to False in the others")
    if changes:
        raise PluginError(
            f"{path}:{node.lineno}: the {node.name.lower()} was written for an older version of bench.",
            "Change " + ";\n       ".join(changes) + ".\nSee docs/plugins.md.",
        )


def _header(tree: ast.Module, path: Path, kind: Kind) -> Header:
    nodes = dict(_assignments(tree))
    rules = _RULES[kind]
    for name, (line, _) in nodes.items():
        _refuse_near_miss(name, nodes, rules, path, line)
    header = {}
    own = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == CLASSES[kind])
    for name, (line, _) in _assignments(own):
        if name in rules and name not in nodes:
            raise PluginError(
                f"{path}:{line}: {name} is in the class {own.name}, where nothing reads it; expected {rules[name].expected}.",
                "Move it to the top of the file, above the class.",
            )
    for name, line in _other_bindings(tree):
        if name in rules:
            raise PluginError(
                f"{path}:{line}: {name} must be assigned a literal by itself at the top of the file, as it is read without "
                f"importing it; expected {rules[name].expected}."
            )
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


def _assignments(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, tuple[int, ast.expr]]]:
    """``NAME = value`` and ``NAME: type = value`` of a module or in a class."""
    for node in tree.body:
        for target in _targets(node):
            if isinstance(target, ast.Name) and target.id.isupper() and (value := getattr(node, "value", None)) is not None:
                yield target.id, (node.lineno, value)


def _targets(node: ast.stmt) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []


def _other_bindings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that the file binds in another way, such as by an import or in an ``if``, with their lines."""
    read = {id(target) for node in tree.body for target in _targets(node)}
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in read:
            yield node.id, node.lineno
        elif isinstance(node, ast.alias):
            yield node.asname or node.name, node.lineno
        elif isinstance(node, ast.comprehension):  # its own variables are none of the module's
            waiting += [node.iter, *node.ifs]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _refuse_near_miss(name: str, present: Iterable[str], rules: dict[str, _Rule], path: Path, line: int) -> None:
    """Refuse a name one letter off a header name: FRAMEWROK is a slip, although a file may have constants of its own."""
    if name in rules:
        return
    near = difflib.get_close_matches(name, set(rules) - set(present), n=1, cutoff=0.85)
    if near:
        raise PluginError(f"{path}:{line}: unknown header name {name}.", f"Did you mean {near[0]!r}?")
