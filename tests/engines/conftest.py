"""One cluster a module and engine, in which each test has its own run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.scoring.score import score_run
from tests.engines.clusters import Cluster, Ray, Slurm, started

PLUGINS = Path(__file__).parents[1] / "runner" / "plugins"

#: What a clock decides in a table; everything else must be the same.
CLOCKED = ("seconds", "yardsticks", "rate", "memory", "per_second")

CODE = """
import json, os, sys, bench
from bench.errors import BenchError, StoppedError
def show(event):
    print(event["event"], event.get("label", ""), event.get("text", ""), event.get("message", ""), flush=True)
try:
    result = bench.run(**json.loads(os.environ["GIVEN"]), display=show)
except (BenchError, StoppedError) as error:
    print(error, error.hint, file=sys.stderr)
    sys.exit(error.exit_code)
from bench.storage.run_folder import RunFolder
failed = [o for o in RunFolder(result.folder).outcomes().values() if o.status == "failed"]
sys.exit(3 if failed else 0)
"""


class Bench:
    """A folder with a spec of six trials, and the command on it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.out, self.spec = folder / "reports", folder / "toy.yaml"
        self.started: list[subprocess.Popen[bytes]] = []
        self.write({"steady": {"params": {"delay": 0.02}}})

    def write(self, models: dict[str, Any], **changes: Any) -> None:
        document = {
            "title": "Toy",
            "dataset": {"name": "toy"},
            "protocol": {"prompt": 10, "notes": 20, "pieces": 2},
            "seeds": 3,
            "budget": {"epochs": 6, "timeout": 60},
            "models": models,
            "references": ["median"],  # and the untrained model
            **changes,
        }
        self.spec.write_text(json.dumps(document))

    def start(self, engine: str | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """Start a run without its report, in a process that exits as the command does; another engine has no options."""
        if engine is None:
            engine, options = self.cluster.engine, {**self.cluster.options, **options}
        given = {
            "spec": str(self.spec),
            "scale": "cpu",
            "sound": False,
            "reports": False,
            "plugins": [str(PLUGINS)],
            "out": str(self.out),
            "engine": engine,
            "engine_options": options,
        }
        environment = {**os.environ, **self.cluster.environment, "GIVEN": json.dumps(given)}
        with self.log(len(self.started)).open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", CODE], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.started.append(process)
        return process

    def log(self, number: int = -1) -> Path:
        """What a process printed, by default the last."""
        return self.folder / f"said-{number if number >= 0 else len(self.started) + number}.log"

    def end(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """Wait for its end; exit code and what it printed."""
        code = process.wait(240)
        return code, self.log(self.started.index(process)).read_text()

    def run(self, engine: str | None = None, **options: Any) -> tuple[int, str]:
        """Run to the end; exit code and what was printed."""
        return self.end(self.start(engine, **options))

    def hold(self) -> None:
        """Let no trial train beyond epoch 4."""
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    @property
    def run_folder(self) -> Path:
        return self.out / "runs" / "toy-cpu"

    def held(self) -> list[psutil.Process]:
        """Workers of trials that have come as far as `hold` lets them."""
        ready = [
            f.parents[1].name
            for f in self.run_folder.glob("trials/*/checkpoint/history.jsonl")
            if len(f.read_text().splitlines()) == 4
        ]
        return [worker for worker in self.workers() if any(key in " ".join(worker.cmdline()) for key in ready)]

    def workers(self, module: str = "bench.runner.worker") -> list[psutil.Process]:
        """Processes of trials in this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                if module in line and str(self.folder) in line and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """Outcomes by ``system seed``."""
        plan = json.loads((self.run_folder / "run.json").read_text())["trials"]
        files = {f"{t['trial']['system']} {t['trial']['seed']}": self.run_folder / "trials" / t["key"] for t in plan}
        return {name: json.loads(file.read_text()) for name, f in files.items() if (file := f / "outcome.json").exists()}

    def results(self) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
        """Samples of every trial, and the table without times."""
        samples = {file.parent.name: file.read_bytes() for file in self.run_folder.glob("trials/*/samples.npz")}
        rows = score_run(self.run_folder).records()
        return samples, [{k: v for k, v in row.items() if not any(word in k for word in CLOCKED)} for row in rows]


@pytest.fixture(scope="module", params=["local", "slurm", "ray"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = {"slurm": Slurm.missing, "ray": Ray.missing}.get(request.param, lambda: "")()
    if missing:
        pytest.skip(f"{request.param}: {missing}")
    with started(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def toy(tmp_path: Path, cluster: Cluster) -> Iterator[Bench]:
    cluster.repair()
    bench = Bench(tmp_path, cluster)
    yield bench
    for process in bench.started:
        if process.poll() is None:
            process.kill()
        process.wait()
    for module in ("bench.runner.unit", "bench.runner.worker"):
        for left in bench.workers(module):
            left.kill()
