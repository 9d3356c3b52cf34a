"""A report is written over whatever stands in its place, and verification opens nothing outside of the run and the cache."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.report import REPORTS, write_reports
from bench.sound.clips import sources
from bench.storage.files import read_json, write_json
from bench.storage.run_folder import RunFolder
from bench.verification import verify_run

from .stored_run import Stored, example, moved, rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return example(tmp_path / "run")


def test_a_folder_in_the_place_of_a_report_is_set_aside(run: Path) -> None:
    for name in REPORTS:
        (run / name / "inside").mkdir(parents=True)
    (run / "report.md.bad").mkdir()  # of the last time
    write_reports(run)
    assert all((run / name).is_file() for name in REPORTS)
    assert (run / "report.md.bad-2" / "inside").is_dir()
    assert all((run / f"{name}.bad" / "inside").is_dir() for name in REPORTS if name != "report.md")


def test_what_is_said_of_a_family_is_shortened(run: Path) -> None:
    """It stands in each of its rows: a megabyte in a run of others made reports of 305 MB."""
    value = read_json(run / "run.json")
    value["headers"]["lstm"] = {"FEATURES": "f" * 10**5}
    write_json(run / "run.json", value)
    write_reports(run)
    for name in REPORTS:
        text = (run / name).read_text()
        assert "f" * 1001 not in text
    assert "f" * 900 in (run / "report.md").read_text()


def test_a_folder_in_the_place_of_a_target_is_no_target(run: Path) -> None:
    (run / "midi" / "target-000.mid").mkdir(parents=True)
    (run / "midi" / "target-001.mid").write_bytes(b"")
    assert {source.piece for source in sources(run)} == {1}
    write_reports(run)
    assert "is not a file of its own" in {f.part: f.fault for f in verify_run(run)}["midi/target-000.mid"]


def test_a_file_in_the_place_of_the_midi_files_is_no_folder(run: Path) -> None:
    (run / "midi").write_bytes(b"")
    write_reports(run)
    assert {f.part: f.fault for f in verify_run(run)}["midi/target-000.mid"] == "it is missing"


def test_verification_opens_only_the_cache(run: Path, tmp_path: Path) -> None:
    """What run.json names elsewhere is not even looked at: here a data set that is not one."""
    name = f"four-{'0' * 16}.npy"
    for place in ("elsewhere", "cache/corpora"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / name).write_bytes(b"not a corpus")
    folder, cache = RunFolder(run), tmp_path / "cache"
    record = folder.read()

    def looked_at(corpus: Path) -> bool:
        folder.write(record.change(dataset=record.dataset.model_copy(update={"corpus": str(corpus)})))
        return any(f.part == "the parsed dataset" and f.fault for f in verify_run(run, [cache]))

    assert looked_at(tmp_path / "old" / "cache" / "corpora" / name)  # the cache was moved
    (cache / "corpora" / name).unlink()
    assert not looked_at(tmp_path / "elsewhere" / name)
    assert not looked_at(tmp_path / "elsewhere" / "..")


def _outcome(run: Path, key: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a trial's outcome; its checksum is right, and JSON's Infinity stays."""
    file = RunFolder(run).trial_dir(key) / "outcome.json"
    stored = json.loads(file.read_bytes())
    del stored["sha256"]
    change(stored)
    content = json.dumps(stored, indent=1).removeprefix("{\n").encode() + b"\n"
    file.write_bytes(b'{"sha256":"%s",\n' % hashlib.sha256(content).hexdigest().encode() + content)


def _evaluation(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda stored: stored["training"]["history"][0].update(values)


@pytest.mark.parametrize(
    "change",
    [
        _evaluation(epoch=math.inf),
        _evaluation(epoch=math.nan),
        _evaluation(epoch=0),
        _evaluation(epoch=1.5),
        _evaluation(epoch=True),
        _evaluation(fold="a"),
        lambda stored: stored["training"].update(seconds=math.inf),
        lambda stored: stored.update(provenance={"device": 5}),
        lambda stored: stored.update(provenance={"cpu": [1]}),
        lambda stored: stored.update(provenance={"threads": "x"}),
        lambda stored: stored.update(provenance={"threads": 10**30}),
        lambda stored: stored.update(provenance={"python": {}}),
        lambda stored: stored["generation"].update(notes=10**30),
        lambda stored: stored["facts"].update(more=math.nan),
        lambda stored: stored["facts"].update(more=_nested(100)),
    ],
)
def test_an_outcome_of_other_types_is_a_failed_row(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    _outcome(run, "lstm-0", change)
    write_reports(run)
    states = {(row["system"], row["seed"]): row["status"] for row in rows((run / "trials.csv").read_text())}
    assert (states["lstm", "0"], states["lstm", "1"]) != ("done", "done")
    assert states["lstm", "1"] == "done"


def test_an_evaluation_may_lack_what_was_not_finite(run: Path) -> None:
    for key in ("lstm-0", "gan-0"):
        _outcome(run, key, _evaluation(notes=None, updates=None, loss=None, seconds=None, learning_rate=1.0))
    write_reports(run)


def _nested(depth: int) -> list[Any]:
    return [] if depth == 1 else [_nested(depth - 1)]


def test_a_protocol_may_leave_out_what_it_does_not_limit(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    for name in ("seconds", "samples"):
        del stored.spec["protocol"][name]
    stored.dataset["notes"] = {}
    stored.add("lstm", 0, moved(8))
    write_reports(stored.close())
