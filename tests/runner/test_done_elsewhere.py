"""A trial that another process finished meanwhile is neither done again nor counted as failed."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.errors import DataError, StoppedError
from bench.runner import unit
from bench.runner.engines import local, remote, slurm
from bench.runner.engines.engine import Job, Work
from bench.runner.engines.remote import Cluster, State
from bench.runner.lease import Holder
from bench.runner.processes import Signals
from bench.runner.supervision import trial_task

from .conftest import PLUGINS, Bench


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


@dataclass
class Ended(Cluster):
    """A cluster that says of every trial that its process ended like this."""

    keys: Sequence[str]
    state: State
    every: ClassVar[float] = 0.05

    def adopt(self, keys: Sequence[str]) -> set[str]:
        return set(keys)

    def submit(self, jobs: Sequence[Job]) -> None:
        raise AssertionError("nothing starts again")

    def states(self) -> Mapping[str, State]:
        return dict.fromkeys(self.keys, self.state)

    def cancel(self) -> None:
        """Nothing is left."""


def test_a_process_that_ended_after_its_result_was_stored_costs_nothing(work: Work) -> None:
    cluster = Ended([str(job["key"]) for job in work.jobs], State("cancelled", reason="CANCELLED"))
    before = {key: (work.folder.trial_dir(key) / "outcome.json").read_bytes() for key in cluster.keys}
    (work.folder.path / "units").mkdir(exist_ok=True)
    remote._Head(slurm.Engine(), work, cluster).run()
    assert {key: (work.folder.trial_dir(key) / "outcome.json").read_bytes() for key in cluster.keys} == before


@dataclass
class Lost(Ended):
    """A cluster that lost all processes; those that it is given again do their trials at once."""

    undone: Mapping[Path, bytes] = field(default_factory=dict)
    submitted: list[list[str]] = field(default_factory=list)

    def submit(self, jobs: Sequence[Job]) -> None:
        self.submitted.append([str(job["key"]) for job in jobs])
        for path, content in self.undone.items():
            path.write_bytes(content)


def test_what_was_lost_together_starts_again_together(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the lease of one tells later that nobody has it: apart, an engine might start one after the other."""
    monkeypatch.setattr(remote, "LOOK", 0.05)
    keys = [str(job["key"]) for job in work.jobs]
    undone = {path: path.read_bytes() for path in (work.folder.trial_dir(key) / "outcome.json" for key in keys)}
    for path in undone:
        path.unlink()
    held = unit.unit_files(work.folder.path, keys[0])[2]
    held.parent.mkdir(exist_ok=True)
    held.write_text(json.dumps({**asdict(Holder.this(1.0)), "where": "another machine"}))
    cluster = Lost(keys, State("ended", 137, "killed"), undone)
    remote._Head(slurm.Engine(expires=1), work, cluster).run()
    assert len(keys) > 1
    assert cluster.submitted == [keys]


@dataclass
class Interrupted(Ended):
    """A cluster that is submitted to while somebody presses Ctrl-C."""

    signals: Signals
    cancelled: bool = False

    def adopt(self, keys: Sequence[str]) -> set[str]:
        return set()

    def submit(self, jobs: Sequence[Job]) -> None:
        self.signals.received.append(signal.SIGINT)

    def cancel(self) -> None:
        self.cancelled = True


def test_ctrl_c_cancels_what_a_detached_run_submits(work: Work) -> None:
    (work.folder.path / "units").mkdir(exist_ok=True)
    cluster = Interrupted([], State("waiting"), work.signals)
    with pytest.raises(StoppedError):
        remote._Head(slurm.Engine(detach=True), work, cluster).run()
    assert cluster.cancelled


def test_a_reason_to_wait_that_comes_back_is_told_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """But one that comes and goes not each time, and one that stays once."""
    keys, events = [str(job["key"]) for job in work.jobs], list[str]()
    head = remote._Head(
        slurm.Engine(), replace(work, on_event=lambda job, event: events.append(event["text"])), Ended(keys, State("running"))
    )

    def told(*reasons: str) -> list[str]:
        events.clear()
        head._tell_why_they_wait({key: State("waiting", reason=reason) for key, reason in zip(keys, reasons, strict=False)})
        return list(events)

    assert told("held", "held") == ["2 trials can't start for now: held"]
    assert told("held", "") == told("", "") == told("held", "") == []
    assert told("held", "down") == ["1 trial can't start for now: down"]
    monkeypatch.setattr(remote, "AGAIN", 0.0)  # it was told five minutes ago
    assert told("held", "down") == ["1 trial can't start for now: held"]
    assert told("held", "down") == []


@pytest.mark.parametrize(
    ("code", "missing"), [(unit.UNSEEN, "python"), (unit.UNSEEN, "plugins"), (unit.UNSEEN, "weights"), (127, "sys.executable")]
)
def test_a_machine_that_lacks_something_ends_the_run(work: Work, code: int, missing: str) -> None:
    """It has it no more when it is asked again. What the cluster says of it, such as where, is told."""
    jobs = [{**job, "weights": "/models/weights.npz"} for job in work.jobs]
    cluster = Ended([str(job["key"]) for job in jobs], State("ended", code, "on n7"))
    (work.folder.path / "units").mkdir(exist_ok=True)
    named = sys.executable if missing == "sys.executable" else str(PLUGINS) if missing == "plugins" else str(jobs[0][missing])
    cluster.avoid = "Leave it out."
    with pytest.raises(
        DataError, match=rf"A machine of the cluster .*{re.escape(named)}.*\(on n7\)\.\nAll of .* Leave it out\.$"
    ):
        remote._Head(slurm.Engine(), replace(work, jobs=jobs), cluster).run()


def test_the_command_of_a_trial_says_what_its_machine_does_not_see(
    work: Work, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter is missing, can't be in a file, or isn't executable; or another place is missing."""
    monkeypatch.chdir(work.folder.path)
    key = str(work.jobs[0]["key"])
    file, _, _ = unit.unit_files(work.folder.path, key)
    file.parent.mkdir(exist_ok=True)
    pythons = ["/nowhere/python", f"{file}/python", str(file)]
    others = [{name: "/nowhere/it"} for name in ("corpus", "weights")] + [{"plugins": [str(PLUGINS), "/nowhere/it"]}]
    for changed in [*({"python": python} for python in pythons), *others]:
        file.write_text(json.dumps({**work.jobs[0], **changed}))
        assert unit.main([str(work.folder.path), key]) == unit.UNSEEN
        assert f"{changed.get('python', '/nowhere/it')} can't be used on " in capfd.readouterr().err


@pytest.mark.parametrize("there", [True, False])
def test_a_trial_runs_where_the_command_was_given(
    work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool
) -> None:
    """Relative paths in a spec begin there; a task of Ray begins where its machine was started."""
    place = tmp_path / "place"
    if there:
        place.mkdir()
    key, seen = str(work.jobs[0]["key"]), list[Path]()
    file, _, _ = unit.unit_files(work.folder.path, key)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**work.jobs[0], "place": str(place)}))
    monkeypatch.setattr(unit.Unit, "run", lambda self, signals: seen.append(Path.cwd()) or 0)
    monkeypatch.setattr(unit, "_stop_with_engine", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert unit.main([os.path.relpath(work.folder.path), key]) == 0, "also where the trial begins in another folder"
    assert seen == [place if there else tmp_path]
