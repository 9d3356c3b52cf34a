"""Plug-ins that go wrong: the row says how, and no other row is lost."""

import contextlib
import errno
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from rich.console import Console

from bench.api import NoteCodec, Piece
from bench.cli.display import make_display
from bench.cli.output import CleanConsole
from bench.errors import DataError, TrialError
from bench.music.midi import read_midi
from bench.music.notes import Notes
from bench.runner import datasets
from bench.runner.contract import check_likelihood, check_samples
from bench.runner.lease import TAKEOVER, Holder
from bench.runner.processes import Ending
from bench.scoring.score import score_run
from bench.storage.outcome import Failure
from bench.storage.samples import PieceName, Target, read_samples
from bench.verification import verify_run

from .conftest import PLUGINS, PROTOCOL, Bench, until, workers

EARLY = "begins at 0.000 s, before the prompt's last onset"


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("crash", "ValueError", "ValueError: the weights are gone"),
        ("segfault", "Killed", "killed by SIGSEGV"),
        ("exit", "SystemExit", "SystemExit: no more"),
        ("vanish", "Died", "the process ended with exit code 0 and left no result"),
        ("memory", "MemoryError", "out of memory; peak was "),
        ("short", "TrialError", "generate() returned 19 notes for piece 'test 0'; 20 were asked for."),
        ("few", "TrialError", "generate() returned 1 continuations for 2 prompts"),
        ("type", "TrialError", "generate() returned a list for piece 'test 0'; it must be Notes."),
        ("early", "TrialError", EARLY),
        ("endless", "DataError", "Notes.onset must be at least 0 s and below 100,000 s."),
        ("epoch 0", "TrialError", "run.log() was called with epoch 0 after epoch 0."),
    ],
)
def test_failed_rows_say_why(toy: Bench, how: str, kind: str, said: str) -> None:
    toy.write({"faulty": {"params": {"how": how}}})
    result = toy.run()
    assert result.failed == 1
    outcome = toy.outcome("faulty")
    assert outcome["status"] == "failed"
    assert outcome["error"]["kind"] == kind
    assert said in outcome["error"]["message"]
    assert [e["message"] for e in toy.events if e["event"] == "failed"] == [outcome["error"]["message"]]
    assert [row["status"] for row in result.table] == ["failed"]
    if how in ("crash", "segfault"):
        assert "faulty.py" in outcome["error"]["stderr_tail"]
        assert "faulty.py" in (toy.trials()["faulty", 0] / "stderr.log").read_text()


def test_a_file_that_a_model_lacks_is_told_with_its_log(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": "open", "path": "/nonexistent/weights.csv"}}})
    assert toy.run().failed == 1
    error = toy.outcome("faulty")["error"]
    said = r"FileNotFoundError: \[Errno 2\] No such file or directory: '/nonexistent/weights.csv' \[faulty\.py:\d+\]"
    assert re.fullmatch(said, error["message"])
    assert "faulty.py" in error["stderr_tail"]


def test_a_kill_for_memory_is_told_with_the_peak(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": "killed"}}, "steady": {}})
    ballast = np.ones(40_000_000)  # 305 MiB in this process, which a child must not inherit
    assert toy.run(jobs=2).failed == 1
    del ballast
    outcome = toy.outcome("faulty")
    assert outcome["error"]["message"].startswith("killed by SIGKILL, perhaps out of memory; peak was ")
    # 30 million float64 are 229 MiB.
    assert 229 * 2**20 < outcome["memory"]["peak_bytes"] < 600 * 2**20
    # The other worker is charged neither for that nor for its parent's.
    assert toy.outcome("steady")["memory"]["peak_bytes"] < 150 * 2**20


def test_a_hanging_trial_is_killed_with_its_children(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.runner.processes.GRACE", 0.5)
    pids = toy.folder / "pids"
    toy.write({"faulty": {"params": {"how": "hang", "path": str(pids)}}, "steady": {}}, budget={"epochs": 2, "timeout": 15})
    assert toy.run().failed == 1
    outcome = toy.outcome("faulty")
    assert outcome["error"]["kind"] == "Timeout"
    said = re.fullmatch(r"timeout after (\d+) s", outcome["error"]["message"])
    assert said
    assert 5 <= int(said[1]) < 60
    assert 5 < outcome["wall_seconds"] < 60
    assert toy.outcome("steady")["status"] == "done"
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_children_of_a_worker_die_with_a_killed_runner(toy: Bench) -> None:
    pids = toy.folder / "pids"
    toy.write({"faulty": {"params": {"how": "hang", "path": str(pids)}}})
    process = toy.start()
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    process.kill()
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert not workers(toy)


def test_noise_on_stdout_disturbs_nothing_and_is_kept(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": "noise"}}})
    assert toy.run().failed == 0
    assert [e["event"] for e in toy.events if e["event"] in ("done", "failed")] == ["done"]
    log = (toy.trials()["faulty", 0] / "stderr.log").read_bytes()
    assert log.count(b"garbage") == 20_000


@pytest.mark.parametrize("how", ["fork in fit", "fork in generate", "fork in generate, then exit"])
def test_a_fork_that_comes_back_is_ended(toy: Bench, tmp_path: Path, how: str) -> None:
    """Else it is a second writer: which pitch is stored depends on who is faster, and an exit may fail a trial that is done."""
    toy.write({"faulty": {"params": {"how": how, "path": str(tmp_path / "status")}}})
    assert toy.run().failed == 0
    folder = toy.trials()["faulty", 0]
    assert {60, 61} == {int(pitch) for notes in read_samples(folder / "samples.npz").notes.values() for pitch in notes.pitch}
    assert os.waitstatus_to_exitcode(int((tmp_path / "status").read_text())) == (0 if how.endswith("exit") else 1)
    assert b"came back" in (folder / "stderr.log").read_bytes()


def test_a_fork_of_a_dataset_that_comes_back_is_ended(toy: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "status"))
    toy.write({}, references=["median"], dataset={"name": "toy", "options": {"fault": "fork"}})
    assert toy.run().failed == 0
    assert (tmp_path / "status").read_text() == "1"


@pytest.mark.parametrize("terminal", [True, False])
def test_events_that_no_worker_sends_are_dropped(toy: Bench, terminal: bool) -> None:
    toy.write({"faulty": {"params": {"how": "odd events"}}, "steady": {}})
    shown = io.StringIO()
    with make_display(False, CleanConsole(file=shown, force_terminal=terminal, width=120)) as display:
        assert toy.run(display=display).failed == 0
    assert "xxxx" not in shown.getvalue()
    assert not {"\x07", "\x1b[2J", "\ud800"} & set(re.findall(r"\x07|\x1b\[2J|\ud800", shown.getvalue()))
    assert (toy.outcome("faulty")["status"], toy.outcome("steady")["status"]) == ("done", "done")


@pytest.mark.timeout(120)
def test_a_flood_of_events_costs_its_trial_only(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": "flood"}}, "steady": {}})
    assert toy.run(jobs=2).failed == 1
    assert toy.outcome("faulty")["error"]["message"] == "it sent too many events, and was ended"
    assert toy.outcome("steady")["status"] == "done"


@pytest.mark.parametrize(("flooded", "attempts"), [("many events", 1), ("", 2)])
def test_music_is_read_again_after_a_crash_but_not_after_a_flood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flooded: str, attempts: int
) -> None:
    jobs, shown = [], []
    ending = Ending(-signal.SIGTERM if flooded else -signal.SIGSEGV, False, 1.0, None, 0, flooded)
    monkeypatch.setattr(datasets, "_attempt", lambda job, *_: jobs.append(job) or (None, ending))
    job = {"task": "prepare", "dataset": {"name": "toy"}}
    with pytest.raises(DataError, match=r"'toy' failed: (it sent too many events, and was ended|killed by SIGSEGV)\."):
        datasets.dataset_task(job, tmp_path / "job", tmp_path / "log", None, shown.append)
    assert len(jobs) == attempts
    assert [event["text"].split(".")[0] for event in shown] == ["The process that reads the music was killed by SIGSEGV"][
        : attempts - 1
    ]


def test_a_finished_trials_description_is_written_again_and_it_does_not_run_again(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    folder = toy.trials()["steady", 0]
    intact = (folder / "trial.json").read_bytes()
    compiled = toy.run_folder / "compiled" / "inductor"
    sound = toy.run_folder / "sound" / ".a.mp3.1.tmp"
    for change in ("append", "remove"):
        compiled.mkdir(parents=True)
        if change == "append":
            (folder / "trial.json").write_bytes(intact + b" ")
        else:
            (folder / "trial.json").unlink()
        (finding,) = [finding for finding in verify_run(toy.run_folder) if finding.fault]
        assert (finding.part, finding.remedy) == (f"trials/{folder.name}/trial.json", "it is written again")
        sound.parent.mkdir()
        sound.touch()
        toy.run()
        sound.parent.rmdir()  # empty: a killed run's temporary file has gone
        assert not [event for event in toy.events if event["event"] == "trial"]
        assert (folder / "trial.json").read_bytes() == intact
        assert not [finding for finding in verify_run(toy.run_folder) if finding.fault]
        assert not (toy.run_folder / "compiled").exists(), "a killed run's compiled code"


def test_a_failed_trial_runs_again_and_a_done_one_does_not(toy: Bench) -> None:
    cure = toy.folder / "cure"
    toy.write({"faulty": {"params": {"how": "crash without file", "path": str(cure)}}, "steady": {}})
    assert toy.run().failed == 1
    done = (toy.trials()["steady", 0] / "outcome.json").stat().st_mtime_ns
    assert toy.run().failed == 1
    # The second time from no checkpoint, as the one that was left may have been the cause.
    assert [e["system"] for e in toy.events if e["event"] == "trial"] == ["faulty", "faulty"]
    cure.touch()
    assert toy.run().failed == 0
    assert [e["system"] for e in toy.events if e["event"] == "trial"] == ["faulty"]
    assert (toy.trials()["steady", 0] / "outcome.json").stat().st_mtime_ns == done


def test_a_checkpoint_that_training_fails_on_is_given_up(toy: Bench) -> None:
    cure = toy.folder / "cure"
    toy.write({"faulty": {"params": {"how": "stale", "path": str(cure)}}})
    assert toy.run().failed == 1
    assert toy.outcome("faulty")["error"]["kind"] == "Killed"
    cure.touch()
    assert toy.run().failed == 0
    (message,) = [e["text"] for e in toy.events if e["event"] == "message" and "resume" in e["text"]]
    told = r"ValueError: damaged checkpoint \[faulty\.py:\d+\]"
    assert re.fullmatch(rf"faulty, seed 0: can't resume \({told}\) It trains from the start\.", message)
    assert (toy.trials()["faulty", 0] / "checkpoint.bad" / "checkpoint").exists()


def test_a_full_disk_does_not_cost_the_checkpoint(toy: Bench) -> None:
    cure = toy.folder / "cure"
    toy.write({"faulty": {"params": {"how": "full disk", "path": str(cure)}}})
    for _ in range(2):
        assert toy.run().failed == 1
    error = toy.outcome("faulty")["error"]
    assert (error["kind"], error["had_checkpoint"], error["transient"]) == ("MachineError", True, True)
    cure.touch()
    assert toy.run().failed == 0
    assert not (toy.trials()["faulty", 0] / "checkpoint.bad").exists()


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [
        ({}, True),
        ({"epochs": 3}, False),
        ({"transient": True}, False),
        ({"had_checkpoint": False}, False),
        ({"phase": "load"}, False),
    ],
)
def test_when_a_checkpoint_is_given_up(changes: dict[str, object], blamed: bool) -> None:
    failure = Failure(phase="fit", had_checkpoint=True, epochs=0, transient=False)
    assert failure.model_copy(update=changes).blames_checkpoint is blamed


def test_a_worker_without_a_thread_left_says_so(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    code = """
import sys, threading
from bench.runner.worker import main
def refused(*_):
    raise RuntimeError("can't start new thread")  # as Python does at a limit of processes, which root has not
threading._start_new_thread = refused
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "job.json")]
    worker = subprocess.run(command, input="", capture_output=True, text=True, timeout=120)
    assert worker.returncode == 3, worker.stderr
    event = json.loads(worker.stdout)
    assert (event["event"], event["kind"]) == ("error", "MachineError")
    assert event["message"] == "The machine starts no more threads (can't start new thread); see ulimit -u."


def test_what_the_machine_is_to_blame_for(tmp_path: Path) -> None:
    from bench.runner.trial import is_transient

    torchs = type("OutOfMemoryError", (RuntimeError,), {})
    for error in (OSError(28, "No space left on device"), MemoryError(), torchs("CUDA out of memory. Tried to allocate")):
        assert is_transient(error)
    for number in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE):
        assert is_transient(OSError(number, os.strerror(number)))
    assert not is_transient(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    (tmp_path / "checkpoint.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut off")
    with pytest.raises(OSError, match="Unable to synchronously open file") as damaged:
        h5py.File(tmp_path / "checkpoint.h5")
    assert not is_transient(damaged.value)
    assert not is_transient(ValueError("shapes differ"))
    for said in (
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: …",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "can't start new thread",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ):
        assert is_transient(RuntimeError(said))
    assert not is_transient(RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize(
    ("how", "facts", "said"),
    [
        ("facts raise", {}, ["facts() failed, so none are recorded: RuntimeError: no facts"]),
        (
            "facts wrong",
            {"precision": "float32"},
            [
                "facts() gave parameters = many; it must be a number from 0 to 10^15, so it is left out.",
                "facts() gave peak_gpu_bytes = nan; it must be a number from 0 to 10^15, so it is left out.",
            ],
        ),
        (
            "facts endless",
            {},
            [
                "facts() failed, so none are recorded: ValueError: they have 3,145,741 characters, and may have 1,048,576"
                " at most",
            ],
        ),
        (
            "facts great",
            {},
            ["facts() gave parameters = 10000000000000000; it must be a number from 0 to 10^15, so it is left out."],
        ),
        ("facts true", {}, ["facts() gave parameters = True; it must be a number from 0 to 10^15, so it is left out."]),
    ],
)
def test_facts_that_cannot_be_used_are_left_out_and_said(toy: Bench, how: str, facts: object, said: list[str]) -> None:
    toy.write({"faulty": {"params": {"how": how}}})
    assert toy.run().failed == 0
    assert toy.outcome("faulty")["facts"] == facts
    untold, *remarks = toy.outcome("faulty")["remarks"]
    assert (untold, remarks) == ("fit() logged no evaluation: nothing shows that the model was trained.", said)
    assert said[0] in (toy.trials()["faulty", 0] / "stderr.log").read_text()


@pytest.mark.parametrize(
    ("identity", "said"), [("f'toy {self.length} {self.test}'", True), ("str(sorted(source.iterdir()))", False)]
)
def test_a_fingerprint_of_no_files_is_told(toy: Bench, identity: str, said: bool) -> None:
    """The music of another folder was taken from the cache, and its numbers for this one's."""
    source = (PLUGINS / "datasets" / "toy.py").read_text()
    found = "    def find(self, roots):\n        return roots[0] if roots else None\n\n    def load"
    for old, new in (
        ('NEEDS = "nothing"', 'NEEDS = "folder"'),
        ('f"toy {self.length} {self.test}"', identity),
        ("    def load", found),
    ):
        source = source.replace(old, new, 1)
    own = toy.folder / "extra" / "datasets"
    own.mkdir(parents=True)
    (own / "blind.py").write_text(source)
    (toy.folder / "music").mkdir()
    (toy.folder / "music" / "a.mid").touch()
    toy.write({"steady": {}}, dataset={"name": "blind", "options": {"length": 60, "test": 3}})
    assert toy.run(plugins=[PLUGINS, own.parent], data=[toy.folder / "music"]).failed == 0
    remarks = json.loads((toy.run_folder / "run.json").read_text())["dataset"]["remarks"]
    assert any("fingerprint() of blind.py is the same for an empty folder" in text for text in remarks) == said


def test_of_a_long_message_the_beginning_is_kept() -> None:
    from bench.runner.trial import describe

    message = describe(ValueError("x" * (50 << 20)))["message"]
    assert message.startswith("ValueError: xxx")
    assert message.endswith(" … (52,428,812 characters)")
    assert len(message) < 4_100


def test_facts_may_be_fractions(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": "facts fractions"}}})
    assert toy.run().failed == 0
    outcome = toy.outcome("faulty")
    assert outcome["facts"] == {"parameters": 1.5, "peak_gpu_bytes": 1234.5}
    assert outcome["memory"]["peak_gpu_bytes"] == 1234.5


def test_no_value_that_a_plugin_logs_stops_the_display(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": "odd values"}}})
    display = make_display(False, Console(file=io.StringIO()))
    assert toy.run(display=display).failed == 0
    assert toy.run_folder.joinpath("report.md").exists()


def test_the_environment_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.runner.processes import environment

    made = environment(3, "cpu")
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        assert made[f"{name}_NUM_THREADS"] == "3"
    assert made["TF_NUM_INTRAOP_THREADS"] == "3"
    assert made["OMP_DYNAMIC"] == made["MKL_DYNAMIC"] == "FALSE", "or results depend on how busy the machine is"
    assert made["MKL_CBWR"] == os.environ.get("MKL_CBWR", "AUTO")
    assert made["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as a notebook's commands have it
    assert environment(3, "cpu")["MPLBACKEND"] == "agg"
    assert environment(1, "cuda").get("CUDA_VISIBLE_DEVICES") == os.environ.get("CUDA_VISIBLE_DEVICES")


def test_compiled_code_is_read_only_from_a_folder_that_this_run_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch unpickles what it finds in its cache: a folder that someone else prepared must not be used."""
    from bench.runner.processes import environment, private_folder

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", "/mine")
    monkeypatch.delenv("CUDA_CACHE_PATH", raising=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "prepared").write_text("by someone else")
    place = tmp_path / "compiled"
    for planted in ("folder", "link"):
        if planted == "folder":
            (place / "torchinductor").mkdir(parents=True)
        else:
            place.symlink_to(elsewhere)
        with private_folder(place) as folder:
            assert list(folder.iterdir()) == []
            assert folder.stat().st_mode & 0o777 == 0o700
            assert not folder.is_symlink()
            made = environment(1, "cuda", folder)
            assert made["TORCHINDUCTOR_CACHE_DIR"] == str(folder / "torchinductor")
            assert made["TRITON_CACHE_DIR"] == "/mine", "the user's own setting takes precedence"
            assert "CUDA_CACHE_PATH" not in made, "what the driver compiles is for later runs too"
        assert not place.exists()
    assert [path.name for path in elsewhere.iterdir()] == ["prepared"]


def test_a_worker_gets_that_folder(toy: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    said = tmp_path / "said"
    toy.write({"faulty": {"params": {"how": "compiles", "path": str(said)}}})
    assert toy.run().failed == 0
    assert said.read_text() == f"{toy.run_folder}/compiled/torchinductor"
    assert not (toy.run_folder / "compiled").exists()


def _target(n: int = 3) -> Target:
    notes = Notes.from_columns([1.0, 2.0, 3.0], [1, 1, 1], [60, 61, 62], [64] * 3)
    return Target(PieceName(0, "x"), notes[:n], notes)


def test_samples_may_begin_with_the_prompts_last_onset_and_anywhere_without_a_prompt() -> None:
    early = Notes.from_columns([0.5], [1], [60], [64])
    check_samples([_target().target[2:]], [_target()], 1, takes_prompt=True)
    check_samples([early], [_target(0)], 1, takes_prompt=True)
    check_samples([early], [_target()], 1, takes_prompt=False)
    with pytest.raises(TrialError, match=r"begins at 0.500 s, before the prompt's last onset \(3.000 s\)"):
        check_samples([early], [_target()], 1, takes_prompt=True)
    with pytest.raises(TrialError, match="returned a NoneType for 1 prompts"):
        check_samples(None, [_target()], 1, takes_prompt=True)


def test_samples_that_hold_no_contract_are_no_samples() -> None:
    """A plug-in may make notes past the checks; they were stored, and could never be read again."""
    endless = Notes._checked(np.array([9.0]), np.array([1e9]), np.array([60], np.uint8), np.array([64], np.uint8))
    with pytest.raises(TrialError, match=r"piece 'x': Notes\.duration must be above 0 s and below 100,000 s"):
        check_samples([endless], [_target()], 1, takes_prompt=True)


def test_impossible_likelihoods_are_refused() -> None:
    piece = Piece(_target().target, "x")
    check_likelihood([np.full((3, 4), -1e-9)], [piece])
    with pytest.raises(TrialError, match=r"shape \(3,\) for piece 'x'; expected \(3, 4\)"):
        check_likelihood([np.zeros(3)], [piece])
    with pytest.raises(TrialError, match="runs from 0 to 1 nats"):
        check_likelihood([np.eye(3, 4)], [piece])
    with pytest.raises(TrialError, match="runs from nan"):
        check_likelihood([np.full((3, 4), np.nan)], [piece])
    with pytest.raises(TrialError, match="0 arrays for 1 pieces"):
        check_likelihood([], [piece])
    with pytest.raises(TrialError, match="is complex"):
        check_likelihood([np.full((3, 4), -1j)], [piece])


def test_a_field_that_is_always_certain_is_refused() -> None:
    """Such as a column of np.zeros() that nobody filled: it won the bits per note. What doesn't differ may be certain."""
    pieces = [Piece(Notes.from_columns([0, step], [1, length], [60, pitch], [64, 64]), "x") for step, length, pitch in
              [(1.0, 1.0, 60), (1.0, 1.001, 62)]]  # fmt: skip
    for left, said in ((0, "every pitch"), (1, ""), (2, "every time"), (3, "")):
        parts = [np.full((2, 4), -1.0) for _ in pieces]
        for part in parts:
            part[:, left] = 0
        with pytest.raises(TrialError, match=said) if said else contextlib.nullcontext():
            check_likelihood(parts, pieces, codec=NoteCodec())
        if left > 1:  # an unknown number of classes may be one
            check_likelihood(parts, pieces)
    faster = [Piece(Notes.from_columns([0, 1], [1, 1], [60, 62], [64, 80]), "x")]
    part = np.array([[-1.0, 0, -1, -1]] * 2)
    with pytest.raises(TrialError, match="every velocity of the held-out pieces probability 1"):
        check_likelihood([part], faster)
    with pytest.raises(TrialError, match="every frame of the held-out pieces probability 1"):
        check_likelihood([np.zeros(4)], faster, "frame")


LIKELIHOOD = """
    def log_likelihood(self, pieces):
        uniform = -np.log([128.0, 128, 64, 64])
        return [{} for piece in pieces]
"""


#: Of a model that keeps what it made of a piece: nearly certain of the held-out ones' pitches.
KEPT = "self.__dict__.setdefault(piece.id, np.tile(uniform * [1 if ', ' in piece.id else 0.1, 1, 1, 1], (len(piece.notes), 1)))"


@pytest.mark.parametrize(
    ("gives", "each"),
    [
        ("np.tile(uniform, (len(piece.notes), 1))", 0),
        ("np.tile(uniform / np.log(10), (len(piece.notes), 1))", 128 ** -(1 / math.log(10))),
        ("np.tile(uniform * [1e-9, 1, 1, 1], (len(piece.notes), 1))", 1),  # sees the pitch
        (KEPT, 0),
        # It has no probability for what occurs nowhere.
        ("np.tile(uniform, (len(piece.notes), 1)) / (set(piece.notes.pitch) <= set(range(40, 80)))", 0),
    ],
)
def test_an_exact_likelihood_gives_all_pitches_of_a_note_1_at_most(toy: Bench, gives: str, each: float) -> None:
    """Base-10 logarithms have fewer bits than any model, and ranked first."""
    own = toy.folder / "probed.py"
    source = (PLUGINS / "models" / "faulty.py").read_text().replace("    def facts", f"{LIKELIHOOD.format(gives)}\n    def facts")
    own.write_text(source.replace('FEATURES = "a fault"', 'FEATURES = "bits"\nLIKELIHOOD = "exact"'))
    toy.write({"probed": {"params": {"how": "nothing"}}})
    assert toy.run(plugins=[PLUGINS, own]).failed == bool(each)
    if each:
        said = r"log_likelihood\(\) gives (\d+) alternatives for the pitch of one note the probability ([\d.]+) in all; "
        found = re.fullmatch(rf"{said}it is 1 at most\.", toy.outcome("probed")["error"]["message"])
        assert found is not None
        assert float(found[2]) == pytest.approx(int(found[1]) * each, rel=0.01)
    else:
        assert toy.outcome("probed")["likelihood"]["bits_per_note"] > 15


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (
            "np.tile(uniform, (len(piece.notes), 1)) - np.append(piece.notes.pitch[1:], 0)[:, None] / 10",
            "where other notes follow",
        ),
        ("np.tile(uniform, (len(piece.notes), 1)) * (np.arange(len(piece.notes)) > 0)[:, None]", "gives the first note of every"),
        ("np.tile(uniform, (len(piece.notes), 1)) * [1, 1, 1e-9, 1]", "alternatives for the time of one note"),
        ("np.tile(uniform, (len(piece.notes), 1)) * (1 + self.asked())", "other log probabilities .* the second time"),
        ("np.tile(-np.log([len(pieces) + 1e-9] * 4), (len(piece.notes), 1))", "a piece among others other .* than by itself"),
    ],
    ids=["a mask is missing", "the first note is left out", "a field is seen", "it learns", "a softmax over the pieces"],
)
def test_a_trial_fails_whose_likelihood_is_none(toy: Bench, gives: str, said: str) -> None:
    own = toy.folder / "probed.py"
    asked = "\n    def asked(self):\n        self.times = getattr(self, 'times', 0) + 1\n        return 0.01 * self.times\n"
    source = (PLUGINS / "models" / "faulty.py").read_text()
    source = source.replace("    def facts", f"{LIKELIHOOD.format(gives)}{asked}\n    def facts")
    own.write_text(source.replace('FEATURES = "a fault"', 'FEATURES = "bits"\nLIKELIHOOD = "exact"'))
    toy.write({"probed": {"params": {"how": "nothing"}}})
    assert toy.run(plugins=[PLUGINS, own]).failed == 1
    assert re.search(said, toy.outcome("probed")["error"]["message"])


def test_a_list_that_a_model_changes_is_its_own(toy: Bench) -> None:
    """Prompts that were transposed in place were so for the second sample; log probabilities in a sorted order passed."""
    source = (PLUGINS / "models" / "faulty.py").read_text()
    toy.write({"faulty": {"params": {"how": "in place"}}}, protocol=PROTOCOL | {"samples": 3})
    assert toy.run().failed == 0
    own = toy.folder / "probed.py"
    given = "np.tile(uniform, (len(piece.notes), 1))"
    likelihood = LIKELIHOOD.format(given).replace(
        "        return", "        pieces.sort(key=lambda piece: piece.notes.pitch[-1])\n        return"
    )
    source = source.replace("    def facts", f"{likelihood}\n    def facts")
    own.write_text(source.replace('FEATURES = "a fault"', 'FEATURES = "bits"\nLIKELIHOOD = "exact"'))
    toy.write({"probed": {"params": {"how": "nothing"}}})
    assert toy.run(plugins=[PLUGINS, own]).failed == 1
    assert "log_likelihood() has shape" in toy.outcome("probed")["error"]["message"]


def test_logarithms_of_another_base_are_told(toy: Bench) -> None:
    """Those to the base 2 have 44 % more bits: another model was told to be significantly better."""
    source = (PLUGINS / "models" / "faulty.py").read_text()
    for base, said in ((math.e, []), (2, ["log_likelihood() gives all pitches of one note the probability 0.12 together"])):
        own = toy.folder / "probed.py"
        given = LIKELIHOOD.format(f"np.tile(uniform, (len(piece.notes), 1)) / np.log({base})")
        text = source.replace("    def facts", f"{given}\n    def facts").replace('"a fault"', '"bits"\nLIKELIHOOD = "exact"')
        own.write_text(text)
        toy.write({"probed": {"params": {"how": "nothing"}}})
        assert toy.run(plugins=[PLUGINS, own]).failed == 0
        remarks = [text for text in toy.outcome("probed")["remarks"] if "log_likelihood" in text]
        assert [text.partition(",")[0] for text in remarks] == said


@pytest.mark.parametrize(("behind", "said"), [("-9.0", False), ("-9.0 * (np.arange(len(piece.notes))[:, None] < 8)", True)])
def test_notes_that_are_left_at_0_are_told(toy: Bench, behind: str, said: bool) -> None:
    """An array of zeros that a loop fills up to the model's context made the notes behind it free."""
    source = (PLUGINS / "models" / "faulty.py").read_text()
    given = LIKELIHOOD.format(f"np.broadcast_to({behind}, (len(piece.notes), 4))")
    own = toy.folder / "probed.py"
    text = source.replace("    def facts", f"{given}\n    def facts").replace('"a fault"', '"bits"\nLIKELIHOOD = "bound"')
    own.write_text(text)
    toy.write({"probed": {"params": {"how": "nothing"}}})
    assert toy.run(plugins=[PLUGINS, own]).failed == 0
    remarks = toy.outcome("probed")["remarks"]
    assert any("held-out notes exactly the probability 1, in all fields" in text for text in remarks) == said


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("[Notes.concatenate([prompt, notes])[:n].shifted(prompt.onset[-1]) for prompt in prompts]", "with the prompt again: "),
        (
            "[Notes(500 * notes.onset + 10, notes.duration, notes.pitch, notes.velocity) for _ in prompts]",
            "times as long as the real",
        ),
        ("[notes for _ in prompts]", "writes the same notes for several pieces: 1 of 2 continuations"),
    ],
)
def test_continuations_that_are_none_are_told(toy: Bench, made: str, said: str) -> None:
    source = (PLUGINS / "models" / "faulty.py").read_text()
    own = toy.folder / "odd.py"
    own.write_text(source.replace("        return made\n", f"        n = n_notes\n        return {made}\n"))
    toy.write({"odd": {"params": {"how": "nothing"}}}, protocol=PROTOCOL | {"prompt": 8})
    assert toy.run(plugins=[PLUGINS, own]).failed == 0
    assert [text for text in toy.outcome("odd")["remarks"] if said in text]


def test_a_continuation_that_is_off_by_one_is_told(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": "off by one"}}})
    assert toy.run().failed == 0
    assert any(
        text.startswith("begins 2 of 2 continuations with the note that the prompt ends with")
        for text in toy.outcome("faulty")["remarks"]
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("pass", "Path('best.pt').write_bytes(b'weights')", "While it trained, best.pt in the current folder changed."),
        ("Path('table.csv').touch()", "(run.folder / 'best.pt').touch()", None),
        ("time.sleep(0.5)", "pass", "fit() took "),
        ("pass", "run.log(1, loss=1.0, notes=2, passes=3.0)", "fit() logged 2 notes in 3 passes over "),
    ],
)
def test_what_no_budget_counts_and_what_trials_share_is_told(
    toy: Bench, monkeypatch: pytest.MonkeyPatch, before: str, after: str, said: str | None
) -> None:
    """Two trials that keep their best weights in one file may generate from each other's."""
    monkeypatch.chdir(toy.folder)
    Path("left.pt").touch()
    source = (
        (PLUGINS / "models" / "faulty.py")
        .read_text()
        .replace("        run.begin()\n", f"        {before}\n        run.begin()\n        {after}\n")
    )
    patch = "import bench.runner.trial as trial\ntrial._SETUP = 0.4\n"
    own = toy.folder / "kept.py"
    own.write_text(source.replace("import signal\n", f"import signal\n{patch}"))
    toy.write({"kept": {"params": {"how": "nothing"}}})
    assert toy.run(plugins=[PLUGINS, own]).failed == 0
    remarks = [text for text in toy.outcome("kept")["remarks"] if "logged no evaluation" not in text]
    assert [said] == [said and text[: len(said)] for text in remarks] if said else remarks == []


def test_samples_and_midi_of_a_family_without_prompt(toy: Bench, tmp_path: Path) -> None:
    """Its MIDI holds the sample alone, as it continues nothing."""
    source = (Path(__file__).parent / "plugins" / "models" / "faulty.py").read_text()
    folder = tmp_path / "extra" / "models"
    folder.mkdir(parents=True)
    (folder / "free.py").write_text(source.replace('FEATURES = "a fault"', 'FEATURES = "free"\nPROMPT = False'))
    toy.write({"free": {"params": {"how": "early"}}})
    assert toy.run(plugins=[PLUGINS, tmp_path / "extra"]).failed == 0
    made = toy.trials()["free", 0]
    midi = read_midi(made / "midi" / "piece-000.mid")
    assert len(midi) == len(read_samples(made / "samples.npz").notes[0, 0]) == 20


@pytest.mark.parametrize("name", ["outcome.json", "stderr.log", "job.json", ".lock"])
def test_a_folder_in_the_place_of_a_file_costs_its_trial_at_most(toy: Bench, name: str) -> None:
    toy.write({"steady": {}}, seeds=[0, 1])
    toy.run()
    place = toy.trials()["steady", 0]
    shutil.rmtree(place)
    (place / name).mkdir(parents=True)
    assert toy.run().failed == 0
    assert [e["seed"] for e in toy.events if e["event"] == "trial"] == [0]


def test_a_link_among_a_models_checkpoints_is_its_own_affair(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    (toy.trials()["steady", 0] / "checkpoint" / "latest").symlink_to("weights.npz")
    assert toy.run().failed == 0
    (toy.run_folder / "latest").symlink_to("report.md")
    with pytest.raises(DataError, match="latest is a link"):
        toy.run()


def test_a_folder_in_the_place_of_a_file_costs_only_that_file(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": ""}}})
    run = toy.run(models=[], references=["median"], seeds=[0]).folder
    (trial,) = (run / "trials").iterdir()
    files = [
        run / "midi" / "target-000.mid",
        trial / "midi" / "piece-000.mid",
        run / "report.md",
        run / "targets.npz",
        run / "run.json",
    ]
    before = {path: path.read_bytes() for path in files[:2]}
    for path in files:
        path.unlink()
        (path / "inside").mkdir(parents=True)
    assert toy.run(models=[], references=["median"], seeds=[0]).failed == 0
    assert {path: path.read_bytes() for path in before} == before
    assert all(path.is_file() for path in files)
    assert (run / "midi" / "target-000.mid.bad" / "inside").is_dir()
    assert (trial.with_name(f"{trial.name}.bad") / "midi" / "piece-000.mid" / "inside").is_dir()


@pytest.mark.parametrize("name", ["units", "units/KEY.lease", f"units/{TAKEOVER}", ".lock"])
def test_what_is_in_the_way_of_locks_and_leases_is_set_aside(toy: Bench, name: str) -> None:
    toy.write({"faulty": {"params": {"how": ""}}})
    run = toy.run(models=[], references=["median"], seeds=[0]).folder
    (trial,) = (run / "trials").iterdir()
    (trial / "outcome.json").unlink()
    place = run / name.replace("KEY", trial.name)
    if name == "units":
        place.write_text("a file")
    else:
        place.unlink(missing_ok=True)
        (place / "inside").mkdir(parents=True)
    if TAKEOVER in name:  # it is wanted where another process's lease is taken over
        (place.parent / f"{trial.name}.lease").write_text(json.dumps(asdict(replace(Holder.this(), pid=2**22 + 1))))
    assert toy.run(models=[], references=["median"], seeds=[0]).failed == 0
    bad = place.with_name(f"{place.name}.bad")
    assert bad.read_text() == "a file" if name == "units" else (bad / "inside").is_dir()


def test_a_file_in_the_place_of_a_folder_costs_only_that_folder(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": ""}}})
    run = toy.run(models=[], references=["median"], seeds=[0]).folder
    (trial,) = (run / "trials").iterdir()
    for folder in (run / "midi", trial / "midi"):
        shutil.rmtree(folder)
        folder.write_text("a file")
    assert toy.run(models=[], references=["median"], seeds=[0]).failed == 0
    assert (run / "midi" / "target-000.mid").is_file()
    assert (trial / "midi" / "piece-000.mid").is_file()


def test_a_trial_folder_that_may_not_be_written_keeps_its_checkpoint(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run in a container leaves it that another user made: refused in words, not set aside to train anew."""
    toy.write({"steady": {}})
    toy.run()
    place = toy.trials()["steady", 0]
    (place / "outcome.json").unlink()

    def refused(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("bench.runner.supervision.write_json", refused)
        with pytest.raises(PermissionError):
            toy.run()
    assert (place / "checkpoint").is_dir()
    assert not list(place.parent.glob("*.bad*"))
    assert toy.run().failed == 0
    assert toy.outcome("steady")["training"]["resumed"] == 1


def test_what_is_set_aside_is_said_and_kept(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    place = toy.trials()["steady", 0]
    for number in (1, 2):
        shutil.rmtree(place)
        (place / "job.json").mkdir(parents=True)
        (place / "mine").write_text(str(number))
        assert toy.run().failed == 0
        (said,) = [event["text"] for event in toy.events if "can't be used" in event.get("text", "")]
        assert f"It is now {place}.bad" in said
    assert [(place.parent / f"{place.name}{end}" / "mine").read_text() for end in (".bad", ".bad-2")] == ["1", "2"]


def test_leftovers_of_a_compiler_that_cannot_be_removed_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.runner.processes import private_folder

    def busy(path: object, *_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    with private_folder(tmp_path / "compiled") as folder:
        (folder / ".nfs01").touch()
        monkeypatch.setattr(os, "unlink", busy)


@pytest.mark.parametrize("leave", ["link", "fifo", "log"])
def test_what_a_plugin_leaves_beside_its_files_costs_its_trial_alone(toy: Bench, leave: str) -> None:
    """A "latest" link, say, as loggers make: the others are scored, and the same command tries it again in a new folder."""
    toy.write({"steady": {}}, seeds=[0, 1])
    toy.run()
    place = toy.trials()["steady", 0]
    if leave == "fifo":
        os.mkfifo(place / "pipe")
    else:
        name = place / ("stderr.log" if leave == "log" else "latest")
        name.unlink(missing_ok=True)
        name.symlink_to(toy.folder / "toy.yaml")
    one, other = score_run(toy.run_folder)["steady"].trials
    assert "its folder can't be used" in one.error
    assert other.status == "done"
    assert toy.run().failed == 0
    assert [e["seed"] for e in toy.events if e["event"] == "trial"] == [0]
    assert place.with_name(f"{place.name}.bad").is_dir()


@pytest.mark.parametrize("how", ["private", "closed"])
def test_what_a_plugin_closes_is_opened_again(toy: Bench, how: str) -> None:
    """Else the run ended where it read that trial's outcome, and no other was scored; root may read whatever it likes."""
    toy.write({"faulty": {"params": {"how": how}}, "steady": {}})
    toy.run()
    place = toy.trials()["faulty", 0]
    for path in (place, *place.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & wanted == wanted, path
    assert toy.outcome("steady")["status"] == "done"


def test_strays_beside_a_trials_results_cost_nothing(toy: Bench) -> None:
    toy.write({"steady": {}})
    toy.run()
    place = toy.trials()["steady", 0]
    (place / "outcome.json").unlink()
    for name in ("piece-000 (copy).mid", "._piece-000.mid"):
        (place / "midi" / name).write_bytes(b"of the desktop")
    assert toy.run().failed == 0
    assert toy.run().failed == 0


MODEL = """
import os
import numpy as np
import bench.api
from bench.api import FIELDS, Notes

FEATURES = "its backend of Keras"
LIKELIHOOD = "exact"
REQUIRES = {requires}


class Model(bench.api.Model):
    def generate(self, prompts, n_notes, seed, constraint=None):
        if not hasattr(self, "buffers"):
            self.buffers = [np.zeros((len(prompts), n_notes), kind) for kind in (float, float, np.uint8, np.uint8)]
        for prompt, onset, duration, pitch, velocity in zip(prompts, *self.buffers):
            onset[:] = prompt.onset[-1] + np.arange(n_notes) / 4
            duration[:], velocity[:] = 0.25, 1 + seed % 127
            pitch[:] = np.random.default_rng(seed).integers(40, 80, n_notes)
        *others, velocity = self.buffers
        lasting = np.broadcast_to(velocity[:1], velocity.shape)  # a view that can't be written, of what can
        return [Notes(*columns) for columns in zip(*others, lasting)]

    def log_likelihood(self, pieces):
        buffer = np.zeros((max(len(piece.notes) for piece in pieces), len(FIELDS)))
        for piece in pieces:
            buffer[:] = -9 - piece.notes.pitch[0] / 128
            yield buffer[: len(piece.notes)]

    def facts(self):
        return {{"backend": os.environ.get("KERAS_BACKEND", "")}}
"""


def test_arrays_that_a_model_fills_again_are_not_stored_for_others(toy: Bench) -> None:
    plugin = toy.folder / "fills.py"
    plugin.write_text(MODEL.format(requires="()"))
    toy.write({"fills": {}}, protocol={**PROTOCOL, "samples": 3})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    samples = toy.notes("fills")
    assert len({tuple(notes.pitch) for (piece, _), notes in samples.notes.items() if piece == 0}) == 3
    assert len({tuple(notes.velocity) for (piece, _), notes in samples.notes.items() if piece == 0}) == 3
    assert samples.likelihood_sum is not None
    assert samples.likelihood_notes is not None
    nats = samples.likelihood_sum[:, 0] / samples.likelihood_notes
    assert len(set(nats.tolist())) > 1


def test_a_likelihood_is_left_out_for_what_has_no_probability_not_for_a_mistake(toy: Bench) -> None:
    """A note that can't be is a DataError as well, wherever a plug-in makes it."""
    body = MODEL.format(requires="()").partition("        buffer = np.zeros((max")[0]
    own = toy.folder / "mistaken.py", toy.folder / "refusing.py"
    own[0].write_text(body + "        Notes.from_columns([0.0], [1.0], [129], [64])\n")
    own[1].write_text(body + "        raise bench.api.NoProbabilityError('it lacks the word forte')\n")
    toy.write({"mistaken": {}, "refusing": {}})
    assert toy.run(plugins=[PLUGINS, *own]).failed == 1
    assert "129" in toy.outcome("mistaken")["error"]["message"]
    assert any(text == "has no likelihood: it lacks the word forte" for text in toy.outcome("refusing")["remarks"])


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("def log_likelihood", "def another", "LIKELIHOOD is 'exact', and the model has no log_likelihood()"),
        ("    def facts", "    likelihood = 'upper'\n\n    def facts", "the model's likelihood is 'upper'"),
        (
            "    def facts",
            "    def __init__(self):\n        self.header = {}\n\n    def facts",
            "the model sets `header`, which is what its file declares",
        ),
    ],
)
def test_a_likelihood_that_can_not_be_is_refused_before_the_training(toy: Bench, was: str, now: str, said: str) -> None:
    plugin = toy.folder / "claims.py"
    plugin.write_text(MODEL.format(requires="()").replace(was, now))
    toy.write({"claims": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 1
    error = toy.outcome("claims")["error"]
    assert (error["kind"], said in error["message"], error["phase"]) == ("PluginError", True, "load")


def test_a_likelihood_that_is_not_claimed_is_said_to_be_left_out(toy: Bench) -> None:
    plugin = toy.folder / "modest.py"
    plugin.write_text(MODEL.format(requires="()").replace('LIKELIHOOD = "exact"', ""))
    toy.write({"modest": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    (said,) = [text for text in toy.outcome("modest")["remarks"] if "log_likelihood" in text]
    assert said.startswith("has a log_likelihood(), but no LIKELIHOOD in its header")


@pytest.mark.parametrize(("requires", "backend"), [("()", "jax"), ("('keras',)", "jax"), ("('tensorflow',)", "tensorflow")])
def test_keras_has_the_users_backend_but_in_plugins_for_tensorflow(
    toy: Bench, monkeypatch: pytest.MonkeyPatch, requires: str, backend: str
) -> None:
    if requires != "()":
        pytest.importorskip("tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.chdir(toy.folder)
    os.mkfifo("matplotlibrc")
    plugin = toy.folder / "fills.py"
    imports = "import matplotlib\n" if "keras" in requires or "tensorflow" in requires else ""  # as Keras does
    plugin.write_text(imports + MODEL.format(requires=requires))
    toy.write({"fills": {}})
    assert toy.run(plugins=[PLUGINS, plugin]).failed == 0
    assert toy.outcome("fills")["facts"]["backend"] == backend
