"""Which run a command takes; a real process without root's privileges sees what is closed to it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.output import find_run
from bench.errors import UsageError

WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


def runs(reports: Path, *names: str) -> Path:
    for age, name in enumerate(reversed(names)):
        file = reports / "runs" / name / "run.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        os.utime(file, (1e9 - age, 1e9 - age))
    return reports


def test_the_latest_is_no_search_and_no_hidden_folder(tmp_path: Path) -> None:
    runs(tmp_path, "old", "new", "tune-new-cpu", ".moving")
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "note.txt").touch()
    assert find_run("latest", tmp_path).name == "new"
    assert find_run("tune-new-cpu", tmp_path).name == "tune-new-cpu"
    with pytest.raises(UsageError, match="There is no run 'ol'") as missing:
        find_run("ol", tmp_path)
    assert missing.value.hint.startswith("Did you mean 'old'?")
    with pytest.raises(UsageError, match="There is no run 'xxx"):
        find_run("x" * 300, tmp_path)


@pytest.mark.parametrize(
    ("closed", "asked", "said"),
    [
        ("runs/new", "latest", "runs/new can't be read: Permission denied."),
        ("runs/new", "new", "runs/new can't be read: Permission denied."),
        ("runs/new", "old", "no such error"),
        ("runs", "latest", "runs can't be read: Permission denied."),
        ("runs/tune-old-cpu", "latest", "no such error"),
    ],
)
def test_a_closed_folder_is_not_passed_over(tmp_path: Path, closed: str, asked: str, said: str) -> None:
    """The latest run was one before it, and the gate judged that."""
    as_user = WITHOUT_PRIVILEGES if os.geteuid() == 0 else ()
    if as_user and (shutil.which("setpriv") is None or subprocess.run([*as_user, "true"], check=False).returncode):
        pytest.skip("runs as root, and can't do without its privileges")
    runs(tmp_path, "old", "tune-old-cpu", "new")
    (tmp_path / closed).chmod(0)
    try:
        command = [*as_user, sys.executable, "-m", "bench", "verify", asked, "--out", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "400"})
    finally:
        (tmp_path / closed).chmod(0o755)
    assert (f"{tmp_path}/{said}" in done.stderr, "can't be read: Permission" in done.stderr) == (said != "no such error",) * 2
    assert done.returncode == (2 if said != "no such error" else 3)  # where it is read, its record is damaged


@pytest.mark.parametrize("given", ["robbed", "{runs}/robbed"])
def test_a_run_without_its_record_is_not_taken_for_none(tmp_path: Path, given: str) -> None:
    (tmp_path / "runs" / "robbed" / "trials").mkdir(parents=True)
    with pytest.raises(
        UsageError, match=r"robbed has no run\.json\.\n`bench run` with the run's spec and options makes it again"
    ):
        find_run(given.format(runs=tmp_path / "runs"), tmp_path)
