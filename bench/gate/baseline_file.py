"""A baseline's file: compact JSON. Read with care, as people merge, edit and cut files, and the gate must not open for that."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Never

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from bench.errors import UsageError
from bench.gate.baseline import Baseline, Series, System
from bench.scoring.score import KIND_ORDER
from bench.storage.files import atomic

#: Version of the file.
FORMAT = 2

#: No measured value is larger; sums and squares of such values are still numbers.
LARGEST = 1e100

#: Of the largest value: how far rounding may bring a mean from the mean of rounded values.
ROUNDED = 1e-6

_AGAIN = "Make it again from a finished run: bench baseline RUN --file FILE."

#: Exactly the fields of :class:`Baseline`, of exactly their types.
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
for _part in (Series, System, Baseline):
    with_config(_STRICT)(_part)
_WHOLE = TypeAdapter(Baseline)


def differences(path: Path, baseline: Baseline) -> list[str]:
    """What the baseline that stands at `path` was taken of and `baseline` was not; empty if both are of the same terms.

    A file that is no baseline, or a damaged one, differs in being so.
    """
    try:
        there = read(path)
    except UsageError as error:
        return [error.message]
    return [
        f"{name} ({there.terms.get(name)!r}, not {value!r})"
        for name, value in baseline.terms.items()
        if there.terms.get(name) != value
    ]


def dump(baseline: Baseline) -> str:
    """The file's text: one line."""
    text = {"bench_baseline": FORMAT, **asdict(baseline)}
    return json.dumps(text, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def write(path: Path, baseline: Baseline) -> None:
    """Write the file, whole or not at all.

    Raises
    ------
    UsageError
        If it can't be written there.
    """
    save(path, dump(baseline))


def save(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; folders on the way are made.

    Raises
    ------
    UsageError
        If it can't be written there.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and should be a file.", "Add a file name.")
    try:
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:  # which names the temporary file
        raise UsageError(f"{path} can't be written: {error.strerror or error}.", "Give another place.") from error


def read(path: Path) -> Baseline:
    """Read a baseline file.

    Raises
    ------
    UsageError
        If it is missing, no baseline, of another version, or damaged: every part must be there, every number finite, every place
        named once.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise UsageError(f"The baseline {path} can't be read: {error.strerror}.", _AGAIN) from error
    except ValueError as error:
        raise UsageError(f"{path} is no baseline: {error}.", _AGAIN) from error
    except RecursionError as error:
        raise UsageError(f"{path} is no baseline: it is nested too deeply.", _AGAIN) from error
    version = given.pop("bench_baseline", None) if isinstance(given, dict) else None
    if type(version) is not int or version != FORMAT:
        words = "holds no baseline" if version is None else f"has format {version!r}; this version of bench reads format {FORMAT}"
        raise UsageError(f"{path} {words}.", _AGAIN)
    try:
        baseline = _WHOLE.validate_json(json.dumps(given))
    except RecursionError as error:
        raise UsageError(f"{path} is no baseline: it is nested too deeply.", _AGAIN) from error
    except ValidationError as error:
        raise UsageError(f"{path} is not whole: {_first(error)}.", _AGAIN) from error
    if damage := next(_damages(baseline), None):
        raise UsageError(f"{path} is not whole: {damage}.", _AGAIN)
    return baseline


def _no_number(name: str) -> Never:
    raise ValueError(f"{name} is no measured value")


def _first(error: ValidationError) -> str:
    """``systems.lstm.kind: input should be a valid string``."""
    found: Any = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = "this is missing" if found["type"] in ("missing", "missing_argument") else found["msg"]
    return ": ".join([*filter(None, [".".join(map(str, found["loc"]))]), f"{message[:1].lower()}{message[1:]}"])


def _damages(baseline: Baseline) -> Iterator[str]:
    """What a type can't say."""
    for name, system in baseline.systems.items():
        if system.kind not in KIND_ORDER:
            yield f"systems.{name}.kind: {system.kind!r} is none of {', '.join(KIND_ORDER)}"
        if len(set(system.seeds)) != len(system.seeds):
            yield f"systems.{name}.seeds: a seed stands twice"
        for seed, seconds in system.yardstick.items():
            if not 0 < seconds < LARGEST:
                yield f"systems.{name}.yardstick.{seed}: {seconds:g} s is no time"
        for key, series in system.metrics.items():
            if found := _damage(series, system, baseline):
                yield f"systems.{name}.metrics.{key}: {found}"


def _damage(series: Series, system: System, baseline: Baseline) -> str:
    """What is wrong with a series; empty if nothing is."""
    if not series.values or len(series.at) != len(series.values):
        return f"{len(series.values)} of {len(series.at)} {series.over} have a value"
    if len(set(series.at)) != len(series.at):
        return f"of the {series.over} one stands twice"
    if any(not math.isfinite(v) or abs(v) > LARGEST for v in (series.value, *series.values)):
        return "a value is too large to be measured"
    mean = math.fsum(series.values) / len(series.values)
    size = max(map(abs, series.values))
    if not math.isclose(mean, series.value, rel_tol=0, abs_tol=ROUNDED * size):
        return f"its value is {series.value:g}, but the mean of its {len(series.values)} values is {mean:g}"
    known = system.seeds if series.over == "seeds" else range(len(baseline.pieces))
    if series.over != "held-out pieces" and (unknown := [place for place in series.at if place not in known]):
        return f"{series.over} {unknown[0]} is not in the run"
    return ""
