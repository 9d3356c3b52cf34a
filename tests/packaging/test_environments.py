"""tox, the Makefile and the CI workflow name the same environments."""

import configparser
import re
import subprocess
import tomllib
from pathlib import Path

import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]


def test_tox_the_makefile_and_the_workflow_name_the_same_environments() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    listed = {name.strip() for name in tox["tox"]["env_list"].split(",")}
    makefile = re.search(r"^EVERY_ENV := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert makefile
    assert set(makefile[1].split(",")) == listed
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["tox"]["strategy"]["matrix"]
    assert {*matrix["environment"], *(entry["environment"] for entry in matrix["include"])} == listed
    assert {f"testenv:{name}" for name in listed - {"tests"}} <= set(tox)


def test_the_locks_are_resolved_for_every_python_that_the_project_takes() -> None:
    """In the last one TensorFlow has no build, so that the tests can't run."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    jobs = {name: job["strategy"]["matrix"]["python"] for name, job in workflow["jobs"].items() if name in ("tox", "locks")}
    bounds = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    taken = [f"3.{minor}" for minor in range(30) if SpecifierSet(bounds).contains(f"3.{minor}")]
    assert jobs == {"locks": taken, "tox": taken[:-1]}
    assert workflow["jobs"]["locks"]["steps"][-1]["run"] == "python tools/resolve_locks.py ${{ matrix.python }}"


def test_the_long_searches_run_every_week_in_bounded_time() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/weekly.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["search"]
    targets = {entry["target"] for entry in job["strategy"]["matrix"]["include"]}
    assert targets == {"fuzz", "faults"}
    assert job["timeout-minutes"] <= 60
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in (*targets, "load"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        assert f"`make {target}`" in guide


def test_make_sets_up_an_environment_a_framework_for_a_gpu() -> None:
    """Their CUDA libraries overwrite each other's files: with GPU=1 no environment gets both."""
    plan = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup", "GPU=1"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    installs = [line for line in plan.stdout.replace("\\\n", " ").splitlines() if "--require-hashes" in line]
    assert len(installs) == 2
    for line in installs:
        assert ("pytorch-cuda.txt" in line) != ("tensorflow-cuda.txt" in line)
        assert ("/pytorch/" in line) == ("pytorch-cuda.txt" in line)
    assert "BENCH_PYTHON_TENSORFLOW=" in plan.stdout
    ordinary = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ".venv-gpu" not in ordinary.stdout
