"""Choice of a run's scale."""

from __future__ import annotations

from bench.errors import UsageError, did_you_mean
from bench.specs.schema import SCALES, Scale
from bench.system import hardware


def choose_scale(scale: str | None) -> tuple[Scale, str]:
    """Choose the scale, and say why: the requested one, else by whether a GPU is visible.

    Raises
    ------
    UsageError
        If the scale is unknown, or needs a GPU and none is visible.
    """
    visible, seen = hardware.gpu_visible()
    if scale is None:
        return ("gpu" if visible else "cpu"), seen
    for choice in SCALES:
        if scale == choice:
            if choice == "gpu" and not visible:
                raise UsageError(f"The scale gpu was asked for, but {seen}.", "Use --scale cpu; `bench doctor` says more.")
            return choice, "asked for"
    raise UsageError(f"There is no scale {scale!r}.", did_you_mean(scale, SCALES))
