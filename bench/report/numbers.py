"""Numbers as people read them: few digits, with units. What is undefined is a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bench.metrics import METRICS, Metric
from bench.metrics.metric import Format
from bench.scoring.score import Cell
from bench.scoring.stats import Interval

DASH = "–"


def cell_text(name: str, cell: Cell, *, interval: bool = False) -> str:
    """One cell of a table: mean, the 95 % interval if asked for and, with two seeds or more, the SD between seeds."""
    if cell.value is None:
        return DASH
    metric = METRICS[name]
    value = number_text(name, cell.value)
    if interval and cell.interval is not None:
        value = f"{value} {interval_text(name, cell.interval)}"
    if cell.seed_sd is None or not metric.seed_sd:
        return value
    if metric.format == "duration":
        return duration(cell.value, cell.seed_sd)
    return f"{value} ± {_text(metric, cell.seed_sd)}"


def interval_text(name: str, interval: Interval) -> str:
    """``[9.12, 10.11]``."""
    return f"[{number_text(name, interval.low)}, {number_text(name, interval.high)}]"


def number_text(name: str, value: float) -> str:
    """One value of a metric, with a true minus sign."""
    return _text(METRICS[name], value).replace("-", "−")


def size_text(name: str, value: float) -> str:
    """A positive size of a metric, such as a difference: as its values, but never with fewer than two digits that matter."""
    plain = number_text(name, value)
    return f"{value:.2g}" if len(plain.replace(".", "").lstrip("0")) < 2 else plain


def p_text(p: float) -> str:
    """``0.032``, ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float, spread: float | None = None) -> str:
    """``0.42 s``, ``42.1 ± 0.3 s``, ``3 min 05 s ± 12 s``, ``2 h 05 min``."""
    if round(seconds, 1) < 100:
        digits = 2 if seconds < 10 else 1
        return f"{seconds:.{digits}f}{'' if spread is None else f' ± {spread:.{digits}f}'} s"
    minutes, whole = round(seconds / 60), round(seconds)
    long = minutes >= 120
    shown = f"{minutes // 60} h {minutes % 60:02} min" if long else f"{whole // 60} min {whole % 60:02} s"
    if spread is None:
        return shown
    return f"{shown} ± {f'{spread / 60:.0f} min' if long else f'{spread:.0f} s'}"


def count(value: float) -> str:
    """``812``, ``12,300``: three digits that matter from 1000 on."""
    if value < 1000:
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    digits = int(math.log10(value)) - 2
    return f"{round(value, -digits):,.0f}"


def mebibytes(value: float) -> str:
    """``512 MiB``, ``1.9 GiB``."""
    return f"{value / 1024:.1f} GiB" if value >= 1000 else f"{value:.0f} MiB"


def plural(number: int, noun: str, nouns: str = "") -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def listed(items: Sequence[str], limit: int = 20) -> str:
    """``a, b and c``; beyond `limit` only how many more."""
    if len(items) > limit:
        return ", ".join(items[:limit]) + f" and {len(items) - limit} more"
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def _text(metric: Metric, value: float) -> str:
    return f"{value:.{metric.digits}f}" if metric.format == "decimals" else _FORMATS[metric.format](value)


_FORMATS: dict[Format, Callable[[float], str]] = {
    "duration": duration,
    "count": count,
    "memory": mebibytes,
    "integer": lambda value: f"{value:,.0f}",
    "short": lambda value: f"{value:.1f}".removesuffix(".0"),
}
