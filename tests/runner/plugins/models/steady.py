"""Learns a few numbers, slowly, with a checkpoint an epoch; every epoch leaves its mark on the samples.

A file named ``hold`` in a folder above the run's makes it wait after epoch 4 until the file is gone: what a test
interrupts there has begun and can't have ended, however busy the machine.
"""

import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import Notes, Piece, Run, read_sealed, write_sealed

FEATURES = "a slow walk"
PROMPT = True
LIKELIHOOD = "exact"


class Model(bench.api.Model):
    def __init__(self, delay: float = 0.0, size: int = 8) -> None:
        self.delay, self.size = delay, size

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        self.state, done = np.zeros(self.size), 0
        file = run.folder / "weights.npz"
        if file.exists():
            with np.load(io.BytesIO(read_sealed(file))) as saved:
                self.state, done = saved["weights"], int(saved["epoch"])
        run.begin(done)
        for epoch in range(done + 1, run.budget.epochs + 1):
            rng = np.random.default_rng([run.seed, epoch])
            self.state = 0.9 * self.state + rng.normal(size=self.size)
            time.sleep(self.delay)
            run.log(epoch, loss=1 / epoch, notes=sum(len(p.notes) for p in train), validation_bits=10 + 1 / epoch)
            memory = io.BytesIO()
            np.savez(memory, weights=self.state, epoch=epoch)
            write_sealed(file, memory.getvalue())
            while epoch == 4 and any((above / "hold").exists() for above in run.folder.parents):
                time.sleep(0.02)

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        made = []
        for i, prompt in enumerate(prompts):
            rng = np.random.default_rng([seed, i, *np.abs(self.state * 1e6).astype(np.int64)])
            start = prompt.onset[-1] if len(prompt) else 0.0
            onset = start + np.cumsum(rng.uniform(0.05, 0.4, n_notes))
            made.append(Notes.from_columns(onset, np.full(n_notes, 0.2), rng.integers(40, 80, n_notes), np.full(n_notes, 64)))
        return made

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        return [np.full((len(p.notes), 4), -np.log(128.0)) for p in pieces]

    def facts(self) -> Mapping[str, Any]:
        return {"parameters": np.int64(self.size), "peak_gpu_bytes": 7}
