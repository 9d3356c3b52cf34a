"""midibench: compares symbolic music generators on the same music, the same way. ``bench.run("table2")`` is the whole of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.benchmark import RunResult, run

__all__ = ["RunResult", "__version__", "run"]


def __getattr__(name: str) -> Any:
    # Looked up when asked for: plug-ins import bench.api, and must not pay for the runner.
    if name == "__version__":
        from bench.system import provenance

        return provenance.version()
    if name in ("RunResult", "run"):
        from bench import benchmark

        return getattr(benchmark, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
