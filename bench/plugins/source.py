"""Classes of a plug-in, read from syntax trees: its base classes in the files beside it, and the parameters of them all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bench.errors import PluginError, refusal
from bench.plugins.parameters import Parameter


class _Class(NamedTuple):
    """A class, and where it is defined."""

    node: ast.ClassDef
    tree: ast.Module
    path: Path


class _Field(NamedTuple):
    """A parameter as written; its default is None where it has none."""

    annotation: ast.expr | None
    default: ast.expr | None
    path: Path
    line: int


def parse(path: Path) -> ast.Module:
    """Parse a file.

    Raises
    ------
    PluginError
        If it can't be read, or isn't Python.
    """
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except OSError as error:
        raise refusal(error, PluginError(f"{path} can't be read: {error.strerror}.")) from error
    except SyntaxError as error:
        at = path if error.lineno is None else f"{path}:{error.lineno}"  # of a NUL there is no line
        raise PluginError(f"{at}: not valid Python: {error.msg}.") from error
    except ValueError as error:
        raise PluginError(f"{path}: not valid Python: {error}.") from error
    except (RecursionError, MemoryError) as error:  # of a few kilobytes already: the parser's stack is full
        raise too_deep(path) from error


def too_deep(path: Path) -> PluginError:
    """Make the error for a file whose syntax tree is too deep to be read."""
    return PluginError(f"{path}: it is nested too deeply to be read.", "Break its longest expression or chain of elif.")


def class_parameters(node: ast.ClassDef, tree: ast.Module, path: Path) -> dict[str, Parameter]:
    """Read the keyword arguments that make a class: of its ``__init__`` or its dataclass, or of those that it inherits.

    Base classes are looked for in the same file and in its ``_*.py`` siblings; any other has no parameters.

    Raises
    ------
    PluginError
        If one has no default.
    """
    lineage = list(_lineage(_Class(node, tree, path)))
    fields: dict[str, _Field] = {}
    for at, ancestor in enumerate(lineage):
        if (init := _init(ancestor.node)) is not None:
            fields = _arguments(init, ancestor.path)
            break
        if _is_dataclass(ancestor.node):
            # As `dataclasses` does: those of the furthest base first, each in the place where it came first.
            for each in reversed(lineage[at:]):
                fields |= _fields(each) if _is_dataclass(each.node) else {}
            break
    return {name: _parameter(name, written) for name, written in fields.items()}


def _lineage(own: _Class) -> Iterator[_Class]:
    """Yield a class and those that it derives from, nearest first, each once."""
    waiting, seen = [own], set[tuple[Path, str]]()
    while waiting:
        each = waiting.pop(0)
        if (each.path, each.node.name) in seen:
            continue
        seen.add((each.path, each.node.name))
        yield each
        waiting[:0] = [base for expression in each.node.bases if (base := _base(expression, each)) is not None]


def _base(expression: ast.expr, user: _Class) -> _Class | None:
    """Find the class that ``Base``, ``module.Base`` or ``Base[...]`` means in a file; None if it isn't in the file's folder."""
    if isinstance(expression, ast.Subscript):
        expression = expression.value
    match expression:
        case ast.Name(id=name):
            if (node := _classes(user.tree).get(name)) is not None:
                return None if node is user.node else _Class(node, user.tree, user.path)
            for imported in _relative_imports(user.tree):
                for alias in imported.names:
                    if (alias.asname or alias.name) == name and imported.module:
                        return _in_sibling(user.path, imported.module, alias.name)
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            for imported in _relative_imports(user.tree):
                for alias in imported.names:
                    if (alias.asname or alias.name) == module and not imported.module:
                        return _in_sibling(user.path, alias.name, name)
    return None


def _relative_imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    """Yield ``from ._sibling import ...`` and ``from . import _sibling``."""
    yield from (node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level == 1)


def _in_sibling(user: Path, module: str, name: str) -> _Class | None:
    path = user.parent / f"{module}.py"
    try:
        stat = path.stat()
    except OSError:
        return None
    tree = _sibling(path, stat.st_mtime_ns, stat.st_size)
    node = _classes(tree).get(name)
    return None if node is None else _Class(node, tree, path)


@lru_cache(maxsize=64)
def _sibling(path: Path, changed: int, size: int) -> ast.Module:
    """Parse a helper once for all plug-ins that share it, as long as it isn't changed."""
    return parse(path)


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _init(node: ast.ClassDef) -> ast.FunctionDef | None:
    return next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _arguments(node: ast.FunctionDef, path: Path) -> dict[str, _Field]:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    lacking = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, [*lacking, *arguments.defaults], strict=True)][1:]  # without self
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {a.arg: _Field(a.annotation, default, path, a.lineno) for a, default in pairs}


def _fields(owner: _Class) -> dict[str, _Field]:
    fields = {}
    for item in owner.node.body:
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)) or item.target.id.startswith("_"):
            continue
        if "ClassVar" in ast.unparse(item.annotation) or "init=False" in ast.unparse(item).replace(" ", ""):
            continue
        fields[item.target.id] = _Field(item.annotation, item.value, owner.path, item.lineno)
    return fields


def _parameter(name: str, written: _Field) -> Parameter:
    annotation, default = written.annotation, written.default
    if default is None:
        raise PluginError(
            f"{written.path}:{written.line}: parameter {name!r} has no default.", f"Give it one, such as {name}: int = 1"
        )
    # A quoted annotation says the same as a bare one.
    quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
    text = annotation.value if quoted else ast.unparse(annotation) if annotation else "Any"  # type: ignore[union-attr]
    return Parameter(str(text), ast.unparse(default))
