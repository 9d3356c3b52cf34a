"""Scoring stored runs: the order of averaging, by hand; failures and gaps."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError, MachineError
from bench.metrics import METRICS, Undefined
from bench.metrics.metric import mean
from bench.scoring.score import score_run, standard_deviation
from bench.storage.run_folder import RunFolder, samples_file
from bench.storage.samples import Samples, write_samples
from bench.system.memory import own_process
from tests.report.stored_run import Stored, both, moved, notes


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path / "run")


def test_seeds_are_averaged_within_a_piece_then_pieces(stored: Stored) -> None:
    # Constant 60 against 60 62 64 66 is 3 on average, against 50 50 54 54 it is 8.
    stored.add("lstm", 0, both(60, 80), bits=10.0)
    stored.add("lstm", 1, moved(1), bits=12.0)
    row = score_run(stored.close())["lstm"]
    cell = row.cells["pitch_distance"]
    assert cell.value == pytest.approx(((3 + 1) / 2 + (8 + 1) / 2) / 2)
    assert cell.seed_sd == pytest.approx(standard_deviation([5.5, 1.0]))
    assert (cell.seeds, cell.pieces) == (2, 2)
    bits = row.cells["bits_per_note"]
    assert (bits.value, bits.seed_sd, bits.seeds, bits.pieces) == (11.0, pytest.approx(2**0.5), 2, 0)
    assert row.cells["training_seconds"].value == 60.5


def test_samples_of_a_piece_are_averaged_first(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run", protocol={"prompt": 0, "notes": 4, "pieces": 2, "samples": 2, "seconds": None})
    one, other = moved(2), moved(6)
    stored.add("lstm", 0, {**one, **{(piece, 1): made for (piece, _), made in other.items()}})
    cell = score_run(stored.close())["lstm"].cells["pitch_distance"]
    assert (cell.value, cell.seed_sd, cell.pieces) == (4.0, None, 2)


def test_a_failed_trial_adds_to_no_number(stored: Stored) -> None:
    stored.add("lstm", 0, moved(2))
    stored.add("lstm", 1, None, error="it crashed")
    row = score_run(stored.close())["lstm"]
    assert row.status == "partly failed"
    assert (row.cells["pitch_distance"].value, row.cells["pitch_distance"].seeds) == (2.0, 1)
    assert row.cells["training_seconds"].value == 60.0
    assert [t.error for t in row.trials] == ["", "it crashed"]


def test_a_row_without_a_trial_that_ended_has_no_number(stored: Stored) -> None:
    stored.add("lstm", 0, None, error="it crashed")
    stored.add("gan", 0, None)
    table = score_run(stored.close())
    assert (table["lstm"].status, table["gan"].status) == ("failed", "not run")
    for row in table.rows:
        assert {cell.value for cell in row.cells.values()} == {None}
        assert row.cells["pitch_distance"].reason == "no trial was finished"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({(0, 0): notes([60] * 4)}, r"sample 0 of piece 1 \(b\) is missing"),
        ({(0, 0): notes([60] * 3), (1, 0): notes([60] * 4)}, r"sample 0 of piece 0 \(a\) has 3 notes, not 4"),
    ],
)
def test_samples_that_lack_something_make_a_failed_trial(stored: Stored, made: object, reason: str) -> None:
    stored.add("lstm", 0, made)  # type: ignore[arg-type]
    (trial,) = score_run(stored.close())["lstm"].trials
    assert trial.status == "failed"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(trial.error)


def test_a_samples_file_that_is_gone_makes_a_failed_trial(stored: Stored) -> None:
    key = stored.add("lstm", 0, moved(1))
    folder = stored.close()
    (folder / "trials" / key / "samples.npz").unlink()
    (trial,) = score_run(folder)["lstm"].trials
    assert trial.error.startswith("its samples can't be scored: ")


def test_a_trial_that_the_memory_has_no_room_for_costs_its_own_row(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    large = stored.add("lstm", 0, moved(1))
    stored.add("gan", 0, moved(1))
    folder = stored.close()
    read = RunFolder.samples

    def refuse(run: RunFolder, *keys: str, stage: float | None = None) -> Samples:
        if large in keys:
            raise MemoryError
        return read(run, *keys, stage=stage)

    monkeypatch.setattr(RunFolder, "samples", refuse)
    table = score_run(folder)
    assert [trial.error for trial in table["lstm"].trials] == ["its samples can't be scored: Out of memory."]
    assert [trial.status for trial in table["gan"].trials] == ["done"]


@pytest.mark.parametrize("lack", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_a_command_that_has_no_more_memory_drops_no_row(stored: Stored, monkeypatch: pytest.MonkeyPatch, lack: Exception) -> None:
    """Where it has a limit of its own, all of its memory is used up: its table would lack rows at random."""
    stored.add("lstm", 0, moved(1))
    folder = stored.close()

    def refuse(run: RunFolder, *keys: str, stage: float | None = None) -> Samples:
        raise lack

    monkeypatch.setattr(RunFolder, "samples", refuse)
    (trial,) = score_run(folder)["lstm"].trials
    assert trial.error.startswith("its samples can't be scored: ")
    with own_process(), pytest.raises(MachineError, match="Out of memory: "):
        score_run(folder)


def add_with_stage(stored: Stored, **likelihood: object) -> str:
    """A trial with a result at a quarter of its budget: the pitches of each piece backwards, at one velocity."""
    stage = {"share": 0.25, "updates": 200, "notes": 5000, "seconds": 15.0}
    key = stored.add("lstm", 0, moved(1), stages=[stage])
    made = {(0, 0): notes([66, 64, 62, 60]), (1, 0): notes([54, 54, 50, 50])}
    path = samples_file(stored.run.trial_dir(key), 0.25)
    path.parent.mkdir()
    write_samples(path, Samples(made, **likelihood))  # type: ignore[arg-type]
    return key


def test_a_stage_is_scored_by_its_own_samples(stored: Stored) -> None:
    bits = np.array([[20.0, 5, 5, 10], [10, 0, 0, 0]])
    add_with_stage(
        stored,
        likelihood_sum=-math.log(2) * bits,
        likelihood_notes=np.array([6, 4]),
        likelihood_piece=np.array([0, 3]),
    )
    row = score_run(stored.close())["lstm"]
    assert row.cells["pitch_distance"].value == 1.0
    (stage,) = row.trials[0].stages
    assert (stage.share, stage.updates, stage.notes, stage.seconds) == (0.25, 200, 5000, 15.0)
    assert stage.values == pytest.approx(
        {
            "pitch_distance": 4.0,  # (6 + 2 + 2 + 6) / 4 and (4 + 4 + 4 + 4) / 4
            "pitch_w1": 0.0,  # the order doesn't count
            "velocity_distance": 15.0,  # 80 against 70 80 90 100 is 10, against 60 it is 20
            "velocity_w1": 15.0,
            "bits_per_note": 5.0,
            "bits_pitch": 3.0,
        }
    )


def test_a_stage_without_a_likelihood_has_no_bits(stored: Stored) -> None:
    add_with_stage(stored)
    (stage,) = score_run(stored.close())["lstm"].trials[0].stages
    assert stage.values["pitch_distance"] == 4.0
    assert stage.values["bits_per_note"] == stage.values["bits_pitch"] == Undefined("this family has no likelihood")


def test_bits_of_some_seeds_are_no_bits_of_the_row(stored: Stored) -> None:
    """A mean over the others would leave out a seed that finds held-out music impossible."""
    for seed, bits in ((0, 5.0), (1, None)):
        stored.add("lstm", seed, moved(1), bits=bits)
    cells = score_run(stored.close())["lstm"].cells
    assert cells["pitch_distance"].value == 1.0
    assert cells["bits_per_note"].value is None
    assert cells["bits_per_note"].reason == "this family has no likelihood (1 of 2 seeds)"


def test_the_whole_budget_is_scored_by_the_first_sample_too(tmp_path: Path) -> None:
    """First samples a semitone off, second ones three: the trial's mean is 2, the whole of the budget beside its stages 1."""
    protocol = {"prompt": 2, "notes": 4, "pieces": 2, "samples": 2, "seconds": None}
    stored = Stored(tmp_path / "run", budget={"compute": {"updates": 800}}, protocol=protocol)
    second = {(piece, 1): notes for (piece, _), notes in moved(3).items()}
    spent = {"updates": 800, "notes": 20_000, "seconds": 60.0, "stopped": "budget", "history": [{"epoch": 1, "share": 1.0}]}
    stored.add("lstm", 0, {**moved(1), **second}, training=spent)
    (trial,) = score_run(stored.close())["lstm"].trials
    (whole,) = trial.stages
    assert trial.values["pitch_distance"] == 2.0
    assert (whole.share, whole.updates, whole.notes, whole.seconds) == (1.0, 800, 20_000, 60.0)
    assert whole.values["pitch_distance"] == 1.0


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no archive")])
def test_a_stage_that_is_gone_or_damaged_costs_itself_alone(stored: Stored, damage: Callable[[Path], object]) -> None:
    key = add_with_stage(stored)
    damage(samples_file(stored.run.trial_dir(key), 0.25))
    (trial,) = score_run(stored.close())["lstm"].trials
    assert (trial.status, trial.stages) == ("done", ())
    assert trial.values["pitch_distance"] == 1


def test_undefined_stays_undefined_with_its_reason(stored: Stored) -> None:
    stored.add("gan", 0, moved(1))
    row = score_run(stored.close())["gan"]
    assert row.cells["bits_per_note"].value is None
    assert row.cells["bits_per_note"].reason == "this family has no likelihood"
    assert row.cells["peak_gpu_memory"].reason == "no GPU was used"


def test_excess_bits_where_the_entropy_is_known(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), bits=10.0)
    stored.add("lstm", 1, moved(1), bits=12.0)
    stored.dataset["entropy"] = {"pitch": 3.0, "velocity": 2.5, "time": 2.5, "duration": 2.0, "total": 10.0}
    cell = score_run(stored.close())["lstm"].cells["excess_bits"]
    assert (cell.value, cell.seed_sd) == (1.0, pytest.approx(2**0.5))


def test_no_excess_bits_where_it_is_not(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), bits=10.0)
    stored.dataset["entropy"] = None
    assert score_run(stored.close())["lstm"].cells["excess_bits"].reason == "the entropy of this music isn't known"


def test_rows_are_models_then_untrained_then_references(stored: Stored) -> None:
    stored.add("median", 0, both(60, 60), kind="reference")
    stored.add("untrained lstm", 0, moved(1), kind="untrained")
    stored.add("lstm", 0, moved(1))
    assert [row.system for row in score_run(stored.close()).rows] == ["lstm", "untrained lstm", "median"]


def test_seconds_of_the_protocol_cut_what_is_compared(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run", protocol={"prompt": 0, "notes": 4, "pieces": 2, "samples": 1, "seconds": 0.75})
    stored.add("lstm", 0, both(60, 80))
    # Only the first two notes of each: 60 62 and 50 50.
    assert score_run(stored.close())["lstm"].cells["pitch_distance"].value == pytest.approx((1 + 10) / 2)


def test_records_are_flat_and_complete(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), bits=10.0)
    (record,) = score_run(stored.close()).records()
    columns = {f"{m}{end}" for m in METRICS for end in ("", "_seed_sd", "_low", "_high")}
    assert {"system", "kind", "status", "seeds", "pieces"} | columns == record.keys()
    assert all(value is None or isinstance(value, str | int | float) for value in record.values())


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run\.json can't be read"):
        score_run(tmp_path)


def test_scoring_needs_nothing_but_the_folder(stored: Stored, tmp_path: Path) -> None:
    stored.add("lstm", 0, moved(1), bits=10.0)
    folder = stored.close()
    moved_to = tmp_path / "elsewhere"
    shutil.move(folder, moved_to)
    assert score_run(moved_to)["lstm"].cells["pitch_distance"].value == 1.0


def test_mean_of_what_is_defined() -> None:
    nothing = Undefined("silence")
    assert mean([1.0, nothing, 3.0]) == 2.0
    assert mean([nothing, Undefined("other")]) == nothing
    assert mean([]) == Undefined("nothing was measured")


def test_standard_deviation_by_hand() -> None:
    assert standard_deviation([2.0, 4.0, 6.0]) == 2.0
    assert standard_deviation([5.0]) is None
