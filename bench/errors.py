"""Errors meant for people: what was given, what was expected, what to do.

:mod:`bench.cli.app` prints the message of a :class:`BenchError`, then the hint, and leaves with ``exit_code``. The commands
that go on after one (`bench all`, `bench list`) catch it themselves.
"""

from __future__ import annotations

import difflib
import errno
import json
import re
import shlex
import signal
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

#: Exit codes that no error stands for: incomplete work (a failed trial, missing data, a missing framework), and nothing to
#: compare with (no value of a run, no checksum of a file).
INCOMPLETE, NOT_COMPARABLE = 3, 4

#: ``errno`` where the disk, or the user's quota, is full.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

#: ``errno`` where this user may not write or read the place that was named: theirs to change, and no word about what is there.
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}

#: ``errno`` where the place that was named is missing or of another kind.
_MISPLACED = {
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOEXEC, errno.ENXIO),
}

#: ``errno`` where the machine has no more of something, or its disk fails: whoever made the call, it is not to blame.
_MACHINE = {*DISK_FULL, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.ESTALE, errno.EAGAIN}


#: How the dynamic linker and the system say that there is no memory for a library.
_NO_MEMORY = re.compile("failed to map segment|cannot allocate memory", re.IGNORECASE)

#: What Python says where it has lost an error of memory.
_LOST = "error return without exception set"


class BenchError(Exception):
    """Base of every error that a user can cause or fix.

    Parameters
    ----------
    message : str
        What was given and what was expected.
    hint : str, optional
        What to do about it.
    """

    #: Never 1, which says that `bench check` found something worse.
    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class StoppedError(BaseException):
    """The user or the system stopped the run. Finished trials are kept.

    Like KeyboardInterrupt no Exception, so that nothing which catches what a library or a file does takes it for that.

    Parameters
    ----------
    number : int
        Number of the signal.
    hint : str
        How to resume.

    Examples
    --------
    >>> import pickle
    >>> print(pickle.loads(pickle.dumps(StoppedError(signal.SIGINT, "The same command resumes."))))
    Stopped by Ctrl-C.
    The same command resumes.
    """

    def __init__(self, number: int, hint: str = "") -> None:
        self.message = f"Stopped by {'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name}."
        super().__init__(number, hint)  # what it is made of, so that it can be pickled
        self.number = number
        self.hint = hint
        self.exit_code = 128 + number

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(BenchError):
    """A wrong option or argument."""

    exit_code = 2


class SpecError(BenchError):
    """A spec that can't be read or doesn't validate. Nothing was started."""

    exit_code = 2


class PluginError(BenchError):
    """A plug-in file that can't be found, read, or breaks its contract."""

    exit_code = 2


class DataError(BenchError):
    """Music that is missing, damaged, or too little for the protocol."""

    exit_code = 3


class NoProbabilityError(DataError):
    """A piece with something that a model gives no probability, so that it has no likelihood."""


class TrialError(BenchError):
    """A trial that could not be finished."""

    exit_code = 3


class MachineError(BenchError):
    """The disk, the memory, the network or the system refused: nothing that another option would change."""

    exit_code = 3


def is_users(error: OSError) -> bool:
    """Whether an error of the system is due to the place that was named, not to the state of the machine.

    Examples
    --------
    >>> is_users(PermissionError(errno.EACCES, "Permission denied")), is_users(OSError(errno.EIO, "Input/output error"))
    (True, False)
    """
    return error.errno in _DENIED | _MISPLACED


def is_denied(error: OSError) -> bool:
    """Whether this user may not write or read the place that was named, which tells nothing about what is there."""
    return error.errno in _DENIED


def is_machines(error: OSError) -> bool:
    """Whether the machine has no more of something, or its disk fails, whatever was asked for."""
    return error.errno in _MACHINE


def refusal(error: OSError, place: BenchError) -> BenchError:
    """Choose the error for a refused call: `place` if it is due to the place that was named, else the machine's in words.

    Examples
    --------
    >>> refusal(OSError(errno.EIO, "Input/output error", "b.json"), UsageError("b.json can't be written.")).message
    'b.json: Input/output error.'
    """
    # Without a number it is not the system that refuses: the file itself is not what it should be.
    return place if error.errno is None or is_users(error) else machine_error(error)


def machine_error(error: OSError | MemoryError) -> MachineError:
    """Put an error of the system in words.

    Examples
    --------
    >>> machine_error(OSError(errno.EIO, "Input/output error", "samples.npz")).message
    'samples.npz: Input/output error.'
    """
    again = "Then give the same command again; a run resumes."
    if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
        what = str(error) if isinstance(error, MemoryError) else error.filename
        return MachineError(f"Out of memory{f': {what}' if what else ''}.", f"Close other programs. {again}")
    if error.errno in DISK_FULL:
        where = f" for {error.filename}" if error.filename else ""
        return MachineError(f"There is no room left on the disk{where}.", f"Make room. {again}")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return MachineError("Too many files are open.", f"Raise the limit (ulimit -n). {again}")
    again = "When that is fixed, give the same command again; a run resumes."
    reason = error.strerror or str(error) or type(error).__name__
    return MachineError(f"{error.filename}: {reason}." if error.filename else f"{reason}.", again)


def is_of_a_library(error: BaseException | None) -> bool:
    """Whether a library raised an error, or one that is put in words: after a signal, it may have made it of that.

    Examples
    --------
    >>> refused, told = MachineError("No network."), PluginError("importing 'mine' failed")
    >>> told.__cause__ = ImportError("initialization failed")
    >>> is_of_a_library(ImportError()), is_of_a_library(told), is_of_a_library(refused), is_of_a_library(OSError())
    (True, True, False, False)
    """
    raised = error.__cause__ if isinstance(error, BenchError) else error
    return isinstance(raised, Exception) and not isinstance(raised, BenchError | OSError | MemoryError)


def of_ctrl_c(error: BaseException) -> bool:
    """Whether an error was made of Ctrl-C, or while it was handled.

    Examples
    --------
    >>> told, other = PluginError("importing 'mine' failed"), PluginError("it has no Model")
    >>> told.__cause__ = ImportError("initialization failed")
    >>> told.__cause__.__context__ = KeyboardInterrupt()
    >>> of_ctrl_c(told), of_ctrl_c(other), of_ctrl_c(KeyboardInterrupt())
    (True, False, True)
    """
    seen: list[BaseException | None] = [error]
    while (link := seen[-1]) is not None and not isinstance(link, KeyboardInterrupt):
        seen.append(None if (earlier := link.__cause__ or link.__context__) in seen else earlier)
    return link is not None


def import_refused(error: BaseException, what: str) -> MachineError | None:
    """Make the error for an import that the system refused memory for; None if it failed for any other reason.

    Examples
    --------
    >>> import_refused(ImportError("libopenblas.so: failed to map segment from shared object"), "numpy").message
    'Could not load numpy: the machine refused memory (libopenblas.so: failed to map segment from shared object).'
    >>> import_refused(ModuleNotFoundError("No module named 'bench.score'"), "bench.score") is None
    True
    """
    chain: list[BaseException] = [] if isinstance(error, ModuleNotFoundError) else [error]
    while chain and (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    for link in reversed(chain):
        lost = isinstance(link, SystemError) and str(link) == _LOST and _was_importing(link)
        if lost or isinstance(link, MemoryError) or (isinstance(link, ImportError) and _NO_MEMORY.search(str(link))):
            why = f" ({link})" if str(link) else ""
            hint = "Close other programs or raise the limit (ulimit -v), then give the same command again."
            return MachineError(f"Could not load {what}: the machine refused memory{why}.", hint)
    return None


def _was_importing(error: BaseException) -> bool:
    """Whether a module was being loaded, but for the program itself: any other function in C may lose its error by a mistake."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__" for frame in frames)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Name the nearest valid choice, then all of them, for the end of an error message.

    Examples
    --------
    >>> did_you_mean("ltsm", ["gan", "lstm"])
    "Did you mean 'lstm'? Valid: gan, lstm."
    """
    choices = sorted(valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"{guess}Valid: {', '.join(choices)}." if choices else guess.strip()


def fetch_command(name: str, options: Mapping[str, Any], group: str = "data") -> str:
    """Write the shell command that fetches a dataset with these options, or a model's weights, for the hint of an error.

    Examples
    --------
    >>> fetch_command("maestro", {"version": "3.0.0"})
    'bench data fetch maestro --option version=3.0.0'
    """
    words = [f"{key}={_yaml_literal(value)}" for key, value in options.items()]
    return " ".join([f"bench {group} fetch", name, *(f"--option {shlex.quote(word)}" for word in words)])


def _yaml_literal(value: Any) -> str:
    """Write a value as YAML reads it: a word or version bare, anything else as JSON."""
    plain = isinstance(value, str) and re.fullmatch(r"(?!(?:true|false|null)$)[A-Za-z][\w-]*|\d+\.\d+\.\d+", value, re.IGNORECASE)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
