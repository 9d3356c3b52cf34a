"""Real processes on a toy dataset: what is started here is started as a user would."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.scoring.score import score_run
from bench.storage.outcome import Done
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Samples

PLUGINS = Path(__file__).parent / "plugins"

PROTOCOL = {"prompt": 10, "notes": 20, "pieces": 2}


class Bench:
    """A folder with a spec, a cache and reports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "reports"
        self.spec = folder / "toy.yaml"

    def write(self, models: dict[str, Any], **changes: Any) -> Path:
        """Write the spec; YAML is a superset of JSON."""
        document = {
            "title": "Toy",
            "dataset": {"name": "toy"},
            "protocol": PROTOCOL,
            "seeds": [0],
            "budget": {"epochs": 4, "timeout": 60},
            "models": models,
            "references": [],
            **changes,
        }
        self.spec.write_text(json.dumps(document))
        return self.spec

    def run(self, **options: Any) -> Any:
        """Run the spec in this process."""
        import bench

        self.events: list[dict[str, Any]] = []
        given = {"scale": "cpu", "plugins": [PLUGINS], "out": self.out, "display": self.events.append, **options}
        return bench.run(self.spec, sound=False, **given)

    def start(self, jobs: int = 1) -> subprocess.Popen[str]:
        """Run the spec in a process of its own; it exits as the command line does."""
        code = textwrap.dedent(f"""
            import sys, bench
            from bench.errors import BenchError, StoppedError
            try:
                result = bench.run({str(self.spec)!r}, scale="cpu", sound=False, plugins=[{str(PLUGINS)!r}],
                                   out={str(self.out)!r}, jobs={jobs})
            except (BenchError, StoppedError) as error:
                print(error, file=sys.stderr)
                sys.exit(error.exit_code)
            sys.exit(3 if result.failed else 0)
        """)
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.started.append(process)
        return process

    started: list[subprocess.Popen[str]]

    def hold(self) -> None:
        """Let no ``steady`` train beyond epoch 4 (`release` ends it)."""
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    @property
    def run_folder(self) -> Path:
        return self.out / "runs" / "toy-cpu"

    def trials(self) -> dict[tuple[Any, ...], Path]:
        """Folders of run.json's trials by (system, seed), or (system, seed, fold)."""
        plan = json.loads((self.run_folder / "run.json").read_text())["trials"]
        names = [(t["trial"]["system"], t["trial"]["seed"], t["trial"]["fold"]) for t in plan]
        return {
            name if name[-1] else name[:2]: self.run_folder / "trials" / t["key"] for name, t in zip(names, plan, strict=True)
        }

    def outcome(self, system: str, seed: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.trials()[system, seed] / "outcome.json").read_text())
        return found

    def scored(self, system: str) -> Done:
        """The outcome of a system's first seed, its folds as one."""
        return score_run(self.run_folder)[system].trials[0].result

    def notes(self, system: str) -> Samples:
        """All samples of a system's first seed."""
        return RunFolder(self.run_folder).samples(*score_run(self.run_folder)[system].trials[0].keys)

    def samples(self) -> dict[tuple[Any, ...], bytes]:
        return {name: (folder / "samples.npz").read_bytes() for name, folder in self.trials().items()}


def until(check: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until a check is true; what it returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := check():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def workers(bench: Bench) -> list[psutil.Process]:
    """Processes that work in this test's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if "bench.runner.worker" in line and str(bench.folder) in line and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name in [n for n in os.environ if n.startswith("BENCH_")]:
        monkeypatch.delenv(name)
    bench = Bench(tmp_path)
    bench.started = []
    yield bench
    for process in bench.started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()
    for left in workers(bench):
        left.kill()
