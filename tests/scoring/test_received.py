"""Stored runs whose records are well-formed and hold odd values: each costs its own row at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.metrics import cost, sample_scores
from bench.scoring import score
from bench.scoring.score import score_run
from bench.storage.samples import Samples, write_samples
from tests.report.stored_run import Stored, both, moved

#: A trial that can't be scored must not leave warnings either.
pytestmark = pytest.mark.filterwarnings("error")

_LIKELIHOOD: dict[str, Any] = {
    "likelihood_sum": np.full((2, 4), -5.0),
    "likelihood_notes": np.array([6, 4]),
    "likelihood_piece": np.array([0, 3]),
}


def errors(folder: Path) -> dict[str, str]:
    """Reason of the first trial of each row."""
    return {row.system: row.trials[0].error for row in score_run(folder).rows}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("likelihood_notes", 0, "its samples can't be scored: the number of notes of a likelihood is not above 0"),
        ("likelihood_notes", -6, "its samples can't be scored: the number of notes of a likelihood is not above 0"),
        ("likelihood_sum", np.inf, "its outcome holds what is no finite number in bits_per_note, bits_pitch"),
        ("likelihood_sum", -np.inf, "its outcome holds what is no finite number in bits_per_note, bits_pitch"),
        ("likelihood_sum", -1e308, "its outcome holds what is no finite number in bits_per_note, bits_pitch"),
    ],
)
def test_an_odd_likelihood_costs_its_row(stored: Stored, name: str, value: float, reason: str) -> None:
    columns = {key: column.copy() for key, column in _LIKELIHOOD.items()}
    columns[name].flat[0] = value
    stored.add("median", 0, both(57, 70), kind="reference")
    for system, likelihood in (("lstm", columns), ("gan", _LIKELIHOOD)):
        key = stored.add(system, 0, moved(8), bits=5.0)
        write_samples(stored.run.trial_dir(key) / "samples.npz", Samples(moved(8), **likelihood))
    assert errors(stored.close()) == {"lstm": reason, "gan": "", "median": ""}


@pytest.mark.parametrize(("step", "name"), [("evaluate_set", "descriptor_frechet"), ("evaluate_samples", "ioi_w1")])
def test_a_metric_without_a_finite_number_costs_its_cell(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, step: str, name: str
) -> None:
    measure = getattr(sample_scores, step)

    def broken(*args: object) -> object:
        measured = measure(*args)
        return measured | {name: 1e300} if isinstance(measured, dict) else [values | {name: np.inf} for values in measured]

    monkeypatch.setattr(sample_scores, step, broken)
    stored.add("lstm", 0, moved(8))
    folder = stored.close()
    assert errors(folder) == {"lstm": ""}
    (row,) = score_run(folder).rows
    assert (row.cells[name].value, row.cells[name].reason) == (None, "its value is no finite number")
    assert row.cells["duration_w1"].value is not None


def test_samples_without_number_are_missing(stored: Stored) -> None:
    stored.spec["protocol"] |= {"samples": 10**15}
    stored.add("lstm", 0, moved(8))
    assert errors(stored.close()) == {"lstm": "its samples can't be scored: sample 1 of piece 0 (a) is missing"}


_PLAN = {"key": "C major", "scale": [0, 2, 4, 5, 7, 9, 11], "chords": [[0, 4, 7]], "notes_per_chord": 2}


@pytest.mark.parametrize(
    ("plans", "of_piece", "reason"),
    [
        ([_PLAN], [0], "no plan of chords was stored for this piece"),
        ([{}], [0, 0], "a stored plan of chords is damaged: key: this is missing"),
        ([_PLAN | {"scale": [12]}], [0, 0], "a stored plan of chords is damaged: scale.0: input should be less than 12"),
        ([_PLAN | {"chords": []}], [0, 0], "a stored plan of chords is damaged: chords: tuple should have at least 1 item"),
        (
            [_PLAN | {"notes_per_chord": 0}],
            [0, 0],
            "a stored plan of chords is damaged: notes_per_chord: input should be",
        ),
    ],
)
def test_an_odd_plan_of_chords_costs_what_is_measured_by_it(
    stored: Stored, plans: list[dict[str, Any]], of_piece: list[int], reason: str
) -> None:
    stored.add("lstm", 0, moved(8), harmony={"key_from": "given", "plans": plans, "plan_of_piece": of_piece})
    stored.trials[-1]["trial"]["harmony"] = {"key": "C major"}
    stored.add("gan", 0, moved(8))
    table = score_run(stored.close())
    for row in table.rows:
        assert (row.status, row.cells["pitch_distance"].value) == ("done", 8.0)
        tones = row.trials[0].by_piece["chord_tones"]
        assert str(tones[1].reason).startswith(reason)  # type: ignore[union-attr]


def _broken(*_: object, **__: object) -> dict[str, float]:
    return {"a": 1 / 0}


def test_an_unforeseen_exception_is_a_failed_row_that_names_its_place(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.add("lstm", 0, moved(8))
    stored.add("gan", 0, None, error="out of memory")
    folder = stored.close()
    monkeypatch.setattr(cost, "evaluate", _broken)
    with pytest.raises(ZeroDivisionError):  # in the tests of this project
        score_run(folder)
    monkeypatch.setattr(score, "UNFORESEEN", (Exception,))
    (lstm, gan) = score_run(folder).rows
    assert (lstm.status, gan.status) == ("failed", "failed")
    line = _broken.__code__.co_firstlineno + 1
    assert lstm.trials[0].error == f"could not be scored: ZeroDivisionError: division by zero (test_received.py, line {line})"
