"""What engines have in common that start trials on other machines.

The run's folder is all that they share: a trial's job goes there as ``units/KEY.json``, and what the command
:mod:`bench.runner.unit` reports comes back in ``units/KEY.jsonl``. So nothing depends on this process: after it was killed, the
same command reads on where it left off.
"""

from __future__ import annotations

import abc
import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from bench.errors import BenchError, DataError, MachineError, StoppedError
from bench.formatting import listed, plural
from bench.runner.engines import engine
from bench.runner.engines.engine import Job, Work
from bench.runner.events import EventReader
from bench.runner.lease import Lease
from bench.runner.processes import Signals
from bench.runner.supervision import Supervisor, trial_task
from bench.runner.unit import UNSEEN, shared_places, unit_files
from bench.specs.schema import Scale
from bench.storage.files import write_json
from bench.storage.outcome import Failed, Failure

#: Seconds between two looks at the events of trials.
LOOK = 1.0

#: Seconds in which what another machine wrote must be seen here; NFS caches up to a minute.
LAG = 60.0

#: Seconds before a reason to wait that has come back is told again.
AGAIN = 300.0

#: Exit codes of a shell that finds no command, or may not start it.
UNSTARTED = (126, 127)

#: Times that a trial is submitted before it counts as failed: its machine may be lost.
ATTEMPTS = 3

#: Times in a row that a cluster may leave a question unanswered. Its trials go on meanwhile.
UNANSWERED = 5


class SubmittedError(BenchError):
    """Trials were submitted, and nobody waits for them: no failure."""

    exit_code = 0


class UnansweredError(MachineError):
    """A cluster is too busy to answer; it may answer later."""


@dataclass(frozen=True)
class State:
    """What a cluster says of a trial's process.

    Parameters
    ----------
    kind : {"waiting", "running", "ended", "cancelled"}
        A process that ended without a word is started again, one that somebody cancelled isn't.
    code : int, optional
        Exit code of one that ended.
    reason : str
        The cluster's word for it; of one that waits only what a person may have to remove.
    """

    kind: Literal["waiting", "running", "ended", "cancelled"]
    code: int | None = None
    reason: str = ""


class Cluster(abc.ABC):
    """Connection to a cluster for one run."""

    #: Seconds between two questions for the states.
    every: ClassVar[float] = LOOK

    #: Advice on leaving out one machine.
    avoid: str = ""

    @abc.abstractmethod
    def adopt(self, keys: Sequence[str]) -> set[str]:
        """Take over processes that an earlier call submitted and that haven't ended; return the keys of their trials.

        Raises
        ------
        UnansweredError
            If it is worth asking again.
        """

    @abc.abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit processes, each the command of a trial."""

    @abc.abstractmethod
    def states(self) -> Mapping[str, State]:
        """Look up the state of every process that was submitted or adopted, by key; one that is missing has ended.

        Raises
        ------
        UnansweredError
            If it is worth asking again.
        """

    @abc.abstractmethod
    def cancel(self) -> None:
        """Stop all of the run's, with SIGTERM first, also those that this process doesn't know of."""


class RemoteEngine(engine.Engine):
    """Base class of engines that start trials elsewhere.

    Parameters
    ----------
    cpus : int, optional
        Cores of a trial, which has as many threads; by default 1, at scale gpu 4.
    """

    cpus: int | None = Field(None, ge=1)

    @abc.abstractmethod
    @contextlib.contextmanager
    def connect(self, work: Work) -> Iterator[Cluster]:
        """Connect to the cluster, and release what this process alone used."""

    def at_a_time(self, scale: Scale, waiting: int) -> int:
        """As many as the cluster runs, unless `jobs` says how many."""
        return max(1, min(waiting, self.jobs or waiting))

    def threads(self, scale: Scale) -> int:
        """One a core."""
        return self.cpus or (4 if scale == "gpu" else 1)

    def shares_gpu(self, scale: Scale) -> bool:
        """Each trial has a GPU of its own."""
        return False

    def waits(self) -> bool:
        """Whether the command stays until the trials have ended."""
        return True

    def run(self, work: Work) -> None:
        """See :meth:`bench.runner.engines.engine.Engine.run`."""
        if not work.jobs:
            return
        work.signals.deferred = True
        try:
            with self.connect(work) as cluster:
                _Head(self, work, cluster).run()
        finally:
            work.signals.deferred = False


class _Head:
    """The part of a run in this process: it submits, watches, and judges what ended without a word."""

    def __init__(self, made: RemoteEngine, work: Work, cluster: Cluster) -> None:
        self._engine, self._work, self._cluster = made, work, cluster
        self._left = {str(job["key"]): job for job in work.jobs}
        self._readers: dict[str, EventFile] = {}
        self._attempts = dict.fromkeys(self._left, 1)
        self._gone: dict[str, float] = {}
        self._again: set[str] = set()
        self._leases: dict[str, Lease] = {}
        #: When each reason to wait was told, and which of them no trial has had since.
        self._told: dict[str, float] = {}
        self._lapsed: set[str] = set()
        #: What the cluster said last, when it was asked, and how often it hasn't answered since.
        self._states: Mapping[str, State] = {}
        self._asked, self._unanswered = -math.inf, 0
        self._supervisor = Supervisor(work.folder, work.on_event)

    def run(self) -> None:
        """Run until every trial ended, or until a signal comes: then what was submitted is cancelled, whatever failed besides."""
        signals = self._work.signals
        try:
            self._watch(signals)
        except Exception:
            if not signals.received:
                raise
        if signals.received:
            self._cluster.cancel()
            raise StoppedError(signals.received[0])

    def _watch(self, signals: Signals) -> None:
        adopted = self._adopt(signals)
        if signals.received:
            return
        self._submit([key for key in self._left if key not in adopted])
        for key in adopted:
            self._readers[key] = EventFile(self._file(key))
        if not self._engine.waits() and not signals.received:
            raise SubmittedError(
                f"{len(self._left)} trials are submitted; this command waits for none of them.",
                "The same command without `detach` waits, and writes the report.",
            )
        while self._left and not signals.received:
            if answered := self._ask():
                self._tell_why_they_wait(self._states)
            for key in list(self._left):
                state = self._states.get(key, State("ended"))
                if state.kind != "waiting" and not self._read(key) and answered and key not in self._again:
                    self._judge(key, state)
            self._submit_again()
            if self._left:
                _sleep(LOOK, signals)

    def _adopt(self, signals: Signals) -> set[str]:
        """Take over what an earlier call submitted; ask later and later while the cluster is too busy to name it."""
        for unanswered in range(1, UNANSWERED + 1):
            try:
                return self._cluster.adopt(list(self._left))
            except UnansweredError:
                if unanswered == UNANSWERED or signals.received:
                    raise
                _sleep(self._cluster.every * (1 + unanswered), signals)
        raise AssertionError  # the last round returns or raises

    def _ask(self) -> bool:
        """Ask the cluster for the states if it is time, later and later while it is too busy; return whether it answered."""
        if time.monotonic() - self._asked < self._cluster.every * (1 + self._unanswered):
            return False
        try:
            self._states, self._unanswered = self._cluster.states(), 0
            return True
        except UnansweredError:
            self._unanswered += 1
            if self._unanswered == UNANSWERED:
                raise
            return False
        finally:
            self._asked = time.monotonic()

    def _file(self, key: str) -> Path:
        return unit_files(self._work.folder.path, key)[1]

    def _submit(self, keys: Sequence[str]) -> None:
        for key in keys:
            file, events, _ = unit_files(self._work.folder.path, key)
            events.unlink(missing_ok=True)
            write_json(file, self._left[key])
            self._readers[key] = EventFile(events)
            self._gone.pop(key, None)
        if keys:
            self._cluster.submit([self._left[key] for key in keys])

    def _read(self, key: str) -> bool:
        """Report what a trial's process wrote; return whether that was its end."""
        for event in self._readers[key].events(16):
            self._work.on_event(self._left[key], event)
            if event["event"] == "ended":
                del self._left[key]
                return True
        return False

    def _submit_again(self) -> None:
        """Submit what starts again, once nothing else seems lost that may join it.

        Trials of one lost machine start again side by side: what is submitted later may have to wait for all that was before.
        """
        now, others = time.monotonic(), self._gone.keys() & self._left.keys() - self._again
        if not any(now - self._gone[key] < 2 * self._engine.expires for key in others):  # by then its lease has told
            self._submit([key for key in self._left if key in self._again])
            self._again.clear()

    def _judge(self, key: str, state: State) -> None:
        """Have a trial start again whose process is gone without a word, unless another has it, or that happened too often."""
        if state.kind in ("waiting", "running"):
            self._gone.pop(key, None)
            return
        if state.code == UNSEEN:
            job = self._left[key]
            places = [str(self._work.folder.path), *shared_places(job), str(job["python"])]
            raise DataError(
                f"A machine of the cluster doesn't see one of {listed(places)} ({state.reason}).",
                "All of its machines must see them under these paths: --out DIR, $BENCH_CACHE, --plugins, $BENCH_WEIGHTS, "
                f"$BENCH_PYTHON_<MODULE>. {self._cluster.avoid}".rstrip(),
            )
        if state.code in UNSTARTED:
            raise DataError(
                f"A machine of the cluster can't start {sys.executable} ({state.reason}).",
                "All of its machines must have the Python that this command runs with, under the same path. "
                f"{self._cluster.avoid}".rstrip(),
            )
        # What it wrote last may not be visible here yet; and while its lease is touched, it or another process is at work.
        since = self._gone.setdefault(key, time.monotonic())
        alone = self._leases.setdefault(key, Lease(unit_files(self._work.folder.path, key)[2], self._engine.expires))
        if time.monotonic() - since < (LAG if state.code == 0 else LOOK) or not alone.take():
            return
        alone.release()
        if self._read(key):
            return
        if self._work.folder.is_done(key, self._work.targets):  # its process ended after it had stored its result
            self._work.on_event(self._left.pop(key), {"event": "ended", "seconds": 0.0})
            return
        label, reason = self._left[key]["label"], state.reason or f"exit code {state.code}"
        if state.kind == "cancelled" or self._attempts[key] >= ATTEMPTS:
            self._give_up(key, f"its process was cancelled ({reason})" if state.kind == "cancelled" else self._said(key, reason))
            return
        self._attempts[key] += 1
        text = f"{label}: its process is gone ({reason}); it starts again"
        self._work.on_event(self._left[key], {"event": "message", "text": text})
        self._again.add(key)

    def _tell_why_they_wait(self, states: Mapping[str, State]) -> None:
        """Tell each reason that a person may have to remove, such as a queue that holds them: once, and if it comes back."""
        waiting = Counter(state.reason for state in states.values() if state.kind == "waiting" and state.reason)
        self._lapsed |= self._told.keys() - waiting.keys()
        for reason, number in waiting.items():
            now = time.monotonic()
            if reason not in self._told or (reason in self._lapsed and now - self._told[reason] > AGAIN):
                self._told[reason] = now
                self._lapsed.discard(reason)
                text = f"{plural(number, 'trial')} can't start for now: {reason}"
                self._work.on_event(next(iter(self._left.values())), {"event": "message", "text": text})

    def _said(self, key: str, reason: str) -> str:
        return f"its process was gone {self._attempts[key]} times, at last: {reason}"

    def _give_up(self, key: str, message: str) -> None:
        job = self._left.pop(key)
        failure = Failure(kind="Lost", message=message, transient=True)
        self._supervisor.write_failed(trial_task(job), Failed(key=key, status="failed", error=failure, trial=job["trial"]))
        self._work.on_event(job, {"event": "ended", "seconds": 0.0})


class EventFile(EventReader):
    """Reader of the events in a file that another machine appends to.

    Parameters
    ----------
    file : Path
        It need not exist yet.
    """

    def __init__(self, file: Path, most: int = 1 << 28, longest: int = 1 << 16) -> None:
        self.file, self.most, self.longest = file, most, longest
        self.received = 0
        self.closed = False
        self._line = bytearray()
        self._too_long = False

    def _read(self) -> bytes:
        try:
            # Opened each time: on a shared file system that makes what others wrote visible.
            with self.file.open("rb") as file:
                file.seek(self.received)
                chunk = file.read(1 << 16)
        except FileNotFoundError:
            return b""
        self.received += len(chunk)
        return chunk


def _sleep(seconds: float, signals: Signals) -> None:
    """Wait, or until a signal comes."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not signals.received:
        time.sleep(0.05)
