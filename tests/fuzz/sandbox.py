"""A child process that gives inputs to readers, with limits on time and memory: what hangs or crashes ends only the child."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.fuzz.targets import Reader

#: Limits for one input: bytes of address space and of a file beyond what the child had before.
BYTES, FILE_BYTES = 512 << 20, 64 << 20

#: Wall clock after which a child that waits for something is killed, seconds. Long, because the machine may be busy.
PATIENCE = 30.0

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Fault:
    """What a reader must not do.

    Parameters
    ----------
    kind : str
        An exception's name, ``timeout``, or the signal that ended the child.
    place : str
        The innermost function of this project that was running, and, where an exception was raised, its line.
    text : str
        For people: a traceback.
    """

    kind: str
    place: str
    text: str

    @property
    def signature(self) -> tuple[str, str]:
        """What makes two faults the same."""
        return self.kind, self.place


class Sandbox:
    """Parent's end; the child is started for the first input, and again after one that ended it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._log.close()

    def judge(self, target: str, data: bytes) -> Fault | None:
        """Give one input to a reader; None if it answered as it should."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(f"{target} {len(data)}\n".encode() + data)
            child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], PATIENCE)
        answer = child.stdout.readline() if ready else b""
        if answer.endswith(b"\n"):
            value = json.loads(answer)
            return None if value is None else Fault(**value)
        code = self._end()
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")
        kind = "timeout" if not ready or code == -signal.SIGPROF else signal.Signals(-code).name if code < 0 else f"exit {code}"
        frames = re.findall(r'File "(.*)", line \d+ in (\S+)', text)
        return Fault(kind, _place([(file, name, "") for file, name in frames]), text)

    def _start(self) -> subprocess.Popen[bytes]:
        self._log.seek(0)
        self._log.truncate()
        command = [sys.executable, "-m", "tests.fuzz.sandbox"]
        # Threads of a numerical library take address space, and their number is the machine's.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self._child = child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd=ROOT, env=environment
        )
        assert child.stdout is not None
        if child.stdout.readline() != b"ready\n":
            self._end()
            self._log.seek(0)
            raise RuntimeError(f"The sandbox doesn't start:\n{self._log.read().decode(errors='replace')}")
        return child

    def _end(self) -> int:
        """Kill the child, unless it has ended by itself; return its exit code."""
        if self._child is None:
            return 0
        child, self._child = self._child, None
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
        child.kill()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        return child.wait()


def _place(frames: list[tuple[str, str, str]]) -> str:
    """Innermost function of the project, or else of the target's check, of frames from the innermost to the outermost."""
    for folder in ("bench|datasets", "fuzz"):
        for file, name, line in frames:
            if re.search(rf"/({folder})/", file):
                return f"{Path(file).name}:{name}{line}"
    return ""


def main() -> None:
    """Answer one line of JSON for each input on stdin: null, or a fault."""
    if Path("/dev/shm").is_dir():
        tempfile.tempdir = "/dev/shm"  # in memory: nothing waits for a disk
    from tests.fuzz.targets import MISBEHAVIOUR, TARGETS

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for target in TARGETS.values():  # each imports what it needs, before the limits
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            target.run(target.example, Path(folder))
    readers = {**TARGETS, "misbehaviour": MISBEHAVIOUR}
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, all_threads=False, chain=True)  # whose default is to end the process, in C code too
    # Of this process's size: what libraries have reserved is no input's fault.
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, size + BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    print("ready", file=answers, flush=True)
    while head := sys.stdin.buffer.readline().split():
        data = sys.stdin.buffer.read(int(head[1]))
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            fault = _try(readers[head[0].decode()], data, Path(folder))
        print(json.dumps(None if fault is None else asdict(fault)), file=answers, flush=True)


def _try(target: Reader, data: bytes, folder: Path) -> Fault | None:
    signal.setitimer(signal.ITIMER_PROF, target.seconds)
    try:
        target.run(data, folder)
    except Exception as error:
        frames = [(f.filename, f.name, f":{f.lineno}") for f in reversed(traceback.extract_tb(error.__traceback__))]
        return Fault(type(error).__name__, _place(frames), "".join(traceback.format_exception(error, limit=-6)))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


if __name__ == "__main__":
    main()
