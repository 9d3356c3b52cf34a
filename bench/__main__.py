"""``python -m bench`` and the command ``bench``."""

import contextlib
import os
import resource
import signal
import sys
import threading
import traceback
from types import FrameType

#: Limits below which a command can't load its libraries: their options of ulimit, and bytes.
LEAST = ((resource.RLIMIT_AS, "v", 384 << 20), (resource.RLIMIT_DATA, "d", 256 << 20))


def main() -> None:
    """Load the command line and run it; what fails while it loads leaves the codes of later, as Python's 1 means worse here."""
    # Refused a thread, OpenBLAS sends SIGINT, as if by Ctrl-C; refused memory, it asks for ever, with one thread too where its
    # library is loaded, and with more of them at any limit. Trials have their own number.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for kind, option, least in LEAST:
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            os.environ["OPENBLAS_NUM_THREADS"] = "1"
        if resource.RLIM_INFINITY != limit < least:
            sys.stderr.write(
                f"error: bench needs {least >> 20} MiB of memory at least, and its limit is {limit >> 20} MiB.\n"
                f"Raise it (ulimit -{option}), then give the same command again.\n"
            )
            sys.exit(3)
    interrupted: list[int] = []  # a library that is being loaded may make an ImportError of Ctrl-C

    def take(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        signal.default_int_handler(number, frame)

    main_thread = threading.current_thread() is threading.main_thread()
    ours = main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, take)
    try:
        _load_and_run(interrupted)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if ours:  # as a caller in a notebook had it
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _load_and_run(interrupted: list[int]) -> None:
    try:
        from bench.cli.app import main as run
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of any library, whatever it is
        sys.exit(130 if interrupted else _failed(error))
    run(interrupted)


def _failed(error: BaseException) -> int:
    """Say why the command line couldn't be loaded; the exit code: of the memory, else of a bug."""
    refused = isinstance(error, MemoryError)
    with contextlib.suppress(Exception):
        from bench.errors import import_refused

        refused |= isinstance(error, ImportError | SystemError) and import_refused(error, "a library") is not None
    with contextlib.suppress(OSError):
        if refused:
            sys.stderr.write(
                "error: Out of memory while bench is loaded.\nClose other programs. Then give the same command again.\n"
            )
        else:
            traceback.print_exception(error)
            sys.stderr.write("error: bench can't be loaded: see above. Is it installed whole, and with what it needs?\n")
    return 3 if refused else 70


if __name__ == "__main__":
    main()
