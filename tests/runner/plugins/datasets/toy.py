"""A few random pieces, for tests of the engine."""

import errno
import os
from pathlib import Path

import numpy as np

import bench.api
from bench.api import Notes, Piece, Progress, Skipped, Splits

TITLE = "Toy"
LICENSE = "CC0"
NEEDS = "nothing"


class Dataset(bench.api.Dataset):
    def __init__(self, length: int = 60, test: int = 5, fault: str = "") -> None:
        self.length, self.test, self.fault = length, test, fault

    def fingerprint(self, source: Path | None) -> str:
        return f"toy {self.length} {self.test}"

    def load(self, source: Path | None, progress: Progress) -> Splits:
        print("the toy is being parsed")
        if log := os.environ.get("TOY_LOG"):
            with Path(log).open("a") as file:
                file.write("parsed\n")
        if self.fault.startswith("open "):
            Path(self.fault.removeprefix("open ")).read_bytes()
        if self.fault == "connect":
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        if self.fault == "fork":
            if fork := os.fork():
                Path(os.environ["TOY_LOG"]).write_text(str(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])))
        elif self.fault:
            raise ZeroDivisionError(self.fault)
        progress(1, 1, "toy")
        train = tuple(self._piece(f"train {i}", i) for i in range(4))
        # Every other test piece is too short for 10 + 20 notes.
        test = tuple(self._piece(f"test {i}", 100 + i, 1.0 if i % 2 == 0 else 0.25) for i in range(self.test))
        skipped, remarks = (Skipped("bad.mid", "empty"),), ("a toy remark",)
        samples = (self._piece("sample", 200),)
        return Splits(train, (self._piece("valid", 50),), test, skipped, remarks, noise={"velocity": 0.25}, samples=samples)

    def _piece(self, name: str, seed: int, share: float = 1.0) -> Piece:
        rng = np.random.default_rng(seed)
        n = round(self.length * share)
        onset = np.cumsum(rng.uniform(0.05, 0.4, n))
        notes = Notes.from_columns(onset, rng.uniform(0.1, 0.5, n), rng.integers(40, 80, n), rng.integers(30, 100, n))
        return Piece(notes, name, title=name.title(), composer="A <b>Toy</b>\0")
