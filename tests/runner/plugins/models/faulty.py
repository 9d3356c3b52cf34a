"""Goes wrong in the way it is asked to."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.api import Notes, Piece, Run

FRAMEWORK = "numpy"
FEATURES = "a fault"


class Model:
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
            case "exit":
                sys.exit("no more")
            case "vanish":
                os._exit(0)
            case "memory":
                np.empty(1 << 60, np.uint8)
            case "noise":
                print('{"event": "done"}')
                os.write(1, b'garbage \xff\n{"event": "failed"}\n' * 20_000)
                print(sys.stdin.read())

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> object:
        n = n_notes - 1 if self.how == "short" else n_notes
        start = 0.0 if self.how == "early" else 100.0
        notes = Notes(start + np.arange(n) * 0.1, np.full(n, 0.1), np.full(n, 60), np.full(n, 64))
        if self.how == "few":
            return [notes]
        return [[60] * n if self.how == "type" else notes for _ in prompts]

    def facts(self) -> object:
        match self.how:
            case "facts raise":
                raise RuntimeError("no facts")
            case "facts wrong":
                return {"parameters": "many", "peak_gpu_bytes": float("nan"), "precision": "float32"}
            case "facts fractions":
                return {"parameters": Fraction(3, 2), "peak_gpu_bytes": np.float64(1234.5)}
            case "facts true":
                return {"parameters": True}
        return {}
