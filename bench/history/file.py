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
from bench.storage.files import hold, write_named_data
from bench.storage.stored import first_problem
from bench.system.disk import MOST_RESULT, exists, read_file

#: Seconds to wait for another process that is adding a run.
PATIENCE = 60.0

_ENTRY = TypeAdapter(Entry)


def add(path: Path, entry: Entry) -> bool:
    """Add a run at the end of a file, which is made if it is missing; a run that is there already keeps its place.

    The file is replaced in one step, under a lock, so that several processes may add to it.

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
            entries = list(read(path)) if exists(target) else []
            earlier = next((i for i, old in enumerate(entries) if old.identity == entry.identity), None)
            if earlier is not None and entries[earlier] == entry:
                return False
            if earlier is None:
                entries.append(entry)
            else:
                entries[earlier] = entry
            save(path, dump(entries), write_named_data)
    except OSError as error:
        refused = UsageError(f"{path} can't be written: {error.strerror or error}.", "Give another --file.")
        raise refusal(error, refused) from error
    return True


def dump(entries: Sequence[Entry]) -> str:
    """Text of a file."""
    return "".join(json.dumps(asdict(entry), allow_nan=False, separators=(",", ":")) + "\n" for entry in entries)


def read(path: Path) -> tuple[Entry, ...]:
    """Read a file.

    Raises
    ------
    UsageError
        If it is missing, or a line is no entry.
    MachineError
        If the machine refuses.
    """
    try:
        data = read_file(Path(os.path.realpath(path)), MOST_RESULT)
    except OSError as error:
        hint = f"Begin one: bench history add RUN --file {path}." if isinstance(error, FileNotFoundError) else ""
        raise refusal(error, UsageError(f"The history {path} can't be read: {error.strerror or error}.", hint)) from error
    entries = (_entry(line, f"{path}, line {number}") for number, line in enumerate(data.splitlines(), 1) if line.strip())
    return tuple(entries)


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
