"""Trials as elements of a job array of Slurm.

The arrays survive this process: the same command takes over what is still in the queue. Ctrl-C cancels them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from pydantic import model_validator

from bench.errors import DataError, MachineError, UsageError
from bench.runner.engines.engine import Job, Work
from bench.runner.engines.remote import LOOK, Cluster, RemoteEngine, State, UnansweredError
from bench.runner.processes import Signals
from bench.runner.unit import UNSEEN, command, make_units
from bench.storage.files import FORMAT, read_json, tail, write_json

#: Elements of an array where the site doesn't say how many it allows: Slurm's default.
MOST_ELEMENTS = 1001

#: Slurm's states of an element that will still run, or is running; it may be put back in the queue after its node was lost.
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "SUSPENDED"}
ENDING = "COMPLETING"
RUNNING = {"RUNNING", ENDING, "STAGE_OUT", "SIGNALING", "STOPPED", "RESIZING"}

#: Slurm's reasons for which an element waits as a matter of course; any other one is told.
USUAL = {"None", "Priority", "Resources", "JobArrayTaskLimit", "Dependency", "BeginTime", "Cleaning"}

#: Of the other ones, those of a trial that asks for more than a node has.
TOO_LARGE = {"PartitionConfig", "PartitionNodeLimit", "BadConstraints"}

#: Options of sbatch that are set here, or that must not be: their short forms, and what a user can do instead.
OWN = {
    "array": ("-a", "The trials are its elements; `jobs` limits how many run at a time."),
    "clusters": ("-M", "Export SLURM_CLUSTERS, which all of Slurm's commands read."),
    "cpus-per-task": ("-c", "Use the option cpus."),
    "dependency": ("-d", "With `jobs` each array waits for those before it; leave out one of the two."),
    "job-name": ("-J", "The command finds its jobs by their name."),
    "open-mode": ("", "A trial that starts again appends to its log."),
    "output": ("-o", "The logs are units/slurm-*.log in the run's folder."),
    "parsable": ("", "The command reads what sbatch prints."),
    "wait": ("-W", "The command itself waits, unless `detach` is given."),
    "wrap": ("", "The trials' script is written here."),
}

#: What Slurm gives as the signal that ended an element where its node can't open the log.
UNOPENED = 53

#: Seconds that a command of Slurm may take: its controller may be restarting.
PATIENCE = 120.0

#: How Slurm says that its controller is too busy to answer; one that is down is another matter.
BUSY = re.compile("timed out|Zero Bytes|temporarily|try again", re.IGNORECASE)

#: The keys are in it, as Slurm keeps the script as it was when it was submitted.
SCRIPT = """#!/bin/sh
key=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" <<'KEYS'
{keys}
KEYS
)
exec {command} "$key"
"""


class Engine(RemoteEngine):
    """A job array of Slurm.

    Parameters
    ----------
    sbatch : str
        Options of sbatch, such as ``--partition=gpu --gres=gpu:1 --time=4:00:00``.
    detach : bool
        Whether to return when the trials are submitted; the same command without it collects them.
    """

    sbatch: str = ""
    detach: bool = False

    @model_validator(mode="after")
    def _no_option_that_is_set_here(self) -> Engine:
        try:
            words = shlex.split(self.sbatch)
        except ValueError as error:
            raise UsageError(
                f"The option sbatch is {self.sbatch!r}: {str(error).lower()}.", "It is read as by a shell."
            ) from error
        for word in words:
            name = word[2:].split("=")[0] if word.startswith("--") else ""
            for option, (short, instead) in OWN.items():
                # Like sbatch, take the beginning of a name for it.
                same = (name and option.startswith(name)) or (short and word.startswith(short))
                if same and (self.jobs or option != "dependency"):
                    raise UsageError(f"The option sbatch has {word}, but --{option} is the engine slurm's own.", instead)
        return self

    def waits(self) -> bool:
        """See :class:`bench.runner.engines.remote.RemoteEngine`."""
        return not self.detach

    @contextlib.contextmanager
    def connect(self, work: Work) -> Iterator[Cluster]:
        """See :class:`bench.runner.engines.remote.RemoteEngine`."""
        if missing := next((tool for tool in ("sbatch", "squeue", "scancel", "scontrol") if shutil.which(tool) is None), None):
            raise UsageError(f"The engine slurm needs {missing}, which isn't here.", "Run it on a machine that submits jobs.")
        for option in ("clusters", "wait"):  # sbatch alone reads these
            if (name := f"SBATCH_{option.upper()}") in os.environ:
                raise UsageError(f"${name} is set, but --{option} is the engine slurm's own.", f"Unset it. {OWN[option][1]}")
        yield Arrays(self, work)


class Arrays(Cluster):
    """The arrays of one run; ``units/slurm.json`` names them for the next call.

    Parameters
    ----------
    made : Engine
    work : Work
    """

    #: One controller answers for all users.
    every = 5.0

    def __init__(self, made: Engine, work: Work) -> None:
        self._engine, self._work = made, work
        self._folder = make_units(work.folder.path, [job["key"] for job in work.jobs], "slurm.json")
        self._file = self._folder / "slurm.json"
        #: By it, a folder that others made names no other job of this user.
        self._name = f"bench-{hashlib.sha256(os.fsencode(work.folder.path.resolve())).hexdigest()[:12]}"
        self.avoid = f"To leave one out: scancel --state=PENDING --name={self._name}, then --exclude=NODE in the option sbatch."
        #: Keys of each array's elements, by its number.
        self._arrays: dict[str, list[str]] = {}
        #: The element that has a trial now, such as ``17_3``.
        self._element: dict[str, str] = {}
        #: What Slurm said of those that failed: it is asked once for each.
        self._failed: dict[str, State] = {}
        #: Elements that an array may have here.
        self._most = MOST_ELEMENTS

    def adopt(self, keys: Sequence[str]) -> set[str]:
        """See :class:`bench.runner.engines.remote.Cluster`."""
        self._most = _most_elements(self._work.signals)
        try:
            stored = read_json(self._file)["arrays"]
        except (DataError, KeyError):
            return set()
        for number, elements in stored.items() if isinstance(stored, dict) else ():
            if re.fullmatch(r"\d+", number) and isinstance(elements, list):
                self._arrays[number] = list(map(str, elements))
                self._element |= {key: f"{number}_{i}" for i, key in enumerate(self._arrays[number]) if key in keys}
        listed = self._listed()
        # One that Slurm is ending may have been cancelled a moment ago: its trial is submitted again. Or it is put back into the
        # queue, and would run besides.
        if ending := [element for element in self._element.values() if listed.get(element, ("",))[0] == ENDING]:
            _ask("scancel", *ending, signals=self._work.signals)
        alive = {key for key, element in self._element.items() if listed.get(element, ("",))[0] in (WAITING | RUNNING) - {ENDING}}
        self._element = {key: element for key, element in self._element.items() if key in alive}
        used = {element.split("_")[0] for element in self._element.values()}
        self._arrays = {number: elements for number, elements in self._arrays.items() if number in used}
        return alive

    def submit(self, jobs: Sequence[Job]) -> None:
        """See :class:`bench.runner.engines.remote.Cluster`."""
        again = {str(job["key"]) for job in jobs}
        before = ":".join(sorted({element.split("_")[0] for key, element in self._element.items() if key not in again}))
        for start in range(0, len(jobs), self._most):
            before = self._submit_array([str(job["key"]) for job in jobs[start : start + self._most]], before)

    def _submit_array(self, keys: list[str], before: str) -> str:
        """Submit one and return its number; a limit holds within an array, so with one it starts after the arrays before."""
        script = self._folder / f"array-{keys[0]}.sh"
        text = SCRIPT.format(keys="\n".join(keys), command=shlex.join(command(self._work.folder.path)))
        script.write_bytes(os.fsencode(text))  # a path may be no text
        throttle = f"%{self._engine.jobs}" if self._engine.jobs else ""
        after = [f"--dependency=afterany:{before}"] if throttle and before else []
        said = _ask(
            "sbatch",
            "--requeue",
            *shlex.split(self._engine.sbatch),
            *after,
            "--parsable",
            "--open-mode=append",
            f"--array=0-{len(keys) - 1}{throttle}",
            f"--job-name={self._name}",
            f"--cpus-per-task={self._engine.threads(self._work.scale)}",
            f"--output={str(self._folder.resolve()).replace('%', '%%')}/slurm-%A_%a.log",
            str(script),
        )
        number = said.strip().split(";")[0]
        if not number.isdecimal():  # as with --test-only
            raise UsageError(
                f"sbatch names no job that it submitted (it printed {said.strip()!r}).", "Change sbatch (--engine-option)."
            )
        self._arrays[number] = keys
        self._element |= {key: f"{number}_{i}" for i, key in enumerate(keys)}
        write_json(self._file, {"format": FORMAT, "arrays": self._arrays})
        return number

    def states(self) -> Mapping[str, State]:
        """See :class:`bench.runner.engines.remote.Cluster`."""
        listed = self._listed()
        return {key: self._state(element, *listed.get(element, ("", ""))) for key, element in self._element.items()}

    def _listed(self) -> dict[str, tuple[str, str]]:
        """Ask for the state of each element and its reason, in Slurm's words."""
        if not self._arrays:
            return {}
        said = _ask(
            "squeue",
            "--array",
            "--noheader",
            "--states=all",
            "--format=%i|%T|%r",
            f"--name={self._name}",
            f"--jobs={','.join(self._arrays)}",
            signals=self._work.signals,
        )
        lines = (line.strip().split("|", 2) for line in said.splitlines() if line.count("|") >= 2)
        return {element: (word, reason) for element, word, reason in lines}

    def _state(self, element: str, word: str, reason: str) -> State:
        """Translate a state of Slurm; an element that it no longer lists has ended."""
        if word in WAITING:
            cpus = self._engine.threads(self._work.scale)
            more = f": no node may have what cpus ({cpus}) and sbatch ask for" if reason in TOO_LARGE else ""
            return State("waiting", reason="" if reason in USUAL else f"Slurm says {reason}{more}")
        if word in RUNNING:
            return State("running")
        if word == "CANCELLED":
            return State("cancelled", reason="CANCELLED in Slurm")
        if word == "FAILED":
            if element not in self._failed:
                self._failed[element] = self._failure(element)
            return self._failed[element]
        return State("ended", 0 if word == "COMPLETED" else None, word or "Slurm lists it no more")

    def _failure(self, element: str) -> State:
        """Ask for the exit code of an element that failed, or for the signal that ended it, and where; read what it said last."""
        told = _ask("scontrol", "--oneliner", "show", "job", element, signals=self._work.signals)
        found, node = re.search(r"ExitCode=(\d+):(\d+)", told), re.search(r"\bNodeList=([^\s(]+)", told)
        code, signal = map(int, found.groups()) if found else (0, 0)
        word = f"exit code {code}" if code else f"signal {signal}" if signal else "FAILED in Slurm"
        if (code, signal) == (0, UNOPENED):  # which is in the run's folder
            code, word = UNSEEN, "the log of its trial can't be opened"
        last = tail(self._folder / f"slurm-{element}.log").rpartition("\n")[2][-300:] if code else ""
        reason = word + (f" on {node[1]}" if node else "") + (f": {last}" if last else "")
        return State("ended", code or None, reason)

    def cancel(self) -> None:
        """See :class:`bench.runner.engines.remote.Cluster`."""
        # By the name, not by numbers: what sbatch was submitting when it was given up has none yet, and those that a folder of
        # others names are no jobs of this run.
        _ask("scancel", f"--user={os.getuid()}", f"--name={self._name}")


def _most_elements(signals: Signals) -> int:
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config", signals=signals))
    return max(1, min(MOST_ELEMENTS, int(found[1])) if found else MOST_ELEMENTS)


def _ask(*command: str, signals: Signals | None = None) -> str:
    """Run a command of Slurm and return what it prints; with `signals` one of them ends the waiting."""
    hint = "The same command resumes."
    if command[0] == "scancel" and command[-1].startswith("--name"):
        hint = f"The trials go on: {shlex.join(command)} cancels them, the same command resumes."
    # What would hide trials from it, or print them otherwise.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SCANCEL_"))}
    try:
        # Of a session of its own: Ctrl-C is this process's to handle, and cancels what was submitted.
        asked = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise MachineError(f"{command[0]} can't be started: {error}.", hint) from error
    with asked:
        until = time.monotonic() + PATIENCE
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    said, complaint = asked.communicate(timeout=LOOK)
                    break
                if time.monotonic() > until or (signals and signals.received):
                    raise UnansweredError(f"{command[0]} gives no answer.", hint)
        except BaseException:
            asked.kill()  # or the end of the block would wait for it
            raise
    if asked.returncode:
        busy = BUSY.search(complaint)
        # An array that ended long ago is in no list.
        if command[0] != "sbatch" and "Invalid job id" in complaint and not busy:
            return said
        if command[0] == "sbatch":
            hint = f"If it refuses an option, change cpus or sbatch (--engine-option). {hint}"
            # A munge that is down, or has another key or clock, is an invalid credential: no fault of the options.
            if re.search(r"unrecognized option|invalid\b(?! [\w ]*credential)", complaint, re.IGNORECASE):
                raise UsageError(f"sbatch failed: {complaint.strip()}.", hint)
        kind = UnansweredError if busy else MachineError
        raise kind(f"{command[0]} failed: {complaint.strip() or asked.returncode}.", hint)
    return said
