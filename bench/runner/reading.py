"""Reading of a dataset's MIDI files by several processes at once, and of what was read before from the cache.

Each process takes some hundred files, reads them and writes what it read as one part (:mod:`bench.storage.parts`). A file on
which the parser dies or hangs costs its process, which is replaced, and itself. When the parent ends, the pipes close and so end
its processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench.api import Progress
from bench.errors import DataError, MachineError, UsageError, machine_error, refusal
from bench.music import midi
from bench.music.isolation import death, limited, safe_path
from bench.music.reading import Reading, Selection, midi_digest, read_midi_file
from bench.storage.columns import release_columns
from bench.storage.parts import Parts, most_parts, write_part
from bench.system.hardware import memory_bytes

#: Files of a batch, and bytes of them, at most, but for a corpus of more batches than parts are kept: its batches are larger.
BATCH, BATCH_BYTES = 4096, 32 << 20

#: Bytes of memory that a process needs for each byte of its batch, whose notes it holds; measured: seven.
HELD = 8

#: Share of the machine's memory that all processes may need together.
SHARE = 0.5

#: Files of a batch at least, and batches for each process where there are enough files, so that all end at about the same time.
SMALLEST, EACH = 256, 4

#: Files that one process reads sooner than others have started.
FEW = 1000

#: Batches that a process has at most: while it sends the result of one it has the next.
AHEAD = 2

#: Seconds between releases of memory: as much as is looked at meanwhile is held.
RELEASE_EVERY = 0.2

#: What a process writes where it reads no file.
_IDLE = -1


@dataclass(frozen=True)
class Batch:
    """Files that are read together.

    Parameters
    ----------
    first : int
        Position of the first one among all that are read.
    paths : tuple of Path
    selection : Selection
    size : int
        Bytes of all files.
    """

    first: int
    paths: tuple[Path, ...]
    selection: Selection
    size: int = 0


class PooledReading:
    """Reads files for :func:`bench.music.reading.read_midi_files`.

    Parameters
    ----------
    folder : Path
        Where parts are kept, of one dataset.
    processes : int
    few : int
        Fewer files than these are read in this process, and fewer in all are not kept; 0 reads all in others.
    """

    def __init__(self, folder: Path, processes: int, few: int = FEW) -> None:
        self._folder, self._processes, self._few = folder, processes, few
        self._parts: Parts | None = None

    def __call__(self, paths: Sequence[Path], selection: Selection) -> Iterator[Reading]:
        """Read files; see :func:`bench.music.reading.read_midi_files`.

        Raises
        ------
        DataError, MachineError
            If what was read can't be written.
        MachineError
            If the system ended a process, or one lacks memory.
        """
        if len(paths) < self._few:
            yield from (read_midi_file(path, selection) for path in paths)
        else:
            with written_to(self._folder.parent.parent):
                yield from self._read(paths, selection)

    def _read(self, paths: Sequence[Path], selection: Selection) -> Iterator[Reading]:
        names = None if selection.names is None else sorted(selection.names)
        self._parts = parts = Parts(self._folder, repr((reader_version(), selection.programs, names, selection.pedal)))
        kept = [_kept(parts, path) for path in paths]
        batches = _batches(
            [path for path, reading in zip(paths, kept, strict=True) if reading is None], selection, self._processes
        )
        missing = kept.count(None)
        fresh = _read_here(batches, parts) if missing < self._few else _read_apart(batches, parts, self._processes)
        with contextlib.closing(fresh):
            for reading in kept:
                yield next(fresh) if reading is None else reading

    def remove_unused(self) -> None:
        """Remove the parts of the dataset from which nothing was used."""
        if self._parts is not None:
            self._parts.remove_unused()


@contextlib.contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """Report a folder of the cache that can't be written to."""
    try:
        yield
    except OSError as error:
        said = f"The parsed dataset can't be written to {folder}: {error.strerror}."
        raise refusal(error, UsageError(said, "Set BENCH_CACHE to a writable folder.")) from error


def releasing(progress: Progress) -> Progress:
    """Release the memory of the parts that was looked at, often, as a dataset proceeds, see :mod:`bench.storage.columns`."""
    last = 0.0

    def show(done: int, total: int, what: str) -> None:
        nonlocal last
        progress(done, total, what)
        if (now := time.monotonic()) - last > RELEASE_EVERY:
            last = now
            release_columns()

    return show


def reader_version() -> str:
    """Identity of the code that reads files: another one may read something else."""
    files = sorted(Path(midi.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join([version("symusic").encode(), *(file.read_bytes() for file in files)])).hexdigest()


def _kept(parts: Parts, path: Path) -> Reading | None:
    try:
        return parts.find(midi_digest(path))
    except (OSError, ValueError, DataError):
        return None  # who reads it says why it can't be read


def _batches(paths: Sequence[Path], selection: Selection, processes: int) -> list[Batch]:
    sizes = [_size(path) for path in paths]
    # No more than are looked at again, with room for those of folders that grow; files and bytes may each end as many.
    number = max(1, most_parts() // 4)
    most = max(min(BATCH, max(SMALLEST, math.ceil(len(paths) / (EACH * processes)))), math.ceil(len(paths) / number))
    most_bytes = max(BATCH_BYTES, math.ceil(sum(sizes) / number))
    starts, size = [0], 0
    for at, own in enumerate(sizes):
        size += own
        if size > most_bytes or at - starts[-1] == most:
            starts.append(at)
            size = own
    borders = [*dict.fromkeys(starts), len(paths)]
    return [Batch(a, tuple(paths[a:b]), selection, sum(sizes[a:b])) for a, b in itertools.pairwise(borders) if a < b]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def _read_here(batches: Sequence[Batch], parts: Parts) -> Generator[Reading, None, None]:
    for batch in batches:
        path = parts.new_path()
        yield from _joined(_read(batch, path), path, parts)


#: Of each file of a batch: None if what was read of it is in the part, else why its content can't be read.
Refusals = list[OSError | ValueError | DataError | None]


def _read(batch: Batch, part: Path, progress: Callable[[int], None] = lambda _: None) -> Refusals:
    """Read the files of a batch and write those whose content could be read to a part, in their order."""
    readings = []
    for number, path in enumerate(batch.paths):
        progress(number)
        readings.append(read_midi_file(path, batch.selection))
    progress(_IDLE)
    write_part(part, [reading for reading in readings if reading.sha256])
    return [None if reading.sha256 else reading.error for reading in readings]


def _joined(refusals: Refusals, path: Path, parts: Parts) -> list[Reading]:
    written = iter(parts.add(path))
    return [next(written) if error is None else Reading(error=error) for error in refusals]


class _Process:
    """A process that reads batches, one after another."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, its = context.Pipe()
        self.batches: deque[tuple[Batch, Path]] = deque()
        self._at = context.RawValue("i", _IDLE)
        self._process = context.Process(target=_serve, args=(its, self._at), daemon=True)
        with safe_path():
            self._process.start()
        its.close()

    def send(self, batch: Batch, part: Path) -> None:
        self.batches.append((batch, part))
        with contextlib.suppress(OSError):  # it has died, which the end of its pipe shows
            self.pipe.send((batch, part))

    def blamed(self) -> tuple[int, DataError]:
        """Return the file of the first batch that the process died on, and why.

        Raises
        ------
        MachineError
            If it is no file's fault.
        """
        self._process.join()
        error = death(self._process.exitcode)
        if isinstance(error, MachineError):
            raise error
        if self._at.value == _IDLE:
            raise MachineError("A process that reads MIDI ended by itself.", "Give the same command again.")
        return int(self._at.value), error

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(pipe: Connection, at: Any) -> None:
    """Read batches until the pipe is closed. An answer is what :func:`_read` returns, or an error of the machine."""

    def progress(number: int) -> None:
        at.value = number

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), limited():
        while True:
            batch, part = pipe.recv()
            try:
                refusals = _read(batch, part, progress)
            except (OSError, MemoryError) as error:
                pipe.send(error)
            else:
                pipe.send([error.message if isinstance(error, DataError) else error for error in refusals])


def _read_apart(batches: Sequence[Batch], parts: Parts, number: int) -> Generator[Reading, None, None]:
    """Read batches in several processes; the results are in the order of the files."""
    waiting, ready, at = deque(batches), dict[int, Reading](), 0
    last = max((batch.first + len(batch.paths) for batch in batches), default=0)
    processes = [_Process() for _ in range(_side_by_side(batches, number))]
    try:
        while at < last:
            for process in processes:
                while waiting and len(process.batches) < AHEAD:
                    process.send(waiting.popleft(), parts.new_path())
            pipes = {process.pipe: i for i, process in enumerate(processes) if process.batches}
            for i in (pipes[pipe] for pipe in wait(list(pipes))):  # type: ignore[index]
                try:
                    answer = processes[i].pipe.recv()
                except (EOFError, OSError):
                    waiting.extendleft(_without_blamed(processes[i], ready))
                    processes[i].close()
                    processes[i] = _Process()
                    continue
                if isinstance(answer, Exception):
                    raise machine_error(answer) if isinstance(answer, MemoryError) else answer
                batch, part = processes[i].batches.popleft()
                refusals = [DataError(error) if isinstance(error, str) else error for error in answer]
                for path, error in zip(batch.paths, refusals, strict=True):
                    midi.note_refusal(path, error)
                ready |= zip(itertools.count(batch.first), _joined(refusals, part, parts), strict=False)
            while at in ready:
                yield ready.pop(at)
                at += 1
    finally:
        for process in processes:
            process.close()


def _side_by_side(batches: Sequence[Batch], most: int) -> int:
    """Count the processes that the largest batches leave memory for, at least one."""
    room = int(SHARE * memory_bytes()) // (HELD * max((batch.size for batch in batches), default=0) or 1)
    return max(1, min(most, len(batches), room))


def _without_blamed(process: _Process, ready: dict[int, Reading]) -> list[Batch]:
    """Return the batches of a process that has died, without the file that it died on, whose result is that."""
    number, error = process.blamed()
    (batch, _), *others = process.batches
    ready[batch.first + number] = Reading(error=error)
    before = replace(batch, paths=batch.paths[:number])
    after = replace(batch, first=batch.first + number + 1, paths=batch.paths[number + 1 :])
    return [left for left in (*(batch for batch, _ in reversed(others)), after, before) if left.paths]
