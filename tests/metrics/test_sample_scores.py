"""Stored scores of samples: reports are the same with them, without them, and with anything else in their place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.metrics import sample_scores
from bench.metrics.sample_scores import FILE, Comparison, store_scores
from bench.report import write_reports
from bench.scoring.score import score_run
from bench.storage.files import read_json, write_json
from bench.storage.samples import Samples, write_samples
from bench.verification import verify_run
from tests.report.stored_run import Stored, both, moved


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two systems, whose scores are stored."""
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 0, both(60, 80), bits=10.0)
    stored.add("gan", 0, moved(1))
    folder = stored.close()
    for trial in trials(folder):
        store_scores(trial, folder / "targets.npz", 1, None)
    return folder


def trials(folder: Path) -> list[Path]:
    return sorted((folder / "trials").iterdir())


def reports(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in write_reports(folder).files}


def remove(trial: Path) -> None:
    (trial / FILE).unlink()


def flip_a_bit(trial: Path) -> None:
    data = bytearray((trial / FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (trial / FILE).write_bytes(data)


def put_a_folder(trial: Path) -> None:
    remove(trial)
    (trial / FILE).mkdir()


def change(**fields: Any) -> Callable[[Path], None]:
    """Rewrite the file, checksum included, with other fields; a field that is a dict is merged into the stored one."""

    def apply(trial: Path) -> None:
        stored = read_json(trial / FILE)
        merged = {name: {**stored[name], **value} if isinstance(value, dict) else value for name, value in fields.items()}
        write_json(trial / FILE, {**stored, **merged})

    return apply


def drop_a_metric(trial: Path) -> None:
    stored = read_json(trial / FILE)
    del stored["by_piece"]["step_ratio"]
    write_json(trial / FILE, stored)


@pytest.mark.parametrize(
    "spoil",
    [
        remove,
        flip_a_bit,
        put_a_folder,
        drop_a_metric,
        change(key="0" * 64, by_piece={"pitch_distance": [9.0, 9.0]}),
        change(format=99),
        change(by_piece={"pitch_distance": [9.0]}),
        change(by_piece={"pitch_distance": [9.0, 1e300]}),
        change(by_piece={"pitch_distance": [9.0, None]}),
        change(by_piece={"pitch_distance": {"0": 9.0, "1": 9.0}}),
        change(by_piece={"unheard_of": [9.0, 9.0]}),
        change(of_set={"mgeval_oa": [1.0]}),
        change(of_set={"mgeval_oa": "x" * 10_000}),
    ],
)
def test_what_can_not_be_used_is_computed_again(run: Path, spoil: Callable[[Path], None]) -> None:
    table = score_run(run)
    for trial in trials(run):
        spoil(trial)
    assert score_run(run) == table


def test_reports_are_the_same_to_the_byte_without_stored_scores(run: Path) -> None:
    stored = reports(run)
    for trial in trials(run):
        remove(trial)
    assert reports(run) == stored


def test_scores_of_other_code_are_not_used(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = score_run(run)
    for trial in trials(run):
        with monkeypatch.context() as patched:
            patched.setattr(sample_scores, "_code", lambda: "other code")
            store_scores(trial, run / "targets.npz", 1, None)
            change(by_piece={"pitch_distance": [9.0, 9.0]})(trial)
    assert score_run(run) == table


def test_scores_of_other_samples_are_not_used(run: Path) -> None:
    write_samples(run / "trials" / "gan-0" / "samples.npz", Samples(moved(4)))
    assert score_run(run)["gan"].cells["pitch_distance"].value == 4.0


def test_stored_scores_take_the_place_of_computing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = score_run(run)
    monkeypatch.delattr(Comparison, "measure")
    assert score_run(run) == table
    change(by_piece={"pitch_distance": [2.0, "no notes"]})(run / "trials" / "gan-0")
    cell = score_run(run)["gan"].cells["pitch_distance"]
    assert (cell.value, cell.pieces) == (2.0, 1)


def test_the_key_covers_the_code_that_reads_and_measures_notes() -> None:
    code = "import sys, bench.metrics.sample_scores; print(*(name for name in sys.modules if name.startswith('bench.')))"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    others = {name.split(".")[1] for name in names} - {"api", *sample_scores._PACKAGES}
    assert others == {"errors", "config", "formatting", "system"}, "which measure nothing"


@pytest.mark.parametrize(("spoil", "fault"), [(flip_a_bit, "it is damaged"), (put_a_folder, "is not a file of its own")])
def test_verification_names_damaged_scores(run: Path, spoil: Callable[[Path], None], fault: str) -> None:
    trial = run / "trials" / "gan-0"
    parts = {finding.part for finding in verify_run(run) if finding.fault}
    spoil(trial)
    (finding,) = (finding for finding in verify_run(run) if finding.fault and finding.part not in parts)
    assert finding.part == f"trials/gan-0/{FILE}"
    assert fault in finding.fault
    remove(trial) if (trial / FILE).is_file() else (trial / FILE).rmdir()
    assert {finding.part for finding in verify_run(run) if finding.fault} == parts
