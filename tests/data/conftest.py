from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.plugins import discovery

from .servers import Server, serving


def dataset_class(name: str) -> type[Any]:
    return discovery.load(discovery.get_plugin("dataset", name))


def dataset_module(name: str, sibling: str | None = None) -> ModuleType:
    """A plug-in's module, or one of the files beside it."""
    module = dataset_class(name).__module__
    return sys.modules[module if sibling is None else f"{module.rpartition('.')[0]}.{sibling}"]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def quiet() -> Callable[[int, int, str], None]:
    return lambda done, total, what: None


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same retries, without a person's patience."""
    monkeypatch.setattr(dataset_module("maestro", "_download"), "BACK_OFF", 0.01)
    monkeypatch.setattr(dataset_module("midiworld", "_midiworld"), "BACK_OFF", 0.01)


@pytest.fixture(scope="session")
def real_maestro() -> Path:
    """A folder with real MAESTRO files, from $BENCH_DATA."""
    roots = [Path(p) for p in os.environ.get("BENCH_DATA", "").split(os.pathsep) if p]
    found = dataset_class("maestro")().find(roots)
    if found is None:
        pytest.skip("needs MAESTRO v3 in $BENCH_DATA")
    return found
