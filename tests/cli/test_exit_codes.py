"""Every exit code of the README's table, provoked as a user, a disk or a script would; only a bug leaves a traceback."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gate.test_cli import MODEL, SPEC

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "runner" / "plugins"

TOY = {
    "title": "Toy",
    "dataset": {"name": "toy"},
    "protocol": {"prompt": 10, "notes": 20, "pieces": 2, "samples": 1},
    "seeds": [0],
    "budget": {"epochs": 2},
    "models": {},
    "references": ["real"],
}

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, a finished run and its baseline."""
    folder = tmp_path_factory.mktemp("codes")
    (folder / "toy.yaml").write_text(json.dumps(TOY))
    (folder / "no-path.yaml").write_text(json.dumps({**TOY, "dataset": {"name": "folder", "options": {"path": ""}}}))
    slow = {**TOY, "models": {"steady": {"params": {"delay": 30.0}}}}
    (folder / "slow.yaml").write_text(json.dumps(slow))
    (folder / "fails.yaml").write_text(
        json.dumps({**TOY, "models": {"faulty": {"params": {"how": "crash without file", "path": "cure"}}}})
    )
    return folder


def bench(
    folder: Path, *words: str, limit: int | None = None, memory: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    def limited() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_") and k != "OPENBLAS_NUM_THREADS"}
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=folder,
        env={**inherited, "BENCH_PLUGINS": str(PLUGINS), "BENCH_CACHE": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limited,
    )


RUN = ("run", "toy.yaml", "--scale", "cpu", "--no-sound", "-q")


def test_0_is_success_and_4_is_not_comparable(folder: Path) -> None:
    assert bench(folder, *RUN).returncode == 0
    assert bench(folder, "verify", "toy-cpu").returncode == 0
    assert bench(folder, "baseline", "toy-cpu", "--file", "b.json").returncode == 0
    assert bench(folder, "check", "toy-cpu", "--baseline", "b.json").returncode == 0
    # 4: the same spec on other music
    (folder / "other.yaml").write_text(json.dumps({**TOY, "dataset": {"name": "toy", "options": {"length": 50}}}))
    assert bench(folder, "run", "other.yaml", *RUN[2:]).returncode == 0
    assert bench(folder, "check", "other-cpu", "--baseline", "b.json").returncode == 4
    # The memory of reference rows is all that the two have in common.
    assert bench(folder, "compare", "toy-cpu", "other-cpu").returncode == 4


def test_2_is_an_output_over_what_the_command_reads(folder: Path) -> None:
    assert bench(folder, *RUN).returncode == 0
    assert bench(folder, "baseline", "toy-cpu", "--file", "c.json").returncode == 0
    run = folder / "reports" / "runs" / "toy-cpu"
    outcome = next(run.glob("trials/*/outcome.json"))
    read, lost = "is read by this command", "belongs to a stored run, and would be lost"
    for words, file, said in (
        (("check", "toy-cpu", "--baseline", "c.json", "--output"), folder / "c.json", read),
        (("check", "toy-cpu", "--baseline", "c.json", "--output"), outcome, lost),
        (("export", "toy-cpu", "--to", "csv", "--output"), run / "run.json", lost),
        (("compare", "toy-cpu", "toy-cpu", "--output"), run / "targets.npz", lost),
        (("baseline", "toy-cpu", "--force", "--file"), outcome, lost),
        (("history", "show", "--baselines", str(folder), "--html"), folder / "c.json", read),
    ):
        before = file.read_bytes()
        refused = bench(folder, *words, str(file))
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
        assert file.read_bytes() == before
    for words in (("--force", "--file", str(run / "report.csv")), ("--file", str(run / "trials" / "new.json"))):
        assert bench(folder, "baseline", "toy-cpu", *words).returncode == 0


def test_1_is_worse_than_the_baseline(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "flat.yaml").write_text(SPEC)
    words = ("run", "flat.yaml", *RUN[2:], "--plugins", str(PLUGINS), "--plugins", "models")
    (folder / "models" / "flat.py").write_text(MODEL)
    assert bench(folder, *words).returncode == 0
    assert bench(folder, "baseline", "flat-cpu", "--file", "flat.json").returncode == 0
    (folder / "models" / "flat.py").write_text(MODEL.replace("PITCH = 60", "PITCH = 100"))
    assert bench(folder, *words).returncode == 0
    done = bench(folder, "check", "flat-cpu", "--baseline", "flat.json")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("run", "toy.yaml", "--seeds", "x"),
        ("run", "toy.yaml", "--jobs", "0"),
        ("run", "toy.yaml", "--jobs", "all"),
        ("run", "nothing.yaml"),
        ("run", "toy.yaml", "--models", "nobody"),
        ("run", "toy.yaml", "--dataset", "nothing"),
        ("run", "toy.yaml", "--scale", "cpu", "--out", "toy.yaml/below"),
        ("run", "no-path.yaml", "--scale", "cpu"),
        ("data", "verify", "folder", "--option", "path=''"),
        ("verify", "no-run"),
        ("report", "no-run"),
        ("check", "toy-cpu", "--baseline", "nothing.json"),
        ("compare", "toy-cpu", "nothing"),
        ("score", "nowhere", "--spec", "toy.yaml"),
        ("no-command",),
    ],
)
def test_2_is_the_users(folder: Path, words: tuple[str, ...]) -> None:
    done = bench(folder, *words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&-"])
def test_a_closed_stream_changes_no_exit_code(folder: Path, closed: str) -> None:
    for words, code in (("list models", 0), ("run nothing-of-that-name", 2)):
        command = f"{sys.executable} -m bench {words} {closed}"
        done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr


def test_3_is_what_is_incomplete_and_the_machines(folder: Path) -> None:
    failed = bench(folder, "run", "fails.yaml", *RUN[2:])
    missing = bench(folder, "run", "table2-maestro", "--scale", "cpu", "--data", str(folder), "--out", "out3")
    full = bench(folder, *RUN, "--out", "out-full", limit=2000)
    for done in (failed, missing, full):
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert "File too large" in full.stderr
    assert "resumes" in full.stderr
    assert bench(folder, *RUN, "--out", "out-full").returncode == 0


@pytest.mark.parametrize("when", ["prepare.json", "trials/*/checkpoint"])
def test_3_is_a_run_folder_that_is_removed_meanwhile(folder: Path, when: str) -> None:
    out = folder / f"removed-{when.split('/')[0]}"
    (folder / "steady.yaml").write_text(json.dumps({**TOY, "models": {"steady": {"params": {"delay": 0.5}}}}))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "run", "steady.yaml", *RUN[2:], "--out", str(out)],
        cwd=folder,
        env={**os.environ, "BENCH_PLUGINS": str(PLUGINS), "BENCH_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 60
    while not list(out.glob(f"runs/*/{when}")) and time.monotonic() < until:
        time.sleep(0.01)
    (run,) = out.glob("runs/*")
    run.rename(folder / f"moved-{when.split('/')[0]}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output
    assert "was removed or moved away while bench was working in it" in output
    assert "Traceback" not in output


def test_130_is_an_interrupt_before_the_command_line_is_loaded(folder: Path) -> None:
    code = """
import runpy, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
runpy.run_module("bench", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("mebibytes", [60, 140, 180, 200, 270, 290, 380])
def test_too_little_memory_is_refused_before_a_library_is_loaded(folder: Path, mebibytes: int) -> None:
    """OpenBLAS asks for ever where its library is loaded, with one thread too."""
    done = bench(folder, "history", "show", "--file", "none.jsonl", memory=mebibytes << 20)
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: bench needs 384 MiB of memory at least, and its limit is {mebibytes} MiB.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere that limit has no effect")
def test_too_little_memory_of_its_own_is_refused_too(folder: Path) -> None:
    shell = f'ulimit -d {90 << 10}; exec "{sys.executable}" -m bench check toy-cpu --baseline none.json'
    done = subprocess.run(["sh", "-c", shell], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.splitlines()) == (
        3,
        [
            "error: bench needs 256 MiB of memory at least, and its limit is 90 MiB.",
            "Raise it (ulimit -d), then give the same command again.",
        ],
    )


@pytest.mark.parametrize("mebibytes", range(384, 480, 24))
def test_no_library_asks_for_refused_memory_for_ever(folder: Path, mebibytes: int) -> None:
    """OpenBLAS did, of more than one thread, beyond Ctrl-C; refused threads, it sent the signal of that itself."""
    done = bench(folder, "history", "show", "--file", "none.jsonl", memory=mebibytes << 20)
    assert done.returncode in (2, 3), done.stderr


def test_70_is_a_module_that_is_missing(folder: Path) -> None:
    code = "import sys; sys.modules['bench.verification'] = None\nfrom bench.cli.app import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code, "verify", "x"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 70
    assert "memory" not in done.stderr


def test_70_is_an_error_that_a_function_in_c_lost(folder: Path) -> None:
    """It is the machine's only where a library is loaded."""
    lost = "def lost(*_): raise SystemError('error return without exception set')"
    code = f"import bench.verification\n{lost}\nbench.verification.verify_run = lost\nfrom bench.cli.app import main\nmain()"
    made = bench(folder, *RUN)
    assert made.returncode == 0, made.stderr
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "toy-cpu"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 70, done.stderr
    assert "bench has a bug: SystemError" in done.stderr


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("import nosuch", 70),
        ("raise RuntimeError('boom')", 70),
        ("raise SystemExit(1)", 70),
        ("raise MemoryError", 3),
        ("raise SystemError('error return without exception set')", 3),
        ("raise ImportError('libz.so: failed to map segment from shared object')", 3),
        ("raise KeyboardInterrupt", 130),
        ("import os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\nexcept: raise ImportError('initialization failed')", 130),
    ],
)
def test_no_failure_while_bench_is_loaded_means_worse(folder: Path, tmp_path: Path, content: str, code: int) -> None:
    """As of a dependency that is missing, half installed or shadowed."""
    (tmp_path / "colorsys.py").write_text(content + "\n")
    done = bench(folder, "check", "toy-cpu", "--baseline", "b.json", PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    assert done.returncode == code, done.stderr
    assert ("Traceback" in done.stderr) == (code == 70)
    assert ("error: " in done.stderr) == (code != 130)


@pytest.mark.parametrize(
    ("code", "after"),
    [
        *((code, "") for code in ("", "0", "1", "4", "256", "257", "'no licence'", "ValueError('no licence')")),
        ("'no licence'", "raise BrokenPipeError(32, 'Broken pipe')"),
        ("1", "raise s.typer.Exit(1)"),
    ],
)
def test_70_is_a_library_that_ends_the_process(folder: Path, code: str, after: str) -> None:
    ends = f"sys.exit({code})"
    find = f"try: {after}\n    except BaseException: {ends}" if after else ends
    program = f"import sys\nimport bench.cli.show as s\ndef find(*_):\n    {find}\ns.find_run = find\n"
    program += "from bench.cli.app import main\nmain()"
    done = subprocess.run([sys.executable, "-c", program, "verify", "x"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 70
    assert ("bench has a bug: SystemExit: no licence." in done.stderr) == ("licence" in code)
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_0_is_a_completion_that_is_shown_or_installed(tmp_path: Path, option: str) -> None:
    """Typer ends the process by itself then, as a library does."""
    env = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run([sys.executable, "-m", "bench", option, "bash"], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "bench" in done.stdout


def test_70_is_a_bug(folder: Path) -> None:
    code = "import bench.cli.show as s; s.find_run = lambda *_: 1 / 0\nfrom bench.cli.app import app, main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "x"], cwd=folder, capture_output=True, text=True, env={**os.environ}, timeout=60
    )
    assert done.returncode == 70
    assert "bench has a bug: ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("told", ["contextlib.nullcontext", "in_words"])
@pytest.mark.parametrize("within", ["contextlib.nullcontext", "processes.Signals"])
def test_130_is_ctrl_c_of_which_a_library_makes_another_error(folder: Path, within: str, told: str) -> None:
    """A part of matplotlib that is being loaded answers with "ImportError: initialization failed"; a plug-in may load it."""
    program = f"""
import contextlib, os, signal
from bench.cli import show
from bench.errors import PluginError
from bench.runner import processes
@contextlib.contextmanager
def in_words():
    try: yield
    except Exception as error: raise PluginError("importing the model 'mine' failed") from error
def find(*_):
    with {within}(), {told}():
        try: os.kill(os.getpid(), signal.SIGINT)
        except BaseException: raise ImportError("initialization failed")
show.find_run = find
from bench.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "verify", "x"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr
    assert ("Stopped by Ctrl-C" in done.stderr) == (within == "processes.Signals")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_are_signals(folder: Path, number: int, code: int) -> None:
    words = ("run", "slow.yaml", "--scale", "cpu", "--no-sound", "--out", f"slow-{code}")
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *words],
        cwd=folder,
        env={**os.environ, "BENCH_PLUGINS": str(PLUGINS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until = time.monotonic() + 60
    while not list(folder.glob(f"slow-{code}/runs/*/trials/*/checkpoint")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "Traceback" not in output


def test_141_is_a_reader_that_went_away(folder: Path) -> None:
    """Before the first byte: what a pipe holds doesn't matter then."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "--help"], cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_readme_lists_them() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [int(code) for code, _ in rows] == [0, 1, 2, 3, 4, 70, 130, 141, 143]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_the_output_changes_no_code(tmp_path: Path) -> None:
    """A log of CI on a full disk must not read as a regression."""
    with Path("/dev/full").open("w") as full:
        for arguments in (["check", "nosuch", "--baseline", "b.json"], ["run", "nosuch"]):
            command = [sys.executable, "-m", "bench", *arguments, "--out", str(tmp_path)]
            assert subprocess.run(command, stdout=full, stderr=full, cwd=tmp_path, check=False).returncode == 2
