"""What a trial stored of originality, averaged as every value of a piece is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.scoring.score import score_run
from tests.report.stored_run import Stored, both, moved

PROTOCOL = {"prompt": 0, "notes": 4, "pieces": 2, "samples": 2, "seconds": None}


def made() -> dict[tuple[int, int], Any]:
    return {(piece, sample): notes for sample in (0, 1) for (piece, _), notes in both(60 + sample, 80).items()}


def stored_values(runs: list[int], real: list[int]) -> dict[str, Any]:
    def part(values: list[int]) -> dict[str, list[Any]]:
        nothing = [None] * len(values)
        return {"longest_training_run": values, "longest_prompt_run": nothing, "known_patterns": [v / 10 for v in values]}

    return {"samples": part(runs), "targets": part(real)}


def test_samples_then_seeds_then_pieces(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run", protocol=PROTOCOL)
    # In the order of (piece, sample): piece 0 has 1 and 3, piece 1 has 2 and 6.
    stored.add("lstm", 0, made(), originality=stored_values([1, 3, 2, 6], [5, 7]))
    stored.add("lstm", 1, made(), originality=stored_values([4, 4, 4, 4], [5, 7]))
    row = score_run(stored.close())["lstm"]
    assert [dict(t.by_piece["copied_run"]) for t in row.trials] == [{0: 2.0, 1: 4.0}, {0: 4.0, 1: 4.0}]
    cell = row.cells["copied_run"]
    assert (cell.value, cell.seeds, cell.pieces) == (3.5, 2, 2)
    assert row.cells["copied_run_real"].value == 6.0
    assert dict(row.trials[0].by_piece["known_patterns_real"]) == {0: 50.0, 1: 70.0}
    assert row.cells["copied_from_prompt"].value is None
    assert row.cells["copied_from_prompt"].reason == "there is no prompt that it could copy"


def test_a_run_of_an_older_version_is_still_scored(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 0, moved(1))
    row = score_run(stored.close())["lstm"]
    assert row.cells["pitch_distance"].value == 1.0
    assert row.cells["copied_run"].reason == "originality was not measured: the trial was run by an older version"


def test_an_outcome_that_lacks_samples_makes_a_failed_trial(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 0, moved(1), originality=stored_values([1], [1, 1]))
    (trial,) = score_run(stored.close())["lstm"].trials
    assert trial.error == "its samples can't be scored: the outcome's originality says nothing of sample 1 and piece 1"
