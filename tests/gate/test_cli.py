"""`bench baseline` and `bench check` as a user meets them: real runs, every exit code."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import pytest

from bench.cli.app import main
from bench.gate.baseline_file import read, write
from tests.storage.sealed import edited_json

TOY = Path(__file__).parents[1] / "runner" / "plugins"

#: Plays one pitch. Its source is what changes between two runs.
MODEL = '''\
"""Plays one pitch."""
import numpy as np
import bench.api
from bench.api import Notes
FEATURES = "one pitch"
PROMPT = True
class Model(bench.api.Model):
    def fit(self, train, valid, run):
        run.begin()
        run.log(1, loss=1.0, notes=100)
    def generate(self, prompts, n_notes, seed, constraint=None):
        start = [p.onset[-1] for p in prompts]
        step = np.arange(1, n_notes + 1) * 0.1
        return [Notes.from_columns(s + step, np.full(n_notes, 0.1), np.full(n_notes, PITCH), np.full(n_notes, 64)) for s in start]
PITCH = 60
'''

#: 20 of the toy's 40 test pieces are long enough.
SPEC = """\
title: Toy
dataset: {name: toy, options: {test: 40}}
protocol: {prompt: 10, notes: 20, pieces: 20}
seeds: 2
budget: {epochs: 1, timeout: 60}
models: {flat: {}}
references: [median]
gate: {pitch_w1: off}
"""


class Bench:
    """A folder with a spec, a plug-in, a cache and reports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_") and k not in ("COLUMNS", "FORCE_COLOR")}
        return {**clean, "CUDA_VISIBLE_DEVICES": "", "BENCH_CACHE": str(self.folder / "cache")}

    def process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bench", *arguments]
        settings = {"capture_output": True, "text": True, "timeout": 120, "check": False}
        return subprocess.run(command, cwd=self.folder, env=self.environment, **settings)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same in this process, which saves the imports."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            mock.patch.object(sys, "argv", ["bench", *arguments]),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ending,
        ):
            main()
        return subprocess.CompletedProcess(arguments, ending.value.code or 0, out.getvalue(), err.getvalue())

    def run(self, model: str = MODEL, spec: str = SPEC) -> subprocess.CompletedProcess[str]:
        (self.folder / "models").mkdir(exist_ok=True)
        (self.folder / "models" / "flat.py").write_text(model)
        (self.folder / "toy.yaml").write_text(spec)
        return self.process("run", "toy.yaml", "--plugins", "models", "--plugins", TOY, "--scale", "cpu", "--quiet")

    def check(self, *more: str, run: str = "toy-cpu") -> subprocess.CompletedProcess[str]:
        return self("check", run, "--baseline", "b.json", *more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a run and its baseline."""
    bench = Bench(tmp_path_factory.mktemp("gate"))
    assert bench.run().returncode == 0
    answer = bench("baseline", "toy-cpu", "--file", "b.json")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "b.json\n", "2 rows, 20 pieces, seeds 0, 1; new\n")
    return bench


@pytest.fixture
def bench(finished, tmp_path):
    """A copy of it, to do what one likes."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    return Bench(tmp_path / "copy")


def test_nothing_is_worse(finished):
    answer = finished.check()
    assert (answer.returncode, answer.stderr) == (0, "")
    assert re.fullmatch(r"Nothing is worse: \d+ unchanged\. \d+ tests together, p adjusted by Holm\.\n", answer.stdout)


def test_a_baseline_is_replaced_only_by_one_of_the_same(bench):
    assert bench("baseline", "toy-cpu", "--file", "b.json").stderr.endswith("; replaced\n")
    file = bench.folder / "b.json"
    before = file.read_text()
    taken = read(file)
    write(file, replace(taken, systems={**taken.systems, "older": next(iter(taken.systems.values()))}))
    said = "; replaced, without older, which nothing checks any more\n"
    assert bench("baseline", "toy-cpu", "--file", "b.json").stderr.endswith(said)
    assert file.read_text() == before
    write(file, replace(taken, terms={**taken.terms, "scale": "gpu"}))
    answer = bench("baseline", "toy-cpu", "--file", "b.json")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "b.json exists, and differs from this run: scale ('gpu', not 'cpu')" in answer.stderr
    assert '"scale":"gpu"' in file.read_text()
    assert bench("baseline", "toy-cpu", "--file", "b.json", "--force").returncode == 0
    assert file.read_text() == before
    file.write_text("a letter")
    answer = bench("baseline", "toy-cpu", "--file", "b.json")
    assert (answer.returncode, answer.stderr.splitlines()[0]) == (2, "error: b.json exists, and is no baseline.")
    assert file.read_text() == "a letter"


def test_the_yardstick_is_beside_every_training(finished):
    (system,) = [s for s in json.loads((finished.folder / "b.json").read_text())["systems"].values() if s["kind"] == "model"]
    assert system["yardstick"].keys() == {"0", "1"}
    assert "training_seconds@1" in system["metrics"]


def test_a_worse_model_fails(bench):
    assert bench.run(MODEL.replace("PITCH = 60", "PITCH = 100")).returncode == 0
    answer = bench.process("check", "toy-cpu", "--baseline", "b.json", "--only-regressions")
    assert answer.returncode == 1
    evidence = r"\(\+[\d.]+, threshold 0\.\d+; p [<=] 0.0\d+ over 2 seeds and 20 pieces\): worse"
    found = re.search(rf"^flat: pitch_distance ([\d.]+) -> ([\d.]+) {evidence}$", answer.stdout, re.MULTILINE)
    assert float(found[1]) < 15 < 35 < float(found[2])
    assert "pitch_w1" not in answer.stdout  # the spec says off
    assert "median" not in answer.stdout


def test_a_model_that_fails_is_incomplete(bench):
    assert bench.run(MODEL.replace("run.begin()", "raise ValueError('no luck')")).returncode == 3
    answer = bench.check("--only-regressions")
    assert answer.returncode == 3
    assert "flat: failed (seed 0: ValueError: no luck [flat.py:9])\n" in answer.stdout
    refused = bench("baseline", "toy-cpu", "--file", "c.json")
    assert refused.returncode == 3
    assert "is incomplete: flat, seed 0: ValueError: no luck [flat.py:9]." in refused.stderr
    assert not (bench.folder / "c.json").exists()
    assert bench("baseline", "toy-cpu", "--file", "c.json", "--allow-incomplete").returncode == 0
    assert (bench.folder / "c.json").exists()


def test_a_damaged_result_is_incomplete(bench):
    samples = next(bench.folder.glob("reports/runs/toy-cpu/trials/*/samples.npz"))
    samples.write_bytes(b"")
    refused = bench("baseline", "toy-cpu", "--file", "c.json")
    assert refused.returncode == 3
    assert refused.stderr.count("again") == 1
    assert ".." not in refused.stderr


def test_a_row_that_vanished_is_incomplete(bench):
    path = bench.folder / "b.json"
    baseline = read(path)
    baseline.systems["lost"] = baseline.systems["median"]
    write(path, baseline)
    answer = bench.check()
    assert (answer.returncode, answer.stdout.splitlines()[0]) == (3, "lost: vanished (the run has no such row)")


def test_another_protocol_is_not_comparable(bench):
    path = bench.folder / "b.json"
    baseline = read(path)
    baseline.terms["protocol"]["notes"] = 15
    write(path, baseline)
    answer = bench.check()
    assert answer.returncode == 4
    assert answer.stdout == "protocol.notes is 20, was 15\nThe run can't be compared with the baseline.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "toy-cpu"), "Missing option '--baseline'"),
        (("check", "toy-cpu", "--baseline", "none.json"), "error: The baseline none.json can't be read: No such file"),
        (("check", "toy-cpu", "--baseline", "toy.yaml"), "error: toy.yaml is no baseline.\nTake one "),
        (("check", "toi-cpu", "--baseline", "b.json"), "error: There is no run 'toi-cpu'.\nDid you mean 'toy-cpu'?"),
        (("check", "toy-cpu", "--baseline", "b.json", "--format", "html"), "Invalid value for '--format'"),
        (("baseline", "toi-cpu"), "error: There is no run 'toi-cpu'.\nDid you mean 'toy-cpu'?"),
        (("run", "wrong.yaml"), "error: wrong.yaml:9: gate.pich_distance: no metric is named 'pich_distance'.\n"
                                "Did you mean 'pitch_distance'?"),
    ],
)  # fmt: skip
def test_wrong_use(finished, arguments, said):
    (finished.folder / "wrong.yaml").write_text("title: x\ndataset: {name: chorales}\n\n\n\n\n\ngate:\n  pich_distance: 5%\n")
    answer = finished(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr


class TestExitCodeOneMeansWorse:
    """Nothing else leaves it."""

    def test_not_a_damaged_baseline(self, bench):
        path = bench.folder / "b.json"
        path.write_text(path.read_text().replace('"kind":"model"', '"kind":"modell"', 1))
        answer = bench.check()
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr.startswith("error: b.json does not match its checksum: it was edited by hand or is damaged.\n")

    def test_not_a_gate_in_the_run_that_no_spec_may_have(self, bench):
        assert self.changed(bench, gate={"*": "-5%"}).returncode == 2
        assert self.changed(bench, gate=["*"]).returncode == 2
        answer = self.changed(bench, gate={"*": "-5%"})
        assert answer.stdout == ""
        assert answer.stderr.startswith("error: The run's gate holds what is not a threshold: '-5%'.\n")

    def test_not_a_run_that_is_damaged(self, bench):
        with edited_json(bench.folder / "reports" / "runs" / "toy-cpu" / "run.json") as run:
            run["provenance"] = []
        answer = bench.check()
        assert (answer.returncode, answer.stdout) == (3, "")
        assert "run.json is damaged: provenance" in answer.stderr

    def changed(self, bench, **spec):
        with edited_json(bench.folder / "reports" / "runs" / "toy-cpu" / "run.json") as run:
            run["spec"] |= spec
        return bench.check()

    def test_not_an_output_that_is_a_folder(self, bench):
        answer = bench.check("--output", "models")
        assert answer.returncode == 2
        assert answer.stderr.startswith("error: models is a folder, and should be a file.\n")

    @pytest.mark.parametrize(
        "command", [("check", "toy-cpu", "--baseline", "b.json", "--output"), ("baseline", "toy-cpu", "--file")]
    )
    def test_not_a_place_that_can_not_be_written(self, bench, command):
        answer = bench(*command, "b.json/x.json")
        assert answer.returncode == 2
        assert answer.stderr.startswith("error: b.json/x.json can't be written: ")


class TestOutput:
    def test_markdown_into_a_file(self, finished, tmp_path):
        answer = finished.check("--format", "markdown", "--output", str(tmp_path / "check.md"))
        assert answer.returncode == 0
        assert answer.stdout.startswith("Nothing is worse: ")
        text = (tmp_path / "check.md").read_text()
        assert text.startswith("## Nothing is worse\n\ntoy-cpu against the baseline toy-cpu.\n")

    def test_junit(self, finished):
        answer = finished.check("--format", "junit")
        suite = ElementTree.fromstring(answer.stdout)[0]
        assert suite.get("failures") == suite.get("errors") == "0"
        assert {"flat", "median"} == {case.get("classname") for case in suite.iter("testcase")}

    def test_a_baseline_goes_beside_the_runs(self, bench):
        answer = bench("baseline", "latest")
        assert answer.stdout.endswith("/reports/baselines/toy-cpu.json\n")
        assert Path(answer.stdout.strip()).read_bytes() == (bench.folder / "b.json").read_bytes()


@pytest.mark.parametrize("command", ["baseline", "check"])
def test_help_has_an_example(finished, command):
    answer = finished(command, "--help")
    assert answer.returncode == 0
    assert f"bench {command} latest" in answer.stdout
