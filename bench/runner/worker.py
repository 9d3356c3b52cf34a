"""Child process: ``python -P -m bench.runner.worker JOB.json``.

Events are sent as JSON lines on the original stdout; all other output to stdout, from Python or C, is redirected to stderr.
Stdin is a pipe from the runner: when it closes, the runner has ended, and the process group kills itself.
"""

from __future__ import annotations

import contextlib
import errno
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

from bench.runner import forks, prepare, weights
from bench.runner.trial import DONE, FAILED, TrialTask, describe
from bench.system.disk import MOST_RECORD, read_file
from bench.system.memory import offer_to_be_ended


class Channel:
    """Channel to the runner: one JSON object per line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        """Send an event. It is no error if the runner has ended: the end of stdin handles that."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._stream.write(json.dumps(event, default=str) + "\n")
            self._stream.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the task of one job file; exit code 0 if it was completed, 3 if it failed and reported the reason."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    forks.begin()
    offer_to_be_ended()  # its task can be done again
    emit = _take_stdout()
    try:
        _end_with_runner()
        job = json.loads(read_file(Path(path), MOST_RECORD))
        if job["task"] == "trial":
            return TrialTask(job, emit).run()
        task = {"prepare": prepare.prepare, "fetch": prepare.fetch, "verify": prepare.verify, **weights.TASKS}[job["task"]]
        result = task(job, emit)
        forks.end()
        emit({"event": "result", **result})
    except Exception as error:
        forks.end()
        traceback.print_exc()
        emit({"event": "error", **describe(error)})
        return FAILED
    return DONE


def _take_stdout() -> Channel:
    """Reserve the original stdout for events, and redirect file descriptor 1 to stderr, for C libraries too."""
    channel = Channel(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    return channel


def _end_with_runner() -> None:
    """Watch for the end of stdin if it is a pipe from the runner, not a terminal or a file."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    pipe = os.dup(0)
    # A plug-in that reads stdin must reach the end of a file, not the runner's pipe.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        threading.Thread(target=_wait_for_end, args=(pipe,), name="runner watch", daemon=True).start()
    except RuntimeError as error:  # Python leaves out the reason: a limit of processes, or memory for a stack
        raise OSError(errno.EAGAIN, f"The machine starts no more threads ({error}); see ulimit -u") from error


def _wait_for_end(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # and the plug-in's child processes
    os._exit(FAILED)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Skip the interpreter's shutdown, which takes seconds with some frameworks; the outcome is already on disk.
    os._exit(code)
