"""Grid search: one row of a spec trained at every combination of some hyperparameters; validation chooses among them.

The paper chooses its dropout so, from 0.1, 0.2 and 0.3, on held-out sequences (Section 3). :mod:`bench.scoring.grid_search`
chooses.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any


def row_of(key: str) -> str:
    """The row that a grid's key names: ``lstm`` of ``lstm.dropout``."""
    return key.partition(".")[0]


def combinations(row: str, grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The hyperparameters of each cell of `row`, the last one named changing fastest; empty if the grid doesn't name the row."""
    axes = {key.partition(".")[2]: values for key, values in grid.items() if row_of(key) == row}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []


def cell_name(row: str, params: Mapping[str, Any]) -> str:
    """Name of a cell's row: ``lstm dropout=0.1``."""
    return " ".join([row, *(f"{name}={value}" for name, value in params.items())])
