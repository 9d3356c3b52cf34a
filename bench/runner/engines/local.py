"""Trials side by side on this machine, each a child process of the run's own."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from bench.runner import processes
from bench.runner.engines import engine
from bench.runner.engines.engine import Work
from bench.runner.lease import TAKEOVER, Lease
from bench.runner.processes import Ending, Task
from bench.runner.supervision import Supervisor, trial_task
from bench.runner.unit import make_units, unit_files, waiting
from bench.specs.schema import Scale
from bench.system import hardware


class Engine(engine.Engine):
    """Child processes of this one; they share its cores, and each of its GPUs serves one at a time as far as they suffice."""

    def at_a_time(self, scale: Scale, waiting: int) -> int:
        """One a core or GPU, see :func:`bench.system.hardware.parallel_trials`, unless `jobs` says how many."""
        return max(1, min(waiting, self._most(scale)))

    def threads(self, scale: Scale) -> int:
        """Each trial's part of the cores, however few trials there are: a run that resumes must end in the same table."""
        return max(1, hardware.cores() // self._most(scale))

    def shares_gpu(self, scale: Scale) -> bool:
        """Whether more trials may run at a time than there are GPUs."""
        return self._most(scale) > max(1, len(hardware.gpu_ids()))

    def idle_cores(self, scale: Scale, waiting: int) -> int:
        """Cores that no trial has, as there are fewer trials than could run at a time."""
        few = scale != "gpu" and 0 < waiting < self._most(scale)
        return max(0, hardware.cores() - waiting * self.threads(scale)) if few else 0

    def _most(self, scale: Scale) -> int:
        return self.jobs or hardware.parallel_trials(scale)

    def run(self, work: Work) -> None:
        """See :meth:`bench.runner.engines.engine.Engine.run`."""
        place = work.folder.path / "compiled"
        if not work.jobs:
            processes.remove(place)  # of a run that was killed
            return
        gpus = hardware.gpu_ids() if work.scale == "gpu" else ()
        with processes.private_folder(place) as compiled, contextlib.closing(_Leases(work, self.expires)) as leases:
            supervisor = Supervisor(work.folder, work.on_event)

            def start(task: Task) -> None:
                supervisor.start(task)
                work.on_event(task.job, {"event": "begun"})

            def end(task: Task, ending: Ending) -> bool:
                again = supervisor.end(task, ending)
                if not again:
                    leases.release(task)
                    work.on_event(task.job, {"event": "ended", "seconds": ending.seconds})
                return again

            tasks = [trial_task(job, compiled) for job in work.jobs]
            number = self.at_a_time(work.scale, len(tasks))
            processes.run_tasks(tasks, number, work.signals, start, supervisor.forward, end, gpus, leases.take)


class _Leases:
    """The leases of a run's trials: those that a process elsewhere has are waited for."""

    def __init__(self, work: Work, expires: float) -> None:
        self._work = work
        make_units(work.folder.path, [job["key"] for job in work.jobs])
        self._leases = {job["key"]: Lease(unit_files(work.folder.path, job["key"])[2], expires) for job in work.jobs}
        self._kept: dict[str, contextlib.ExitStack] = {}
        self._told: set[str] = set()

    def take(self, task: Task) -> bool | None:
        """Whether a trial may start: not while another process has it, and not (None) if that one has done it."""
        key = task.job["key"]
        if key in self._kept:  # it starts again
            return True
        if not self._leases[key].take():
            self._tell(task.job, key)
            return False
        self._kept[key] = stack = contextlib.ExitStack()
        # Another process takes over what this one didn't touch, as of a machine that slept: both write the same.
        stack.enter_context(self._leases[key].kept(lambda: None))
        if self._work.folder.is_done(key, self._work.targets):
            self.release(task)
            self._work.on_event(task.job, {"event": "ended", "seconds": 0.0})
            return None
        return True

    def _tell(self, job: Mapping[str, Any], key: str) -> None:
        holder = self._leases[key].holder()
        if key not in self._told and holder is not None:
            self._told.add(key)
            text = waiting(job["label"], self._leases[key], holder)
            self._work.on_event(job, {"event": "message", "text": text})

    def release(self, task: Task) -> None:
        """Give up a trial's lease."""
        self._kept.pop(task.job["key"]).close()

    def close(self) -> None:
        """Give up all."""
        for stack in self._kept.values():
            stack.close()
        with contextlib.suppress(OSError):  # another engine's files are in it
            (self._work.folder.path / "units" / TAKEOVER).unlink(missing_ok=True)
            (self._work.folder.path / "units").rmdir()
