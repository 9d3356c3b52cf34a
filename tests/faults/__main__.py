"""Disturb runs for as long as asked: ``python -m tests.faults --minutes 30``, or ``make faults``. Exit code 1 if one breaks.

Every refused call and every kill at every place of a short run, in random order, until the time is up; then figures by kind.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.machine import REFUSALS, Fault, Machine, Undisturbed, build, faults, problems


def main() -> int:
    """Run the campaign and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="of the order in which faults are tried")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        library = build(base)
        undisturbed = Undisturbed.of(Machine(base / "undisturbed", library))
        planned = plan(Machine(base / "counted", library))
        random.Random(options.seed).shuffle(planned)
        tried, broken = campaign(base, library, planned, undisturbed, time.monotonic() + 60 * options.minutes)
    for kind in sorted(tried):
        print(f"{kind}: {tried[kind]} of {sum(kind == of(fault) for fault in planned)} places, {broken[kind]} broken")
    return 1 if broken else 0


def plan(machine: Machine) -> list[Fault]:
    """List every fault at every place of a run."""
    assert machine.run(count=",".join(REFUSALS)).code == 0
    calls = machine.calls()
    planned = [fault for call, errors in REFUSALS.items() for error in errors for fault in faults(calls, call, (error,))]
    planned += [Fault("write", fault.number, "ENOSPC", stays=True) for fault in faults(calls, "write", ("ENOSPC",))]
    return planned + [fault for call in ("fsync", "rename") for fault in faults(calls, call, ("KILL",))]


def of(fault: Fault) -> str:
    """Kind of a fault, for the figures."""
    return f"{fault.calls} {fault.error}{' from then on' if fault.stays else ''}"


def campaign(
    base: Path, library: Path, planned: list[Fault], undisturbed: Undisturbed, until: float
) -> tuple[Counter[str], Counter[str]]:
    """Try faults until the time is up; count them, and those that break the property."""
    tried, broken = Counter[str](), Counter[str]()
    for number, fault in enumerate(planned):
        if time.monotonic() > until:
            break
        machine = Machine(base / f"case{number}", library)
        wrong = problems(machine, fault, undisturbed)
        tried[of(fault)] += 1
        if wrong:
            broken[of(fault)] += 1
            print("\n".join(wrong), flush=True)
        shutil.rmtree(machine.folder)
    return tried, broken


if __name__ == "__main__":
    sys.exit(main())
