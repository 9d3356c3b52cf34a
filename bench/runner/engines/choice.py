"""Choice of an engine: by name or by a file with its options."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import PluginError, SpecError, UsageError, did_you_mean
from bench.formatting import listed
from bench.runner.engines.engine import Engine
from bench.storage.stored import first_problem

#: Engines of this package, each a module.
SHIPPED = ("local", "ray", "slurm")

GROUP = "midibench.engines"


def engine_options(engine: str | Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """Parse an engine's options, each ``key=value``: a text for an option that is one, else YAML.

    Raises
    ------
    UsageError
        If one is no such assignment, or its value is no YAML.

    Examples
    --------
    >>> engine_options("slurm", ["sbatch=--gres=gpu:1 --time=1:00", "cpus=4"])
    {'sbatch': '--gres=gpu:1 --time=1:00', 'cpus': 4}
    """
    from bench.specs.document import parse_yaml

    fields = _class(_named(engine)[0]).model_fields if assignments else {}
    options: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--engine-option is {assignment!r}; expected key=value.")
        try:
            options[key] = text if key in fields and fields[key].annotation is str else parse_yaml(text, "it")
        except SpecError as error:
            raise UsageError(f"--engine-option {key}: {text!r} is not a YAML value.", error.hint) from None
    return options


def choose_engine(engine: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Engine:
    """Make an engine.

    Parameters
    ----------
    engine : str or Path, optional
        Its name, or a YAML file of options, one of them ``engine`` with its name. By default ``$BENCH_ENGINE``, else ``local``.
    options : mapping, optional
        Options that override the file's.

    Raises
    ------
    UsageError
        If there is none of that name, or an option is unknown or out of range.

    Examples
    --------
    >>> choose_engine("local", {"jobs": 2}).jobs
    2
    """
    name, stored = _named(engine)
    made = _class(name)
    values = {**stored, **(options or {})}
    if unknown := next((key for key in values if key not in made.model_fields), None):
        hint = did_you_mean(unknown, made.model_fields) or f"It has {listed(list(made.model_fields))}."
        raise UsageError(f"The engine {name} has no option {unknown!r}.", hint)
    try:
        return made.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"The options of the engine {name} can't be used: {first_problem(error)}.") from error


def _named(engine: str | Path | None) -> tuple[str, Mapping[str, Any]]:
    """Find the engine's name and the options of its file, if it has one."""
    given = str(engine or os.environ.get("BENCH_ENGINE") or "local")
    return _of_file(Path(given)) if given.endswith((".yaml", ".yml")) else (given, {})


def _of_file(file: Path) -> tuple[str, Mapping[str, Any]]:
    """Read a file of options: the engine's name and its options."""
    from bench.specs.document import parse_yaml

    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise UsageError(f"The engine's file {file} is no file.")
        values = parse_yaml(file.read_text(), str(file))
    except OSError as error:
        raise UsageError(f"The engine's file {file} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The engine's file {file} is no text in UTF-8.") from error
    except SpecError as error:
        raise UsageError(error.message, error.hint) from error
    if not isinstance(values, dict) or not isinstance(values.get("engine"), str):
        raise UsageError(f"{file} names no engine.", "It holds options, one a line, and among them such as `engine: slurm`.")
    return values["engine"], {str(key): value for key, value in values.items() if key != "engine"}


def _class(name: str) -> type[Engine]:
    if name in SHIPPED:
        shipped: type[Engine] = importlib.import_module(f"bench.runner.engines.{name}").Engine
        return shipped
    others = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if name in others:
        try:
            found: Any = others[name].load()
        except Exception as error:
            raise PluginError(f"The engine {name!r} can't be loaded: {error}.") from error
    else:
        known = [*SHIPPED, *others]
        raise UsageError(f"There is no engine named {name!r}.", did_you_mean(name, known) or f"There are {listed(known)}.")
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise PluginError(f"The engine {name!r} is no subclass of bench.runner.engines.engine.Engine.")
    return found
