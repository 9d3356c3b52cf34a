"""Bounds on a YAML text, checked on its events, which all come before anything is built from it.

A few hundred bytes of aliases can stand for millions of values, and a long number or a deep nesting takes the constructors of
YAML minutes or their stack. The parser's events cost no more than the text is long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.parser import RoundTripParser

#: Most bytes of a file, a hundred times the longest shipped spec.
MOST_BYTES = 1 << 18
#: Most values, those that aliases repeat counted again; a text counts once more for each hundred characters.
MOST_VALUES = 20_000
#: Most mappings and lists within each other.
MOST_LEVELS = 32
#: Most characters of a number.
LONGEST_NUMBER = 40

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DATE = "tag:yaml.org,2002:timestamp"


class OutOfBoundsError(Exception):
    """A text that is not read.

    Parameters
    ----------
    address : tuple of str or int
        Keys and list indices of the value.
    line : int
        Counted from 1.
    message, hint : str
    """

    def __init__(self, address: tuple[str | int, ...], line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.address, self.line, self.message, self.hint = address, line, message, hint


@dataclass
class _Level:
    """A mapping or list that is being read: where in it the reader is."""

    mapping: bool
    anchor: str | None
    before: int
    key: str | int = -1
    at_key: bool = True

    def advance(self, event: Any) -> None:
        """Go on to the next key, value or item."""
        if not self.mapping:
            self.key = int(self.key) + 1
        elif self.at_key:
            self.key = str(event.value)[:LONGEST_NUMBER] if isinstance(event, ScalarEvent) else "?"
        self.at_key = not self.at_key


def load_bounded(text: str) -> Any:
    """Load a text, but none that is too large, whatever it would expand to, nor tags and dates, which mean nothing in a spec.

    Raises
    ------
    OutOfBoundsError
    YAMLError
        If it isn't YAML.
    """
    yaml = YAML()
    yaml.Parser = _BoundedParser
    try:
        return yaml.load(text)
    except (ValueError, OverflowError) as error:  # an escape for a character that doesn't exist
        bounds = yaml.parser.bounds
        raise OutOfBoundsError(bounds.address, bounds.line, f"not valid YAML: {error}.") from error


class _BoundedParser(RoundTripParser):
    """Gives the composer each event once it is checked."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self.bounds = _Bounds(loader)

    def get_event(self) -> Any:
        event = super().get_event()
        self.bounds.take(event)
        return event


class _Bounds:
    def __init__(self, yaml: Any) -> None:
        self.yaml = yaml
        self.line = 1
        self.levels: list[_Level] = []
        #: Number of values below each anchor; None while it is being read.
        self.sizes: dict[str, int | None] = {}
        self.values = 0

    def take(self, event: Any) -> None:
        """Check the next event."""
        self.line = event.end_mark.line + 1
        if isinstance(event, NodeEvent):
            self._node(event)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            level = self.levels.pop()
            if level.anchor is not None:
                self.sizes[level.anchor] = self.values - level.before

    def _node(self, event: Any) -> None:
        if self.levels:
            if self.levels[-1].mapping and self.levels[-1].at_key and not isinstance(event, ScalarEvent):
                raise self._error(event, "a key that is a mapping, a list or an alias; expected a text")
            self.levels[-1].advance(event)
        before = self.values
        if isinstance(event, AliasEvent):
            self.values += self._repeated(event)
        else:
            self._check_tag(event)
            self.values += 1
        if isinstance(event, ScalarEvent):
            self.values += len(event.value) // 100
            self._check_scalar(event)
            if event.anchor is not None:
                self.sizes[event.anchor] = self.values - before
        if self.values > MOST_VALUES:
            raise self._error(event, f"more than {MOST_VALUES:,} values, those that aliases repeat counted again", "Write less.")
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            self.levels.append(_Level(isinstance(event, MappingStartEvent), event.anchor, before))
            if event.anchor is not None:
                self.sizes[event.anchor] = None
            if len(self.levels) > MOST_LEVELS:
                raise self._error(event, f"nested too deeply: more than {MOST_LEVELS} mappings or lists within each other")

    def _repeated(self, event: AliasEvent) -> int:
        size = self.sizes.get(event.anchor, 1)  # of an anchor that isn't there, the loader says so
        if size is None:
            raise self._error(event, f"the alias *{event.anchor} refers to a value that contains it")
        return size

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            raise self._error(event, f"the tag {tag} means nothing here; give a plain value")

    def _check_scalar(self, event: ScalarEvent) -> None:
        if _SURROGATE.search(event.value):
            raise self._error(event, "an escaped surrogate, which is half of a character", "Write the character itself.")
        if event.style or not event.value.startswith(tuple("+-.0123456789")):  # in quotes, a block of text, a word
            return
        kind = str(self.yaml.resolver.resolve(ScalarNode, event.value, (True, False)))
        if kind in _NUMBERS and len(event.value) > LONGEST_NUMBER:
            problem = f"a number of {len(event.value):,} characters; expected at most {LONGEST_NUMBER}"
            raise self._error(event, problem, "Put it in quotes if it is a text.")
        if kind == _DATE:
            raise self._error(event, f"{event.value} is a date, which means nothing here", "Put it in quotes if it is a text.")

    @property
    def address(self) -> tuple[str | int, ...]:
        """Keys and indices of the value that is being read; the first few of a deep one."""
        return tuple(level.key for level in self.levels if level.key != -1)[:4]

    def _error(self, event: Any, message: str, hint: str = "") -> OutOfBoundsError:
        return OutOfBoundsError(self.address, event.start_mark.line + 1, f"{message}.", hint)
