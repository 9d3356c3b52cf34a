"""Parameters of a plug-in: their annotations, read from the source, and the values that fit them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

#: Types of YAML's values that fit an annotation.
_PLAIN: dict[str, tuple[type[Any], ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "tuple": (list,),
    "Sequence": (list,),
    "dict": (dict,),
    "Mapping": (dict,),
}


_WORDS = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}


class Parameter(NamedTuple):
    """A keyword argument of a plug-in's class: its annotation and its default, as they stand in the source."""

    annotation: str
    default: str


def accepts(parameter: Parameter, value: Any) -> bool:
    """Whether a value from YAML fits a parameter's annotation. An annotation that isn't understood accepts everything."""
    try:
        annotation = ast.parse(parameter.annotation, mode="eval").body
    except SyntaxError:
        return True
    return _fits(value, annotation)


def in_words(parameter: Parameter) -> str:
    """What a parameter takes: ``Literal["a", "b"] | None`` as ``one of 'a', 'b' or null``."""
    try:
        annotation = ast.parse(parameter.annotation, mode="eval").body
    except SyntaxError:
        return parameter.annotation
    return _described(annotation)


def _described(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return f"{_described(annotation.left)} or {_described(annotation.right)}"
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return "null"
    if isinstance(annotation, ast.Subscript):
        name, inner = _last_name(annotation.value), annotation.slice
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if name == "Literal":
            return "one of " + ", ".join(repr(p.value) for p in parts if isinstance(p, ast.Constant))
        if name in ("list", "Sequence", "tuple"):
            return f"a list of {_described(parts[0])}"
    return _WORDS.get(_last_name(annotation), ast.unparse(annotation))


def _fits(value: Any, annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _fits(value, annotation.left) or _fits(value, annotation.right)
    if isinstance(annotation, ast.Constant):
        return value is None if annotation.value is None else True
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice
        arguments = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        return _fits_generic(value, _last_name(annotation.value), arguments)
    kinds = _PLAIN.get(_last_name(annotation))
    # `isinstance(True, int)`, yet `layers: true` is a slip.
    return kinds is None or type(value) in kinds


def _fits_generic(value: Any, name: str, arguments: Sequence[ast.expr]) -> bool:
    if name == "Optional":
        return value is None or _fits(value, arguments[0])
    if name == "Union":
        return any(_fits(value, argument) for argument in arguments)
    if name == "Literal":
        choices = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
        return any(value == choice and type(value) is type(choice) for choice in choices)
    if name in ("list", "List", "Sequence", "Iterable"):
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if name in ("tuple", "Tuple"):
        if not isinstance(value, list):
            return False
        if len(arguments) == 2 and isinstance(arguments[1], ast.Constant) and arguments[1].value is ...:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return isinstance(value, dict) if name in ("dict", "Dict", "Mapping") else True


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
