"""Write the lock files beside this one from pyproject.toml: ``make lock``, or with ``ARGS=--keep`` without newer versions.

``base.txt`` holds the engine's own dependencies. Every other file holds what its extra needs *besides* ``base.txt``, so the
files add up without contradiction: ``pip install -r base.txt -r pytorch-cpu.txt``; ``pip.txt``, ``tox.txt`` and ``audit.txt``
stand alone. So does ``export.txt``, the trackers of `bench export` with all that their tests need: Trackio asks for an older
Pillow. pip resolves by its own settings and installs nothing. Which server packages come from is the business of pip's
configuration; what they are is not: the hashes are those that the Python Package Index publishes, so that a mirror can only serve
the same files.

torch has two builds: the index's own, which brings libraries for NVIDIA's GPUs (``pytorch-cuda.txt``), and PyTorch's for
processors alone, a local version (``pytorch-cpu.txt``), which only some indexes offer. No one lock can hold both: of two hashes
pip prefers the one that an index states, whatever the version. ``tools/torch-lock.sh`` chooses.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

HERE = Path(__file__).resolve().parent
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))

# What pyproject.toml can't say: tox for `make test`, and the builds for NVIDIA's GPUs, which can't share an environment.
EXTRA_LOCKS = {
    "pip": ["pip>=26"],
    "tox": ["tox>=4.67"],
    "audit": ["pip-audit>=2.10"],
    "tensorflow-cuda": ["tensorflow[and-cuda]==2.21.0", "h5py>=3.14,<3.15"],
    "pytorch-cuda": ["torch===2.13.0", "safetensors>=0.8"],  # three signs: the index's own build, no local one
}
ALONE = ("pip", "tox", "audit")
# Extras of one environment, `export.txt`, whose versions the other locks don't share where these contradict them.
TRACKERS = ("mlflow", "tensorboard", "trackio", "parquet")
CONTRADICTED = ("pillow",)
# What the index's build of torch brings for NVIDIA's GPUs: its metadata pins it, and a CPU build has no use for it.
GPU_ONLY = ("nvidia-", "cuda-", "triton")
# setuptools builds the package (`--no-build-isolation`), so that a build tool is pinned like everything else.
BUILD = ["setuptools>=77"]
RENAMED = {"tensorflow": "tensorflow-cpu", "pytorch": "pytorch-cpu"}

INDEX = "https://pypi.org/simple"
#: What can be installed: wheels for the supported versions of Python on Linux with glibc (Debian 12 has 2.36, Ubuntu 24.04 2.39).
PYTHONS = ((3, 11), (3, 12), (3, 13))
GLIBC = [*(f"manylinux_2_{minor}" for minor in range(5, 40)), "manylinux1", "manylinux2010", "manylinux2014", "linux"]
PLATFORMS = [f"{glibc}_{machine}" for machine in ("x86_64", "aarch64") for glibc in GLIBC]

#: PyTorch's own index publishes builds for processors alone, for Python 3.11 and 3.12, each for x86_64 and aarch64:
#: https://download.pytorch.org/whl/cpu/torch/
TORCH_CPU = "2.13.0+cpu"
TORCH_CPU_FILES = (
    "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
    "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
    "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
)


def resolve(requirements: list[str], constraints: dict[str, str]) -> dict[str, str]:
    """Ask pip which versions it would install for ``requirements`` under ``constraints``: name to version, sorted."""
    pins: dict[str, str] = {}
    for major, minor in PYTHONS:  # the oldest decides; hashes are asked of everything, also of what only a newer Python needs
        pins |= _resolve(requirements, constraints | pins, f"{major}.{minor}")
    return dict(sorted(pins.items()))


def _resolve(requirements: list[str], constraints: dict[str, str], python: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        report, limits = Path(folder, "report.json"), Path(folder, "constraints.txt")
        limits.write_text("".join(f"{name}=={version}\n" for name, version in constraints.items()), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:"]
        # To pip, 3.11 is 3.11.0: so a release that asks for a later patch than Debian 12 has (3.11.2) is passed over.
        command += ["--python-version", python, "--target", folder]
        subprocess.run([*command, "--report", str(report), "--constraint", str(limits), *requirements], check=True)
        chosen = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return {canonical(item["name"]): item["version"].split("+")[0] for item in chosen}


def canonical(name: str) -> str:
    """Spell a package's name as the index does (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def hashes(package: str, version: str) -> tuple[str, ...]:
    """Look up the published SHA-256 of each wheel of a release that can be installed.

    Raises
    ------
    SystemExit
        If there is none.
    """
    if (package, version) == ("torch", TORCH_CPU):
        return TORCH_CPU_FILES
    request = urllib.request.Request(f"{INDEX}/{package}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    wheels = [file for file in files if file["filename"].endswith(".whl") and file["filename"].split("-")[1] == version]
    installable = [file for file in wheels if parse_wheel_filename(file["filename"])[3] & tags()]
    if not installable:
        raise SystemExit(f"{package} {version} has no wheel for Linux and Python 3.11 to 3.13.")
    return tuple(sorted(file["hashes"]["sha256"] for file in installable))


@functools.cache
def tags() -> frozenset[Tag]:
    """Tags of the wheels that one of the supported machines can install."""
    ours = [cpython_tags(python, platforms=PLATFORMS) for python in PYTHONS]
    pure = [compatible_tags(python, f"cp3{python[1]}", PLATFORMS) for python in PYTHONS]
    return frozenset(itertools.chain(*ours, *pure))


def write(name: str, pins: dict[str, str], besides: str) -> None:
    """Write one lock file, atomically enough for a file under version control."""
    lines = [f"# Written by requirements/lock.py (`make lock`){besides}; edit pyproject.toml instead."]
    for package, version in pins.items():
        files = hashes(package, version)
        lines.append(" \\\n".join([f"{package}=={version}", *(f"    --hash=sha256:{digest}" for digest in files)]))
    (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"requirements/{name}.txt: {len(pins)} packages")


def _cpu_build(version: str) -> str:
    if TORCH_CPU.split("+")[0] != version:
        raise SystemExit(f"torch is resolved to {version}: put the hashes of its builds for processors into TORCH_CPU_FILES.")
    return TORCH_CPU


def pinned(*names: str) -> dict[str, str]:
    """Read the versions that these lock files pin now."""
    lines = "\n".join((HERE / f"{name}.txt").read_text(encoding="utf-8") for name in names)
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s+]+)", lines, re.MULTILINE))


def main() -> None:
    """Resolve the project with all its extras once; what that pins holds for every file."""
    project = PROJECT["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    del extras["cpu"]  # two of the others
    engine = [*project["dependencies"], *BUILD]
    trackers = [*engine, *extras["test"], *itertools.chain(*(extras.pop(name) for name in TRACKERS))]
    keep = "--keep" in sys.argv
    before = pinned(*sorted({path.stem for path in HERE.glob("*.txt")} - {"export"})) if keep else {}
    everything = resolve([*engine, *itertools.chain(*extras.values())], before)
    base = resolve(engine, everything)
    write("base", base, "")
    locks = {RENAMED.get(extra, extra): wanted for extra, wanted in extras.items()} | EXTRA_LOCKS
    for name, wanted in locks.items():
        pins = resolve(wanted, before | everything)
        if name in ALONE:
            write(name, pins, "")
            continue
        pins = {package: version for package, version in pins.items() if package not in base}
        if not name.endswith("-cuda"):
            pins = {package: version for package, version in pins.items() if not package.startswith(GPU_ONLY)}
        if name == "pytorch-cpu":
            pins["torch"] = _cpu_build(pins["torch"])
        write(name, pins, ", besides base.txt")
    shared = {package: version for package, version in everything.items() if package not in CONTRADICTED}
    write("export", resolve(trackers, (pinned("export") if keep else {}) | shared), "")


if __name__ == "__main__":
    main()
