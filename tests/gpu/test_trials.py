"""Whole trials on a GPU: memory that runs out, the contract suite, and the TensorFlow models in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.system import frameworks

pytestmark = [pytest.mark.gpu, pytest.mark.training]

ROOT = Path(__file__).resolve().parents[2]

GREEDY = '''"""Asks for more memory than any GPU has."""
import torch

FRAMEWORK = "pytorch"
FEATURES = "asks for too much"
PROMPT = True


class Model:
    """Fails."""

    def fit(self, train, valid, run):
        """Ask for a pebibyte."""
        if run.device == "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        torch.empty(2**50, dtype=torch.uint8, device="cuda")

    def generate(self, prompts, n_notes, seed, constraint=None):
        """Never called."""
'''


def test_exhausted_memory_is_transient(device: str, tmp_path: Path) -> None:
    """So that the trial is tried again later, and its checkpoint is not blamed."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "greedy.py").write_text(GREEDY)
    spec = tmp_path / "greedy.yaml"
    spec.write_text("extends: smoke\nreferences: []\nseeds: 1\n")
    scale: Any = "gpu" if device == "cuda" else "cpu"
    result = bench.run(spec, models=["greedy"], plugins=[plugins], scale=scale, out=tmp_path / "out", sound=False)
    (outcome,) = [json.loads(path.read_text()) for path in result.folder.glob("trials/*/outcome.json")]
    assert "out of memory" in outcome["error"]["message"]
    assert outcome["error"]["transient"]


@pytest.mark.parametrize("name", ["transformer", "music-transformer", "vae", "gan", "lstm", "lstm-paper"])
def test_the_contract_is_kept(name: str, device: str) -> None:
    """The suite that every plug-in passes, uncompiled: many tiny networks, each trained for two epochs."""
    if name.startswith("lstm"):
        needs_tensorflow(device)
    chosen = f"[{name}] or [{name}- or -{name}] and not [music-{name}]"
    if name == "lstm":
        chosen = f"({chosen}) and not lstm-paper"
    suite = ROOT / "tests/contract"
    command = [sys.executable, "-m", "pytest", suite / "test_models.py", "-k", chosen, "-q", "--confcutdir", suite]
    variables = {"BENCH_CONTRACT_DEVICE": device, "TORCHDYNAMO_DISABLE": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    answer = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-4000:]
    assert " passed" in answer.stdout


def needs_tensorflow(device: str) -> None:
    """Skip where TensorFlow isn't installed, or sees no GPU."""
    report = frameworks.framework_report("tensorflow")
    if report["error"] or (device == "cuda" and not report["gpus"]):
        pytest.skip(f"TensorFlow: {report['error'] or 'sees no GPU'}")


@pytest.mark.parametrize("name", ["lstm", "lstm-paper"])
def test_tensorflows_likelihoods_are_those_of_the_processor(name: str, device: str, tmp_path: Path) -> None:
    """On cuDNN against the loops for a processor, with the same weights; a process takes one device only."""
    needs_tensorflow(device)
    python, script = frameworks.interpreter("tensorflow"), Path(__file__).with_name("keras_scores.py")
    scores = []
    for where in ("cpu", device):
        subprocess.run([python, script, name, where, tmp_path], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        scores.append(np.load(tmp_path / f"{where}.npy"))
    assert len(scores[0]) > 500
    assert np.abs(scores[0] - scores[1]).max() < 1e-3
    if device == "cuda":
        assert json.loads((tmp_path / "facts.json").read_text())["cudnn"] == "yes"
