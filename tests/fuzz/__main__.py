"""Fuzz readers: ``python -m tests.fuzz [TARGET ...] [--seconds S] [--seed N]``.

A target, a seed and a number name an input (``TARGET --seed N --number I`` gives it again). Each new fault's input is made as
small as possible and written to a file; ``python -m tests.fuzz TARGET FILE ...`` gives files to a reader. Copied to
``tests/fuzz/corpus/TARGET/``, the file is a test.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom

from tests.fuzz.inputs import damaged
from tests.fuzz.sandbox import Fault, Sandbox
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"

#: Faults that aren't fixed yet, by target: what they are, and where. A test fails when the corpus shows one of them no more.
OPEN: dict[str, set[tuple[str, str]]] = {}

#: Longest time for making an input smaller, seconds.
SHRINKING = 20.0


def corpus(target: str) -> list[Path]:
    """List the inputs of a target that the repository holds."""
    return sorted(path for path in (CORPUS / target).glob("*") if path.is_file())


def inputs(target: str, seed: int, first: int = 1) -> Iterator[bytes]:
    """Yield inputs without end: three of four from the grammar, the others from the corpus; then damaged, as a rule."""
    reader = TARGETS[target]
    kept = [reader.example, *(path.read_bytes() for path in corpus(target))]
    for number in itertools.count(first):
        rng = Random(f"{target} {seed} {number}")
        data = reader.make(rng) if rng.random() < 0.75 or not reader.damage else rng.choice(kept)
        yield damaged(rng, data) if reader.damage else data


@dataclass(frozen=True)
class Found:
    """A fault, and the number and the bytes of the input that showed it."""

    fault: Fault
    number: int
    data: bytes


def fuzz(sandbox: Sandbox, target: str, seed: int, most: int | None = None, seconds: float = math.inf) -> tuple[int, list[Found]]:
    """Give inputs to a reader, at most so many or for so long; return their number and the different faults that aren't open."""
    faults: list[Found] = []
    number, until = 0, time.monotonic() + seconds
    known = set(OPEN.get(target, ()))
    for number, data in enumerate(itertools.islice(inputs(target, seed), most), 1):
        fault = sandbox.judge(target, data)
        if fault is not None and fault.signature not in known:
            known.add(fault.signature)
            faults.append(Found(fault, number, data))
        if time.monotonic() > until:
            break
    return number, faults


def smallest(sandbox: Sandbox, target: str, data: bytes, fault: Fault) -> bytes:
    """Leave out whatever the fault doesn't need: halves first, then ever shorter pieces."""
    until, size = time.monotonic() + SHRINKING, len(data) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(data) and time.monotonic() < until:
            shorter = data[:at] + data[at + size :]
            result = sandbox.judge(target, shorter)
            if result is not None and result.signature == fault.signature:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def main() -> int:
    """Run the command line; 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("names", nargs="*", metavar="TARGET or FILE")
    parser.add_argument("--seconds", type=float, default=600.0, help="in all, shared by the targets")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--number", type=int, help="only this input of the target")
    options = parser.parse_args()
    targets = [name for name in options.names if name in TARGETS] or list(TARGETS)
    files = [Path(name) for name in options.names if name not in TARGETS]
    if options.number is not None:
        return _again(targets[0], {str(options.number): next(inputs(targets[0], options.seed, options.number))})
    if files:
        return _again(targets[0], {str(path): path.read_bytes() for path in files})
    folder, seconds, total = Path(tempfile.mkdtemp(prefix="fuzz-faults-")), options.seconds / len(targets), 0
    with Sandbox() as sandbox:
        for target in targets:
            number, faults = fuzz(sandbox, target, options.seed, seconds=seconds)
            print(f"{target:10} {number:8} inputs in {seconds:.0f} s, {len(faults)} new faults (seed {options.seed})", flush=True)
            for i, found in enumerate(faults):
                path = folder / f"{target}-{i}"
                path.write_bytes(smallest(sandbox, target, found.data, found.fault))
                _show(found.fault, f"{path}, or --seed {options.seed} --number {found.number}")
            total += len(faults)
    return int(total > 0)


def _show(fault: Fault, where: str) -> None:
    print(f"--- {fault.kind} in {fault.place}; input: {where}\n{fault.text}", flush=True)


def _again(target: str, data: dict[str, bytes]) -> int:
    """Give named inputs to one reader."""
    with Sandbox() as sandbox:
        faults = {name: fault for name, content in data.items() if (fault := sandbox.judge(target, content))}
    for name, fault in faults.items():
        _show(fault, name)
    print(f"{len(data)} inputs, {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
