"""Readers of what others wrote, given inputs that nobody would: those of the corpus, and a minute of new ones."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.__main__ import CORPUS, corpus, fuzz, inputs
from tests.fuzz.sandbox import Sandbox
from tests.fuzz.targets import TARGETS

#: Of all targets together. The seed is fixed, so that a failure is the change's; `make fuzz` draws another one each time.
SECONDS, SEED = 60.0, 1

#: Inputs of the corpus that still show a fault, as patterns, and why. A pattern with an input that is all right fails.
OPEN: dict[str, str] = {}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as one:
        yield one


def _parameter(target: str, path: Path) -> Any:
    name = f"{target}/{path.name}"
    reasons = [reason for pattern, reason in OPEN.items() if fnmatch(name, pattern)]
    return pytest.param(target, path, id=name, marks=[pytest.mark.xfail(reason=reason, strict=False) for reason in reasons])


@pytest.mark.parametrize(("target", "path"), [_parameter(target, path) for target in TARGETS for path in corpus(target)])
def test_an_input_that_went_wrong_once(sandbox: Sandbox, target: str, path: Path) -> None:
    fault = sandbox.judge(target, path.read_bytes())
    assert fault is None, fault.text


def _new(target: str) -> Any:
    """Name a target; beside an open fault another may be met or not, so that can't be strict."""
    reasons = [reason for pattern, reason in OPEN.items() if pattern.startswith(f"{target}/")]
    return pytest.param(target, marks=[pytest.mark.xfail(reason=reason, strict=False) for reason in reasons])


@pytest.mark.parametrize("target", [_new(target) for target in TARGETS])
def test_new_inputs(sandbox: Sandbox, target: str) -> None:
    _, faults = fuzz(sandbox, target, SECONDS / len(TARGETS), SEED)
    assert not faults, "\n".join(
        f"{found.fault.text}python -m tests.fuzz {target} --seed {SEED} --number {found.number}" for found in faults
    )


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
    assert all(any(path.match(pattern) for path in files) for pattern in OPEN)
