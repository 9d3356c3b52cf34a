"""What is installed, run in CI and built upon is named by its content: hashes, commits, digests."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("offered", [True, False])
def test_the_lock_of_the_build_of_torch_that_pip_can_get(tmp_path: Path, offered: bool) -> None:
    """With a pip that finds the build for processors, and one that doesn't."""
    python = tmp_path / "python"
    answer = "0" if offered else "1"
    python.write_text(f'#!/bin/sh\ncase "$*" in *--require-hashes*pytorch-cpu.txt) exit {answer} ;; *) exit 9 ;; esac\n')
    python.chmod(0o755)
    chosen = subprocess.run(["sh", "tools/torch-lock.sh", python], cwd=ROOT, capture_output=True, text=True, check=True)
    lock = chosen.stdout.strip()
    assert lock == f"requirements/pytorch-{'cpu' if offered else 'cuda'}.txt"
    assert (ROOT / lock).is_file()


def test_the_bill_of_materials_lists_this_environment() -> None:
    done = subprocess.run([sys.executable, "tools/sbom.py", sys.prefix], cwd=ROOT, capture_output=True, text=True, check=True)
    bill = json.loads(done.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    versions = {entry["name"]: entry for entry in bill["components"] if entry["purl"].startswith("pkg:pypi/")}
    assert versions["numpy"]["purl"] == f"pkg:pypi/numpy@{versions['numpy']['version']}"
    assert versions["urllib3"]["properties"] == [{"name": "environment", "value": sys.prefix}]
    references = [entry["bom-ref"] for entry in bill["components"]]
    assert len(references) == len(set(references))
