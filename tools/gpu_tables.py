"""Tables of runs for tools/gpu_check.sh; a run is its folder.

``gpu_tables.py same RUN OTHER``, ``gpu_tables.py resumed RUN`` or ``gpu_tables.py rows RUN``.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.metrics import cost

#: Columns of costs that the training alone decides, no clock and no machine.
COUNTED = {"updates", "epochs", "parameters"}

#: Columns that a clock or the machine decides.
CLOCKED = {
    f"{metric.name}{end}" for metric in cost.METRICS if metric.name not in COUNTED for end in ("", "_seed_sd", "_low", "_high")
}


def table(run: str) -> dict[tuple[str, str], str]:
    """Cells of a run's report.csv that no clock decides, by row and column."""
    with (Path(run) / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["system"], name): cell for row in rows for name, cell in row.items() if name not in CLOCKED}


def same(run: str, other: str) -> int:
    """Print whether two runs have the same table, else the largest difference; exit code 1 if not."""
    one, two = table(run), table(other)
    apart = {key: (one.get(key, "none"), two.get(key, "none")) for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
    if not apart:
        print(f"{len(one)} cells are the same")
        return 0
    row, column = max(apart, key=lambda key: difference(*apart[key]))
    first, second = apart[row, column]
    print(f"{len(apart)} of {len(one)} cells differ, most of all {column} of {row}: {first} and {second}")
    return 1


def difference(one: str, other: str) -> float:
    """Relative difference of two cells; infinite for texts."""
    try:
        a, b = float(one), float(other)
    except ValueError:
        return math.inf
    return abs(a - b) / max(abs(a), abs(b), 1e-30)


def trained(run: str) -> Iterator[dict[str, Any]]:
    """Yield the outcomes of a run's models."""
    for path in sorted(Path(run).glob("trials/*/outcome.json")):
        outcome = json.loads(path.read_text(encoding="utf-8"))
        if outcome["trial"]["kind"] == "model":
            yield outcome


def resumed(run: str) -> int:
    """Print which trainings resumed from a checkpoint; exit code 1 if none did."""
    names = [o["trial"]["system"] for o in trained(run) if ((o.get("training") or {}).get("resumed") or 0) >= 1]
    print(f"from a checkpoint: {', '.join(names) or 'no training resumed'}")
    return 0 if names else 1


def rows(run: str) -> int:
    """Print the training of each model in one line: bits, speeds, memory, compilation."""
    lines = []
    for outcome in trained(run):
        trial, training, facts = outcome["trial"], outcome.get("training") or {}, outcome.get("facts") or {}
        found = {
            "status": outcome["status"],
            "updates": training.get("updates"),
            "seconds": training.get("seconds"),
            "notes/s": training.get("notes_per_second"),
            "best bits": training.get("best_validation_bits"),
            "generated notes/s": (outcome.get("generation") or {}).get("notes_per_second"),
            "GPU GiB": (facts.get("peak_gpu_bytes") or 0) / 2**30,
            "compiled": str(facts.get("compiled"))[:40],
        }
        values = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in found.items())
        lines.append(f"{trial['system']}: {', '.join(values)}")
    print("; ".join(lines))
    return 0


if __name__ == "__main__":
    commands: dict[str, Callable[..., int]] = {"same": same, "resumed": resumed, "rows": rows}
    sys.exit(commands[sys.argv[1]](*sys.argv[2:]))
