"""The report's figures, a subject a module: each reads the run's folder and draws, or says why there is nothing to draw."""

from __future__ import annotations

from bench.report.figures.svg import Drawing, Gallery

__all__ = ["Drawing", "Gallery"]
