"""Which engine is made of what a user gives, and what is said of mistakes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from bench.errors import BenchError, MachineError, UsageError
from bench.runner.engines import local, ray, ray_driver, slurm
from bench.runner.engines.choice import choose_engine, engine_options
from bench.runner.engines.engine import Work
from bench.runner.engines.remote import State
from bench.runner.processes import Signals
from bench.storage.run_folder import RunFolder
from bench.system import hardware


def test_by_name_by_variable_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("engine: slurm\nsbatch: --partition=gpu\ncpus: 4\n")
    made = choose_engine(file, {"cpus": 2})
    assert (type(made), made) == (slurm.Engine, slurm.Engine(sbatch="--partition=gpu", cpus=2))
    monkeypatch.setenv("BENCH_ENGINE", str(file))
    assert choose_engine(None) == slurm.Engine(sbatch="--partition=gpu", cpus=4)
    assert choose_engine("ray", {"gpus": 0.5}) == ray.Engine(gpus=0.5)


def test_options_of_the_command_line_are_texts_where_the_engine_wants_one() -> None:
    given = ["sbatch=--time=1:00:00", "cpus=4", "detach=true"]
    assert engine_options("slurm", given) == {"sbatch": "--time=1:00:00", "cpus": 4, "detach": True}


@pytest.mark.parametrize(
    ("jobs", "waiting", "at_a_time", "threads", "idle"),
    [
        (None, 40, 16, 1, 0),
        (None, 3, 3, 1, 13),
        (None, 0, 1, 1, 0),
        (5, 5, 5, 3, 0),  # one core is left by the division
        (5, 2, 2, 3, 10),
        (1, 1, 1, 16, 0),
        (32, 20, 20, 1, 0),
    ],
)
def test_what_runs_here(
    jobs: int | None, waiting: int, at_a_time: int, threads: int, idle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: 16)
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 16 * hardware.TRIAL_BYTES)
    made = local.Engine(jobs=jobs)
    assert (made.at_a_time("cpu", waiting), made.threads("cpu"), made.idle_cores("cpu", waiting)) == (at_a_time, threads, idle)


@pytest.mark.parametrize(
    ("engine", "options", "message", "hint"),
    [
        ("slrum", {}, "There is no engine named 'slrum'.", "Did you mean 'slurm'?"),
        ("slurm", {"cpu": 2}, "The engine slurm has no option 'cpu'.", "Did you mean 'cpus'?"),
        ("slurm", {"cpus": 0}, "cpus: input should be greater than or equal to 1", ""),
        ("slurm", {"sbatch": "--comment='a"}, """sbatch is "--comment='a": no closing quotation""", ""),
        ("slurm", {"sbatch": "--time=1:00 --cpus-per-task=8"}, "sbatch has --cpus-per-task=8, but", "Use the option cpus."),
        ("slurm", {"sbatch": "-c 8"}, "sbatch has -c, but --cpus-per-task is the engine slurm's own", "cpus"),
        ("slurm", {"sbatch": "-c8"}, "sbatch has -c8", "cpus"),
        ("slurm", {"sbatch": "--array=0-9"}, "--array is the engine slurm's own", "`jobs`"),
        ("slurm", {"sbatch": "--arr 0-9"}, "sbatch has --arr, but --array is the engine slurm's own", "`jobs`"),
        ("slurm", {"sbatch": "--clusters=cm4"}, "--clusters is the engine slurm's own", "SLURM_CLUSTERS"),
        ("slurm", {"sbatch": "-M cm4"}, "--clusters is the engine slurm's own", "SLURM_CLUSTERS"),
        ("slurm", {"sbatch": "--wait"}, "--wait is the engine slurm's own", "detach"),
        ("slurm", {"sbatch": "-J mine"}, "--job-name is the engine slurm's own", ""),
        ("slurm", {"sbatch": "--output=/logs/%j"}, "--output is the engine slurm's own", "units/slurm-*.log"),
        ("slurm", {"sbatch": "--parsable"}, "--parsable is the engine slurm's own", ""),
        ("slurm", {"sbatch": "--open-mode=truncate"}, "--open-mode is the engine slurm's own", ""),
        ("slurm", {"sbatch": "-d afterok:7", "jobs": 2}, "--dependency is the engine slurm's own", "`jobs`"),
        ("ray", {"detach": True}, "The engine ray has no option 'detach'.", ""),
        ("ray", {"address": ""}, "address: string should have at least 1 character", ""),
        ("ray", {"gpus": 0}, "gpus: input should be greater than 0", ""),
        ("local", {"expires": 0.5}, "expires: input should be greater than or equal to 1", ""),
        ("absent.yaml", {}, "can't be read", ""),
    ],
)
def test_mistakes_are_said(engine: str, options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        choose_engine(engine, options)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_options_of_sbatch_that_are_the_users() -> None:
    """Also a dependency, as long as no limit needs one, and names that begin like those that aren't."""
    options = "--dependency=afterok:7 -p cpu --partition=cpu --cpus-per-gpu=4 -o/dev/null"
    with pytest.raises(UsageError, match="-o/dev/null"):
        slurm.Engine(sbatch=options)
    assert slurm.Engine(sbatch=options.removesuffix(" -o/dev/null")).jobs is None


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of Slurm that fail, and say what is in the variable SAID."""
    for tool in ("sbatch", "squeue", "scancel", "scontrol"):
        (tmp_path / tool).write_text('#!/bin/sh\nprintf "%s\\n" "$SAID" >&2\nexit 1\n')
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


@pytest.mark.parametrize(
    ("said", "error"),
    [
        # As in slurm_errno.c.
        ("Batch job submission failed: Requested reservation is invalid", UsageError),
        ("Batch job submission failed: Node count specification invalid", UsageError),
        ("Batch job submission failed: Invalid partition name specified", UsageError),
        ("Invalid --mail-type specification", UsageError),
        ("unrecognized option '--foo'", UsageError),
        ("Batch job submission failed: Invalid job credential", MachineError),
        ("authentication: Invalid authentication credential", MachineError),
        ("Munge decode failed: Invalid credential", MachineError),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", MachineError),
    ],
)
@pytest.mark.usefixtures("stand_ins")
def test_what_sbatch_refuses_is_the_users_or_the_machines(
    said: str, error: type[BenchError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that tries again what failed on a machine must not do so for ever with a wrong option."""
    monkeypatch.setenv("SAID", f"sbatch: error: {said}")
    with pytest.raises(error, match=re.escape(said)):
        slurm._ask("sbatch", "--parsable")


@pytest.mark.parametrize(("name", "hint"), [("SBATCH_CLUSTERS", "Export SLURM_CLUSTERS"), ("SBATCH_WAIT", "`detach`")])
@pytest.mark.usefixtures("stand_ins")
def test_variables_that_only_sbatch_reads(name: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    work = Work(RunFolder(tmp_path), [], [], "cpu", Signals(), lambda job, event: None)
    with pytest.raises(UsageError, match=rf"\${name} is set") as refused, slurm.Engine().connect(work):
        pass
    assert hint in refused.value.hint


@pytest.mark.parametrize("text", ["[]", "jobs: 2", "engine: [slurm]", "a: [", "engine: 2024-01-01"])
def test_a_file_that_names_no_engine(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(UsageError):
        choose_engine(tmp_path / "cluster.yaml")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cluster.yaml")
    with pytest.raises(UsageError, match="is no file"):
        choose_engine(tmp_path / "cluster.yaml")


@pytest.mark.usefixtures("stand_ins")
def test_a_users_view_of_the_queue_hides_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "squeue").write_text('#!/bin/sh\necho "${SQUEUE_PARTITION:-all} $SLURM_CLUSTERS"\n')
    monkeypatch.setenv("SQUEUE_PARTITION", "mine")
    monkeypatch.setenv("SLURM_CLUSTERS", "cm4")
    assert slurm._ask("squeue") == "all cm4\n"


def test_a_cluster_of_ray_that_does_not_answer_is_said_at_once() -> None:
    """Ray itself tries for minutes, and says nothing."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{held.getsockname()[1]}"
        done = subprocess.run([sys.executable, "-P", ray_driver.__file__, address], capture_output=True, text=True, timeout=20)
    assert json.loads(done.stdout) == {"error": f"nothing answers at {address}"}


def test_what_a_command_says_that_can_not_start_comes_back() -> None:
    command = [sys.executable, "-c", "import os; exit(os.environ['WORD'])"]
    assert ray_driver.run_command(command, {"WORD": "no such module"}) == (1, "no such module")
    assert ray_driver.run_command([sys.executable, "-c", ""], {}) == (0, "")
    code, said = ray_driver.run_command(["/nowhere/python"], {})
    assert (code, said) == (127, f"[Errno 2] No such file or directory: '/nowhere/python' on {socket.gethostname()}")


def test_a_machine_that_is_short_of_something_has_its_interpreter() -> None:
    """Exit code 127 would end the whole run."""
    code = f"""
import contextlib, os, resource, sys, tempfile
sys.path.insert(0, {str(Path(ray_driver.__file__).parent)!r})
import ray_driver
tempfile.gettempdir()
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
files = []
with contextlib.suppress(OSError):
    while True:
        files.append(os.open("/dev/null", os.O_RDONLY))
for file in files[-3:]:  # for its output, not for the pipes
    os.close(file)
try:
    print(ray_driver.run_command([sys.executable, "-c", ""], {{}}))
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[Errno 24] Too many open files", done.stderr


def answer_as_slurm(folder: Path, answers: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let shell scripts answer in place of Slurm's commands."""
    for name, answer in answers.items():
        (folder / name).write_text(f"#!/bin/sh\n{answer}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        ("127:0", "sh: 7: /opt/python: not found\n", "exit code 127 on n7: sh: 7: /opt/python: not found"),
        ("72:0", "earlier\n/plug can't be used on n7", "exit code 72 on n7: /plug can't be used on n7"),
        ("3:0", None, "exit code 3 on n7"),
        ("0:9", "Killed\n", "signal 9 on n7"),
        ("0:53", None, "the log of its trial can't be opened on n7"),  # as of a node that doesn't see the run's folder
    ],
)
def test_where_an_element_failed_is_told(
    code: str, said: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "sbatch": "echo 12",
        "squeue": "echo '12_0|FAILED|NonZeroExitCode'",
        "scontrol": f"echo JobState=FAILED ExitCode={code} ReqNodeList='(null)' ExcNodeList=n9 NodeList=n7 BatchHost=n7",
    }
    answer_as_slurm(tmp_path, answers, monkeypatch)
    work = Work(RunFolder(tmp_path), [{"key": "a"}], [], "cpu", Signals(), lambda job, event: None)
    arrays = slurm.Arrays(slurm.Engine(), work)
    arrays.submit([{"key": "a"}])
    if said is not None:
        (tmp_path / "units" / "slurm-12_0.log").write_text(said)
    expected = 72 if code == "0:53" else int(code.split(":")[0]) or None
    assert arrays.states() == {"a": State("ended", expected, reason)}


def test_why_an_element_waits_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is usual isn't, and of what no node has is told where it comes from."""
    words = ["Priority", "JobHeldUser", "PartitionConfig"]
    lines = [f"12_{i}|PENDING|{word}" for i, word in enumerate(words)]
    answers = {"sbatch": "echo 12", "squeue": "\n".join(f"echo '{line}'" for line in lines), "scontrol": "echo"}
    answer_as_slurm(tmp_path, answers, monkeypatch)
    work = Work(RunFolder(tmp_path), [{"key": key} for key in "abc"], [], "cpu", Signals(), lambda job, event: None)
    arrays = slurm.Arrays(slurm.Engine(cpus=4), work)
    arrays.submit(work.jobs)
    assert [state.reason for state in arrays.states().values()] == [
        "",
        "Slurm says JobHeldUser",
        "Slurm says PartitionConfig: no node may have what cpus (4) and sbatch ask for",
    ]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("sbatch: unrecognized option '--partion=all'", UsageError),
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", UsageError),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", MachineError),
    ],
)
def test_what_sbatch_refuses_is_a_wrong_option(
    said: str, kind: type[BenchError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_as_slurm(tmp_path, {"sbatch": f'echo "{said}" >&2; exit 1', "scontrol": "echo"}, monkeypatch)
    work = Work(RunFolder(tmp_path), [{"key": "a"}], [], "cpu", Signals(), lambda job, event: None)
    with pytest.raises(BenchError, match="sbatch failed: sbatch: ") as refused:
        slurm.Arrays(slurm.Engine(), work).submit(work.jobs)
    assert type(refused.value) is kind


def test_an_option_with_which_nothing_is_submitted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm knows no array then, and each trial would count as lost."""
    answer_as_slurm(tmp_path, {"sbatch": "echo Job 7 to start at noon >&2", "scontrol": "echo MaxArraySize = 2"}, monkeypatch)
    work = Work(RunFolder(tmp_path), [{"key": "a"}], [], "cpu", Signals(), lambda job, event: None)
    with pytest.raises(UsageError, match="sbatch names no job that it submitted"):
        slurm.Arrays(slurm.Engine(sbatch="--test-only"), work).submit([{"key": "a"}])
    assert not (tmp_path / "units" / "slurm.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_folder_whose_name_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    answers = {"sbatch": f'printf "%s\\0" "$@" > {log}; echo 1', "scontrol": "echo MaxArraySize = 2"}
    answer_as_slurm(tmp_path, answers, monkeypatch)
    folder = tmp_path / os.fsdecode(b"r\xfc 100%")
    folder.mkdir()
    work = Work(RunFolder(folder), [{"key": "a"}], [], "cpu", Signals(), lambda job, event: None)
    slurm.Arrays(slurm.Engine(), work).submit([{"key": "a"}])
    (script,) = (folder / "units").glob("array-*.sh")
    assert b"r\xfc 100%" in script.read_bytes()
    subprocess.run(["/bin/sh", "-n", script], check=True)
    assert b"--output=%s" % os.fsencode(folder.resolve() / "units").replace(b"%", b"%%") in log.read_bytes()


def test_a_limit_holds_over_all_arrays_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over those of one call, those that an earlier one left, and those of trials that start again."""
    log = tmp_path / "log"
    answers = {
        "sbatch": f'echo "$@" >> {log}; wc -l < {log}',
        "scontrol": "echo MaxArraySize = 2",
        "squeue": 'for i in 0 1; do echo "1_$i|RUNNING|None"; echo "2_$i|PENDING|Dependency"; done',
    }
    answer_as_slurm(tmp_path, answers, monkeypatch)
    work = Work(RunFolder(tmp_path), [{"key": key} for key in "abcde"], [], "cpu", Signals(), lambda job, event: None)

    def after(keys: str, engine: slurm.Engine, adopted: str = "") -> list[str]:
        arrays = slurm.Arrays(engine, work)
        assert arrays.adopt("abcde") == set(adopted)
        before = len(log.read_text().splitlines()) if log.exists() else 0
        arrays.submit([{"key": key} for key in keys])
        said = log.read_text().splitlines()[before:]
        return [next((word for word in line.split() if word.startswith("--dependency=")), "") for line in said]

    limited = slurm.Engine(jobs=1)
    assert after("abcd", limited) == ["", "--dependency=afterany:1"]
    assert after("e", limited, adopted="abcd") == ["--dependency=afterany:1:2"]  # a new trial of the next call
    assert after("a", limited, adopted="abcd") == ["--dependency=afterany:1:2"]  # one that was lost, beside the others
    assert after("a", slurm.Engine(), adopted="bcd") == [""]


def test_a_python_for_ray_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_PYTHON_RAY", "/nowhere/python")
    work = Work(RunFolder(tmp_path), [], [], "cpu", Signals(), lambda job, event: None)
    with pytest.raises(UsageError, match="/nowhere/python can't be started") as refused, ray.Engine().connect(work):
        pass
    assert "$BENCH_PYTHON_RAY" in refused.value.hint


def _watch(engine: ray.Engine, folder: Path) -> NoReturn:
    """Connect, and wait for what ends it."""
    work = Work(RunFolder(folder), [], [], "cpu", Signals(), lambda job, event: None)
    with engine.connect(work) as cluster:
        while True:
            cluster.states()
            time.sleep(0.05)


def test_a_python_without_ray_is_no_lost_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # no installed packages
    python.chmod(0o755)
    monkeypatch.setenv("BENCH_PYTHON_RAY", str(python))
    with pytest.raises(UsageError, match=r" has no Ray\.\n.*\$BENCH_PYTHON_RAY"):
        _watch(ray.Engine(), tmp_path)


def test_a_cluster_that_never_answered_was_not_lost(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(MachineError, match=f"Can't connect to the Ray cluster at {address}: nothing answers at {address}"):
            _watch(ray.Engine(address=address), tmp_path)


def test_a_machine_that_is_large_enough_may_go() -> None:
    def node(cpus: float, gpus: float, alive: bool = True) -> dict[str, object]:
        return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}

    nodes = [node(4, 0), node(64, 8), {"Alive": True, "Resources": {}}]
    assert ray_driver.too_large(nodes, 64, 0.5) == ""
    assert ray_driver.too_large(nodes, 65, 0) == (
        "no machine of the Ray cluster has 65 CPUs and 0 GPUs (they have 0 and 0; 4 and 0; 64 and 8)"
    )
    nodes[1] = node(64, 8, alive=False)
    assert ray_driver.too_large(nodes, 1, 0.5).endswith("has 1 CPUs and 0.5 GPUs (they have 0 and 0; 4 and 0)")
    assert ray_driver.too_large([], 1, 0).endswith("has 1 CPUs and 0 GPUs (none is alive)")


def test_what_slurm_puts_back_into_the_queue_does_not_run_besides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it ends an element, it doesn't say whether it will start it again."""
    cancelled = tmp_path / "cancelled"
    answers = {
        "sbatch": "echo 12",
        "squeue": "printf '12_0|COMPLETING|None\\n12_1|RUNNING|None\\n12_2|COMPLETED|None\\n'",
        "scontrol": "echo MaxArraySize=1001",
        "scancel": f'echo "$@" >> {cancelled}',
    }
    answer_as_slurm(tmp_path, answers, monkeypatch)
    keys = ["a", "b", "c"]
    work = Work(RunFolder(tmp_path), [{"key": key} for key in keys], [], "cpu", Signals(), lambda job, event: None)
    slurm.Arrays(slurm.Engine(), work).submit(work.jobs)
    assert slurm.Arrays(slurm.Engine(), work).adopt(keys) == {"b"}
    assert cancelled.read_text() == "12_0\n"
