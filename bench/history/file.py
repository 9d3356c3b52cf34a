"""The file of a history: JSON, one line for each run, in the order in which they were added."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bench.errors import UsageError, refusal
from bench.gate.baseline_file import save
from bench.history.entry import FORMAT, Entry
from bench.metrics.metric import MOST
from bench.storage.files import NUMBER_BYTES, check_size, hold
from bench.storage.stored import first_problem
from bench.system.disk import MOST_RESULT, exists, read_file, write_named_file
from bench.system.memory import memory_shared

#: Seconds to wait for another process that is adding a run.
PATIENCE = 60.0

_ENTRY = TypeAdapter(Entry)


def add(path: Path, entry: Entry) -> bool:
    """Add a run at the end of a file, which is made if it is missing; a run that is there already keeps its place.

    The file is replaced in one step, under a lock, so that several processes may add to it. Lines that are no entry stay.

    Returns
    -------
    bool
        False if the file already held exactly this.

    Raises
    ------
    UsageError
        If the file can't be read or written.
    """
    target = Path(os.path.realpath(path))
    try:
        with hold(target.with_name(f".{target.name}.lock"), target.parent, PATIENCE):
            data = _data(path) if exists(target) else b""
            entries, _ = _parsed(data, path)
            lines = [*data.splitlines(keepends=True)]
            line = dump([entry]).encode("utf-8", "replace")
            place = next((number for number, old in entries.items() if old.identity == entry.identity), None)
            if place is None:
                lines = [data, b"" if not data or data.endswith(b"\n") else b"\n", line]
            elif entries[place] == entry:
                return False
            else:
                lines[place] = line
            try:
                check_size(content := b"".join(lines), MOST_RESULT, NUMBER_BYTES)
            except ValueError as error:
                raise UsageError(f"{path} has no room for another run: {error}.", "Begin another file.") from error
            save(path, content, write_named_file)
    except OSError as error:
        refused = UsageError(f"{path} can't be written: {error.strerror or error}.", "Give another --file.")
        raise refusal(error, refused) from error
    return True


def dump(entries: Sequence[Entry]) -> str:
    """Text of a file."""
    return "".join(json.dumps(asdict(entry), allow_nan=False, separators=(",", ":")) + "\n" for entry in entries)


def read(path: Path) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Read a file.

    Returns
    -------
    tuple of Entry
    tuple of str
        Lines that are no entry, such as half of one or the mark of a conflict, or are of a run that has one already, and why.

    Raises
    ------
    UsageError
        If it is missing, or no line is an entry.
    MachineError
        If the machine refuses.
    """
    with memory_shared(f"reading {path}"):
        entries, problems = _parsed(_data(path), path)
    return tuple(entries.values()), tuple(problem.message for problem in problems)


def _data(path: Path) -> bytes:
    try:
        data = read_file(Path(os.path.realpath(path)), MOST_RESULT)
        check_size(data, MOST_RESULT, NUMBER_BYTES)
        return data
    except ValueError as error:
        raise UsageError(f"{path} is no history: {error}.") from error
    except OSError as error:
        hint = f"Begin one: bench history add RUN --file {path}." if isinstance(error, FileNotFoundError) else ""
        raise refusal(error, UsageError(f"The history {path} can't be read: {error.strerror or error}.", hint)) from error


def _parsed(data: bytes, path: Path) -> tuple[dict[int, Entry], list[UsageError]]:
    """Parse the lines that are entries, by their number from 0; refuse a file that has others alone, as it is no history."""
    entries: dict[int, Entry] = {}
    problems: list[UsageError] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(data.splitlines()):
        try:
            if not line.strip():
                continue
            entry = _entry(line, place := f"{path}, line {number + 1}")
            if (first := lines.setdefault(entry.identity, number)) != number:
                raise UsageError(f"{place} is of the same run as line {first + 1}; remove one of them.")
            entries[number] = entry
        except UsageError as error:
            problems.append(error)
    if problems and not entries:
        raise problems[0]
    return entries, problems


def _entry(line: bytes, place: str) -> Entry:
    hint = "Remove that line, and add its run again."
    try:
        entry = _ENTRY.validate_json(line)
    except ValidationError as error:
        raise UsageError(f"{place} is no entry of a history: {first_problem(error)}.", hint) from error
    if entry.bench_history != FORMAT:
        raise UsageError(f"{place} has format {entry.bench_history}; this version of bench reads format {FORMAT}.", hint)
    values = (x for row in entry.rows.values() for m in row.metrics.values() for x in (m.mean, m.low, m.high, *m.seeds.values()))
    if not all(abs(value or 0) <= MOST for value in values):
        raise UsageError(f"{place} is no entry of a history: a value is not finite, or beyond 10^15.", hint)
    if any(not m.seeds for row in entry.rows.values() for m in row.metrics.values()):
        raise UsageError(f"{place} is no entry of a history: a metric has no seed.", hint)
    return entry
