"""The house: which package may import which, held for every module of the project."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: A module or package imports only from those left of it, and from itself.
FLOORS = (
    *("errors", "config", "formatting"),
    *("music", "system", "plugins"),
    "api",
    "storage",
    *("metrics", "sound"),
    *("specs", "scoring"),
    *("runner", "report", "gate", "comparison", "export", "history"),
    *("benchmark", "audit", "merging", "tuning"),
    *("external", "listening"),
    "verification",
    "cli",
)

#: Of what lies to its left, what a package must do without all the same.
APART = {
    "runner": {"scoring", "sound"},  # it runs trials, and knows nothing of what becomes of them
    "report": {"runner"},  # it reads what is stored, and starts nothing
    "gate": {"runner", "report"},
    "comparison": {"runner"},
    "export": {"runner"},
    "history": {"runner"},
    "audit": {"report"},
}

#: Doors of the whole package: they are above all floors.
DOORS = ("__init__", "__main__")

FRAMEWORKS = {"tensorflow", "keras", "torch"}


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the package."""
    for path in sorted((ROOT / "bench").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, and whether when it is loaded (not inside a function, nor only for a type checker)."""
    tree = ast.parse(path.read_text())
    later = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in MODULES else node.module), node not in later


def floor(module: str) -> str:
    """The package of a module of bench, or the module itself where it lies at the top."""
    return module.split(".")[1]


def test_every_module_has_a_floor() -> None:
    assert {floor(name) for name in MODULES if name != "bench"} - {"__main__"} == set(FLOORS)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "bench" and floor(name) not in DOORS])
def test_a_module_imports_only_from_the_left(module: str) -> None:
    ours = FLOORS.index(floor(module))
    for name, _ in imported(MODULES[module]):
        if name.startswith("bench.") and name in MODULES:
            assert FLOORS.index(floor(name)) <= ours, f"{module} imports {name}, which lies to its right"
            assert floor(name) not in APART.get(floor(module), ()), f"{module} imports {name}"


def test_no_module_imports_itself_by_a_detour() -> None:
    arrows = {
        name: {other for other, at_once in imported(path) if at_once and other in MODULES and other not in ("bench", name)}
        for name, path in MODULES.items()
        if name != "bench"
    }
    # Whatever imports nothing that is left is taken away, until nothing can be: what stays is in a circle.
    while free := {name for name, others in arrows.items() if not others & arrows.keys()}:
        arrows = {name: others for name, others in arrows.items() if name not in free}
    assert not arrows


@pytest.mark.parametrize("module", MODULES)
def test_imports_name_the_whole_module(module: str) -> None:
    """A relative import would pass the tests of this file unseen."""
    tree = ast.parse(MODULES[module].read_text())
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("module", MODULES)
def test_the_engine_imports_no_framework(module: str) -> None:
    assert not {name.split(".")[0] for name, _ in imported(MODULES[module])} & FRAMEWORKS


@pytest.mark.parametrize(("package", "owner"), [("typer", "cli"), ("rich", "cli")], ids=["typer", "rich"])
def test_only_the_command_line_imports(package: str, owner: str) -> None:
    users = {floor(module) for module, path in MODULES.items() for name, _ in imported(path) if name.split(".")[0] == package}
    assert users == {owner}


def plugins() -> list[Path]:
    """Shipped plug-ins, their siblings, and the example of the README."""
    return [path for folder in ("models", "datasets", "examples/plugins") for path in sorted((ROOT / folder).glob("*.py"))]


@pytest.mark.parametrize("path", plugins(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plug_in_imports_the_contract_and_at_most_one_framework(path: Path) -> None:
    names = {name for name, _ in imported(path)}
    assert {name for name in names if name.split(".")[0] == "bench"} <= {"bench.api"}
    frameworks = {"torch" if name.startswith("torch") else "tensorflow" for name in names if name.split(".")[0] in FRAMEWORKS}
    assert len(frameworks) <= (1 if path.parent.name == "models" else 0)
