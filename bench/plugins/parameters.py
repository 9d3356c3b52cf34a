"""Parameters of a plug-in: their annotations, read from the source without importing it, and the values that fit them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache, partial
from typing import Annotated, Any, NamedTuple, Optional, Union

from pydantic import AfterValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError

_WORDS = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false", "Path": "a path"}

#: Types by their last name in an annotation. The only sequence of YAML is a list.
_TYPES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (int, float, str, bool)},
    # An empty path, as of a variable that isn't set, is not the current folder.
    "Path": Annotated[str, Field(min_length=1)],
    **{"Optional": Optional, "Union": Union},
    **dict.fromkeys(("list", "List", "Sequence", "Iterable", "tuple", "Tuple"), list),
    **dict.fromkeys(("dict", "Dict", "Mapping"), dict),
}


class Parameter(NamedTuple):
    """A keyword argument of a plug-in's class: its annotation and its default, as written in the source."""

    annotation: str
    default: str


def accepts(parameter: Parameter, value: Any) -> bool:
    """Check a value from YAML against a parameter's annotation; an unknown annotation accepts everything.

    Examples
    --------
    >>> accepts(Parameter("int | None", "None"), 3), accepts(Parameter("int | None", "None"), True)
    (True, False)
    >>> accepts(Parameter("Path", ""), "."), accepts(Parameter("Path", ""), "")
    (True, False)
    """
    if adapter := _adapter(parameter.annotation):
        try:
            adapter.validate_python(value)
        except ValidationError:
            return False
    return True


#: Message and hint for an address with a password: records, reports, locks and baselines would hold it.
PASSWORD = (
    "an address with a password or token, which every result would hold.",
    "Leave it out; a dataset's download takes them from ~/.netrc.",
)

#: A name and a password, which may hold any character, but no port, IPv6 address or digest; a name alone where it may be a token;
#: one in a query.
_SECRETS = (
    re.compile(r"\w://[^/?#\s:@\[]*:(?!\d+[/?#])[^\s@]*@(?!sha\d+:)"),
    re.compile(r"(?i:https?)://[^/?#\s]*@"),
    re.compile(
        r"(?i)\w://\S*[?&#;][\w.-]*(?:token|sig|signature|password|passwd|pwd|secret|credential|(?:api|access)[_-]?key)=[^\s&]"
    ),
    re.compile(r"(?i)\w://\S*[?&#;][\w.-]*(?:key|auth)=[^\s&]{16}"),  # of music, a short key is that of a song
)


def holds_password(value: Any) -> bool:
    """Whether a value, or one in it, is an address with a password, or with a name alone where that may be a token.

    >>> holds_password(["http://me:secret@example.org/music"]), holds_password("ssh://git@example.org/a:b@c")
    (True, False)
    >>> holds_password("https://ghp_token@example.org/music"), holds_password("s3://key:sec/ret@bucket")
    (True, True)
    >>> holds_password("https://example.org:8080/@me?page=2"), holds_password("https://example.org/music.zip?token=GHSAT0")
    (False, True)
    >>> holds_password("https://example.org/songs?key=Cmajor"), holds_password("https://example.org/songs?key=AIzaSyD0123456789")
    (False, True)
    >>> holds_password("https://example.org/songs?noauth=1"), holds_password("https://example.org/songs?api_key=a1b2")
    (False, True)
    >>> holds_password("docker://example.org/image:tag@sha256:0a1b"), holds_password("http://[::1]:8080/@me")
    (False, False)
    """
    if isinstance(value, Mapping):
        return any(map(holds_password, value.values()))
    if isinstance(value, list | tuple):
        return any(map(holds_password, value))
    return isinstance(value, str) and any(pattern.search(value) for pattern in _SECRETS)


@cache
def _adapter(annotation: str) -> TypeAdapter[Any] | None:
    """Build the check of an annotation, once for all values of all specs; None for one that is unknown."""
    try:
        return TypeAdapter(_type(ast.parse(annotation, mode="eval").body), config=ConfigDict(strict=True))
    except (SyntaxError, TypeError):
        return None


def type_text(parameter: Parameter) -> str:
    """Describe what a parameter takes.

    Examples
    --------
    >>> type_text(Parameter("Literal['a', 'b'] | list[int] | None", "None"))
    "one of 'a', 'b' or a list of a whole number or null"
    """
    try:
        return _type_text(ast.parse(parameter.annotation, mode="eval").body)
    except SyntaxError:
        return parameter.annotation


def _type_text(node: ast.expr) -> str:
    match node:
        case ast.BinOp(left, ast.BitOr(), right):
            return f"{_type_text(left)} or {_type_text(right)}"
        case ast.Constant(None):
            return "null"
        case ast.Subscript(generic) if _name(generic) == "Literal":
            return "one of " + ", ".join(map(repr, _choices(node)))
        case ast.Subscript(generic) if _name(generic) in ("list", "Sequence", "tuple"):
            return f"a list of {_type_text(_arguments(node)[0])}"
    return _WORDS.get(_name(node), ast.unparse(node))


def _type(node: ast.expr) -> Any:
    """Type that an annotation names; Any for a type of the plug-in's own."""
    match node:
        case ast.BinOp(left, ast.BitOr(), right):
            return Union[_type(left), _type(right)]  # noqa: UP007 - of any two, not only of classes
        case ast.Constant(None):
            return None
        case ast.Constant(value) if value is ...:
            return ...
        case ast.Subscript(generic) if _name(generic) == "Literal":
            return Annotated[Any, AfterValidator(partial(_literal, _choices(node)))]
        case ast.Subscript(generic) if _name(generic) in _TYPES:
            arguments = tuple(map(_type, _arguments(node)))
            if _name(generic) in ("tuple", "Tuple"):
                return Annotated[tuple[arguments], Strict(False)]  # type: ignore[valid-type]  # strict: no list
            return _TYPES[_name(generic)][arguments if len(arguments) > 1 else arguments[0]]
        case ast.Name() | ast.Attribute():
            return _TYPES.get(_name(node), Any)
    return Any


def _literal(choices: list[Any], value: Any) -> Any:
    """Accept only the literals; pydantic itself takes True for 1."""
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise ValueError
    return value


def _choices(node: ast.expr) -> list[Any]:
    return [argument.value for argument in _arguments(node) if isinstance(argument, ast.Constant)]


def _arguments(node: ast.expr) -> list[ast.expr]:
    """Expressions in the brackets of ``list[int]``."""
    inner = node.slice if isinstance(node, ast.Subscript) else node
    return inner.elts if isinstance(inner, ast.Tuple) else [inner]


def _name(node: ast.expr) -> str:
    """``Sequence`` of ``Sequence`` and of ``collections.abc.Sequence``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
