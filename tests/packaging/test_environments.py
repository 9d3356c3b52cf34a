"""tox, the Makefile and the CI workflow name the same environments."""

import configparser
import re
import subprocess
from pathlib import Path

import yaml

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
