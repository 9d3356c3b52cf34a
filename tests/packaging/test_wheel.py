"""The wheel by itself: it carries every plug-in and spec, and finds them without the repository."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FIND = """
import json, bench, bench.specs.load
from bench.plugins.discovery import find_plugins
found = {kind: {name: str(p.path) for name, p in find_plugins(kind).items()} for kind in ("model", "dataset")}
found["spec"] = {name: str(path) for name, path in bench.specs.load.shipped_specs().items()}
print(json.dumps({"bench": bench.__file__, **found}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: setuptools writes build/ and *.egg-info where it builds
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "bench", "models", "datasets"):
        subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        source,
    ]
    subprocess.run(command, check=True)
    (built,) = folder.glob("midibench-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the unpacked wheel and nothing else."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(command, check=True)
    return target


def run(installed: Path, cwd: Path, *command: str) -> str:
    """Run Python with the wheel's folder before everything else, away from the repository."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed), "HOME": str(cwd)}
    done = subprocess.run([sys.executable, "-P", *command], cwd=cwd, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def names(folder: str, suffix: str) -> list[str]:
    return sorted(path.name for path in (ROOT / folder).glob(f"*{suffix}") if not path.name.startswith("_"))


def test_the_wheel_holds_what_the_repository_holds(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    plugins = {f"bench/_plugins/{kind}/{path.name}" for kind in ("models", "datasets") for path in (ROOT / kind).glob("*.py")}
    own = {path for suffix in ("py", "yaml", "json", "j2", "css", "js") for path in (ROOT / "bench").rglob(f"*.{suffix}")}
    wanted = plugins | {str(path.relative_to(ROOT)) for path in own}
    assert wanted - inside == set()
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_wheel_leaves_other_packages_names_alone(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"bench"}


def test_an_installed_wheel_finds_its_own_plugins_and_specs(installed: Path, tmp_path: Path) -> None:
    found = json.loads(run(installed, tmp_path, "-c", FIND))
    assert Path(found["bench"]).is_relative_to(installed)
    for kind, folder in (("model", "models"), ("dataset", "datasets")):
        assert sorted(Path(path).name for path in found[kind].values()) == names(folder, ".py")
        assert all(Path(path).is_relative_to(installed) for path in found[kind].values())
    assert sorted(Path(path).name for path in found["spec"].values()) == names("bench/specs", ".yaml")
    assert all(Path(path).is_relative_to(installed) for path in found["spec"].values())


def test_an_installed_wheel_runs_everything_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    said = run(installed, tmp_path, "-m", "bench", "all", "--scale", "smoke", "--quiet")
    pages = [Path(line) for line in said.splitlines()]
    assert [page.name for page in pages] == ["report.html"]
    assert (tmp_path / pages[0]).is_file()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["reports"]


def test_bench_list_of_an_installed_wheel_names_them_all(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "-c", "from bench.cli.app import main; main()", "list")
    shipped = [Path(name).stem for name in (*names("models", ".py"), *names("datasets", ".py"), *names("bench/specs", ".yaml"))]
    assert [name for name in shipped if name not in listed] == []
