"""Disturb real runs of `bench run` in real processes, one fault at a time, and check what they leave.

The property: the command ends in the undisturbed table, or refuses in words with a documented exit code; then the same command
ends in the undisturbed table and `bench verify` finds nothing; nothing of the user's outside the run changes, and neither
temporary files nor processes are left.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PLUGINS = Path(__file__).parents[1] / "runner" / "plugins"

#: Calls of the system that a disk can refuse, and what with.
REFUSALS = {
    "open": ("EMFILE", "EIO", "ENOSPC"),
    "read": ("EIO",),
    "write": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "rename": ("EIO", "ENOSPC"),
}

#: Codes that a refused or killed command may leave; a killed one's are negative.
ALLOWED = (0, 2, 3)

#: Longest time for a command, seconds, and the code in place of one that was ended after it.
PATIENCE, HUNG = 300.0, 124

#: Columns that a clock decides; everything else must be the same.
CLOCKED = ("seconds", "yardsticks", "rate", "memory", "per_second", "cost")

#: A run with every kind of trial but the networks: they come to the same storage, at a hundred times the price.
TOY = {
    "title": "Toy",
    "dataset": {"name": "toy"},
    "protocol": {"prompt": 10, "notes": 20, "pieces": 2, "samples": 1},
    "seeds": [0],
    "budget": {"epochs": 3, "timeout": 120},
    "models": {"steady": {}},
    "references": ["real", "untrained", "markov"],
}


@dataclass(frozen=True)
class Fault:
    """One refused call, or one kill.

    Parameters
    ----------
    calls : str
        Which calls are counted, see ``refuse.c``.
    number : int
        Which of them fails, from 1.
    error : str
        Name of the errno; ``KILL`` kills the process that makes the call instead.
    stays : bool
        Whether every counted call after it fails too.
    """

    calls: str
    number: int
    error: str
    stays: bool = False

    def __str__(self) -> str:
        return f"{self.calls} {self.number}: {self.error}{' and on' if self.stays else ''}"


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

    code: int
    output: str


def build(folder: Path) -> Path:
    """Compile the library that refuses calls; raises if there is no C compiler."""
    library = folder / "refuse.so"
    source = Path(__file__).with_name("refuse.c")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


class Machine:
    """A spec, its run, and files of the user beside it.

    Parameters
    ----------
    folder : Path
        A new one.
    library : Path
        What :func:`build` made.
    spec : mapping
        Contents of the spec file.
    """

    def __init__(self, folder: Path, library: Path, spec: Mapping[str, object] = TOY) -> None:
        self.folder, self.library, self.out = folder, library, folder / "reports"
        folder.mkdir(parents=True)
        (folder / "toy.yaml").write_text(json.dumps(spec))  # YAML is a superset of JSON
        (folder / "mine").mkdir()
        (folder / "mine" / "letter.txt").write_text("of the user")
        self.mine = self.strangers()

    @property
    def run_folder(self) -> Path:
        return self.out / "runs" / "toy-cpu"

    def command(self, *words: str, fault: Fault | None = None, count: str = "") -> Result:
        """Run a command of bench; `count` only counts these calls."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BENCH_", "FAULT_"))}
        environment |= {"BENCH_CACHE": str(self.folder / "cache"), "COLUMNS": "200"}
        if fault or count:
            state, log = self.folder / "calls", self.folder / "calls.log"
            state.write_bytes(bytes(8))
            log.unlink(missing_ok=True)
            environment |= {"LD_PRELOAD": str(self.library), "FAULT_ROOT": str(self.folder) + "/", "FAULT_LOG": str(log)}
            environment |= {"FAULT_STATE": str(state), "FAULT_CALLS": fault.calls if fault else count}
        if fault:
            number = 0 if fault.error == "KILL" else getattr(errno, fault.error)
            environment |= {"FAULT_AT": str(fault.number), "FAULT_ERROR": str(number), "FAULT_STAYS": str(int(fault.stays))}
        # A file, not a pipe: a worker that hangs would keep it open.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench", *words],
                env=environment,
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = HUNG
            output.seek(0)
            return Result(code, output.read() + (f"it hung for {PATIENCE:g} s" if code == HUNG else ""))

    def run(self, fault: Fault | None = None, count: str = "") -> Result:
        """Run the spec."""
        where = ("--plugins", str(PLUGINS), "--out", str(self.out), "--scale", "cpu", "--jobs", "1", "--no-sound")
        return self.command("run", "toy.yaml", *where, fault=fault, count=count)

    def calls(self) -> list[str]:
        """Calls that the last command made, ``write reports/runs/toy-cpu/run.json`` and the like, in their order."""
        return [line.split(" ", 1)[1] for line in (self.folder / "calls.log").read_text().splitlines()]

    def table(self) -> list[dict[str, str]]:
        """Columns of the table that no clock decides."""
        with (self.run_folder / "report.csv").open(newline="") as file:
            return [{k: v for k, v in row.items() if not any(word in k for word in CLOCKED)} for row in csv.DictReader(file)]

    def results(self) -> dict[str, bytes]:
        """Content of every stored result, by path."""
        patterns = ("targets.npz", "midi/*.mid", "trials/*/samples.npz", "trials/*/midi/*.mid", "trials/*/stages/*.npz")
        files = (file for pattern in patterns for file in self.run_folder.glob(pattern))
        return {file.relative_to(self.run_folder).as_posix(): file.read_bytes() for file in sorted(files)}

    def strangers(self) -> dict[str, str]:
        """Digests of what belongs to the user."""
        files = [self.folder / "toy.yaml", *(self.folder / "mine").rglob("*")]
        return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    def left(self) -> list[str]:
        """Temporary files and processes that should not be there."""
        files = [str(file) for place in (self.out, self.folder / "cache") for file in place.rglob(".*.tmp")]
        running = []
        for process in psutil.process_iter():
            try:
                if "bench.runner.worker" in (line := " ".join(process.cmdline())) and str(self.folder) in line:
                    running.append(f"process {process.pid}")
            except psutil.Error:
                continue
        return files + running


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nothing disturbed ends in."""

    table: Sequence[Mapping[str, str]]
    results: Mapping[str, bytes]

    @classmethod
    def of(cls, machine: Machine) -> Undisturbed:
        result = machine.run()
        assert result.code == 0, result.output
        return cls(machine.table(), machine.results())


def faults(calls: Sequence[str], kind: str, errors: Sequence[str], most: int | None = None) -> Iterator[Fault]:
    """List faults of one kind at every such call that an undisturbed run made, or at `most` of them, spread evenly."""
    numbers = range(1, sum(call.startswith(kind) for call in calls) + 1)
    if most is not None and len(numbers) > most:
        numbers = sorted({numbers[round(i * (len(numbers) - 1) / max(most - 1, 1))] for i in range(most)})  # type: ignore[assignment]
    for index, number in enumerate(numbers):
        yield Fault(kind, number, errors[index % len(errors)])


def problems(machine: Machine, fault: Fault, undisturbed: Undisturbed) -> list[str]:
    """Run with a fault, then without, and list what is wrong with what they did and left."""
    wrong = []
    disturbed = machine.run(fault)
    killed = fault.error == "KILL"
    if disturbed.code not in ALLOWED and not (killed and disturbed.code < 0):
        wrong.append(f"exit code {disturbed.code}")
    if "Traceback" in disturbed.output:
        wrong.append("a traceback")
    if disturbed.code == 0 and machine.table() != undisturbed.table:
        wrong.append("exit code 0 with another table")
    wrong += settled(machine, undisturbed)
    return [f"{fault}: {text}" + (f"\n{disturbed.output[-1500:]}" if n == 0 else "") for n, text in enumerate(wrong)]


def settled(machine: Machine, undisturbed: Undisturbed) -> list[str]:
    """Run again undisturbed, and list what differs from a run that nothing ever disturbed."""
    wrong = []
    again = machine.run()
    if again.code != 0:
        wrong.append(f"the same command leaves {again.code}: {again.output[-800:]}")
    else:
        if machine.table() != undisturbed.table:
            wrong.append("the same command ends in another table")
        if machine.results() != undisturbed.results:
            wrong.append("the same command ends in other results")
        checked = machine.command("verify", "toy-cpu", "--out", str(machine.out))
        if checked.code != 0:
            wrong.append(f"bench verify: {checked.output[-400:]}")
    if machine.strangers() != machine.mine:
        wrong.append("files of the user changed")
    wrong += [f"left: {name}" for name in machine.left()]
    return wrong
