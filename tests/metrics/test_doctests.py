"""The examples in the docstrings of the metrics."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from bench import metrics


@pytest.mark.parametrize(
    "name", ["bench.metrics", *(f"bench.metrics.{module.name}" for module in pkgutil.iter_modules(metrics.__path__))]
)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
