"""Limits on memory, so that what a stranger made takes a bounded part of it."""

from __future__ import annotations

import contextlib
import errno
import re
import resource
import traceback
from collections.abc import Iterator
from pathlib import Path

from bench.errors import MachineError
from bench.system.hardware import available_bytes

#: Part of the available memory that reading and comparing what is stored may take, and bytes that it may take in any case, as
#: with less no library could be loaded.
SHARE, LEAST = 0.75, 1 << 30

#: Limits that a user may have set before, of all addresses and of what may be written.
_ADDRESSES = (resource.RLIMIT_AS, resource.RLIMIT_DATA)

#: Whether this process is bench's own. In another program's, such as a notebook's, other threads may need all memory meanwhile.
_owned = False

#: Raises a process's part of the memory, in thousandths of all, when the system chooses which one to end.
_OFFERED = 500


@contextlib.contextmanager
def memory_limited(most: int) -> Iterator[None]:
    """Let this process take at most so much more memory inside the block; what would take more raises a MemoryError.

    On Linux, for memory of its own that it may write; elsewhere without effect.

    Parameters
    ----------
    most : int
        Bytes.
    """
    if (used := _data_bytes()) is None:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = (used + most, *(limit for limit in (before, hard) if limit != resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def use_linear_algebra() -> None:
    """Let the copies of OpenBLAS that NumPy and SciPy have take their memory now.

    Refused it later, they ask for ever, or end the process with 1, which means worse.
    """
    import numpy as np
    from scipy import linalg

    for solve in (np.linalg.solve, linalg.solve):
        solve(np.eye(2), np.ones(2))
    np.ones((256, 256)) @ np.ones((256, 256))
    linalg.blas.dgemm(1.0, np.ones((256, 256)), np.ones((256, 256)))


@contextlib.contextmanager
def own_process() -> Iterator[None]:
    """Say that this process is the command line's: a limit on all its memory takes nothing from anybody else's code."""
    global _owned
    _owned = True
    try:
        yield
    finally:
        _owned = False


def is_own_process() -> bool:
    """Whether this process is the command line's, see :func:`own_process`."""
    return _owned


@contextlib.contextmanager
def memory_shared(what: str) -> Iterator[None]:
    """Leave a quarter of the memory that is available to others, whatever what is read inside the block asks for.

    A run, a baseline or a history may be a stranger's, and no list of limits foresees all that a few kilobytes can be made to
    multiply. Without effect but in a process that called :func:`own_process`.

    Parameters
    ----------
    what : str
        What is done, for the message.

    Raises
    ------
    MachineError
        If it takes more.
    """
    if not _owned:
        yield
        return
    most = max(LEAST, int(SHARE * available_bytes()))
    try:
        with memory_limited(most):
            yield
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            raise
        traceback.clear_frames(error.__traceback__)  # which hold what was made
        least = min(
            (limit for kind in _ADDRESSES if (limit := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY), default=most
        )
        why = ", three quarters of what is available" if most > LEAST else ", the least that any command may have"
        if least < most:
            why = " by a limit (ulimit)"
        given = f"{min(least, most) / 2**30:.1f} GiB{why}"
        raise MachineError(
            f"Out of memory: {what} takes more than it may: {given}.",
            "Close other programs or raise the limit, then give the same command again. A file that bench didn't make may ask "
            "for any amount.",
        ) from None


def offer_to_be_ended() -> None:
    """Let Linux end this process, and those that it starts, before the user's others of that size where memory runs out."""
    place = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        if int(place.read_text()) < _OFFERED:
            place.write_text(str(_OFFERED))


def _data_bytes() -> int | None:
    """Count the bytes that RLIMIT_DATA limits; None where the system doesn't tell."""
    try:
        found = re.search(r"^VmData:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
