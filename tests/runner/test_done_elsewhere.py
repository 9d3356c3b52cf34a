"""A trial that another process finished meanwhile is neither done again nor counted as failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.runner.engines import local, remote, slurm
from bench.runner.engines.engine import Job, Work
from bench.runner.engines.remote import Cluster, State
from bench.runner.supervision import trial_task

from .conftest import Bench


@pytest.fixture
def work(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> Work:
    """What the engine of a run was given, whose trials are done by now."""
    given: list[Work] = []
    run = local.Engine.run
    monkeypatch.setattr(local.Engine, "run", lambda self, work: given.append(work) or run(self, work))  # type: ignore[func-returns-value]
    toy.write({"steady": {}}, references=["median"])
    assert toy.run(reports=False).failed == 0
    return given[0]


def test_the_local_engine_looks_when_a_trial_could_start(work: Work) -> None:
    events: list[Mapping[str, Any]] = []
    leases = local._Leases(replace(work, on_event=lambda job, event: events.append(event)), 90)
    for job in work.jobs:
        assert leases.take(trial_task(job)) is None
    assert [event["event"] for event in events] == ["ended"] * len(work.jobs)
    leases.close()


def test_a_trial_that_starts_again_keeps_its_lease(work: Work) -> None:
    job = work.jobs[0]
    (work.folder.trial_dir(job["key"]) / "outcome.json").unlink()
    leases = local._Leases(work, 90)
    task = trial_task(job)
    assert leases.take(task) is True
    file = leases._leases[job["key"]].file
    assert leases.take(task) is True
    assert file.exists()
    leases.release(task)
    assert not file.exists()
    leases.close()


class Ended(Cluster):
    """A cluster that says of every trial that somebody cancelled it."""

    def adopt(self, keys: Sequence[str]) -> set[str]:
        return set(keys)

    def submit(self, jobs: Sequence[Job]) -> None:
        raise AssertionError("nothing starts again")

    def states(self) -> Mapping[str, State]:
        return dict.fromkeys(self.keys, State("cancelled", reason="CANCELLED"))

    def cancel(self) -> None:
        """Nothing is left."""

    keys: Sequence[str] = ()


def test_a_process_that_ended_after_its_result_was_stored_costs_nothing(work: Work) -> None:
    cluster = Ended()
    cluster.keys = [str(job["key"]) for job in work.jobs]
    before = {key: (work.folder.trial_dir(key) / "outcome.json").read_bytes() for key in cluster.keys}
    (work.folder.path / "units").mkdir(exist_ok=True)
    remote._Head(slurm.Engine(), work, cluster).run()
    assert {key: (work.folder.trial_dir(key) / "outcome.json").read_bytes() for key in cluster.keys} == before
