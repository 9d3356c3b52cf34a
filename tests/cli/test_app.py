"""Errors that no module expects end in a message and an exit code other than 1, which means worse."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import errors
from bench.cli import app
from bench.cli.options import jobs_of
from bench.cli.output import as_bench_error
from bench.errors import INCOMPLETE
from bench.runner.engines.remote import SubmittedError
from tests.cli import in_process
from tests.report.stored_run import example


def kinds(base: type[errors.BenchError]) -> list[type[errors.BenchError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in kinds(child))]


def test_no_error_leaves_the_code_of_worse() -> None:
    codes = {kind: kind.exit_code for kind in kinds(errors.BenchError)}
    assert codes.pop(SubmittedError) == 0  # trials that nobody waits for are no failure
    assert set(codes.values()) <= {2, 3, 4}
    assert as_bench_error(PermissionError(errno.EACCES, "Permission denied", "/root/x")).exit_code == 2
    assert as_bench_error(PermissionError(errno.EACCES, "Permission denied", "/root/x")).hint.startswith("Give another place")
    assert as_bench_error(OSError(errno.EIO, "Input/output error", "x")).exit_code == INCOMPLETE


@pytest.mark.parametrize("command", ["list", "run smoke", "verify latest"])
def test_a_current_folder_that_is_gone_is_named(tmp_path: Path, command: str) -> None:
    (gone := tmp_path / "gone").mkdir()
    shell = f'cd "{gone}" && rmdir "{gone}" && "{sys.executable}" -m bench {command}'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        "error: The current folder can't be used: No such file or directory.",
        "It was removed or closed: change to another one (cd).",
    ]


@pytest.mark.parametrize("value", ["", "x", "1.5", "9" * 20])
@pytest.mark.parametrize("name", ["SOURCE_DATE_EPOCH", "NUMPY_MADVISE_HUGEPAGE"])
def test_a_variable_that_numpy_could_not_read_is_ignored(tmp_path: Path, name: str, value: str) -> None:
    command = [sys.executable, "-m", "bench", "check", str(tmp_path), "--baseline", str(tmp_path / "none.json")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, name: value}, check=False)
    assert (done.returncode, done.stderr.startswith("error: ")) == (2, True), done.stderr


@pytest.mark.parametrize("jobs", ["auto", "1", "12"])
def test_as_many_trials_at_a_time_as_were_asked_for(jobs: str) -> None:
    assert jobs_of(jobs) == (None if jobs == "auto" else int(jobs))


@pytest.mark.parametrize("jobs", ["0", "-1", "1.5", "", "Auto", "²"])
def test_a_number_of_trials_that_is_none(jobs: str) -> None:
    with pytest.raises(errors.UsageError, match="expected a number of trials, at least 1, or auto"):
        jobs_of(jobs)


def test_an_internal_error_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(app, "app", broken)
    with pytest.raises(SystemExit) as ending:
        app.main()
    assert ending.value.code == app.INTERNAL == 70
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert "error: bench has a bug: ZeroDivisionError: division by zero.\nPlease report it" in error


def test_an_end_of_input_is_not_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is cut off may raise it; Typer turns it into exit code 1."""

    def cut(*_: object) -> None:
        raise EOFError("compressed file ended")

    monkeypatch.setattr("bench.system.paths.Places.find", cut)
    monkeypatch.setattr("sys.argv", ["bench", "listen", "latest"])
    with pytest.raises(SystemExit) as ending:
        app.main()
    assert ending.value.code == app.INTERNAL


def test_a_reader_that_goes_away_is_not_worse() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        process = subprocess.run([sys.executable, "-m", "bench", "--help"], stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert process.returncode == app.BROKEN_PIPE == 141


def test_an_error_of_the_system_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/run.json")

    monkeypatch.setattr(app, "app", full)
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == INCOMPLETE  # 1 would say that something is worse
    said = "error: There is no room left on the disk for /full/run.json.\n"
    assert capsys.readouterr().err == f"{said}Make room. Then give the same command again; a run resumes.\n"


def test_a_spec_that_meets_one_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started: list[str] = []

    def full(console: object, quiet: bool, spec: str, **_: object) -> None:
        started.append(spec)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bench.cli.run._run", full)
    monkeypatch.setattr("bench.specs.scales.choose_scale", lambda *_, **__: ("gpu", "asked for"))
    monkeypatch.setattr("sys.argv", ["bench", "all", "--quiet", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == INCOMPLETE
    assert len(started) > 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert said == [f"error: {name}: There is no room left on the disk." for name in started]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "models", "--data", ""],
        ["list", "models", "--plugins", ""],
        ["list", "models", "--out", ""],
        ["run", "smoke", "--data", "", "--out", "out"],
        ["run", "smoke", "--out", ""],
        ["prompts", "smoke", "--to", ""],
        ["score", "", "--spec", "smoke"],
        ["score", "music", "--run", ""],
        ["tune", "table2", "--to", ""],
        ["report", ""],
        ["listen", ""],
        ["baseline", ""],
        ["baseline", "latest", "--file", ""],
        ["check", "latest", "--baseline", ""],
        ["check", "latest", "--baseline", "b.json", "--output", ""],
    ],
    ids=" ".join,
)
def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, arguments: list[str]) -> None:
    """A script whose variable isn't set must not write into, or read, the folder that it happens to run in."""
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "music").mkdir()
    (tmp_path / "prompt-000.mid").write_bytes(b"")
    done = in_process.bench(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    option = arguments[max(arguments.index("") - 1, 0)]
    named = "RUN" if option in ("--run", "report", "listen", "baseline") else "DIR" if option == "score" else option
    assert done.stderr.startswith(f"error: {named} is empty.\nGive a")
    assert len(list(tmp_path.iterdir())) == 3


#: Reads a run that asks for a gigabyte, where others can spare half of one.
MULTIPLIED = """
import bench.system.memory as memory
from bench.storage.run_folder import RunFolder
memory.available_bytes, memory.LEAST = lambda: 700 << 20, 0
RunFolder.read = lambda self: bytearray(1 << 30)
from bench.cli.app import main
main()
"""


def test_commands_that_start_trials_or_read_the_users_music_have_no_limit() -> None:
    groups = [("", app.app), *((f"{group.name} ", group.typer_instance) for group in app.app.registered_groups)]
    commands = {f"{name}{command.name}": command.callback for name, to in groups for command in to.registered_commands}
    assert {name for name, callback in commands.items() if hasattr(callback, "__wrapped__")} == app.READING
    assert {"run", "all", "tune", "data verify", "model verify"} <= commands.keys() - app.READING


#: Reads a run whose scores are computed where 24 MiB may be taken: OpenBLAS asks for more, and for ever.
COMPUTED = """
import numpy as np, sys
import bench.system.memory as memory
from bench.storage.run_folder import RunFolder
memory.available_bytes, memory.LEAST = lambda: 32 << 20, 0
RunFolder.read = lambda self: sys.exit(str((np.ones((64, 64)) @ np.ones((64, 64))).sum()))
from bench.cli.app import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory has no limit")
def test_linear_algebra_has_its_memory_before_the_limit(tmp_path: Path) -> None:
    words = [sys.executable, "-c", COMPUTED, "verify", str(example(tmp_path / "run"))]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60)
    assert "262144.0" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory has no limit")
@pytest.mark.parametrize("command", ["report", "verify", "export", "history add", "baseline", "compare", "listen", "listen-test"])
def test_what_may_be_a_strangers_takes_no_more_memory_than_others_can_spare(tmp_path: Path, command: str) -> None:
    run = example(tmp_path / "run")
    more = {"export": ["--to", "csv"], "compare": [run], "history add": ["--file", "new"], "baseline": ["--file", "new"]}
    words = [*command.split(), str(run), *map(str, more.get(command, []))]
    done = subprocess.run([sys.executable, "-c", MULTIPLIED, *words], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == INCOMPLETE, done.stderr
    assert done.stderr.startswith("error: Out of memory: "), done.stderr
    assert " takes more than it may: 0.5 GiB, three quarters of what is available.\n" in done.stderr
