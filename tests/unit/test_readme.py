"""What the README shows is what is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.specs.load import shipped_specs

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


def test_the_example_is_the_file():
    example = (ROOT / "examples/plugins/echo.py").read_text()
    assert f"```python\n{example}```" in TEXT
    assert example.count("\n") < 60


def test_specs_that_are_named_exist():
    named = set(re.findall(r"`(table2[a-z0-9-]*|smoke)`", TEXT))
    assert named >= {"table2", "table2-maestro", "smoke"}
    assert named <= set(shipped_specs())


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`bench ([a-z]+)", TEXT))))
def test_commands_that_are_named_have_help_with_an_example(command):
    done = subprocess.run([sys.executable, "-m", "bench", command, "--help"], capture_output=True, text=True, check=True)
    assert f"bench {command}" in done.stdout.replace("\n", " ")


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_a_real_table_stands_at_the_top():
    top = TEXT.split("## ")[0]
    assert "| **LSTM** |" in top
    assert "15.92" in top
    assert "| *median* |" in top


def test_the_example_conforms():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract", "-k", "echo"]
    environment = os.environ | {"BENCH_PLUGINS": str(ROOT / "examples/plugins")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout
