"""Child processes: started as new interpreters (never forked), each in its own process group, supervised, and ended reliably.

One thread supervises all of them, without locks or pools: a worker that is killed affects no other.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from bench.errors import StoppedError, UsageError, is_of_a_library, refusal
from bench.runner.events import LAST_TURNS, EventReader
from bench.storage.files import write_json
from bench.system.disk import open_log

#: Time from SIGTERM to SIGKILL, seconds.
GRACE = 5.0

#: Longest interval between two checks of timeouts and signals, seconds. Events and exits are noticed at once.
TICK = 0.2

#: The same while a child that is about to exit has closed its end of the pipe.
SHORT_TICK = 0.01

#: Bytes that a child may print, for its log: a plug-in that warns at each note fills a disk, others' results with it.
MOST_OUTPUT = 1 << 30

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Context in the main thread that turns SIGINT and SIGTERM into :class:`StoppedError`; in other threads it does nothing.

    While children run (`deferred`), a signal is only recorded, and handled by the loop that supervises all of them.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in STOPPING}
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # A library that is being loaded may make an ImportError of a StoppedError.
        if self.received and is_of_a_library(error):
            raise StoppedError(self.received[0]) from error

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if not self.deferred:
            raise StoppedError(number)


@dataclass(frozen=True)
class Task:
    """Task of one child process.

    Parameters
    ----------
    job : dict
        Input of :mod:`bench.runner.worker`.
    file : Path
        File that the job is written to.
    log : Path
        File that the child's stderr is appended to.
    python : str
        Path of the interpreter.
    environment : mapping
        Complete environment of the child.
    timeout : float, optional
        Seconds after which the child is ended.
    gpu : bool
        Whether it computes on the GPU of its slot, see :func:`run_tasks`.
    most, longest : int
        Bytes of all its events and of one, see :class:`bench.runner.events.EventReader`.
    """

    job: Mapping[str, Any]
    file: Path
    log: Path
    python: str
    environment: Mapping[str, str]
    timeout: float | None = None
    gpu: bool = False
    most: int = 1 << 26
    longest: int = 1 << 16


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Parameters
    ----------
    code : int
        Exit code; minus the signal's number if a signal killed it.
    timed_out : bool
        Whether it was ended because of its timeout.
    seconds : float
        Run time.
    peak_bytes : int or None
        Peak resident memory, as seen by this process.
    log_start : int
        Position in the log where the child's own output begins, bytes.
    flooded : str
        What it sent too much of, for which it was ended; empty if it was not.
    """

    code: int
    timed_out: bool
    seconds: float
    peak_bytes: int | None
    log_start: int
    flooded: str = ""

    @property
    def died(self) -> bool:
        """Whether a signal ended it that this process didn't send: it crashed, or the system had no memory left."""
        return self.code < 0 and not self.flooded and not self.timed_out

    @property
    def reason(self) -> str:
        """Explain the end of a child that reported no error of its own."""
        if self.flooded:
            return f"it sent too {self.flooded}, and was ended"
        if self.timed_out:
            return f"timeout after {self.seconds:.0f} s"
        if self.code >= 0:
            return f"the process ended with exit code {self.code} and left no result"
        name = signal.Signals(-self.code).name if -self.code in set(signal.Signals) else f"signal {-self.code}"
        if self.code != -signal.SIGKILL:
            return f"killed by {name}"
        peak = f"; peak was {self.peak_bytes / 2**20:.0f} MiB" if self.peak_bytes else ""
        return f"killed by {name}, perhaps out of memory{peak}"


@dataclass
class Child:
    """A running child."""

    task: Task
    process: subprocess.Popen[bytes]
    log_start: int
    reader: EventReader
    slot: int = 0
    started: float = field(default_factory=time.monotonic)
    timed_out: bool = False
    kill_at: float | None = None
    peak_bytes: int | None = None

    @classmethod
    def start(cls, task: Task, slot: int = 0, gpus: Sequence[str] = ()) -> Child:
        """Write the job to its file and start a child on it, in a slot: the number of a place among those that run in parallel.

        Raises
        ------
        UsageError
            If the interpreter can't be started.
        MachineError
            If the machine refuses another process.
        """
        write_json(task.file, task.job)
        own = {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if task.gpu and gpus else {}
        with open_log(task.log) as log:
            try:
                process = subprocess.Popen(
                    [task.python, "-P", "-m", "bench.runner.worker", str(task.file)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**task.environment, **own},
                    start_new_session=True,
                )
            except OSError as error:
                place = UsageError(
                    f"{task.python} can't be started: {error.strerror}.",
                    "It must be a Python with midibench installed; $BENCH_PYTHON_<MODULE> names it, such as $BENCH_PYTHON_TORCH.",
                )
                raise refusal(error, place) from error
            assert process.stdout is not None
            return cls(task, process, log.tell(), EventReader(process.stdout.fileno(), task.most, task.longest), slot)

    @property
    def flooded(self) -> str:
        """What it has sent too much of; empty while it has not."""
        if self.reader.flooded:
            return "many events"
        with contextlib.suppress(OSError):  # it may have removed its log
            if self.task.log.stat().st_size - self.log_start > MOST_OUTPUT:
                return f"much output, more than {MOST_OUTPUT >> 20} MiB"
        return ""

    def exited(self) -> bool:
        """Whether it has ended. It is not reaped yet, so that its process ID still identifies its group."""
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def check(self) -> None:
        """End it after its timeout or too many events, kill it after the grace period, and record its peak memory."""
        now = time.monotonic()
        if self.task.timeout is not None and now - self.started > self.task.timeout and not self.timed_out:
            self.timed_out = True
            self.end()
        if self.flooded and self.kill_at is None:
            self.end()
        if self.kill_at is not None and now > self.kill_at:
            self.signal(signal.SIGKILL)
        self.peak_bytes = peak_bytes(self.process.pid) or self.peak_bytes

    def end(self) -> None:
        """Send SIGTERM to its group; `check` kills it after :data:`GRACE` seconds."""
        self.signal(signal.SIGTERM)
        if self.kill_at is None:
            self.kill_at = time.monotonic() + GRACE

    def signal(self, number: int) -> None:
        """Send a signal to its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def reap(self) -> Ending:
        """Kill the rest of its group and collect its exit code. Call it only if `exited`."""
        self.signal(signal.SIGKILL)
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return Ending(code, self.timed_out, time.monotonic() - self.started, self.peak_bytes, self.log_start, self.flooded)


def run_tasks(
    tasks: Iterable[Task],
    jobs: int,
    signals: Signals,
    on_start: Callable[[Task], None],
    on_event: Callable[[Task, dict[str, Any]], None],
    on_end: Callable[[Task, Ending], bool],
    gpus: Sequence[str] = (),
    may_start: Callable[[Task], bool | None] = lambda _: True,
) -> None:
    """Run tasks, `jobs` at a time, until all have ended; one for which `on_end` returns True is started once more.

    A task for which `may_start` returns False is asked about again later, one for which it returns None is left out.

    Each of the `jobs` slots has one of `gpus`, in turn, as ``$CUDA_VISIBLE_DEVICES`` names them; a task that computes on a GPU
    sees that of its slot alone.

    Raises
    ------
    StoppedError
        On a signal, after every child has ended.
    """
    waiting, running = deque(tasks), list[Child]()
    signals.deferred = True
    try:
        with selectors.DefaultSelector() as selector:
            while (waiting or running) and not signals.received:
                while len(running) < jobs and (task := _next(waiting, may_start)) is not None:
                    on_start(task)
                    slot = min(set(range(jobs)) - {other.slot for other in running})
                    running.append(child := Child.start(task, slot, gpus))
                    assert child.process.stdout is not None
                    selector.register(child.process.stdout, selectors.EVENT_READ)
                selector.select(SHORT_TICK if any(child.reader.closed for child in running) else TICK)
                for child in list(running):
                    if _attend(child, running, selector, on_event, on_end):
                        waiting.appendleft(child.task)
    finally:
        end_all(running, signals)
        signals.deferred = False
    if signals.received:
        raise StoppedError(signals.received[0])


def _next(waiting: deque[Task], may_start: Callable[[Task], bool | None]) -> Task | None:
    """Take the first task that may start."""
    for task in list(waiting):
        if (may := may_start(task)) is not False:
            waiting.remove(task)
            if may:
                return task
    return None


def end_all(children: Iterable[Child], signals: Signals) -> None:
    """End children by SIGTERM, and by SIGKILL after :data:`GRACE` seconds or at a second signal."""
    left = list(children)
    for child in left:
        child.end()
    while left:
        for child in left:
            if len(signals.received) > 1:
                child.signal(signal.SIGKILL)
            child.check()
        for child in [c for c in left if c.exited()]:
            child.reap()
            left.remove(child)
        time.sleep(0.01)


def peak_bytes(pid: int) -> int | None:
    """Peak resident memory of a process, bytes; None if it has ended."""
    try:
        # Bytes: a process can give itself any name.
        peak = re.search(rb"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_bytes(), re.MULTILINE)
    except OSError:
        return None
    return int(peak[1]) * 1024 if peak else None


@contextlib.contextmanager
def private_folder(path: Path) -> Iterator[Path]:
    """Make a folder that only this user can enter, empty whatever was there before, and remove it at the end."""
    remove(path)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:  # what a compiler still holds open there, or made unremovable, costs no result
        shutil.rmtree(path, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it exists."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def environment(threads: int, device: str, compiled: Path | None = None) -> dict[str, str]:
    """Build a child's environment: this process's, with the variables that must be set before a framework is imported.

    Parameters
    ----------
    threads : int
        Size of each library's thread pool; with more threads than available cores they wait for each other.
    device : {"cpu", "cuda"}
        With "cpu", all GPUs are hidden.
    compiled : Path, optional
        Folder for what torch.compile makes. PyTorch unpickles and executes what it finds there, and its own choice is a name in
        /tmp that others can guess. The user's own setting takes precedence. The driver's cache (``$CUDA_CACHE_PATH``, else in
        the user's home) is left to outlive a run: each would compile anew what a framework has no code for on this GPU.
    """
    number = str(threads)
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    values = {
        **dict.fromkeys((*pools, "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), number),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "MPLBACKEND": "agg",  # a user's own choice may be a notebook's
        # Without it, some cuBLAS results differ from run to run.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # Likewise for PyTorch's products on a CPU: MKL may otherwise choose threads and order of summation dynamically.
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        "MKL_CBWR": os.environ.get("MKL_CBWR", "AUTO"),
        "PYTHONHASHSEED": "0",
        # A crash in C leaves a Python traceback in stderr.log.
        "PYTHONFAULTHANDLER": "1",
    }
    if device == "cpu":
        values["CUDA_VISIBLE_DEVICES"] = ""
        # OpenMP's threads spin while they wait, which made PyTorch's training five to ten times as slow on a busy machine. This
        # limit costs about a tenth on an idle machine and recovers half of that loss. The user's own setting takes precedence.
        values["GOMP_SPINCOUNT"] = os.environ.get("GOMP_SPINCOUNT", "1000")
    if compiled is not None:
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            values[name] = os.environ.get(name) or str(compiled / name.split("_")[0].lower())
    return {**os.environ, **values}


def _attend(
    child: Child,
    running: list[Child],
    selector: selectors.BaseSelector,
    on_event: Callable[[Task, dict[str, Any]], None],
    on_end: Callable[[Task, Ending], bool],
) -> bool:
    """Forward some of a child's events, all at its end, and report the end; return whether its task is to be started again."""
    assert child.process.stdout is not None
    child.check()
    # Determined before its events are read, so that none sent before its end is missed.
    gone = child.exited()
    for event in child.reader.events(LAST_TURNS if gone else 1):
        on_event(child.task, event)
    if (gone or child.reader.closed or child.reader.flooded) and child.process.stdout in selector.get_map():
        selector.unregister(child.process.stdout)
    if not gone:
        return False
    running.remove(child)
    return on_end(child.task, child.reap())
