"""YAML with the position of every key, so that errors name file and line even after files were merged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarbool import ScalarBoolean

from bench.errors import SpecError, refusal
from bench.specs.bounds import MOST_BYTES, OutOfBoundsError, load_bounded

#: Path to a value: keys and list indices.
Address = tuple[str | int, ...]


class Mark(NamedTuple):
    """Position of a key: a file and its line, or an option of the command line and line 0."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Document:
    """Plain data and the position of each of its keys."""

    data: dict[str, Any]
    marks: dict[Address, Mark] = field(default_factory=dict)

    def mark(self, address: Address) -> Mark:
        """Position of the value at `address`, or of the innermost mapping or list around it."""
        for end in range(len(address), -1, -1):
            if address[:end] in self.marks:
                return self.marks[address[:end]]
        return Mark("spec", 0)

    def error(self, address: Address, message: str, hint: str = "") -> SpecError:
        """Build an error that names file, line and key; only the option if the value comes from the command line."""
        mark = self.mark(address)
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in address).lstrip(".")
        return SpecError(f"{mark}: {key + ': ' if key and mark.line else ''}{message}", hint)

    def within(self, *address: str | None) -> Document:
        """Extract the mapping at `address`, with its positions; empty if there is none."""
        data: Any = self.data
        for part in address:
            data = data.get(part) if isinstance(data, dict) else None
        size = len(address)
        marks = {place[size:]: mark for place, mark in self.marks.items() if place[:size] == address}
        return Document(data if isinstance(data, dict) else {}, marks)

    def without(self, *keys: str) -> Document:
        """Copy the document without some top-level keys."""
        marks = {place: mark for place, mark in self.marks.items() if not place or place[0] not in keys}
        return Document({key: value for key, value in self.data.items() if key not in keys}, marks)


def read_yaml(path: Path, name: str = "") -> Document:
    """Read a file whose top level is a mapping.

    Parameters
    ----------
    path : Path
    name : str, optional
        Name of the file in messages; its path by default.

    Raises
    ------
    SpecError
        If the file can't be read, isn't YAML, repeats a key, or isn't a mapping; with the line.
    """
    name = name or str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise refusal(error, SpecError(f"{name} can't be read: {error.strerror}.")) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{name} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}.") from error
    marks: dict[Address, Mark] = {(): Mark(name, 1)}
    data = parse_yaml(text, name, marks)
    if not isinstance(data, dict):
        problem = "is empty" if data is None else "is not a mapping at its top level"
        raise SpecError(f"{Mark(name, 1)}: a spec {problem}; expected keys such as `title:` and `dataset:`.")
    return Document(data, marks)


def parse_yaml(text: str, name: str, marks: dict[Address, Mark] | None = None) -> Any:
    """Parse a text to plain data; all YAML that the project reads passes here.

    Parameters
    ----------
    text : str
    name : str
        Of its source, for messages.
    marks : dict, optional
        Filled with the position of every key and item.

    Raises
    ------
    SpecError
        If it isn't YAML, repeats a key, or exceeds the bounds of :mod:`bench.specs.bounds`; with line and key.
    """
    if len(text) > MOST_BYTES:
        raise SpecError(f"{name} is larger than {MOST_BYTES // 1024} KiB, which no spec is.", "Write less.")
    try:
        loaded = load_bounded(text)
    except OutOfBoundsError as error:
        place: dict[Address, Mark] = {(): Mark(name, error.line)}
        raise Document({}, place).error(error.address, error.message, error.hint) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SpecError(f"{Mark(name, line)}: not valid YAML: {_problem(error)}.") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{Mark(name, line)}: not valid YAML: the character {error.character:#04x} is not allowed.") from error
    return _plain(loaded, (), name, {(): Mark(name, 1)} if marks is None else marks)


def _plain(value: Any, at: Address, name: str, marks: dict[Address, Mark]) -> Any:
    """Convert ruamel.yaml's values to plain Python and record the line of every key and item in `marks`."""
    if isinstance(value, CommentedMap):
        lines = value.lc.data or {}
        result = {}
        for key, item in value.items():
            line = lines[key][0] + 1 if key in lines else marks[at].line  # a key from `<<` has no line of its own
            if not isinstance(key, str):
                raise SpecError(f"{Mark(name, line)}: the key {key!r} is not a text; put it in quotes.")
            marks[(*at, str(key))] = Mark(name, line)
            result[str(key)] = _plain(item, (*at, str(key)), name, marks)
        return result
    if isinstance(value, CommentedSeq):
        items = []
        for index, item in enumerate(value):
            marks[(*at, index)] = Mark(name, value.lc.item(index)[0] + 1)
            items.append(_plain(item, (*at, index), name, marks))
        return items
    if isinstance(value, float) and not math.isfinite(value):
        raise Document({}, marks).error(at, f"{value} is not a finite number; leave the key out for no limit.")
    return _scalar(value)


def _scalar(value: Any) -> Any:
    """Convert to the built-in type: ruamel.yaml's subclasses only add how a scalar was written."""
    if isinstance(value, bool | ScalarBoolean):
        return bool(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _problem(error: MarkedYAMLError) -> str:
    """First line of ruamel.yaml's message."""
    problem = (error.problem or error.context or "it can't be parsed").strip().splitlines()[0]
    return problem.rstrip(".")
