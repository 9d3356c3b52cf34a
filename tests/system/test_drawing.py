"""Settings of matplotlib that lie in the current folder are not read."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system.frameworks import framework_report

CODE = """
import os
from pathlib import Path
from bench.system.drawing import load_matplotlib
before = Path.cwd()
load_matplotlib()
import matplotlib
print(matplotlib.rcParams["lines.linewidth"], Path.cwd() == before, "MATPLOTLIBRC" in os.environ)
"""


LOADED = (
    "from bench.system.drawing import load_matplotlib as l; l(); import matplotlib as m; print(m.rcParams['lines.linewidth'])"
)

PATHS = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_a_folder_that_cannot_be_entered(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    rights = "-dac_override,-dac_read_search"
    without = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}"] if os.geteuid() == 0 else []
    if without and (not shutil.which("setpriv") or subprocess.run([*without, "true"], capture_output=True).returncode):
        pytest.skip("the superuser may enter each")
    code = f"import os; os.chdir({str(tmp_path / 'here')!r}); os.chmod('.', 0); {LOADED}"
    done = subprocess.run([*without, sys.executable, "-P", "-c", code], env=PATHS, capture_output=True, text=True, timeout=60)
    (tmp_path / "here").chmod(0o755)
    assert (done.stdout, done.returncode) == ("1.5\n", 0), done.stderr


@pytest.mark.parametrize("kind", ["pipe", "other encoding", "setting", "home"])
def test_settings_of_others_are_not_read(kind: str, tmp_path: Path) -> None:
    """Of a received folder they may be damaged, or a named pipe, whose end never comes."""
    (tmp_path / "here").mkdir()
    file = tmp_path / ("home" if kind == "home" else "here") / "matplotlibrc"
    file.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes(b"lines.linewidth: 7\n" if kind == "setting" else b"# f\xfcr mich\nlines.linewidth: 7\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MPLCONFIGDIR": str(tmp_path / "home")}
    environment.pop("MATPLOTLIBRC", None)
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE], cwd=tmp_path / "here", env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("1.5 True False\n", 0), done.stderr


def test_a_framework_that_imports_it_is_seen_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow")
    os.mkfifo(tmp_path / "matplotlibrc")
    monkeypatch.chdir(tmp_path)
    report = framework_report("tensorflow", ("tensorflow",), timeout=60)
    assert (report["error"], report["version"]) == (None, importlib.metadata.version("tensorflow-cpu"))


def test_threads_that_load_it_at_once_leave_the_settings_as_they_were(tmp_path: Path) -> None:
    code = """
import os, threading
from bench.system.drawing import load_matplotlib
threads = [threading.Thread(target=load_matplotlib) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("MATPLOTLIBRC" in os.environ)
"""
    environment = {name: value for name, value in PATHS.items() if name != "MATPLOTLIBRC"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_current_folder_stays_that_of_the_users_own_threads(tmp_path: Path) -> None:
    """A second `bench.run()` of another thread made its run in Python's library."""
    refused = "import os; os.chdir = os.fchdir = lambda _: (_ for _ in ()).throw(AssertionError('the folder is changed'))"
    command = [sys.executable, "-P", "-c", f"{refused}; {LOADED}"]
    done = subprocess.run(command, cwd=tmp_path, env=PATHS, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("1.5\n", 0), done.stderr
