"""Reading of MIDI files so that a file on which the parser dies or hangs costs only itself.

The parser is C++. A worker first reads in its own process (:func:`limited`), which is much faster. Only when that has died, which
a file that takes longer than :data:`PATIENCE` also ends in, is all read again file by file in a child process (:func:`isolated`).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Container, Iterator
from multiprocessing.connection import Connection

from bench.errors import DataError, MachineError, machine_error
from bench.music import midi
from bench.music.notes import COLUMNS, Notes

#: Seconds of the processor's time for one file: one that is read while all is stopped (`docker pause`, a queue's suspend), or on
#: a machine that others use too, isn't blamed. Common ones take milliseconds; the strangest of 16 MiB, the largest that are read,
#: half a minute.
PATIENCE = 60.0

Request = tuple[bytes, Container[int] | None, Container[str] | None, bool]


def death(exit_code: int | None) -> DataError | MachineError:
    """Make the error for a process that ended while it read a file: the file's, or the machine's if that ended it."""
    code = -(exit_code or 0)
    if code == signal.SIGPROF:
        return DataError(f"the parser hangs on it (ended after {PATIENCE:.0f} s of the processor's time)")
    if code == signal.SIGKILL:  # no file of 16 MiB needs so much: the system ends a process where it lacks memory
        return machine_error(MemoryError("reading MIDI"))
    if code in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # someone ended it: this says nothing of the file
        return MachineError("The process that reads MIDI was ended.", "Give the same command again.")
    name = signal.Signals(code).name if code in set(signal.Signals) else "its end"
    return DataError(f"the parser dies on it ({name})")


class Reader:
    """A child process that parses one file after another. One that has died is replaced for the next file."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._child: tuple[multiprocessing.process.BaseProcess, Connection] | None = None

    def read(
        self, raw: bytes, programs: Container[int] | None = None, names: Container[str] | None = None, pedal: bool = False
    ) -> Notes:
        """Read the notes in the content of a MIDI file; see :func:`bench.music.midi.read_midi`.

        Raises
        ------
        DataError
            Also if the child dies, or is ended after :data:`PATIENCE`.
        MachineError
            If it lacks memory.
        """
        process, pipe = self._child = self._child or self._start()
        try:
            pipe.send((raw, programs, names, pedal))
            answer = pipe.recv()
        except (EOFError, OSError):
            self.close()
            raise death(process.exitcode) from None
        if answer is None:
            raise machine_error(MemoryError("reading MIDI"))
        if isinstance(answer, str):
            raise DataError(answer)
        return Notes(*answer)

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            process, pipe = self._child
            pipe.close()
            process.join()
            self._child = None

    def _start(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        ours, its = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(its,), daemon=True)
        with safe_path():
            process.start()
        its.close()
        return process, ours


@contextlib.contextmanager
def safe_path() -> Iterator[None]:
    """Let processes that begin here import nothing from the current folder, which may be full of what others made."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONSAFEPATH", None)
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Let SIGPROF end this process if one file takes longer than :data:`PATIENCE`. Call it in the main thread.

    The system's own action needs no interpreter, which waits for the parser. Ctrl-C and timeouts are the parent's, which kills.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    midi._apart = _parse_in_time
    try:
        yield
    finally:
        midi._apart = None


def _parse_in_time(raw: bytes, programs: Container[int] | None, names: Container[str] | None, pedal: bool) -> Notes:
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        return midi.parse(raw, programs, names, pedal)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Let :func:`bench.music.midi.read_midi` read in a child process."""
    reader = Reader()
    midi._apart = reader.read
    try:
        yield
    finally:
        midi._apart = None
        reader.close()


def _serve(pipe: Connection) -> None:
    """Answer each request with the columns of the notes, why there are none, or None without memory, until it is closed.

    Ctrl-C, which a terminal sends to all of a group, is the parent's: it says what was stopped, and closes the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), limited():
        while True:
            request: Request = pipe.recv()
            try:
                notes = midi.read_midi(*request)
                pipe.send(tuple(getattr(notes, column) for column in COLUMNS))
            except DataError as error:
                pipe.send(error.message)
            except MemoryError:
                pipe.send(None)
