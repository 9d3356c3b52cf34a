"""The README and the manual agree with the project: commands, links, specs, paths and the example plug-in."""

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.api import Budget, Run
from bench.specs.load import shipped_specs

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path: path.read_text() for path in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]}
MANUAL = "\n".join(TEXTS[path] for path in PAGES)


def test_the_example_is_the_file():
    example = (ROOT / "examples/plugins/echo.py").read_text()
    assert f"```python\n{example}```" in MANUAL
    assert example.count("\n") < 60


def test_the_loop_of_the_manual_honours_a_budget(tmp_path):
    (code,) = re.findall(r"```python\n(def fit.*?)```", MANUAL, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)

    class Model:
        fit = names["fit"]
        loss, updates_in_an_epoch = 1.0, 4

        def load_checkpoint(self, folder):
            place = folder / "checkpoint"
            done, self.updates, self.notes = map(int, place.read_text().split()) if place.exists() else (0, 0, 0)
            return done

        def save_checkpoint(self, folder, number):
            (folder / "checkpoint").write_text(f"{number} {self.updates} {self.notes}")

        def update(self, train):
            self.updates, self.notes = self.updates + 1, self.notes + 10

        def evaluate(self, valid):
            return 9.0

    def history(name, budget, emit=None):
        taken = []
        run = Run(0, budget, tmp_path / name, emit=emit, take=lambda share: taken.append((share, model.updates)))
        run.folder.mkdir(exist_ok=True)
        model = Model()
        model.fit([], [], run)
        return [(entry["epoch"], int(entry["updates"]), entry["notes"]) for entry in run.history], taken

    whole = [(1, 1, 10), (2, 3, 20), (3, 6, 30)]
    budget = Budget(updates=6, evaluations=2, stages=(0.125,))
    assert history("whole", budget) == (whole, [(0.125, 1)])
    assert history("notes", Budget(notes=60, evaluations=2, stages=(0.125,))) == (whole, [(0.125, 1)])
    assert history("epochs", Budget(2)) == ([(1, 4, 40), (2, 8, 40)], [])
    assert history("untrained", Budget(0)) == ([], [])

    def stop(event):
        if event["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        history("killed", budget, stop)
    assert history("killed", budget) == (whole, [])


def test_specs_that_are_named_exist():
    named = set(re.findall(r"`(table2[a-z0-9-]*|smoke)`", MANUAL))
    assert named >= {"table2", "table2-maestro", "smoke"}
    assert named <= set(shipped_specs())


@pytest.mark.parametrize("command", sorted(set(re.findall(r"(?:`|\$ |&& )bench ([a-z]+)", MANUAL))))
def test_commands_that_are_named_have_help_with_an_example(command):
    done = subprocess.run([sys.executable, "-m", "bench", command, "--help"], capture_output=True, text=True, check=True)
    assert f"bench {command}" in done.stdout.replace("\n", " ")


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"(?:\]\(|src=\")(?!https?:)([^)#\"]*)(?:#([^)\"]+))?[)\"]", TEXTS[page])
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text()), f"{path}#{anchor}"


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page):
    folders = "bench|models|datasets|tests|examples|docs|reports/example|reports/baselines"
    paths = re.findall(rf"`((?:{folders})/[\w./-]*)`", TEXTS[page])
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_paragraph_is_longer_than_four_lines(page):
    prose = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.MULTILINE | re.DOTALL)
    blocks = [block for block in prose.split("\n\n") if not block.startswith(("|", "[<img"))]
    paragraphs = [item.strip().splitlines() for block in blocks for item in re.split(r"\n(?=\d+\. |[*-] )", block)]
    assert [lines for lines in paragraphs if len(lines) > 4] == []
    assert [line for lines in paragraphs for line in lines if len(line) > 140] == []


def test_the_first_screen_has_a_command_and_a_picture():
    top = TEXTS[README].split("| | Average")[0]
    assert "make bench" in top
    assert 'src="reports/example/report.png"' in top


def test_a_real_table_stands_at_the_top():
    top = TEXTS[README].split("## ")[0]
    assert "| **LSTM** |" in top
    assert "15.92" in top
    assert "| *median* |" in top


def test_the_budget_is_that_of_the_example_in_its_unit():
    report = (ROOT / "reports/example/report.md").read_text()
    (budget,) = re.findall(r"One budget for every model: (\d+) yardstick-seconds", report)
    (spent,) = re.findall(r"Really spent.*: ([\d.]+) \(\w+\) to ([\d.]+) \(\w+\) yardstick-seconds", report)
    (sentence,) = re.findall(r"^Every network had the same budget.*?\.$", TEXTS[README], re.DOTALL | re.MULTILINE)
    assert f"{budget} [yardstick-seconds](docs/specs.md#budget) a training" in sentence
    assert " to ".join(spent) in sentence


def test_the_wheel_of_the_readme_is_no_file_for_git():
    (wheel,) = re.findall(r"\./(midibench-\S+\.whl)", TEXTS[README])
    assert any(fnmatch.fnmatch(f"/{wheel}", line) for line in (ROOT / ".gitignore").read_text().splitlines())


def test_the_example_conforms():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract", "-k", "echo"]
    environment = os.environ | {"BENCH_PLUGINS": str(ROOT / "examples/plugins")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout
