"""The file of a baseline: JSON in two lines, the first with a checksum of the second.

The checksum is there because people merge, edit and cut such files by hand: a baseline that was changed after it was taken would
let regressions pass.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bench.errors import UsageError, refusal
from bench.gate.baseline import Baseline, Series, System
from bench.metrics.metric import MOST
from bench.storage.files import NUMBER_BYTES, check_size, write_named_data, write_named_text
from bench.storage.stored import first_problem
from bench.system.disk import MOST_RECORD, read_file
from bench.system.memory import memory_shared

#: Version of the file. Up to format 2 it had means over seeds, which do not show what another training would give.
FORMAT = 3

_VERSION = re.compile(rb'"bench_baseline"\s*:\s*(\d{1,9})\b')
_HEADER = re.compile(rb'\{"bench_baseline":%d,"sha256":"([0-9a-f]{64})",\n' % FORMAT)
_CONTENT = TypeAdapter(Baseline)


def dump(baseline: Baseline) -> str:
    """Text of the file: one JSON object, its format and checksum in the first line, all else in the second."""
    text = json.dumps(_CONTENT.dump_python(baseline, by_alias=True), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate, which readers of JSON refuse, becomes a question mark; all else beyond printable ASCII is escaped.
    content = re.sub("[^ -~]", _escaped, text[1:].encode("utf-8", "replace").decode()) + "\n"
    return f'{{"bench_baseline":{FORMAT},"sha256":"{hashlib.sha256(content.encode()).hexdigest()}",\n{content}'


def _escaped(character: re.Match[str]) -> str:
    return re.sub("....", r"\\u\g<0>", character[0].encode("utf-16-be").hex())


def write(path: Path, baseline: Baseline) -> None:
    """Write the complete file, or nothing.

    Raises
    ------
    UsageError
        If it can't be written there, or is more than :func:`read` reads.
    MachineError
        If the machine refuses.
    """
    content = dump(baseline)
    try:
        check_size(content.encode(), MOST_RECORD, NUMBER_BYTES)
    except ValueError as error:
        raise UsageError(f"The baseline can't be stored: {error}.", "Use fewer protocol.pieces or seeds.") from error
    save(path, content, write_named_data)


def save(path: Path, content: str | bytes | Iterable[bytes], write: Callable[[Path, Any], None] = write_named_text) -> None:
    """Write a complete file, or nothing; missing parent folders are created.

    Raises
    ------
    UsageError
        If it can't be written there.
    MachineError
        If the machine refuses.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and should be a file.", "Add a file name.")
    try:
        write(path, content)
    except OSError as error:  # which names the temporary file
        place = UsageError(f"{path} can't be written: {error.strerror or error}.", "Give another place.")
        raise refusal(error, place) from error


def read(path: Path) -> Baseline:
    """Read a baseline file.

    Raises
    ------
    MachineError
        If the machine refuses to read it.
    UsageError
        If it is missing, no baseline, of another format, or any byte of it has changed since it was written.
    """
    take = f"Take one from a finished run: bench baseline RUN --file {path}."
    try:  # through a link: the file is named by the user
        data = read_file(Path(os.path.realpath(path)), MOST_RECORD)
    except OSError as error:
        raise refusal(error, UsageError(f"The baseline {path} can't be read: {error.strerror or error}.", take)) from error
    with memory_shared(f"reading {path}"):
        return parse(data, path)


def parse(data: bytes, path: Path | str) -> Baseline:
    """Read the content of a baseline file; `path` is its name in messages.

    Raises
    ------
    UsageError
        As :func:`read`, but for a file that is missing.
    """
    replace = f"Take it again from a finished run: bench baseline RUN --file {path} --force."
    other = "Take one from a finished run, in another file: bench baseline RUN --file baseline.json."
    try:
        check_size(data, MOST_RECORD, NUMBER_BYTES)
    except ValueError as error:
        raise UsageError(f"{path} is no baseline: {error}.", other) from error
    version = _VERSION.search(data)
    if version is None:
        raise UsageError(f"{path} is no baseline.", other)
    if int(version[1]) != FORMAT:
        raise UsageError(f"{path} has format {int(version[1])}; this version of bench reads format {FORMAT}.", replace)
    header = _HEADER.match(data)
    content = data[header.end() :] if header else b""
    if header is None or hashlib.sha256(content).hexdigest().encode() != header[1]:
        raise UsageError(f"{path} does not match its checksum: it was edited by hand or is damaged.", replace)
    try:
        baseline = _CONTENT.validate_json(b"{" + content)
        dump(baseline)
    except ValidationError as error:  # the checksum is right, so another program wrote it
        raise UsageError(f"{path} is no baseline: {first_problem(error)}.", other) from error
    except ValueError as error:
        raise UsageError(f"{path} is no baseline: it holds a number that isn't finite.", other) from error
    if fault := next(_faults(baseline), None):
        raise UsageError(f"{path} is no baseline: {fault}.", other)
    return baseline


def _faults(baseline: Baseline) -> Iterator[str]:
    """Say which parts don't fit each other, so that nothing that compares them has to look."""
    for name, system in baseline.systems.items():
        if not all(0 < seconds < MOST for seconds in system.yardstick.values()):
            yield f"{name}: a yardstick is no time"
        for metric, series in system.metrics.items():
            if fault := _misfit(series, system):
                yield f"{name}: {metric}: {fault}"


def _misfit(series: Series, system: System) -> str:
    columns = 1 if series.over == "seeds" else len(series.at)
    if not series.seeds or not set(series.seeds) <= set(system.seeds):
        return "its seeds are not those of the row"
    if len(set(series.seeds)) < len(series.seeds) or len(set(series.at)) < len(series.at):
        return "a seed or a piece occurs twice"
    if len(series.values) != len(series.seeds) or any(len(row) != columns for row in series.values):
        return "it has not a value for each seed and piece"
    if series.weights is not None and (len(series.weights) != len(series.at) or min(series.weights, default=1) <= 0):
        return "it has not a weight above 0 for each piece"
    if any(abs(value or 0) > MOST for value in (series.value, *(series.weights or ()), *itertools.chain(*series.values))):
        return "a value is beyond 10^15"
    return ""


def differences(path: Path, baseline: Baseline) -> list[str]:
    """List the terms in which the baseline at `path` differs from another; why it can't be read, if it can't."""
    try:
        existing = read(path)
    except UsageError as error:
        return [error.message.removesuffix(".")]
    return [
        f"{name} ({existing.terms.get(name)!r}, not {value!r})"
        for name, value in baseline.terms.items()
        if existing.terms.get(name) != value
    ]
