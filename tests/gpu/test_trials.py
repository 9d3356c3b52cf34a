"""Whole trials on a GPU: memory that runs out, the contract suite, and the TensorFlow models in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.system import frameworks

from .networks import SHAPES

pytestmark = [pytest.mark.gpu, pytest.mark.training]

ROOT = Path(__file__).resolve().parents[2]

GREEDY = '''"""Asks for more memory than any GPU has."""
import torch

import bench.api

REQUIRES = ("torch",)
FEATURES = "asks for too much"
PROMPT = True


class Model(bench.api.Model):
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


PYTORCH = tuple(SHAPES)


@pytest.fixture(scope="module")
def suites(device: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a model's contract suite; on a GPU those of all PyTorch models at once, as each takes half a minute."""
    started: dict[str, subprocess.Popen[str]] = {}

    def start(name: str) -> None:
        others = [other for other in (*PYTORCH, "lstm-paper") if other.startswith(f"{name}-")]
        chosen = " and not ".join((f"([{name}] or [{name}-)", *(f"[{other}" for other in others)))
        suite = ROOT / "tests/contract"
        python = frameworks.interpreter(("torch" if name in PYTORCH else "tensorflow",))
        command = [python, "-m", "pytest", suite / "test_models.py", "-k", chosen, "-q", "--confcutdir", suite]
        if device == "cpu":  # tests/contract runs them there
            command.append("--collect-only")
        variables = {"BENCH_CONTRACT_DEVICE": device, "TORCHDYNAMO_DISABLE": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"} | {"PYTHONPATH": str(ROOT)} | variables
        started[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    def suite_of(name: str) -> subprocess.Popen[str]:
        for each in PYTORCH if device == "cuda" and name in PYTORCH else (name,):
            if each not in started:
                start(each)
        return started[name]

    yield suite_of
    for process in started.values():
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("name", [*PYTORCH, "lstm", "lstm-paper"])
def test_the_contract_is_kept(name: str, device: str, suites: Callable[[str], subprocess.Popen[str]]) -> None:
    """The suite that every plug-in passes, uncompiled: many tiny networks, each trained for two epochs."""
    if name not in PYTORCH:
        needs_tensorflow(device)
        if subprocess.run([frameworks.interpreter(("tensorflow",)), "-c", "import pytest"], check=False).returncode:
            pytest.skip("TensorFlow's interpreter has no pytest")
    process = suites(name)
    said, _ = process.communicate()
    assert process.returncode == 0, said[-4000:]
    assert (" passed" if device == "cuda" else " tests collected") in said


def needs_tensorflow(device: str) -> None:
    """Skip where TensorFlow isn't installed, or sees no GPU."""
    report = frameworks.framework_report("tensorflow")
    if report["error"] or (device == "cuda" and not report["gpus"]):
        pytest.skip(f"TensorFlow: {report['error'] or 'sees no GPU'}")


@pytest.mark.parametrize("name", ["lstm", "lstm-paper"])
def test_tensorflows_likelihoods_are_those_of_the_processor(name: str, device: str, tmp_path: Path) -> None:
    """On cuDNN against the loops for a processor, with the same weights; a process takes one device only."""
    needs_tensorflow(device)
    python, script = frameworks.interpreter(("tensorflow",)), Path(__file__).with_name("keras_scores.py")
    scores = []
    for where in ("cpu", device):
        subprocess.run([python, script, name, where, tmp_path], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        scores.append(np.load(tmp_path / f"{where}.npy"))
    assert len(scores[0]) > 500
    assert np.abs(scores[0] - scores[1]).max() < 1e-3
    if device == "cuda":
        assert json.loads((tmp_path / "facts.json").read_text())["cudnn"] == "yes"
