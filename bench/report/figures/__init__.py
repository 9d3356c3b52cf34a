"""The report's figures, a subject a module. Each module's ``gallery(report)`` reads the run's folder and draws, or says why not."""

from __future__ import annotations

from bench.report.figures.canvas import Drawing, Gallery

__all__ = ["Drawing", "Gallery"]
