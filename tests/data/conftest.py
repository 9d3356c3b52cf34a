from __future__ import annotations

import json
import os
import subprocess
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


SMALL_FILES = """
import json, resource, sys
from pathlib import Path
from bench.errors import BenchError
from bench.plugins import discovery
name, folder, options = sys.argv[1:]
dataset = discovery.load(discovery.get_plugin("dataset", name))(**json.loads(options))
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    dataset.fetch(Path(folder), lambda *a: None)
except BenchError as error:
    print(type(error).__name__, error.message, sep=": ")
"""


def in_small_files(name: str, folder: Path, **options: object) -> str:
    """Fetch in a process that can write no file of over 300 bytes; what it says."""
    command = [sys.executable, "-c", SMALL_FILES, name, str(folder), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    return done.stdout.strip()


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
    monkeypatch.setattr(dataset_module("maestro", "_web"), "BACK_OFF", 0.01)


@pytest.fixture(scope="session")
def real_maestro() -> Path:
    """A folder with real MAESTRO files, from $BENCH_DATA."""
    roots = [Path(p) for p in os.environ.get("BENCH_DATA", "").split(os.pathsep) if p]
    found = dataset_class("maestro")().find(roots)
    if found is None:
        pytest.skip("needs MAESTRO v3 in $BENCH_DATA")
    return found
