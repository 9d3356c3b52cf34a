"""Runs whose files are damaged or incomplete, as a report reads them."""

from __future__ import annotations

import json

import pytest

from bench.errors import DataError
from bench.report import write_reports
from bench.scoring.score import score_run
from bench.storage.files import write_json
from tests.storage.sealed import resealed

from .stored_run import Stored, done, moved, rows, written


def test_missing_targets_are_said(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    (folder / "targets.npz").unlink()
    with pytest.raises(DataError, match=r"targets\.npz is missing"):
        write_reports(folder)


@pytest.mark.parametrize("key", ["spec", "trials", "scale", "call", "dataset", "provenance"])
def test_a_run_file_that_lacks_something_is_said(stored: Stored, key: str) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {name: value for name, value in run.items() if name != key})
    with pytest.raises(DataError, match=rf"run\.json is damaged: {key}: this is missing"):
        write_reports(folder)


@pytest.mark.parametrize("lost", ["status", "facts", "training"])
def test_an_outcome_that_is_not_whole_counts_as_none(stored: Stored, lost: str) -> None:
    file = stored.run.trial_dir(stored.add("lstm", 0, moved(1))) / "outcome.json"
    folder = stored.close()
    outcome = json.loads(file.read_text())
    del outcome[lost]
    write_json(file, outcome)
    assert score_run(folder)["lstm"].status == "not run"


def test_a_target_that_one_seed_missed_has_no_time(stored: Stored) -> None:
    """The mean over the quick seeds alone would flatter a model that seldom gets there."""
    stored.add("lstm", 0, moved(2), bits=15.0)
    late = [{"epoch": 1, "seconds": 30.0, "loss": 9.0, "notes": 1000, "validation_bits": 13.0}]
    stored.add("lstm", 1, moved(2), bits=15.0, training=done(1, 15.0)["training"] | {"history": late})
    cell = score_run(stored.close())["lstm"].cells["seconds_to_target"]
    assert (cell.value, cell.reason) == (None, "the target was not reached (1 of 2 seeds)")


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_an_outcome_that_holds_no_number_is_none(stored: Stored, value: str) -> None:
    key = stored.add("lstm", 0, moved(2), bits=15.0)
    folder = stored.close()
    path = folder / "trials" / key / "outcome.json"
    text = path.read_text()
    seconds = json.loads(text)["training"]["seconds"]
    before, training = text.split('"training"')
    path.write_bytes(resealed(f'{before}"training"{training.replace(f"{seconds},", f"{value},", 1)}'))
    text = written(folder)["report.md"]
    assert "Incomplete: 1 trial failed or did not finish" in text  # such an outcome is read as a damaged one
    assert "it has not finished" in text


def test_bits_with_other_classes_are_not_compared(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), params={"time_classes": 32}, bits=10.0)
    stored.add("ngram", 0, moved(1), kind="reference", bits=20.0)
    lstm, ngram = rows(written(stored.close())["report.csv"])
    assert lstm["bits_per_note"] == "10"
    assert lstm["bits_below_ngram_percent"] == ""
    assert ngram["bits_below_ngram_percent"] == "0"


def test_without_the_row_ngram_bits_are_compared_with_nothing(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), bits=10.0)
    stored.add("markov", 0, moved(1), kind="reference", bits=20.0)
    files = written(stored.close())
    assert "Bits per note" in files["report.md"]
    assert "Fewer bits" not in files["report.md"]
    assert [row["bits_below_ngram_percent"] for row in rows(files["report.csv"])] == ["", ""]
