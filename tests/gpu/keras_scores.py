"""Score pieces by a TensorFlow model on one device: ``keras_scores.py MODEL cpu|cuda FOLDER``.

The first call trains the weights; a later one takes them from the folder. Writes the nats of every note to ``FOLDER/DEVICE.npy``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bench.api import Budget, Run
from bench.plugins.discovery import find_plugins, load
from bench.system.gpu import load_cusolver
from tests.models.pieces import music, noise

SHAPES = {
    "lstm": {"units": 64, "layers": 2, "embedding": 16, "head": 32, "window": 32, "batch": 8},
    "lstm-paper": {"units": 32, "embedding": 8, "dense": [32, 16], "batch": 32, "stride": 4},
}


def main(name: str, device: str, folder: Path) -> None:
    """Train or load, score, write."""
    load_cusolver()  # as a trial's process does
    weights, plugin = folder / "weights.npz", load(find_plugins("model")[name])
    fast = sys.modules[f"{plugin.__module__.rpartition('.')[0]}._tensorflow"]
    model = plugin(**SHAPES[name])
    budget = Budget(0) if weights.exists() else Budget(updates=8, evaluations=1)
    pieces = [music(i, 120) for i in range(4)]
    model.fit(pieces, pieces[:1], Run(0, budget, folder / device, device=device))
    if weights.exists():
        with np.load(weights) as stored:
            fast.restore(model.network.variables, dict(stored))
    else:
        np.savez(weights, **fast.snapshot(model.network.variables))
    nats = model.log_likelihood([music(9, 200), *(noise(n, n) for n in (1, 127, 128, 129, 300))])
    np.save(folder / f"{device}.npy", np.concatenate(nats).sum(1))
    (folder / "facts.json").write_text(json.dumps(dict(model.facts())))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
