"""Reports that are rewritten as the trials of a run end."""

from __future__ import annotations

import json
import resource
import threading

import pytest

from bench.errors import BenchError
from bench.report import stamps
from bench.report.watch import watch_run
from bench.storage.files import write_json
from tests.descriptors import few

from .stored_run import Stored, moved


def test_watching_ends_with_the_run(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    assert [p.text for p in watch_run(folder, every=0.01)] == ["1 of 1 trials have ended; the run is finished"]
    assert (folder / "report.html").exists()


def test_watching_counts_a_result_that_is_damaged_as_missing(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    (samples,) = folder.glob("trials/*/samples.npz")
    samples.unlink()
    (progress,) = watch_run(folder, every=0.01)
    assert progress.failed or progress.ended < progress.planned == 1


def test_watching_writes_again_when_a_trial_ends(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("lstm", 1, None)
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {**run, "finished": None})
    looks = watch_run(folder, every=0.05)
    assert next(looks).text == "1 of 2 trials have ended"
    before = stamps(folder)
    failed = {"format": run["format"], "key": "lstm-1", "status": "failed", "error": {"message": "it crashed"}}
    threading.Timer(0.2, write_json, (folder / "trials/lstm-1/outcome.json", failed)).start()
    assert next(looks).text == "2 of 2 trials have ended, 1 failed"
    assert stamps(folder) != before
    assert "it crashed" in (folder / "report.html").read_text()
    write_json(folder / "run.json", run)
    assert next(looks).finished
    assert list(looks) == []


def test_a_machine_that_refuses_for_a_moment_does_not_end_the_watching(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    list(watch_run(folder, every=0.01))  # so that everything is imported
    with few():
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        restore = threading.Timer(0.15, resource.setrlimit, (resource.RLIMIT_NOFILE, (limits[1], limits[1])))
        restore.start()
        assert [p.finished for p in watch_run(folder, every=0.1)] == [True]
    with few(), pytest.raises((BenchError, OSError), match=r"[Tt]oo many"):
        list(watch_run(folder, every=0.01))
