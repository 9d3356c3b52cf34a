"""Speed of the PyTorch models at a spec's scale gpu: ``gpu_steps.py ceilings``, ``gpu_steps.py transformer --spec table2``.

Each call prints one line, and writes it as a JSON file to --out. It is for one model, so that none has another's memory. Timed
are `--steps` updates, after some that warm up. From the operations that the model states, as a GPU's trial does, follow the
utilisation (MFU, as in the column ``mfu``, but of these steps alone) and the share of the speed of a large product in the same
precision that this GPU reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.api import Budget, Notes, Piece, Run
from bench.plugins.discovery import find_plugins, load
from bench.specs.load import load_spec
from bench.system.gpu import BF16_PEAKS

#: Updates before those that are timed.
WARM = 5

#: Hyperparameters for a try on a processor, as far as a model has them.
TINY = {"layers": 1, "width": 16, "heads": 2, "latent": 8, "units": 16, "window": 32, "span": 16, "distance": 8, "batch": 4}


def main() -> None:
    """Measure the ceilings or one model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", help="ceilings, or a row of the spec whose model is PyTorch's")
    parser.add_argument("--spec", default="table2-maestro")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, for a try")
    parser.add_argument("--uncompiled", action="store_true", help="without torch.compile")
    parser.add_argument("--nondeterministic", action="store_true", help="with whatever kernels are fastest")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.nondeterministic:  # as in a trial's process; read when CUDA starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    limits = ceilings(options.device, options.tiny)
    result = limits if options.what == "ceilings" else measured(options, limits)
    print(f"{options.what}: " + ", ".join(f"{name} {shown(value)}" for name, value in result.items()))
    variant = "".join(f"-{name}" for name in ("uncompiled", "nondeterministic") if getattr(options, name))
    file = options.out / f"{options.what}-{options.spec}{variant}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def shown(value: Any) -> str:
    """Write a number in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def synchronize(device: str) -> None:
    """Wait for all that the device was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: str, times: int = 1) -> float:
    """Time a piece of work, after one call that warms up; seconds a call."""
    work()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / times


def ceilings(device: str, tiny: bool) -> dict[str, float]:
    """Measure products, TFLOP/s, and a copy, GB/s (read and written): what no model of this machine exceeds."""
    n, times = (256, 2) if tiny else (8192, 20)
    found: dict[str, float] = {}
    before = torch.get_float32_matmul_precision()
    for name, dtype, precision in (
        ("bfloat16", torch.bfloat16, "highest"),
        ("tf32", torch.float32, "high"),
        ("float32", torch.float32, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        found[name] = 2 * n**3 / seconds(lambda a=a, b=b: torch.mm(a, b), device, times) / 1e12  # type: ignore[misc]
    torch.set_float32_matmul_precision(before)
    source = torch.ones(2**20 if tiny else 2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["copy_gbps"] = 2 * source.numel() / seconds(lambda: target.copy_(source), device, times) / 1e9
    return found


def music(seed: int, notes: int) -> Piece:
    """Make a random walk over the keyboard."""
    rng = np.random.default_rng(seed)
    pitch = np.clip(60 + np.cumsum(rng.choice([-3, -2, -1, 1, 2, 3], notes)), 30, 100)
    onset = np.cumsum(rng.choice([0.0, 0.1, 0.25], notes))
    return Piece(Notes.from_columns(onset, np.full(notes, 0.3), pitch, rng.integers(30, 110, notes)), id=str(seed))


def measured(options: argparse.Namespace, limits: dict[str, float]) -> dict[str, Any]:
    """Train, score and generate with one model; collect its speeds."""
    spec = load_spec(options.spec, scale="gpu", models=[options.what])
    row = spec.models[options.what]
    params, plugin = dict(row.params), load(find_plugins("model")[row.plugin or options.what])
    siblings = plugin.__module__.rpartition(".")[0]
    if options.nondeterministic:
        torch.use_deterministic_algorithms(False)
        torch.use_deterministic_algorithms = lambda *_, **__: None  # the models ask for them
    if options.uncompiled:
        shared: Any = sys.modules[f"{siblings}._torch"]
        shared.compiled = lambda module, *_: shared.Compiled(module, "no: --uncompiled")
    if options.tiny:
        params |= {name: size for name, size in TINY.items() if name in plugin.__dataclass_fields__}
    length, pieces = (200, 4) if options.tiny else (4096, 32)
    train = [music(i, length) for i in range(pieces)]
    budget = Budget(updates=WARM + options.steps, evaluations=1)
    model = plugin(**params)
    start = time.perf_counter()
    each, notes = timed_fit(model, train, budget, options.device, options.steps)
    fitted = time.perf_counter() - start
    facts = dict(model.facts())
    result = {
        "ms_a_step": 1000 * each,
        "notes_per_second": notes / each,
        **utilization(facts, notes / each, options.device, limits),
        "peak_gib": (facts["peak_gpu_bytes"] or 0) / 2**30,
        "fit_seconds": fitted,
        **{name: facts[name] for name in ("precision", "compiled", "compile_seconds") if name in facts},
    }
    protocol = spec.protocol
    prompts = [piece.notes[: protocol.prompt] for piece in (music(1000 + i, length) for i in range(4 if options.tiny else 100))]
    wanted = 16 if options.tiny else protocol.notes
    if model.likelihood:
        most = length if options.tiny else sys.modules[f"{siblings}._batches"].scored_notes(torch.device(options.device))
        scored = [music(i, length) for i in range(-(-most // length))]  # a full batch
        spent = seconds(lambda: model.log_likelihood(scored), options.device)
        result["scored_notes_per_second"] = sum(len(p.notes) for p in scored) / spent
    spent = seconds(lambda: model.generate(prompts, wanted, 0), options.device)
    return {**result, "generated_notes_per_second": len(prompts) * wanted / spent}


def utilization(facts: dict[str, Any], notes_per_second: float, device: str, limits: dict[str, float]) -> dict[str, float]:
    """Rate of the operations that the model states for a note, and its shares; nothing where it states none."""
    if not (needed := facts.get("flops_per_note")):
        return {}
    rate = needed * notes_per_second
    peak = BF16_PEAKS.get(torch.cuda.get_device_name()) if device == "cuda" else None
    reached = limits["bfloat16" if facts["precision"].startswith("bfloat16") else "float32"]
    return {"tflops": rate / 1e12, **({"mfu": rate / peak} if peak else {}), "of_product": rate / 1e12 / reached}


def timed_fit(model: Any, train: Sequence[Piece], budget: Budget, device: str, steps: int) -> tuple[float, float]:
    """Train by the model's own loop; seconds and notes an update, of the last `steps`, without evaluations and checkpoints."""
    progress = sys.modules[f"{type(model).__module__.rpartition('.')[0]}._training"].Progress
    original, marks, notes = progress.batches, list[float](), list[int]()

    def batches(self: Any, epoch: Any, count: Any) -> Iterator[Any]:
        for update, batch in original(self, epoch, count):
            if update == WARM:
                synchronize(device)
                marks.append(time.perf_counter())
            yield update, batch
            notes.append(count(batch))
            if update == WARM + steps - 1:
                synchronize(device)
                marks.append(time.perf_counter())

    progress.batches = batches
    try:
        with tempfile.TemporaryDirectory() as folder:
            model.fit(train, [music(99, 64)], Run(0, budget, Path(folder), device=device, threads=torch.get_num_threads()))
    finally:
        progress.batches = original
    return (marks[1] - marks[0]) / steps, sum(notes[WARM:]) / steps


if __name__ == "__main__":
    main()
