"""What a stored record refuses, so that nothing that reads it has to look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.errors import DataError
from bench.storage.files import FORMAT, write_json
from bench.storage.outcome import OUTCOME, ChordPlans, Copying, Done, Memory
from bench.storage.run_folder import RunFolder

DONE: dict[str, Any] = {
    "key": "k",
    "status": "done",
    "training": {},
    "generation": {},
    "likelihood": None,
    "facts": {},
    "memory": {},
}
BITS = {"kind": "exact", "pieces": 1, "notes": 2, "bits_per_note": 4.0, "by_field": dict.fromkeys("abcd", 1.0)}
RUN: dict[str, Any] = {
    "format": FORMAT,
    "spec": {"title": "A", "dataset": {"name": "four"}, "protocol": {"notes": 4}, "seeds": [0]},
    "scale": "cpu",
    "call": {},
    "dataset": {"title": "Four", "license": "none"},
    "trials": [{"key": "k", "trial": {"system": "lstm", "kind": "model", "seed": 0}}],
    "provenance": {},
}


def test_memory_may_be_a_fraction_of_a_byte() -> None:
    outcome = OUTCOME.validate_python(DONE | {"memory": {"peak_bytes": 1, "peak_gpu_bytes": 1234.5}})
    assert outcome.memory == Memory(peak_bytes=1, peak_gpu_bytes=1234.5)


@pytest.mark.parametrize(
    "damage",
    [
        {"facts": {"parameters": "x"}},
        {"likelihood": BITS},  # fields that no note has
        {"likelihood": BITS | {"kind": "exakt"}},
        {"training": {"stopped": "tired"}},
        {"harmony": {"key_from": "given", "plans": [], "plan_of_piece": [0]}},
        {"status": "half done"},
    ],
)
def test_a_damaged_outcome_counts_as_none(tmp_path: Path, damage: dict[str, Any]) -> None:
    run = RunFolder(tmp_path)
    file = run.trial_dir("k") / "outcome.json"
    write_json(file, {"format": FORMAT, **DONE})
    assert isinstance(run.outcome("k"), Done)
    write_json(file, {"format": FORMAT, **DONE, **damage})
    assert run.outcome("k") is None


FOLD = {"number": 1, "test": [0], "validation": [1]}


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        ({"trials": [{"key": "k", "trial": {}}]}, "trials.0.trial: value error, system is missing"),
        ({"trials": [{"trial": {}}]}, "trials.0.key: this is missing"),
        ({"spec": {"title": "A"}}, "spec: value error, dataset: this is missing"),
        ({"spec": RUN["spec"] | {"protocol": {}}}, "spec: value error, protocol.notes: this is missing"),
        ({"spec": RUN["spec"] | {"protocol": {"notes": 10**30}}}, "spec: value error, protocol.notes: input should be less than"),
        (
            {"spec": RUN["spec"] | {"protocol": {"notes": 4, "seconds": [1]}}},
            "spec: value error, protocol.seconds: input should",
        ),
        ({"spec": RUN["spec"] | {"target": 1e308}}, "spec: value error, target: input should be less than"),
        ({"spec": RUN["spec"] | {"tuned": {"lstm": {}}}}, "spec: value error, tuned.lstm.trials: this is missing"),
        ({"dataset": {"title": "", "license": "", "entropy": {}}}, "dataset.entropy: value error, total is missing"),
        (
            {"spec": RUN["spec"] | {"dataset": {"name": "four", "options": "x"}}},
            "spec: value error, dataset.options: input",
        ),
        ({"dataset": {"title": "", "license": "", "notes": {"test": 1}}}, "dataset.notes: value error, train is missing"),
        ({"dataset": {"title": "Four"}}, "dataset.license: this is missing"),
        (
            {"dataset": {"title": "", "license": "", "folds": {"asked": 2, "too_short": 0, "folds": [FOLD, FOLD]}}},
            "dataset: value error, it has folds, and no numbers of their pieces and notes",
        ),
    ],
)
def test_a_damaged_run_is_refused_with_its_place(tmp_path: Path, damage: dict[str, Any], place: str) -> None:
    run = RunFolder(tmp_path)
    write_json(tmp_path / "run.json", RUN)
    assert run.read().trials[0].key == "k"
    write_json(tmp_path / "run.json", RUN | damage)
    with pytest.raises(DataError, match=rf"run\.json is damaged: {place}"):
        run.read()


def test_columns_and_plans_belong_together() -> None:
    with pytest.raises(ValidationError, match="differ in length"):
        Copying(longest_training_run=(1,), longest_prompt_run=(), known_patterns=(0.5,))
    with pytest.raises(ValidationError, match="has a plan that is not there"):
        ChordPlans(key_from="given", plans=(), plan_of_piece=(0,))
    rows = [(1, None, 0.5), (2, 3, None)]
    assert Copying.of_rows(rows).rows() == rows
    assert Copying.of_rows([]).rows() == []


def test_a_second_runner_leaves_the_first_ones_files_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with run.lock():
        (tmp_path / ".run.json.1.tmp").write_text("half written")
        with pytest.raises(Exception, match="is working in"), RunFolder(tmp_path).lock():
            pass
        assert (tmp_path / ".run.json.1.tmp").exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = [tmp_path / ".run.json.1.tmp", tmp_path / "midi" / ".target-000.mid.1.tmp"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with RunFolder(tmp_path).lock():
        assert not any(path.exists() for path in left)
