"""What a user waits for without a model: the report of a run, `bench list`, the start of a trial. `tox -e perf`.

Processor time of the processes in yardstick-seconds, so that neither a busy nor a slow machine counts.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bench
from bench.metrics.sample_scores import store_scores
from bench.music.notes import Notes
from bench.plugins.discovery import get_plugin, load
from bench.specs.load import load_spec
from bench.specs.trials import unfold
from bench.storage.samples import PieceName
from tests.report.stored_run import Stored
from tests.runner.conftest import PLUGINS

from .aims import reach, yardstick_seconds

pytestmark = pytest.mark.perf

ROUNDS = 3

#: Share of an aim that any machine reaches: below it the code got slower. Measured: 0.54 (report), 0.48 to 0.7 (list), 0.52.
FLOOR = 0.35

SHORT = "in yardstick-seconds no machine has reached it yet, and no profile says why"


def of_children(work: Callable[[], object]) -> float:
    """Processor time of the processes that `work` starts and waits for, in yardstick-seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return yardstick_seconds(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def command(*words: object) -> Callable[[], object]:
    def call() -> None:
        subprocess.run([sys.executable, "-m", "bench", *map(str, words)], check=True, capture_output=True)

    return call


def quickest(benchmark: Callable[..., object], what: str, measure: Callable[[], float]) -> float:
    """Least of a few rounds, after one that compiles; it is printed and kept."""
    measure()
    took = min(measure() for _ in range(ROUNDS))
    benchmark.extra_info["yardstick_seconds"] = took  # type: ignore[attr-defined]
    print(f"\n{what}: {took:.2f} yardstick-seconds")
    return took


def table2(folder: Path) -> Path:
    """A stored run with the rows, seeds, pieces and notes of the default one; samples are other chorales, one a piece."""
    spec = load_spec("table2", scale="cpu")
    size, seeds = spec.protocol.notes, sorted({trial.seed for trial in unfold(spec)})
    splits = load(get_plugin("dataset", "chorales"))().load(None, lambda done, total, what: None)
    long = [piece.notes for piece in (*splits.test, *splits.train) if len(piece.notes) >= size]
    real = [notes[:size].shifted(1.0 - notes.onset[0]) for notes in long[: spec.protocol.pieces]]
    stored = Stored(folder, seeds=seeds, protocol={**spec.protocol.model_dump(), "samples": 1})
    stored.pieces, stored.real = [PieceName(i, f"piece {i}") for i in range(len(real))], real
    kinds = {trial.system: trial.kind for trial in unfold(spec)}
    for number, (system, kind) in enumerate(kinds.items(), 1):
        for seed in seeds:
            others = [real[(i + number + len(kinds) * seed) % len(real)] for i in range(len(real))]
            samples = {
                (i, 0): Notes.from_columns(n.onset, n.duration, n.pitch, (n.velocity + number) % 128)
                for i, n in enumerate(others)
            }
            stored.add(system, seed, samples, kind=kind, bits=None if kind == "reference" else 12 + number / 100)
    run = stored.close()
    for trial in stored.trials:
        store_scores(stored.run.trial_dir(trial["key"]), stored.run.targets, 1, None)
    return run


def test_the_report_of_the_default_run(benchmark: Callable[..., object], tmp_path: Path) -> None:
    """`bench report` of a run of the size of Table 2: less than 3 s."""
    call = command("report", table2(tmp_path / "reports" / "runs" / "table2-cpu"))
    benchmark.pedantic(call, rounds=1)  # type: ignore[attr-defined]
    took = quickest(benchmark, "report", lambda: of_children(call))
    reach(3.0 / took, 1.0, floor=FLOOR, short=SHORT)


def test_bench_list(benchmark: Callable[..., object]) -> None:
    """Less than 0.7 s."""
    call = command("list")
    benchmark.pedantic(call, rounds=1)  # type: ignore[attr-defined]
    took = quickest(benchmark, "bench list", lambda: of_children(call))
    reach(0.7 / took, 1.0, floor=FLOOR, short=SHORT)


def test_the_start_of_a_reference_trial(benchmark: Callable[..., object], tmp_path: Path) -> None:
    """Less than 0.3 s for a trial with nothing to do: what twelve cost more than two, as a run also has other processes."""
    file, number = tmp_path / "toy.yaml", iter(range(1000))
    protocol = {"prompt": 10, "notes": 20, "pieces": 2}
    spec = {"title": "Toy", "dataset": {"name": "toy"}, "protocol": protocol, "seeds": 1, "models": {}, "references": ["median"]}
    file.write_text(json.dumps(spec))

    def run(seeds: int) -> None:
        result = bench.run(
            file,
            seeds=seeds,
            scale="cpu",
            plugins=[PLUGINS],
            out=tmp_path / "reports",
            name=f"{next(number)}",
            sound=False,
            jobs=1,
            reports=False,
        )
        assert not result.failed

    benchmark.pedantic(run, (1,), rounds=1)  # type: ignore[attr-defined]
    took = quickest(benchmark, "a trial", lambda: (of_children(lambda: run(12)) - of_children(lambda: run(2))) / 10)
    reach(0.3 / took, 1.0, floor=FLOOR, short=SHORT)
