"""What differs between runs: spec, versions, plug-ins, music, machine; value by value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.comparison.runs import Run
from bench.formatting import DASH, brief, shortened
from bench.storage.records import package_versions

#: Keys of a resolved spec that no longer decide anything: they are merged into the rest.
MERGED = ("scales", "extends", "suits")

#: Longest text of a value. Characters.
LONGEST = 80

#: Most differences that are listed; a run's record may hold any number.
MOST = 400


@dataclass(frozen=True)
class Difference:
    """One fact that is not the same for all runs.

    Parameters
    ----------
    what : str
        Such as ``spec: protocol.notes``.
    values : tuple of str
        That of each run; a dash where it has none.
    """

    what: str
    values: tuple[str, ...]


def differences(runs: Sequence[Run]) -> tuple[Difference, ...]:
    """List every fact that differs between the runs, at most :data:`MOST` and one that counts the others."""
    found = list(differing([facts(run) for run in runs]))
    kept = [Difference(brief(what, LONGEST), values) for what, values in found[:MOST]]
    if more := len(found) - len(kept):
        kept.append(Difference(f"and {more:,} more", (DASH,) * len(runs)))
    return tuple(kept)


def differing(sides: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each value of nested mappings that is not the same on all sides: its dotted key, and its texts.

    Examples
    --------
    >>> list(differing([{"notes": 64, "budget": {"epochs": 3}}, {"notes": 64, "budget": {"epochs": 5, "patience": 2}}]))
    [('budget.epochs', ('3', '5')), ('budget.patience', ('–', '2'))]
    """
    flat = [dict(_leaves(side)) for side in sides]
    for key in dict.fromkeys(key for side in flat for key in side):
        exact = [_exact(side[key]) if key in side else DASH for side in flat]
        if len(set(exact)) > 1:
            plain = [side[key] if isinstance(side.get(key), str) else text for side, text in zip(flat, exact, strict=True)]
            # The text "1" is written without its quotes, unless the number 1 is beside it.
            yield key, tuple(map(_short, plain if len(set(plain)) == len(set(exact)) else exact))


def facts(run: Run) -> dict[str, Any]:
    """Collect what a run was made of, in the order of the table."""
    record, machine = run.record, run.record.provenance.machine
    machines = [machine for row in run.table.rows for machine in run.machines(row)]
    return {
        "scale": record.scale,
        **_named("spec", {key: value for key, value in record.spec.items() if key not in MERGED}),
        "bench": record.provenance.bench,
        "commit": record.provenance.git,
        **_named("plug-in", record.plugins),
        **_named("weights", {p.trial["system"]: p.trial["weights"] for p in record.trials if p.trial.get("weights")}),
        **_named("version", _versions(run)),
        "dataset": record.dataset.title,
        "dataset: files and the code that read them": record.dataset.corpus_key,
        "dataset: notes read from them": record.dataset.parsed,
        **_named("dataset: pieces", record.dataset.pieces),
        **_named("dataset: notes", record.dataset.notes),
        "dataset: files left out": len(record.dataset.skipped),
        "prompts and targets": run.baseline.terms["music"]["held_out"],
        "processor": machine.cpu,
        "cores": machine.cores,
        "memory": machine.memory_bytes,
        "GPUs": list(map(str, machine.gpus)),
        "system": machine.platform,
        "threads of a trial": sorted({machine.threads for machine in machines}),
        "processor of the trials": sorted({machine.processor for machine in machines}),
        "trials at a time": record.call.jobs,
    }


def _versions(run: Run) -> dict[str, str]:
    """Texts of the versions of Python and of each package, over all interpreters of a run."""
    made = run.record.provenance.interpreters
    return package_versions({name: {"Python": one.python or one.error or "", **one.packages} for name, one in made.items()})


def _named(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}: {key}": value for key, value in values.items()}


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, part in value.items():
        if isinstance(part, Mapping) and part:
            yield from _leaves(part, shortened(f"{prefix}{key}."))
        else:
            yield shortened(f"{prefix}{key}"), part


def _exact(value: Any) -> str:
    """Text that is the same for equal values of one type only."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(text: str) -> str:
    """Text in one line of limited length; a checksum tells apart what is not shown."""
    line = brief(text, LONGEST)
    return line if line == text else f"{line} ({hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]})"
