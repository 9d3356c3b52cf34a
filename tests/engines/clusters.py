"""Real clusters on this machine: Slurm with two nodes, Ray with three."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

SLURM = """\
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={port}
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmUser=root
SlurmdTimeout=10
KillWait=10
ReturnToService=2
MpiDefault=none
MaxArraySize=4
{nodes}
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Cluster:
    """What a test may do to the machines that an engine starts trials on.

    Parameters
    ----------
    engine : str
    options : dict
        Of the engine.
    environment : dict
        Additional environment of bench.
    """

    engine: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def kill_node(self, workers: Sequence[psutil.Process], units: Path) -> bool:
        """Kill a machine that one of these trials' processes runs on, with all that runs there; whether one was found."""
        raise NotImplementedError

    def repair(self) -> None:
        """Bring back what a test killed."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def wait_for(check: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.2)


def _said(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    return done.stdout + done.stderr


class Slurm(Cluster):
    """A controller and two nodes of one core in a folder of their own, with arrays of four elements at most."""

    def __init__(self, folder: Path) -> None:
        configuration = folder / "slurm.conf"
        super().__init__("slurm", {"expires": 8}, {"SLURM_CONF": str(configuration)})
        self.folder = folder
        port, host = free_port(), socket.gethostname()
        nodes = "\n".join(f"NodeName=n{i} NodeHostname={host} Port={free_port()} CPUs=1 State=UNKNOWN" for i in (1, 2))
        configuration.write_text(SLURM.format(host=host, port=port, folder=folder, nodes=nodes))
        for name in ("state", "spool.n1", "spool.n2"):
            (folder / name).mkdir()

    @staticmethod
    def missing() -> str:
        """Say what can't be had here; empty if a cluster can be started."""
        if os.geteuid() != 0:
            return "a Slurm of its own needs root"
        tools = ("slurmctld", "slurmd", "sbatch", "munged")
        return ", ".join(f"no {tool}" for tool in tools if shutil.which(tool) is None)

    def start(self) -> None:
        """Start it, and munge where it doesn't run."""
        if "STATUS:" not in _said("sh", "-c", "munge -n | unmunge"):
            for folder in ("/run/munge", "/var/log/munge", "/var/lib/munge", "/etc/munge"):
                Path(folder).mkdir(exist_ok=True)
                shutil.chown(folder, "munge", "munge")
            key = Path("/etc/munge/munge.key")
            if not key.exists() or not key.stat().st_size:
                key.write_bytes(os.urandom(1024))
                key.chmod(0o400)
                shutil.chown(key, "munge", "munge")
            _said("su", "-s", "/bin/sh", "munge", "-c", "munged")
        self.repair()

    def repair(self) -> None:
        """Start what doesn't run."""
        environment = {**os.environ, **self.environment}
        if not self._pids("slurmctld"):
            _said("slurmctld", environment=environment)
        for node in ("n1", "n2"):
            if not self._pids(f"slurmd.{node}"):
                _said("slurmd", "-N", node, environment=environment)
        try:
            wait_for(lambda: _said("sinfo", "-h", "-o", "%T %D", environment=environment).split() == ["idle", "2"], 90)
        except TimeoutError:
            said = [_said(*command, environment=environment) for command in (("sinfo", "-Nl"), ("squeue", "-al"))]
            raise TimeoutError("\n".join([*said, (self.folder / "slurmctld.log").read_text()[-4000:]])) from None

    def _pids(self, name: str) -> list[psutil.Process]:
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            return [psutil.Process(int((self.folder / f"{name}.pid").read_text()))]
        return []

    def kill_node(self, workers: Sequence[psutil.Process], units: Path) -> bool:
        if not workers:
            return False
        node = workers[0].environ()["SLURMD_NODENAME"]
        (daemon,) = self._pids(f"slurmd.{node}")
        daemon.kill()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURMD_NODENAME") == node:
                    process.kill()
        # The step's own daemon is the parent of the job.
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "slurmstepd" or "slurmstepd" in " ".join(process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.Error):
                    if not process.children():
                        process.kill()
        return True

    def kill_controller(self, units: Path) -> None:
        """Kill the head."""
        # It saves its state within five seconds. If it has forgotten the jobs that it started last, it gives their numbers to
        # others, and the nodes that still run them are drained ("Duplicate jobid") until somebody resumes them.
        time.sleep(6)
        (controller,) = self._pids("slurmctld")
        controller.kill()
        controller.wait(10)

    @contextlib.contextmanager
    def busy_controller(self) -> Iterator[None]:
        """Let the head answer nothing for as long."""
        (controller,) = self._pids("slurmctld")
        controller.suspend()
        try:
            yield
        finally:
            controller.resume()

    def stop(self) -> None:
        """End all of it."""
        for name in ("slurmctld", "slurmd.n1", "slurmd.n2"):
            for process in self._pids(name):
                process.kill()


class Ray(Cluster):
    """A head and two more nodes, of one core each."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        address = f"127.0.0.1:{self.port}"
        super().__init__("ray", {"expires": 8, "address": address}, {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"})
        # Ray's sockets have long names, and a socket's name may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.nodes: list[psutil.Process] = []

    @staticmethod
    def python() -> Path:
        """Interpreter that has Ray, if any has."""
        return Path(os.environ.get("BENCH_PYTHON_RAY") or sys.executable)

    @classmethod
    def missing(cls) -> str:
        """Say what can't be had here; empty if a cluster can be started."""
        return "" if (cls.python().parent / "ray").exists() else f"{cls.python()} has no Ray"

    def start(self) -> None:
        """Start the head, then the others."""
        self._ray("start", "--head", f"--port={self.port}", f"--temp-dir={self.folder}", "--include-dashboard=false")
        for _ in range(2):
            self._ray("start", f"--address=127.0.0.1:{self.port}")
        self.nodes = self._raylets()

    def _ray(self, *arguments: str) -> None:
        environment = {**os.environ, **self.environment, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        said = _said(str(self.python().parent / "ray"), *arguments, "--num-cpus=1", environment=environment)
        assert "Ray runtime started" in said, said

    def _raylets(self) -> list[psutil.Process]:
        found = [p for p in psutil.process_iter(["name", "cmdline"]) if p.info["name"] == "raylet"]
        return [p for p in found if str(self.folder) in " ".join(p.info["cmdline"] or ())]

    def kill_node(self, workers: Sequence[psutil.Process], units: Path) -> bool:
        if not workers:
            return False
        own = self._own(units)
        for worker in workers:
            above = [process.pid for process in worker.parents()]
            for node in self._raylets():
                if node.pid in above and node != own:
                    node.kill()
                    return True
        return False

    def _own(self, units: Path) -> psutil.Process:
        """The node that bench is connected to."""
        ((*_, own),) = [re.findall(r"connected to node (\w+)", (units / "ray.log").read_text())]
        (node,) = [node for node in self._raylets() if f"--node_id={own}" in node.cmdline()]
        return node

    def kill_controller(self, units: Path) -> None:
        """Kill the control store, and the node that bench is connected to."""
        self._own(units).kill()
        for process in self._mine():
            if "gcs_server" in process.name():
                process.kill()

    def repair(self) -> None:
        """Start all anew unless all run."""
        if len(self._raylets()) < 3 or not any("gcs_server" in process.name() for process in self._mine()):
            self.stop()
            self.folder.mkdir(exist_ok=True)
            self.start()

    def _mine(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.folder) in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def stop(self) -> None:
        """End all of it."""
        for process in self._mine():
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Local(Cluster):
    """This machine."""

    def __init__(self) -> None:
        super().__init__("local", {"jobs": 2})


@contextlib.contextmanager
def started(name: str, folder: Path) -> Iterator[Cluster]:
    """Start a cluster and end it with all that runs on it."""
    if name == "local":
        yield Local()
        return
    cluster = Slurm(folder) if name == "slurm" else Ray(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
