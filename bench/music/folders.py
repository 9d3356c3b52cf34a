"""Walk through folders that others made. Imports nothing heavy."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

#: Folders below each other that are entered at most.
DEEPEST = 64


def folders(root: Path, refuse: Callable[[OSError], object]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through a folder and those below, as :func:`os.walk`, which calls itself for each level up to Python 3.11.

    Parameters
    ----------
    root : Path
    refuse : callable
        Receives the error of each folder that can't be entered, or lies more than :data:`DEEPEST` levels below `root`.
    """
    waiting = [(root, 0)]
    while waiting:
        place, depth = waiting.pop()
        if depth > DEEPEST:
            refuse(OSError(errno.ENAMETOOLONG, f"nested more than {DEEPEST} folders deep", str(place)))
            continue
        for folder, below, names in islice(os.walk(place, onerror=refuse), 1):
            yield folder, below, names
            waiting += [(path, depth + 1) for name in reversed(below) if not (path := Path(folder, name)).is_symlink()]
