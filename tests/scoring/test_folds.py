"""The folds of a trial as one, by hand."""

from __future__ import annotations

import math
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.metrics import Undefined
from bench.metrics.cost import seconds_to_target
from bench.metrics.likelihood import summarize
from bench.music.notes import Notes
from bench.scoring import folds
from bench.scoring.folds import unite
from bench.scoring.table import Row
from bench.storage.outcome import (
    ChordPlans,
    Copying,
    Done,
    Generation,
    Memory,
    Originality,
    Prediction,
    SpeedReference,
    Stage,
    Training,
)
from bench.storage.samples import Samples, unite_samples

MUSIC = Notes.from_columns([0.0], [0.5], [60], [64])


def samples(fold: int, piece: int) -> Samples:
    sums = np.full((1, 4), -math.log(2) * fold)
    return Samples({(piece, 0): MUSIC}, sums, np.array([fold]), np.array([piece + 10]))


def outcome(fold: int, piece: int, *, stopped: str = "early", resumed: int = 0) -> Done:
    epoch = {"epoch": 1, "seconds": 1.0 * fold, "validation_bits": 10.0 + fold}
    plan = {"key": "CD"[fold - 1]}
    return Done(
        key=f"fold {fold}",
        status="done",
        training=Training(
            seconds=2.0 * fold,
            core_seconds=4.0 * fold,
            joules=50.0 * fold,
            epochs=3 * fold,
            notes=100,
            updates=20 * fold,
            notes_per_second=50 / fold,
            best_epoch=fold,
            best_validation_bits=10.0 + fold,
            stopped=stopped,
            resumed=resumed,
            history=(epoch,),
        ),
        generation=Generation(seconds=1.0, notes=30, notes_per_second=30.0),
        likelihood=summarize(samples(fold, piece), "exact"),
        facts={"parameters": 10 * fold, "precision": "float32", "peak_gpu_bytes": 5 * fold, "chosen": fold},
        yardstick=SpeedReference(before=fold, after=2 * fold, core=3 * fold),
        originality=Originality(
            samples=Copying(longest_training_run=(fold,), longest_prompt_run=(None,), known_patterns=(0.1 * fold,)),
            targets=Copying(longest_training_run=(fold + 5,), longest_prompt_run=(1,), known_patterns=(None,)),
        ),
        harmony=ChordPlans(key_from="the prompt", plans=(plan,), plan_of_piece=(0,)),
        pieces=(piece,),
        memory=Memory(peak_bytes=100 * fold),
        remarks=("odd",),
    )


@pytest.fixture
def whole() -> Done:
    """Two folds as one: the first fold's piece stands after the second's."""
    parts = [outcome(1, 1), outcome(2, 0, stopped="budget", resumed=2)]
    return unite(parts, [1, 2], unite_samples([samples(1, 1), samples(2, 0)]))


def test_a_training_is_the_mean_of_its_folds(whole: Done) -> None:
    training = whole.training
    assert training.model_dump(exclude={"history", "folds", "fold"}) == {
        "seconds": 3.0,
        "core_seconds": 6.0,
        "joules": 75.0,
        "epochs": 4.5,
        "notes": 100.0,
        "updates": 30.0,
        "best_epoch": 1.5,
        "best_validation_bits": 11.5,
        "notes_per_second": 200 / 6,
        "stopped": "mixed",
        "resumed": 2,
        "share": None,
    }
    assert [(e["fold"], e["epoch"], e["seconds"]) for e in training.history] == [(1, 1, 1.0), (2, 1, 2.0)]
    assert [(f.fold, f.epochs, f.stopped, f.history) for f in training.folds] == [(1, 3, "early", ()), (2, 6, "budget", ())]


@pytest.mark.parametrize("odd", [0, 1])
def test_what_one_fold_measures_otherwise_the_whole_does(odd: int) -> None:
    """As of a bound, or of bits over other classes; those of the first fold counted."""
    parts = [outcome(1, 1), outcome(2, 0)]
    likelihood = parts[odd].likelihood
    assert likelihood is not None
    parts[odd] = parts[odd].model_copy(
        update={"classes": (16, 16), "likelihood": likelihood.model_copy(update={"kind": "bound"})}
    )
    parts[1 - odd] = parts[1 - odd].model_copy(update={"classes": (64, 64)})
    both = unite(parts, [1, 2], unite_samples([samples(1, 1), samples(2, 0)]))
    assert both.classes == (16, 16, 64, 64)
    assert both.likelihood is not None
    assert both.likelihood.kind == "bound"


def test_an_environment_names_what_differs_between_folds() -> None:
    ran = [{"cpu": "Z80", "host": "b", "numpy": "2.0", "threads": 1}, {"cpu": "6502", "host": "a", "numpy": "2.0", "threads": 2}]
    parts = [outcome(i, 2 - i).model_copy(update={"provenance": one}) for i, one in enumerate(ran, 1)]
    both = unite(parts, [1, 2], unite_samples([samples(1, 1), samples(2, 0)]))
    assert both.provenance == {"cpu": "6502; Z80", "host": "a; b", "numpy": "2.0", "threads": "1; 2"}


def test_folds_on_several_machines_are_of_several_kinds() -> None:
    ran = [{"cpu": "Z80", "threads": 1, "device": "A100"}, {"cpu": "Z80", "threads": 8, "device": "H100"}]
    parts = [outcome(i, 2 - i).model_copy(update={"provenance": one}) for i, one in enumerate(ran, 1)]
    both = unite(parts, [1, 2], unite_samples([samples(1, 1), samples(2, 0)]))
    trial: Any = SimpleNamespace(result=both, trial=SimpleNamespace(device="cuda"), status="done")
    row: Any = SimpleNamespace(done=[trial])
    found = Row.machines.fget(row)  # type: ignore[attr-defined]
    assert {("Z80", 1, "A100"), ("Z80", 8, "H100")} <= found
    trial.trial.device = "cpu"
    assert Row.machines.fget(row) == {("Z80", 1, ""), ("Z80", 8, "")}  # type: ignore[attr-defined]


def test_stages_that_every_fold_has_are_means_over_them() -> None:
    def stage(share: float, by: int) -> Stage:
        return Stage(share=share, updates=10 * by, notes=100 * by, seconds=1.0 * by)

    parts = [
        outcome(1, 1).model_copy(update={"stages": (stage(0.1, 1), stage(0.5, 3))}),
        outcome(2, 0).model_copy(update={"stages": (stage(0.1, 2), stage(0.25, 7), stage(0.5, 4))}),
    ]
    both = unite(parts, [1, 2], unite_samples([samples(1, 1), samples(2, 0)]))
    assert both.stages == (
        Stage(share=0.1, updates=15.0, notes=150.0, seconds=1.5),
        Stage(share=0.5, updates=35.0, notes=350.0, seconds=3.5),
    )


def test_what_is_added_up_and_what_is_the_largest(whole: Done) -> None:
    assert whole.generation == Generation(seconds=2.0, notes=60, notes_per_second=30.0)
    assert whole.memory == Memory(peak_bytes=200)
    assert whole.remarks == ("odd",)
    assert whole.yardstick == SpeedReference(before=1.5, after=3.0, core=4.5)
    assert whole.facts == {
        "parameters": 15.0,
        "precision": "float32",
        "peak_gpu_bytes": 10,
        "by_fold": [{"chosen": 1}, {"chosen": 2}],
    }


def test_what_is_kept_by_piece_is_in_the_order_of_all_pieces(whole: Done) -> None:
    assert whole.originality is not None
    assert whole.originality.samples.longest_training_run == (2, 1)
    assert whole.originality.samples.longest_prompt_run == (None, None)
    assert whole.originality.targets.longest_training_run == (7, 6)
    assert whole.harmony == ChordPlans(key_from="the prompt", plans=({"key": "D"}, {"key": "C"}), plan_of_piece=(0, 1))
    assert whole.pieces is None


def test_bits_are_over_all_notes_of_all_folds(whole: Done) -> None:
    # Sums of 4 fields: fold 1 has 4 bits on 1 note, fold 2 has 8 bits on 2 notes.
    assert whole.likelihood is not None
    assert whole.likelihood.model_dump() == {
        "kind": "exact",
        "pieces": 2,
        "notes": 3,
        "bits_per_note": pytest.approx(4.0),
        "by_field": dict.fromkeys(("pitch", "velocity", "time", "duration"), pytest.approx(1.0)),
    }
    assert summarize(Samples({}), None) is None


def test_samples_are_in_the_order_of_the_pieces() -> None:
    united: Any = unite_samples([samples(1, 1), samples(2, 0)])
    assert sorted(united.notes) == [(0, 0), (1, 0)]
    assert np.array_equal(united.likelihood_piece, [10, 11])
    assert np.array_equal(united.likelihood_notes, [2, 1])


class TestSecondsToTarget:
    def test_the_mean_over_the_folds(self, whole: Done) -> None:
        assert seconds_to_target(whole.training.history, 12.0) == 1.5

    def test_one_fold_that_never_reached_it(self, whole: Done) -> None:
        assert seconds_to_target(whole.training.history, 11.0) == Undefined("the target was not reached in 1 of 2 folds")


def test_a_fold_without_a_likelihood_leaves_the_row_none() -> None:
    """What it lost are the pieces that the model finds impossible: a mean over the others would be too good."""
    predicted = Prediction(unit="event", pieces=1, predictions=40, nats=40.0, notes=20, seconds=9.0)
    parts = [outcome(1, 1).model_copy(update={"prediction": predicted}), outcome(2, 0).model_copy(update={"likelihood": None})]
    both = unite(parts, [1, 2], unite_samples([samples(1, 1), Samples({(0, 0): MUSIC})]))
    assert (both.likelihood, both.prediction) == (None, None)
    complete = unite([parts[0], parts[0]], [1, 2], unite_samples([samples(1, 1), samples(2, 0)]))
    assert complete.prediction is not None
    assert (complete.prediction.predictions, complete.prediction.nats) == (80, 80.0)


def test_a_chord_plan_of_many_pieces_is_written_once() -> None:
    """Its text for each piece took 8 GB of an outcome of 36 kB, packed."""
    pieces, plan = 2000, {"key": "C", "chords": list(range(20_000))}
    parts = [
        outcome(fold, 0).model_copy(
            update={
                "pieces": tuple(range(fold - 1, pieces, 2)),
                "harmony": ChordPlans(key_from="x", plans=(plan,), plan_of_piece=(0,) * (pieces // 2)),
            }
        )
        for fold in (1, 2)
    ]
    tracemalloc.start()
    try:
        united = folds._harmony(parts)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert united == ChordPlans(key_from="x", plans=(plan,), plan_of_piece=(0,) * pieces)


def test_a_fold_lists_its_own_facts_alone() -> None:
    facts = folds._facts([{"of": 1, f"of {fold}": fold, "precision": "float32"} for fold in range(300)])
    assert facts == {"of": 1, "precision": "float32", "by_fold": [{f"of {fold}": fold} for fold in range(300)]}
    assert folds._facts([{"peak_gpu_bytes": None}, {}]) == {"peak_gpu_bytes": None}
    assert folds._facts([{"a": 1}, {}]) == {"by_fold": [{"a": 1}, {}]}


def test_kinds_of_machine_are_no_product_without_bound() -> None:
    parts = "; ".join(f"kind {i}" for i in range(8000))
    trial = SimpleNamespace(trial=SimpleNamespace(device="cuda"))
    trial.result = SimpleNamespace(provenance={"cpu": parts, "device": parts, "threads": "2"})
    row: Any = SimpleNamespace(done=[trial])
    assert len(Row.machines.fget(row)) == 1000  # type: ignore[attr-defined]
