"""Parts of every page: how texts are escaped, tables, the style and the script.

Jinja escapes every text; all markup comes from templates or from :mod:`bench.report.figures`. A content security policy forbids
every request and every script but the page's own, as a second defence against markup in a title.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.formatting import Grid, plural, visible


@cache
def environment(package: str) -> Environment:
    """Make the environment of a package's templates for pages."""
    made = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"plural": plural, "lines": lines}
    return made


def finalize(value: Any) -> Any:
    """Value of ``{{ }}`` in a template: markup as it is, anything else as visible text."""
    return value if isinstance(value, Markup) else visible(value)


def lines(text: str) -> Markup:
    """Text of several lines, each as visible text."""
    indented = (f"{' ' * (len(line) - len(line.lstrip(' ')))}{visible(line)}" for line in text.splitlines())
    return Markup("\n").join(indented)


def tables(kinds: Mapping[str, str]) -> Callable[..., Markup]:
    """Make a function that writes a grid as a table, with a name for screen readers; a matrix is not sortable.

    Parameters
    ----------
    kinds : mapping of str to str
        Kind of row by the text of its first cell.
    """
    template = environment("bench.report").get_template("table.html.j2")

    def table(grid: Grid, name: str, *, sortable: bool = True) -> Markup:
        return Markup(template.render(grid=grid, name=name, kinds=kinds, sortable=sortable))  # the template escapes

    return table


def text(*names: str) -> Markup:
    """Contents of our own style sheets or scripts, one after the other."""
    return Markup("".join(resources.files("bench.report").joinpath(name).read_text(encoding="utf-8") for name in names))


def digest(name: str) -> str:
    """SHA-256 of a script, as the content security policy names it."""
    return base64.b64encode(hashlib.sha256(text(name).encode()).digest()).decode()
