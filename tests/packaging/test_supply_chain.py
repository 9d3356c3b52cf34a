"""What is installed, run in CI and built upon is named by its content: hashes, commits, digests."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("examples/workflows/*.yml")))
DIGEST = r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_a_commit_with_its_version(workflow: Path) -> None:
    uses = re.findall(r"uses:\s*(.+)", workflow.read_text(encoding="utf-8"))
    assert uses
    assert [use for use in uses if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


def test_an_action_is_the_same_commit_everywhere() -> None:
    uses = {use for workflow in WORKFLOWS for use in re.findall(r"uses:\s*(\S+)", workflow.read_text(encoding="utf-8"))}
    assert len(uses) == len({use.split("@")[0] for use in uses})


def test_every_base_image_has_a_digest() -> None:
    dockerfile = text("Dockerfile.gpu")
    (default,) = re.findall(r"^ARG BASE_IMAGE=(.+)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(DIGEST, default)
    stages = {"${BASE_IMAGE}", *re.findall(r"^FROM .+ AS (\w+)$", dockerfile, re.MULTILINE)}
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) <= stages
    for name in (".ci/run", ".github/workflows/ci.yml", "tests/container/conftest.py", "Dockerfile.gpu"):
        images = re.findall(r"(?:debian|ubuntu|nvidia/cuda):[^\s\"'}]+", text(name))
        assert images
        assert [image for image in images if not re.fullmatch(DIGEST, image)] == []


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile.gpu", "tools/venv.sh"])
def test_everything_is_installed_with_hashes(name: str) -> None:
    """But for the project itself, and the pip that the distribution ships."""
    commands = re.sub(r"\\\n\s*", " ", text(name).replace("$(LOCKED)", "--require-hashes"))
    installs = re.findall(r"(?:\bpip|/pip\"?) +(?:--python \S+ )?install ([^&|;\n]+)", commands)
    assert installs
    own = ("--no-deps --no-build-isolation", "--no-index")
    assert [line for line in installs if "--require-hashes" not in line and not any(words in line for words in own)] == []


def test_passwords_of_an_index_stay_out_of_the_last_stage() -> None:
    last = text("Dockerfile.gpu").rsplit("\nFROM ", 1)[1]
    assert "PIP_" not in last
    assert "ARG" not in last


NOT_OFFERED = "ERROR: No matching distribution found for torch==2.13.0+cpu"
BROKEN = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(': Name or service not known')'"


def torch_lock(python: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "tools/torch-lock.sh", python], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("code", "words", "lock"),
    [
        (0, "Would install torch-2.13.0+cpu", "cpu"),
        (1, NOT_OFFERED, "cuda"),
        (1, f"INFO: Could not fetch URL https://x/torch/: 404 Client Error: Not Found - skipping\n{NOT_OFFERED}", "cuda"),
        (1, f"{BROKEN}\n{NOT_OFFERED}", ""),
        (1, f"Could not fetch URL https://x/torch/: 403 Client Error: Forbidden - skipping\n{NOT_OFFERED}", ""),
        (1, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", ""),
        (1, "No module named pip", ""),
    ],
)
def test_the_lock_of_the_build_of_torch_that_pip_can_get(tmp_path: Path, code: int, words: str, lock: str) -> None:
    """Not offered is no failure, and a failure isn't taken for that."""
    (tmp_path / "words").write_text(words + "\n")
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncat {tmp_path}/words >&2\ncase "$*" in *--require-hashes*pytorch-cpu.txt) exit {code} ;; *) exit 9 ;; esac\n'
    )
    python.chmod(0o755)
    done = torch_lock(python)
    if lock:
        assert (done.returncode, done.stdout) == (0, f"requirements/pytorch-{lock}.txt\n")
        assert done.stderr.startswith(f"torch-lock: requirements/pytorch-{lock}.txt: pip")
        assert (ROOT / done.stdout.strip()).is_file()
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr


@pytest.mark.parametrize(("minor", "code"), [(12, 1), (13, 0)])
def test_a_python_that_the_small_lock_has_no_file_for(minor: int, code: int, tmp_path: Path) -> None:
    """Where an index offers one, pip would refuse it by its hash."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || exit 1\nexec {sys.executable} -c "import sys; sys.version_info = (3, {minor}, 0); $2"\n'
    )
    python.chmod(0o755)
    done = torch_lock(python)
    assert (done.returncode, done.stdout) == (code, "" if code else "requirements/pytorch-cuda.txt\n"), done.stderr
    assert ("locked for Python 3.11 and 3.12 only" in done.stderr) == (code == 0)


def test_workflows_do_not_fetch_libraries_for_gpus() -> None:
    """PyTorch's own index, in every job that installs it, and in the image that one of them builds."""
    for workflow in (ROOT / ".github/workflows").glob("*.yml"):
        assert "whl/cpu" in yaml.safe_load(workflow.read_text(encoding="utf-8"))["env"]["PIP_EXTRA_INDEX_URL"]
    steps = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]["container"]["steps"]
    assert steps[-1]["env"] == {"BENCH_BUILD_ARGS": "--build-arg PIP_EXTRA_INDEX_URL"}


def test_pips_own_words_where_there_is_no_network() -> None:
    """The real pip, at an index that nobody serves."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
    done = torch_lock(Path(sys.executable), **nowhere, PIP_EXTRA_INDEX_URL="", PIP_CONFIG_FILE=os.devnull)
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1" in done.stderr


def test_the_bill_of_materials_lists_this_environment() -> None:
    done = subprocess.run([sys.executable, "tools/sbom.py", sys.prefix], cwd=ROOT, capture_output=True, text=True, check=True)
    bill = json.loads(done.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    versions = {entry["name"]: entry for entry in bill["components"] if entry["purl"].startswith("pkg:pypi/")}
    assert versions["numpy"]["purl"] == f"pkg:pypi/numpy@{versions['numpy']['version']}"
    assert versions["urllib3"]["properties"] == [{"name": "environment", "value": sys.prefix}]
    references = [entry["bom-ref"] for entry in bill["components"]]
    assert len(references) == len(set(references))
