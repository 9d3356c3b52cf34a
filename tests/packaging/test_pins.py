"""The lock files pin, agree with each other and with pyproject.toml; versions are said once and the same everywhere."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: wanted for name, wanted in PROJECT["optional-dependencies"].items() if name != "cpu"}  # two of the others
TRACKERS = ("mlflow", "tensorboard", "trackio", "parquet")
NAMED_OTHERWISE = {
    "tensorflow": ["tensorflow-cpu"],
    "pytorch": ["pytorch-cpu", "pytorch-cuda"],
    **{tracker: ["export"] for tracker in TRACKERS},
}
#: Installed into environments of their own, without base.txt.
ALONE = ("pip", "tox", "audit", "export")


def entries(lock: Path) -> list[str]:
    """A lock's requirements, each with its hashes on one line."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", "")
    return [line for line in text.splitlines() if not line.startswith("#")]


def pins(name: str) -> dict[str, str]:
    return dict(entry.split()[0].split("==") for entry in entries(ROOT / "requirements" / f"{name}.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_requirement_pins_one_version_and_its_files(lock: Path) -> None:
    assert entries(lock)
    pattern = r"[a-z0-9-]+==[0-9][0-9a-z.]*(\+cpu)?(\s+--hash=sha256:[0-9a-f]{64})+"
    assert [entry for entry in entries(lock) if not re.fullmatch(pattern, entry)] == []
    names = [entry.split("==")[0] for entry in entries(lock)]
    assert names == sorted(set(names))


def test_locks_that_are_installed_together_agree() -> None:
    together: dict[str, set[str]] = {}
    for name in ("base", "tensorflow-cpu", "pytorch-cpu", "test", "perf", "lint"):
        for package, version in pins(name).items():
            together.setdefault(package, set()).add(version)
    assert {package: versions for package, versions in together.items() if len(versions) > 1} == {}


@pytest.mark.parametrize("lock", [lock.stem for lock in LOCKS if lock.stem not in ("base", *ALONE)])
def test_no_lock_repeats_the_base(lock: str) -> None:
    assert sorted(set(pins("base")) & set(pins(lock))) == []


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_every_dependency_is_pinned_within_its_bounds(extra: str | None) -> None:
    wanted = [Requirement(text) for text in (PROJECT["dependencies"] if extra is None else EXTRAS[extra])]
    for lock in ["base"] if extra is None else NAMED_OTHERWISE.get(extra, [extra]):
        pinned = pins("base") | pins(lock)
        for requirement in wanted:
            name = canonicalize_name(requirement.name)
            assert name in pinned, f"{name} is not in {lock}.txt: run make lock"
            assert requirement.specifier.contains(pinned[name]), (
                f"{lock}.txt: {name}=={pinned[name]}, but {requirement} is asked for"
            )


def test_both_builds_of_a_framework_are_the_same_version() -> None:
    assert pins("tensorflow-cuda")["tensorflow"] == pins("tensorflow-cpu")["tensorflow-cpu"]
    assert pins("pytorch-cuda")["torch"] + "+cpu" == pins("pytorch-cpu")["torch"]


def test_the_cuda_locks_need_environments_of_their_own() -> None:
    """The reason for one environment a framework: both fill site-packages/nvidia, with different releases of CUDA."""
    assert any(name.endswith("-cu12") for name in pins("tensorflow-cuda"))
    assert any(name.endswith("-cu13") for name in pins("pytorch-cuda"))


def test_one_version_everywhere() -> None:
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'image.version="{version}"' in (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("[", "").replace("]", "")
