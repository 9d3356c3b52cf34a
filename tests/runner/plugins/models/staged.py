"""Honours a budget in any unit: its one weight is the number of its updates, and its samples tell it.

With `path`, its process dies the first time that it continues a prompt after more than `after` updates: the file at `path` is
left behind as a sign.
"""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import Notes, Piece, Run

FEATURES = "counts its updates"
PROMPT = True
LIKELIHOOD = "exact"
CONSTRAINT = True


class Model(bench.api.Model):
    def __init__(self, path: str = "", compiles: bool = False, after: int = 0) -> None:
        self.path, self.compiles, self.after, self.calls = path, compiles, after, 0

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        self.updates, number = 0, 0
        file, per_epoch = run.folder / "weights.json", 10
        if file.exists():
            number, self.updates = json.loads(file.read_text())
        run.begin(number)
        for number, due in enumerate(run.budget.shares, 1):
            if number <= (run.history[-1]["epoch"] if run.history else 0):
                continue
            share, before = 0.0, self.updates
            while share < due:
                self.updates += 1
                share = run.share(updates=self.updates, notes=10 * self.updates, passes=self.updates / per_epoch)
            notes = 10 * (self.updates - before)
            run.log(number, loss=1.0, notes=notes, validation_bits=9.0 - number, updates=self.updates, share=share)
            run.stage(due)
            temporary = file.with_suffix(".tmp")
            temporary.write_text(json.dumps([number, self.updates]))
            temporary.replace(file)

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Repeat the pitch 40 + updates, or under a constraint the pitch of the largest weight."""
        if self.path and self.updates > self.after and not Path(self.path).exists():
            Path(self.path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.calls += 1
        pitch = np.full(n_notes, 40 + self.updates) if constraint is None else constraint.argmax(1)
        ends = [prompt.onset[-1] if len(prompt) else 0.0 for prompt in prompts]
        onset = 0.25 * np.arange(n_notes)
        return [Notes.from_columns(end + onset, np.full(n_notes, 0.2), pitch, np.full(n_notes, 64)) for end in ends]

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        rest = -np.log(2.0) * (7 + 8 / (self.updates or 1))
        return [np.tile([-np.log(128.0), rest, rest, rest], (len(p.notes), 1)) for p in pieces]

    def facts(self) -> dict[str, int]:
        return {"parameters": 1, "calls": self.calls}
