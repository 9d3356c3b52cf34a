"""tools/resolve_locks.py on packages that a folder offers."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("resolve_locks", ROOT / "tools/resolve_locks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(folder: Path, name: str, needs: str = "", tag: str = "py3-none-any", version: str = "1.0") -> str:
    """Write an empty package; its SHA-256."""
    path, info = folder / f"{name}-{version}-{tag}.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_versions_and_hashes_are_those_that_pip_finds(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    above, below = wheel(tmp_path, "above", "Requires-Dist: below==1.0\n"), wheel(tmp_path, "below")
    wheel(tmp_path, "below", version="1.0+local")
    wheel(tmp_path, "compiled", tag="cp312-cp312-linux_x86_64")
    (tmp_path / "both.txt").write_text(f"# A note.\nabove==1.0 \\\n    --hash=sha256:{above}\nbelow==1.0 --hash=sha256:{below}\n")
    both = tool.locked(tmp_path, ["both"])
    assert both == {"above===1.0": {above}, "below===1.0": {below}}
    assert tool.problem_of(both, "3.13") is None
    assert tool.problem_of({"above==1.0": {above}}, "3.13") == "lacks the hashes of what pip chooses: below"
    assert tool.problem_of(both | {"below===1.0": {"0" * 64}}, "3.13") == "lacks the hashes of what pip chooses: below"
    assert tool.problem_of({"above==1.0": None}, "3.13") is None
    for missing in ("above==2.0", "compiled==1.0"):
        assert f"No matching distribution found for {missing}" in tool.problem_of({missing: {above}}, "3.13")


def test_every_lock_of_an_environment_is_resolved(tool: ModuleType) -> None:
    frameworks = {path.stem for path in (ROOT / "requirements").glob("*-c*.txt")}
    assert set(tool.LOCKS["3.11"]) == set(tool.LOCKS["3.12"]) == frameworks
    assert set(tool.LOCKS["3.13"]) == frameworks - {"pytorch-cpu"}, "it is not locked for 3.13, see tools/torch-lock.sh"
    assert not any(text.startswith("tensorflow") for text in tool.wanted("pytorch"))
