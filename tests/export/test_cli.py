"""`bench export` without any tracker's library."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.report.stored_run import Stored, moved

from .conftest import LACKS, Export


def test_csv_by_default_lies_below_the_reports_folder(export: Export, tmp_path: Path) -> None:
    answer = export("table2-cpu", "--to", "csv")
    place = tmp_path / "reports" / "exports" / "table2-cpu.csv"
    assert (answer.returncode, answer.stderr, answer.stdout) == (3, LACKS, f"{place}\n")
    assert place.read_text().startswith("run,spec,scale,system,")


def test_a_place_of_ones_own(export: Export, tmp_path: Path, folder: Path) -> None:
    answer = export(str(folder), "--to", "csv", "--output", "a/b.csv")
    assert (answer.returncode, answer.stdout) == (3, "a/b.csv\n")
    assert (tmp_path / "a" / "b.csv").is_file()


def test_a_complete_run_leaves_0(export: Export, tmp_path: Path) -> None:
    stored = Stored(tmp_path / "whole")
    stored.add("lstm", 0, moved(1))
    answer = export(str(stored.close()), "--to", "csv", "--output", "whole.csv")
    assert (answer.returncode, answer.stderr, answer.stdout) == (0, "", "whole.csv\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("latest",), "Missing option '--to'"),
        (("latest", "--to", "wandb"), "Invalid value for '--to'"),
        (("nonesuch", "--to", "csv"), "error: There is no run 'nonesuch'."),
        (("latest", "--to", "csv", "--output", ""), "error: --output is empty."),
        (("latest", "--to", "csv", "--output", "reports"), "error: reports is a folder, and should be a file.\n"),
    ],
)
def test_wrong_use(export: Export, words: tuple[str, ...], said: str) -> None:
    answer = export(*words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr


@pytest.mark.parametrize(
    ("to", "module"), [("mlflow", "mlflow"), ("tensorboard", "tensorboardX"), ("trackio", "trackio"), ("parquet", "pyarrow")]
)
def test_a_missing_library_says_the_command(export: Export, to: str, module: str) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    answer = export("latest", "--to", to)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == f"error: --to {to} needs {module}, which is not installed.\npip install 'midibench[{to}]'\n"
