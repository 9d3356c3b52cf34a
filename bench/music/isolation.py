"""Reading of MIDI files in a child process, so that a file on which the parser dies costs only itself.

The parser is C++. It is used in the same process as long as it survives, since that is much faster.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Container, Iterator
from multiprocessing.connection import Connection

from bench.errors import DataError
from bench.music import midi
from bench.music.notes import COLUMNS, Notes

Request = tuple[bytes, Container[int] | None]


class Reader:
    """A child process that parses one file after another. One that has died is replaced for the next file."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._child: tuple[multiprocessing.process.BaseProcess, Connection] | None = None

    def read(self, raw: bytes, programs: Container[int] | None = None) -> Notes:
        """Read the notes in the content of a MIDI file; see :func:`bench.music.midi.read_midi`.

        Raises
        ------
        DataError
            Also if the child dies.
        """
        process, pipe = self._child = self._child or self._start()
        try:
            pipe.send((raw, programs))
            answer = pipe.recv()
        except (EOFError, OSError):
            self.close()
            code = -(process.exitcode or 0)
            name = signal.Signals(code).name if code in set(signal.Signals) else "its end"
            raise DataError(f"the parser dies on it ({name})") from None
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
        process.start()
        its.close()
        return process, ours


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
    """Answer each request with the columns of the notes, or why there are none, until the other end is closed."""
    with contextlib.suppress(EOFError):
        while True:
            raw, programs = pipe.recv()
            try:
                notes = midi.read_midi(raw, programs)
                pipe.send(tuple(getattr(notes, column) for column in COLUMNS))
            except DataError as error:
                pipe.send(error.message)
