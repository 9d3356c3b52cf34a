"""What an engine is given, and what it must do."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from bench.config import Frozen
from bench.runner.lease import EXPIRES
from bench.runner.processes import Signals
from bench.specs.schema import Scale
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Target

Job = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """Trials of a run that are to be done.

    Parameters
    ----------
    folder : RunFolder
    jobs : sequence of mapping
        Inputs of :func:`bench.runner.supervision.trial_task`, in the order in which they should start.
    targets : sequence of Target
        The run's.
    scale : {"smoke", "cpu", "gpu"}
    signals : Signals
    on_event : callable
        Called with a job and each event of its trial: ``begun`` and ``ended`` are the engine's, the others the worker's.
    """

    folder: RunFolder
    jobs: Sequence[Job]
    targets: Sequence[Target]
    scale: Scale
    signals: Signals
    on_event: Callable[[Job, dict[str, Any]], None]


class Engine(Frozen, abc.ABC):
    """Base class; the fields of an engine are its options.

    Parameters
    ----------
    jobs : int, optional
        Trials at a time at most.
    expires : float
        Seconds after which a trial whose machine no longer answers may start elsewhere.
    """

    jobs: int | None = Field(None, ge=1)
    expires: float = Field(EXPIRES, ge=1, le=3600)

    @abc.abstractmethod
    def at_a_time(self, scale: Scale, waiting: int) -> int:
        """How many of the waiting trials run at a time."""

    @abc.abstractmethod
    def threads(self, scale: Scale) -> int:
        """How many threads a trial has."""

    @abc.abstractmethod
    def shares_gpu(self, scale: Scale) -> bool:
        """Whether several trials may compute on one GPU at a time."""

    def idle_cores(self, scale: Scale, waiting: int) -> int:
        """How many cores of this machine are idle because so few trials wait; 0 where they run elsewhere."""
        return 0

    @abc.abstractmethod
    def run(self, work: Work) -> None:
        """Run every trial, each under its lease, and report its beginning, events and end.

        When it returns, each has an outcome, unless trials were only submitted.

        Raises
        ------
        StoppedError
            On a signal, after all that it started was stopped.
        BenchError
            If no trial can be run any more; those that are done stay.
        """
