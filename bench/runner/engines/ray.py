"""Trials as tasks of a Ray cluster.

Ray itself runs in a process of its own (:mod:`bench.runner.engines.ray_driver`): it ends its process when the cluster's head is
lost. A task does no more than start the command of a trial, so a machine of the cluster needs the run's folder, the cache and
the same interpreters at the same paths, and the environment of TensorFlow needs no Ray.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.errors import MachineError, UsageError
from bench.runner.engines.engine import Job, Work
from bench.runner.engines.remote import Cluster, RemoteEngine, State
from bench.runner.unit import command, make_units
from bench.specs.schema import Scale
from bench.system.disk import open_log

#: Seconds for tasks to end after SIGTERM, before the driver's end kills them.
GRACE = 15.0


class Engine(RemoteEngine):
    """Tasks of Ray.

    Parameters
    ----------
    address : str
        Of the cluster, such as ``10.0.0.1:6379``; ``auto`` finds one that was started on this machine, ``local`` starts one.
    gpus : float
        GPUs of a trial at scale gpu; with a part of one, several share it.
    """

    address: str = Field("auto", min_length=1)
    gpus: float = Field(1.0, gt=0)

    def shares_gpu(self, scale: Scale) -> bool:
        """Whether a trial has a part of a GPU."""
        return scale == "gpu" and self.gpus < 1

    @contextlib.contextmanager
    def connect(self, work: Work) -> Iterator[Cluster]:
        """See :class:`bench.runner.engines.remote.RemoteEngine`."""
        units = make_units(work.folder.path, [job["key"] for job in work.jobs], "ray.log")
        python = os.environ.get("BENCH_PYTHON_RAY") or sys.executable
        with open_log(units / "ray.log") as log:
            try:
                driver = subprocess.Popen(
                    [python, "-P", str(Path(__file__).with_name("ray_driver.py")), self.address],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # Ctrl-C is this process's to handle
                )
            except OSError as error:
                raise UsageError(
                    f"{python} can't be started: {error.strerror or error}.",
                    "Set $BENCH_PYTHON_RAY to a Python that has the cluster's version of Ray, or remove it.",
                ) from error
            tasks = Tasks(self, work, driver, units / "ray.log")
            try:
                yield tasks
            finally:
                tasks.close()


class Tasks(Cluster):
    """The tasks of one run; they end with the driver.

    Parameters
    ----------
    made : Engine
    work : Work
    driver : subprocess.Popen
        Process of :mod:`bench.runner.engines.ray_driver`.
    log : Path
        Its stderr.
    """

    def __init__(self, made: Engine, work: Work, driver: subprocess.Popen[str], log: Path) -> None:
        self._engine, self._work, self._driver, self._log = made, work, driver, log
        self._states: dict[str, State] = {}
        #: What the driver said of itself: ``connected``, ``absent`` or ``error``.
        self._said: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._listen, name="ray driver", daemon=True)
        self._reader.start()

    def adopt(self, keys: Sequence[str]) -> set[str]:
        """Nothing is left of an earlier call: tasks end with their driver."""
        return set()

    def submit(self, jobs: Sequence[Job]) -> None:
        """See :class:`bench.runner.engines.remote.Cluster`."""
        gpus = self._engine.gpus if self._work.scale == "gpu" else 0
        run = command(self._work.folder.path)
        for job in jobs:
            key = str(job["key"])
            self._states[key] = State("waiting")
            uses = gpus if job["trial"]["device"] == "cuda" else 0
            most, environment = self._engine.jobs, _environment()
            self._tell(key=key, command=[*run, key], environment=environment, cpus=job["threads"], gpus=uses, most=most)

    def states(self) -> Mapping[str, State]:
        """See :class:`bench.runner.engines.remote.Cluster`."""
        if self._driver.poll() is not None:
            self._reader.join(GRACE)  # what it said last
            if absent := self._said.get("absent"):
                raise UsageError(
                    f"{absent}.", "Run pip install 'midibench[ray]', or let $BENCH_PYTHON_RAY name a Python that has it."
                )
            cluster = f"the Ray cluster at {self._engine.address}"
            fault = f"The connection to {cluster} ended" if "connected" in self._said else f"Can't connect to {cluster}"
            raise MachineError(
                f"{fault}: {self._said.get('error', 'its process was lost')}.",
                f"The same command resumes on a cluster that runs, or with --engine local. See {self._log}.",
            )
        return dict(self._states)

    def cancel(self) -> None:
        """See :class:`bench.runner.engines.remote.Cluster`."""
        self._tell(cancel=True)

    def close(self) -> None:
        """End the driver, and with it every task."""
        with contextlib.suppress(OSError):
            assert self._driver.stdin is not None
            self._driver.stdin.close()
        try:
            self._driver.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()
        self._reader.join(GRACE)

    def _tell(self, **message: Any) -> None:
        assert self._driver.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `states` notices
            self._driver.stdin.write(json.dumps(message) + "\n")
            self._driver.stdin.flush()

    def _listen(self) -> None:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                message = json.loads(line)
                if "key" not in message:
                    self._said |= message
                else:
                    self._states[message["key"]] = State(message["state"], message.get("code"), message.get("reason", ""))


def _environment() -> dict[str, str]:
    """Choose what of this command's environment its trials have too, as Slurm passes it on: bench's place and variables."""
    return {name: value for name, value in os.environ.items() if name == "PYTHONPATH" or name.startswith("BENCH_")}
