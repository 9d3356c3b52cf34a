"""Walk through folders that others made. Imports nothing heavy."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

#: Folders below each other that are entered at most.
DEEPEST = 64

#: Why a link to a folder isn't followed: it may lead to one above it, or to the whole disk.
LINKED = "a link to a folder, which isn't followed"


def folders(root: Path, refuse: Callable[[OSError], object]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through a folder and those below, as :func:`os.walk`, which calls itself for each level up to Python 3.11.

    Parameters
    ----------
    root : Path
    refuse : callable
        Receives the error of each folder that can't be entered, or lies more than :data:`DEEPEST` levels below `root`; an
        error with the text :data:`LINKED` for each link to a folder that the caller leaves in the list.
    """
    waiting = [(root, 0)]
    while waiting:
        place, depth = waiting.pop()
        if depth > DEEPEST:
            refuse(OSError(errno.ENAMETOOLONG, f"nested more than {DEEPEST} folders deep", str(place)))
            continue
        for folder, below, names in islice(os.walk(place, onerror=refuse), 1):
            yield folder, below, names
            for path in (Path(folder, name) for name in reversed(below)):
                if path.is_symlink():
                    refuse(OSError(errno.ELOOP, LINKED, str(path)))
                else:
                    waiting.append((path, depth + 1))
