"""Reports that are rewritten as the trials of a run end."""

from __future__ import annotations

import json
import threading

from bench.report.watch import stamps, watch_run
from bench.storage.files import write_json

from .stored_run import Stored, moved


def test_watching_ends_with_the_run(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    assert [p.text for p in watch_run(folder, every=0.01)] == ["1 of 1 trials have ended; the run is finished"]
    assert (folder / "report.html").exists()


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
