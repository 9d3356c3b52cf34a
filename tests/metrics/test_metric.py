"""The list of all metrics."""

from __future__ import annotations

from bench.metrics import METRICS, MODULES


def test_every_metric_is_explained() -> None:
    assert len(METRICS) == sum(len(module.METRICS) for module in MODULES), "no name stands for two columns"
    for name, metric in METRICS.items():
        assert name == metric.name
        assert name.isidentifier()
        assert metric.title
        assert metric.definition.endswith(".")
        assert metric.source
