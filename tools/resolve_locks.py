"""Resolve the locks as pip would install them, without installing: ``resolve_locks.py [VERSION ...]``.

Each set of locks that makes an environment, for each version of Python, by default all that the project takes. The locks don't
cover 3.14, as TensorFlow has no build for it: there it is what pyproject.toml asks for with PyTorch. pip checks that every
version exists for that Python and that none contradicts another. Hashes it compares only of what it has downloaded, here many
gigabytes; so those that the index states are compared instead.

Conditions on Python's version are evaluated by the Python that runs this: to be certain of a version, let it be of that version.
PyTorch's build for processors alone is tried where ``PIP_EXTRA_INDEX_URL`` names an index for it, and it is locked (3.11, 3.12).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: What makes an environment with base.txt, by version of Python.
LOCKS = {
    "3.11": ("pytorch-cuda", "tensorflow-cuda", "tensorflow-cpu", "pytorch-cpu"),
    "3.12": ("pytorch-cuda", "tensorflow-cuda", "tensorflow-cpu", "pytorch-cpu"),
    "3.13": ("pytorch-cuda", "tensorflow-cuda", "tensorflow-cpu"),
}
UNLOCKED = ("3.14",)


def main(versions: Sequence[str]) -> int:
    """Print what resolves and what doesn't; exit code 1 if something doesn't."""
    failed = False
    for version in versions or (*LOCKS, *UNLOCKED):
        for name in LOCKS.get(version, ("pytorch",)):
            if name == "pytorch-cpu" and not os.environ.get("PIP_EXTRA_INDEX_URL"):
                continue
            if version in LOCKS:
                problem = problem_of(locked(ROOT / "requirements", ("base", name)), version)
            else:
                problem = problem_of(dict.fromkeys(wanted(name), None), version)
            print(f"Python {version}: {name} {problem or 'resolves'}", flush=True)
            failed |= problem is not None
    return int(failed)


def locked(folder: Path, names: Sequence[str]) -> dict[str, set[str] | None]:
    """Read the requirements of locks, each with the hashes of its files.

    Three signs ask for exactly that version; else pip would choose a local one of it, 2.13.0+cpu, where an index has it too.
    """
    text = "".join((folder / f"{name}.txt").read_text(encoding="utf-8") for name in names).replace("\\\n", "")
    entries = [line for line in text.splitlines() if not line.startswith("#")]
    return {entry.split()[0].replace("==", "==="): set(re.findall("sha256:([0-9a-f]+)", entry)) for entry in entries}


def wanted(extra: str) -> list[str]:
    """Read what the project asks for with an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"][extra]]


def problem_of(requirements: dict[str, set[str] | None], version: str) -> str | None:
    """Resolve `requirements` for a version of Python; say what is wrong, if anything.

    Parameters
    ----------
    requirements : dict of str to (set of str or None)
        With the hashes of the files that are allowed; None allows any, and further packages.
    version : str
    """
    with tempfile.TemporaryDirectory() as folder:
        listed, report = Path(folder, "requirements.txt"), Path(folder, "report.json")
        listed.write_text("\n".join(requirements), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:"]
        command += ["--python-version", version, "--target", folder, "--report", str(report)]
        answer = subprocess.run([*command, "--requirement", str(listed)], capture_output=True, text=True, check=False)
        if answer.returncode:
            errors = [line for line in answer.stderr.splitlines() if line.startswith("ERROR")]
            return "doesn't resolve: " + " ".join(errors or ["pip failed"])
        chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    if None in requirements.values():
        return None
    hashes = set().union(*filter(None, requirements.values()))
    strange = [
        item["metadata"]["name"]
        for item in chosen
        if item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256") not in hashes
    ]
    return f"lacks the hashes of what pip chooses: {', '.join(strange)}" if strange else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
