"""Goes wrong in the way it is asked to."""

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import Notes, Piece, Run

FEATURES = "a fault"


#: Lines that no worker sends, in the places where it sends others.
ODD = [
    b"",
    b"\xff\x00",
    b"null",
    b"[" * 60_000,
    b'{"event": "done"}',
    b'{"event": "failed", "message": 1}',
    b'{"event": ["epoch"]}',
    b'{"event": "plan", "trials": 3}',
    b'{"event": "epoch"}',
    b'{"event": "epoch", "epoch": "1", "epochs": [], "in_epochs": 1, "seconds": null, "loss": {}, "notes": -1}',
    b'{"event": "epoch", "epoch": 1, "epochs": 4, "in_epochs": true, "seconds": Infinity, "loss": NaN, "notes": 1}',
    b'{"event": "epoch", "epoch": 1, "epochs": 4, "in_epochs": true, "seconds": 1, "loss": 1, "notes": 1, "share": 0}',
    b'{"event": "epoch", "epoch": 1, "epochs": 1e400, "in_epochs": true, "seconds": 1, "loss": 1, "notes": 1}',
    b'{"event": "epoch", "epoch": 1' + b"0" * 5000 + b"}",
    b'{"event": "prepare", "task": 1, "done": "x"}',
    b'{"event": "error"}',
    b'{"event": "message", "text": "' + b"x" * 10_000_000 + b'"}',
    b'{"event": "message", "text": "\\u001b[2J\\ud800"}',
]


def _events() -> int:
    """The pipe of the events: the one that is open for writing."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            number = int(entry.name)
            if stat.S_ISFIFO(os.fstat(number).st_mode) and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
                return number
    raise RuntimeError("there is no pipe")


def _fork(path: str) -> int:
    """Fork, and come back from it twice: in the fork, and in the process itself when that has ended."""
    if fork := os.fork():
        Path(path).write_text(str(os.waitpid(fork, 0)[1]))
    return fork


class Model(bench.api.Model):
    def __init__(self, how: str = "crash", path: str = "") -> None:
        self.how, self.path = how, path

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        run.begin()
        match self.how:
            case "crash":
                raise ValueError("the weights are gone")
            case "crash without file":
                (run.folder / "broken").touch()
                if not Path(self.path).exists():
                    raise ValueError("the file is missing")
            case "stale":
                # Only a folder without a checkpoint can be trained in.
                if (run.folder / "checkpoint").exists():
                    raise ValueError("damaged checkpoint")
                (run.folder / "checkpoint").touch()
                if not Path(self.path).exists():
                    os.kill(os.getpid(), signal.SIGKILL)
            case "full disk":
                (run.folder / "checkpoint").touch()
                if not Path(self.path).exists():
                    raise OSError(errno.ENOSPC, "No space left on device")
            case "epoch 0":
                run.log(0, loss=1.0, notes=1)
            case "odd values":
                values = {"event": 1.0, "epochs": 0.0, "validation_bits": np.inf}
                run.log(1, loss=np.nan, notes=np.int64(0), **values)
            case "compiles":
                folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
                folder.mkdir()
                Path(self.path).write_text(str(folder))
            case "hang":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                Path(self.path).write_text(f"{os.getpid()} {child.pid}")
                while True:
                    time.sleep(0.1)
            case "killed":
                self.memory = np.ones(30_000_000)
                time.sleep(0.6)
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                ctypes.string_at(0)
            case "fork in fit":
                _fork(self.path)
            case "exit":
                sys.exit("no more")
            case "vanish":
                os._exit(0)
            case "memory":
                np.empty(1 << 60, np.uint8)
            case "private":
                os.umask(0o777)
            case "closed":
                (run.folder / "cache").mkdir(mode=0)
                run.folder.chmod(0)
            case "flood":
                line = b'{"event": "epoch", "epoch": 1, "epochs": 4, "in_epochs": true, "seconds": 1, "loss": 1, "notes": 9'
                while True:
                    os.write(_events(), line + b', "more": "' + b"x" * 5000 + b'"}\n')
            case "odd events":
                os.write(_events(), b"\n".join([b"", *ODD, b""]))
            case "noise":
                print('{"event": "done"}')
                os.write(1, b'garbage \xff\n{"event": "failed"}\n' * 20_000)
                print(sys.stdin.read())

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> object:
        n = n_notes - 1 if self.how == "short" else n_notes
        start = 0.0 if self.how == "early" else 100.0
        if self.how == "endless":
            start = 1e5 - 1
        if self.how == "open":
            Path(self.path).read_bytes()
        fork = not _fork(self.path) if self.how.startswith("fork in generate") else False
        if fork and self.how.endswith("exit"):
            sys.exit(0)
        notes = Notes(start + np.arange(n) * 0.1, np.full(n, 0.1), np.full(n, 72 if fork else 60), np.full(n, 64))
        if self.how == "few":
            return [notes]
        each = [Notes(notes.onset, notes.duration, notes.pitch + i % 8, notes.velocity) for i in range(len(prompts))]
        made = [[60] * n if self.how == "type" else own for own in each]
        if self.how == "off by one":
            return [Notes.concatenate([prompt[-1:], notes[1:]]) for prompt in prompts]
        if self.how == "in place":
            cast("list[Notes]", prompts).clear()
        return made

    def facts(self) -> object:
        match self.how:
            case "facts raise":
                raise RuntimeError("no facts")
            case "facts wrong":
                return {"parameters": "many", "peak_gpu_bytes": float("nan"), "precision": "float32"}
            case "facts great":
                return {"parameters": 10**16}
            case "facts fractions":
                return {"parameters": Fraction(3, 2), "peak_gpu_bytes": np.float64(1234.5)}
            case "facts endless":
                return {"weights": [0] * (1 << 20)}
            case "facts true":
                return {"parameters": True}
        return {}
