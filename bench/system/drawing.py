"""Import of matplotlib, whose settings are this project's own."""


def load_matplotlib() -> None:
    """Import matplotlib, if it is installed and not imported already, with its own defaults.

    It would read a file ``matplotlibrc`` of the current folder, else of the user: in a folder that others made it may be damaged,
    or a named pipe, whose end never comes. Keras imports it too. Another folder is the current one for a moment, but only where
    there is such a file: it is the whole process's, and so that of a program that runs bench in one of its threads.

    The frameworks' interpreters, where bench may not be installed, get the text of this function.
    """
    import contextlib
    import importlib.util
    import os
    import sys
    import threading
    from pathlib import Path

    # One thread at a time: each would take the other's settings for the user's.
    with sys.__dict__.setdefault("_bench_draws", threading.Lock()):
        if "matplotlib" in sys.modules or importlib.util.find_spec("matplotlib") is None:
            return
        before = os.environ.get("MATPLOTLIBRC")
        here = None
        with contextlib.suppress(OSError):  # a folder that can't be entered holds nothing that can be read
            if os.path.lexists("matplotlibrc"):
                here = os.open(".", os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY))
        try:
            os.environ["MATPLOTLIBRC"] = os.devnull
            if here is not None:
                os.chdir(Path(os.__file__).parent)
            with contextlib.suppress(ImportError):  # it is said where matplotlib is needed
                importlib.import_module("matplotlib")
        finally:
            if here is not None:
                os.fchdir(here)
                os.close(here)
            if before is None:
                os.environ.pop("MATPLOTLIBRC", None)
            else:
                os.environ["MATPLOTLIBRC"] = before
