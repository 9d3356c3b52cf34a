"""Forks of a worker: a plug-in may fork, such as for a loader, but what comes back from its code must not go on as the worker."""

from __future__ import annotations

import os
import sys

#: The worker's process; None in a process that is none, such as a test's.
_worker: int | None = None


def begin() -> None:
    """Note that this process is the worker."""
    global _worker
    _worker = os.getpid()


def end(error: BaseException | None = None) -> None:
    """End this process if it is a fork of the worker; call it after a plug-in's code, before anything is stored.

    The lock of the trial's folder is no help: a fork has it too. The exit code is 1, or that of a SystemExit.
    """
    if _worker not in (None, os.getpid()):
        print(f"Process {os.getpid()}, a fork of the plug-in's code, came back from it: it is ended here.", file=sys.stderr)
        sys.stderr.flush()
        code = error.code if isinstance(error, SystemExit) else 1
        os._exit(0 if code is None else code & 0xFF if isinstance(code, int) else 1)
