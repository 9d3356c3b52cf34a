"""Readers of what others wrote, given inputs that nobody would: those of the corpus, and some hundreds of new ones each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import CORPUS, OPEN, corpus, fuzz, inputs
from tests.fuzz.sandbox import Sandbox
from tests.fuzz.targets import TARGETS

#: Inputs of each target, and their seed. Both are fixed, so that every machine meets the same inputs: a failure is the change's.
#: `make fuzz` draws others each time, for as long as it is told. About a minute for all targets.
INPUTS, SEED = 200, 1

#: Of a target whose inputs are whole runs, scored and reported.
RUNS = 30


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as one:
        yield one


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_that_went_wrong_once(sandbox: Sandbox, target: str) -> None:
    faults = {path.name: fault for path in corpus(target) if (fault := sandbox.judge(target, path.read_bytes()))}
    still_open = {name for name, fault in faults.items() if fault.signature in OPEN.get(target, ())}
    assert not faults.keys() - still_open, "\n".join(f"{name}: {fault.text}" for name, fault in faults.items())
    assert bool(still_open) == (target in OPEN), f"no input shows the open fault of {target} any more: delete it from OPEN"


@pytest.mark.parametrize("target", TARGETS)
def test_new_inputs(sandbox: Sandbox, target: str) -> None:
    most = RUNS if target == "received" else INPUTS
    number, faults = fuzz(sandbox, target, SEED, most=most)
    assert number == most
    assert not faults, "\n".join(
        f"{found.fault.text}python -m tests.fuzz {target} --seed {SEED} --number {found.number}" for found in faults
    )


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in OPEN])
def test_a_grammars_inputs_are_not_all_refused(target: str, tmp_path: Path) -> None:
    """Behind the refusals lies most of a reader. A crash of the interpreter is looked for in the sandbox, not here."""
    read = 0
    for number in range(60):
        (folder := tmp_path / str(number)).mkdir()
        read += TARGETS[target].run(TARGETS[target].make(Random(f"{target} {number}")), folder)
    assert read >= 60 / 3


def test_a_fault_that_is_not_open_is_found(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside one that is, of the same reader."""
    monkeypatch.setattr("tests.fuzz.__main__.inputs", lambda *_: iter((b"native", b"nothing", b"raise", b"raise")))
    monkeypatch.setitem(OPEN, "misbehaviour", {("SIGSEGV", "targets.py:_misbehave")})
    number, faults = fuzz(sandbox, "misbehaviour", SEED)
    assert (number, [(found.fault.kind, found.number) for found in faults]) == (4, [("KeyError", 3)])


@pytest.mark.parametrize("target", TARGETS)
def test_the_valid_example_is_read(target: str, tmp_path: Path) -> None:
    assert TARGETS[target].run(TARGETS[target].example, tmp_path)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"hang", "timeout"),
        (b"hang natively", "timeout"),
        (b"memory", "MemoryError"),
        (b"file", "OSError"),
        (b"native", "SIGSEGV"),
        (b"exit", "exit 7"),
        (b"raise", "KeyError"),
    ],
)
def test_the_sandbox_survives_and_reports_a_reader_that(sandbox: Sandbox, data: bytes, kind: str) -> None:
    fault = sandbox.judge("misbehaviour", data)
    assert fault is not None
    assert fault.kind == kind
    assert sandbox.judge("misbehaviour", b"nothing") is None


def test_a_seed_and_a_number_name_an_input() -> None:
    first = inputs("midi", 3)
    assert [next(first), next(first)][1] == next(inputs("midi", 3, 2)) != next(inputs("midi", 4, 2))


def test_the_corpus_is_small_and_complete() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    assert {path.parent.name for path in files} <= set(TARGETS)
