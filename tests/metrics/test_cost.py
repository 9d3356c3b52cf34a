"""Costs from what a trial stored."""

from __future__ import annotations

import pytest

from bench.metrics import Undefined, Value, cost
from bench.storage.outcome import Done, Generation, Memory, SpeedReference, Training

HISTORY = [
    {"epoch": 1, "seconds": 10.0, "validation_bits": 19.0},
    {"epoch": 2, "seconds": 20.0, "validation_bits": 18.0},
    {"epoch": 3, "seconds": 30.0},
]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (19.0, 10.0),  # at the target counts
        (18.5, 20.0),
        (17.0, Undefined("the target was not reached")),
        (None, Undefined("the spec sets no target")),
    ],
)
def test_seconds_to_target(target: float | None, expected: Value) -> None:
    assert cost.seconds_to_target(HISTORY, target) == expected


def test_seconds_to_target_without_validation_bits() -> None:
    assert cost.seconds_to_target([{"seconds": 1.0, "validation_bits": None}], 5.0) == Undefined("no validation bits were logged")


def test_cost_of_a_trial() -> None:
    outcome = Done(
        status="done",
        key="lstm-0",
        training=Training(
            seconds=40.0, core_seconds=12.5, epochs=3, updates=240, notes_per_second=2000.0, history=tuple(HISTORY)
        ),
        generation=Generation(notes_per_second=400.0),
        likelihood=None,
        memory=Memory(peak_bytes=3 * 2**20, peak_gpu_bytes=None),
        facts={"parameters": 1000},
        yardstick=SpeedReference(before=0.14, after=0.16, core=0.05),
    )
    assert cost.evaluate(outcome, target=18.0) == {
        "training_seconds": 40.0,
        "training_yardsticks": pytest.approx(25.0),  # processor time, on a machine twice as fast as the standard one
        "updates": 240.0,
        "epochs": 3.0,
        "training_notes_per_second": 2000.0,
        "mfu": Undefined("no GPU was used"),
        "seconds_to_target": 20.0,
        "generation_notes_per_second": 400.0,
        "peak_memory": 3.0,
        "peak_gpu_memory": Undefined("no GPU was used"),
        "gpu_energy": Undefined("it was not measured"),
        "parameters": 1000.0,
    }


def test_compute_and_updates_where_they_are_unknown() -> None:
    def measured(training: Training, **more: object) -> tuple[Value, Value]:
        shared = {"status": "done", "key": "k", "generation": Generation(), "likelihood": None, "memory": Memory(), "facts": {}}
        costs = cost.evaluate(Done.model_validate({**shared, "training": training, **more}))
        return costs["training_yardsticks"], costs["updates"]

    trained = Training(seconds=40.0, core_seconds=12.5, epochs=3)
    assert measured(trained) == (Undefined("no yardstick was timed beside it"), Undefined("the model doesn't count them"))
    assert measured(trained, yardstick=SpeedReference(before=0.1, after=0.1))[0] == Undefined("no yardstick was timed beside it")
    yardstick = SpeedReference(before=0.3, after=0.3, core=0.1)
    assert measured(trained, yardstick=yardstick, trial={"device": "cpu"})[0] == pytest.approx(12.5)
    on_gpu = measured(trained, yardstick=yardstick, trial={"device": "cuda"})[0]
    assert on_gpu == Undefined("the yardstick measures a CPU, it was trained on a GPU")
    elsewhere = Undefined("it was trained elsewhere")
    assert measured(Training(seconds=None), yardstick=yardstick) == (elsewhere, elsewhere)


def test_utilization_and_energy_of_a_gpu() -> None:
    def measured(device: str = "NVIDIA H100 80GB HBM3", **facts: object) -> tuple[Value, Value]:
        outcome = Done(
            status="done",
            key="k",
            trial={"device": "cuda"},
            provenance={"device": device, "shares_gpu": facts.pop("shares_gpu", False)},
            training=Training(notes_per_second=1e6, joules=facts.pop("joules", None)),
            generation=Generation(),
            likelihood=None,
            memory=Memory(),
            facts=facts,
        )
        costs = cost.evaluate(outcome)
        return costs["mfu"], costs["gpu_energy"]

    assert measured(flops_per_note=98.9e6, joules=1234.5) == (pytest.approx(10.0), 1234.5)
    assert measured("NVIDIA H100 PCIe", flops_per_note=75.6e6)[0] == pytest.approx(10.0)
    unknown = Undefined("the peak rate of this GPU is not known")
    assert measured("NVIDIA A100-SXM4-40GB MIG 1g.5gb", flops_per_note=1e6)[0] == unknown
    assert measured()[0] == Undefined("the model doesn't state its operations")
    shared = Undefined("other trials used the GPU at the same time")
    assert measured(flops_per_note=1e6, shares_gpu=True) == (shared, Undefined("it was not measured"))
