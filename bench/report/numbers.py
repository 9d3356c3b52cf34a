"""Values of metrics as people read them: few digits, with units. What is undefined is a dash."""

from __future__ import annotations

from collections.abc import Callable

from bench.formatting import DASH, Cell, count, duration, mebibytes
from bench.metrics import METRICS, Metric
from bench.metrics.metric import Format
from bench.music.notes import FIELDS
from bench.scoring import table
from bench.scoring.crossed import Interval


def table_cell(name: str, cell: table.Cell, *, interval: bool = False, mark: str = "", of: int = 0) -> Cell:
    """Cell of a table: a metric's mean, the 95 % interval if asked for and, with two seeds or more, the SD between seeds.

    Parameters
    ----------
    name : str
        The metric's.
    cell : table.Cell
    interval : bool
    mark : str
        What precedes a value, such as ``≤``.
    of : int
        Pieces of the row; a mean over fewer, as the metric is undefined on the others, says over how many it is.
    """
    if cell.value is None:
        return Cell(DASH)
    text, rest = _value_and_spread(name, cell, cell.value)
    if 0 < cell.pieces < of:
        rest += f" ({cell.pieces} of {of})"
    if interval and cell.interval is not None:
        return Cell(f"{mark}{text}", cell.value, f"{interval_text(name, cell.interval)}{rest}")
    return Cell(f"{mark}{text}{rest}", cell.value)


def headline_cell(name: str, cell: table.Cell, *, brief: bool = False, mark: str = "") -> Cell:
    """Cell of Table 2: a metric's mean, its 95 % interval, and the range of the mean in a rerun with other seeds.

    Parameters
    ----------
    name : str
        The metric's.
    cell : table.Cell
    brief : bool
        Whether to leave out interval and range.
    mark : str
        What precedes a value, such as ``≤``.
    """
    if cell.value is None:
        return Cell(DASH)
    interval = "" if cell.interval is None or brief else interval_text(name, cell.interval)
    ends = None if cell.rerun is None or brief else (number_text(name, cell.rerun.low), number_text(name, cell.rerun.high))
    rerun = "" if ends is None else f"rerun {ends[0]}" if ends[0] == ends[1] else f"rerun {ends[0]} to {ends[1]}"
    return Cell(f"{mark}{number_text(name, cell.value)}", cell.value, interval, rerun)


def cell_text(name: str, cell: table.Cell, *, interval: bool = False) -> str:
    """Text of :func:`table_cell`."""
    return str(table_cell(name, cell, interval=interval))


def _value_and_spread(name: str, cell: table.Cell, value: float) -> tuple[str, str]:
    metric = METRICS[name]
    if cell.seed_sd is None or not metric.seed_sd:
        return number_text(name, value), ""
    if metric.format == "duration":
        return duration(value, cell.seed_sd), ""
    return number_text(name, value), f" ± {_text(metric, cell.seed_sd)}"


def interval_text(name: str, interval: Interval) -> str:
    """Interval in brackets: ``[9.12, 10.11]``."""
    return f"[{number_text(name, interval.low)}, {number_text(name, interval.high)}]"


def number_text(name: str, value: float) -> str:
    """Value of a metric, with a true minus sign."""
    return _text(METRICS[name], value).replace("-", "−")


def size_text(name: str, value: float) -> str:
    """Positive size in a metric's unit, such as a difference: like its values, but with two significant digits at least."""
    plain = number_text(name, value)
    return f"{value:.2g}" if len(plain.replace(".", "").lstrip("0")) < 2 else plain


def _text(metric: Metric, value: float) -> str:
    return f"{value:.{metric.digits}f}" if metric.format == "decimals" else _FORMATS[metric.format](value)


_FORMATS: dict[Format, Callable[[float], str]] = {
    "duration": duration,
    "count": count,
    "memory": mebibytes,
    "integer": lambda value: f"{value:,.0f}",
    "short": lambda value: f"{value:,.1f}".removesuffix(".0"),
}


#: Bits of single fields: of a variational model their sum is an upper bound, each by itself is none.
_PARTS = frozenset(f"bits_{field}" for field in FIELDS)


#: Mark of a value over other classes than the other rows'.
OTHER_CLASSES = "†"


def value_mark(row: table.Row, metric: str) -> str:
    """Mark of a value that is an upper bound, or a part of one, and of one over other classes than the other rows'."""
    bound = "" if not row.bounded(metric) else "~ " if metric in _PARTS else "≤ "
    return f"{OTHER_CLASSES} {bound}" if row.incomparable(metric) else bound
