"""Figures of the report, one subject per module: each draws from the run's folder, or says why there is nothing to draw."""

from __future__ import annotations

from bench.report.figures.svg import Drawing, Gallery

__all__ = ["Drawing", "Gallery"]
