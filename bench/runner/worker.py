"""The child process: ``python -P -m bench.runner.worker JOB.json``.

Events go out as JSON lines on the original stdout; whatever else prints to stdout, in Python or in C, lands on stderr.
Stdin is a pipe from the runner: its end means that the runner is gone, and the whole process group ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from bench.runner import prepare
from bench.runner.trial import DONE, FAILED, TrialTask, describe


class Channel:
    """The way back to the runner: one JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        """Send an event. A runner that no longer reads is no reason to fail: the end of stdin deals with it."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._stream.write(json.dumps(event, default=str) + "\n")
            self._stream.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the task of one job file; exit code 0 if it is done, 3 if it failed and said why."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    emit = _take_stdout()
    _end_with_runner()
    job = json.loads(Path(path).read_text())
    if job["task"] == "trial":
        return TrialTask(job, emit).run()
    task = {"prepare": prepare.prepare, "fetch": prepare.fetch, "verify": prepare.verify}[job["task"]]
    try:
        emit({"event": "result", **task(job, emit)})
    except Exception as error:
        traceback.print_exc()
        emit({"event": "error", **describe(error)})
        return FAILED
    return DONE


def _take_stdout() -> Channel:
    """Keep the original stdout for events; from now on file descriptor 1 is stderr, for C libraries too."""
    channel = Channel(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    return channel


def _end_with_runner() -> None:
    """Watch the runner's end of stdin. Started by hand, from a terminal or a file, there is nothing to watch."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    pipe = os.dup(0)
    # A plug-in that reads stdin gets the end of a file instead of the runner's pipe.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    threading.Thread(target=_wait_for_end, args=(pipe,), name="runner watch", daemon=True).start()


def _wait_for_end(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with what the plug-in started
    os._exit(FAILED)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Without the interpreter's tear-down: it takes seconds in some frameworks, and the outcome is already on disk.
    os._exit(code)
