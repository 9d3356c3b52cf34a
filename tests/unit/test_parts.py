"""The folds of a trial put together, by hand; and what is kept of one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.metrics import Undefined
from bench.metrics.cost import seconds_to_target
from bench.music.notes import Notes
from bench.runner.parts import Part, joined, likelihood_in_words, read_part, write_part
from bench.storage.samples import Samples

MUSIC = Notes.from_columns([0.0], [0.5], [60], [64])


def record(fold: int | None, **changes: Any) -> dict[str, Any]:
    n = fold or 1
    training = {
        "seconds": 2.0 * n,
        "epochs": 3 * n,
        "notes": 100,
        "notes_per_second": 50 / n,
        "best_epoch": n,
        "best_validation_bits": 10.0 + n,
        "stopped": "early",
        "resumed": 0,
        "history": [{"epoch": 1, "seconds": 1.0 * n, "validation_bits": 10.0 + n}],
    }
    found = {
        "training": training | changes.pop("training", {}),
        "generation": {"seconds": 1.0, "notes": 30, "notes_per_second": 30.0, "compile_seconds": None},
        "likelihood": "exact",
        "facts": {"parameters": 10 * n, "precision": "float32", "peak_gpu_bytes": 5 * n, "chosen": n},
        "peak_bytes": 100 * n,
        "remarks": ["odd"],
    }
    return {**({} if fold is None else {"fold": fold}), **found, **changes}


def part(fold: int, piece: int, **changes: Any) -> Part:
    sums = np.full((1, 4), -math.log(2) * fold)
    return Part(Samples({(piece, 0): MUSIC}, sums, np.array([fold]), np.array([piece + 10])), record(fold, **changes))


def test_two_folds_together() -> None:
    # The first fold's piece stands after the second's.
    whole = joined([part(1, 1), part(2, 0, training={"stopped": "epochs", "resumed": 2})])
    training = whole.record["training"]
    assert {k: v for k, v in training.items() if k not in ("history", "folds")} == {
        "seconds": 3.0,
        "epochs": 4.5,
        "notes": 100.0,
        "best_epoch": 1.5,
        "best_validation_bits": 11.5,
        "notes_per_second": 200 / 6,
        "stopped": "mixed",
        "resumed": 2,
    }
    assert [(e["fold"], e["epoch"], e["seconds"]) for e in training["history"]] == [(1, 1, 1.0), (2, 1, 2.0)]
    assert [(f["fold"], f["epochs"], f["stopped"]) for f in training["folds"]] == [(1, 3, "early"), (2, 6, "epochs")]
    assert "history" not in training["folds"][0]
    assert whole.record["generation"] == {"seconds": 2.0, "notes": 60, "notes_per_second": 30.0, "compile_seconds": None}
    assert whole.record["facts"] == {
        "parameters": 15.0,
        "precision": "float32",
        "peak_gpu_bytes": 10,
        "by_fold": {"chosen": [1, 2]},
    }
    assert (whole.record["peak_bytes"], whole.record["remarks"], whole.record["likelihood"]) == (200, ["odd"], "exact")
    assert sorted(whole.samples.notes) == [(0, 0), (1, 0)]
    assert np.array_equal(whole.samples.likelihood_piece, [10, 11])  # type: ignore[arg-type]
    assert np.array_equal(whole.samples.likelihood_notes, [2, 1])  # type: ignore[arg-type]


def test_bits_are_over_all_notes_of_all_folds() -> None:
    # Sums of 4 fields: fold 1 has 4 bits on 1 note, fold 2 has 8 bits on 2 notes.
    said = likelihood_in_words(joined([part(1, 1), part(2, 0)]).samples, "exact")
    assert said == {
        "kind": "exact",
        "pieces": 2,
        "notes": 3,
        "bits_per_note": pytest.approx(4.0),
        "by_field": dict.fromkeys(("pitch", "velocity", "time", "duration"), pytest.approx(1.0)),
    }
    assert likelihood_in_words(Samples({}), None) is None


def test_one_part_without_a_fold_is_left_alone() -> None:
    only = Part(Samples({}), record(None))
    assert joined([only]) is only


def test_a_fold_is_read_back(tmp_path: Path) -> None:
    write_part(tmp_path, "key", 1, part(1, 3))
    found = read_part(tmp_path, "key", 1)
    assert found is not None
    assert found.samples.notes == {(3, 0): MUSIC}
    assert found.record["training"] == record(1)["training"]


@pytest.mark.parametrize("left", ["nothing", "no samples", "torn samples", "torn record"])
def test_what_is_not_whole_is_no_fold(tmp_path: Path, left: str) -> None:
    write_part(tmp_path, "key", 1, part(1, 3))
    samples, said = tmp_path / "folds" / "fold-01.h5", tmp_path / "folds" / "fold-01.json"
    match left:
        case "nothing":
            said.unlink()
        case "no samples":
            samples.unlink()
        case "torn samples":
            samples.write_bytes(samples.read_bytes()[:100])
        case "torn record":
            said.write_text(said.read_text()[:100])
    assert read_part(tmp_path, "key", 1) is None


def test_anothers_fold_is_not_read(tmp_path: Path) -> None:
    write_part(tmp_path, "key", 1, part(1, 3))
    assert read_part(tmp_path, "other", 1) is None
    assert read_part(tmp_path, "key", 2) is None


class TestSecondsToTarget:
    HISTORY = joined([part(1, 0), part(2, 1)]).record["training"]["history"]

    def test_the_mean_over_the_folds(self) -> None:
        assert seconds_to_target(self.HISTORY, 12.0) == 1.5

    def test_one_fold_that_never_reached_it(self) -> None:
        assert seconds_to_target(self.HISTORY, 11.0) == Undefined("the target was not reached in 1 of 2 folds")
