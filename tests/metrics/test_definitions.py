"""Every metric by hand on small music, and its invariants on any music."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.stats import wasserstein_distance

from bench.api import DataError, Notes
from bench.metrics import METRICS, MODULES, Undefined, Value, cost, likelihood, pitch, table2


def notes(pitches: list[int], velocities: list[int] | None = None, onset: list[float] | None = None) -> Notes:
    n = len(pitches)
    at = np.arange(n) * 0.5 if onset is None else np.asarray(onset)
    return Notes.from_columns(at, np.full(n, 0.25), pitches, velocities or [80] * n)


def value(given: Value) -> float:
    assert not isinstance(given, Undefined), given
    return given


pitches = st.lists(st.integers(0, 127), min_size=1, max_size=40)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Notes, Notes]:
    n = draw(st.integers(1, 40))
    made = [
        notes(
            draw(st.lists(st.integers(0, 127), min_size=n, max_size=n)),
            draw(st.lists(st.integers(1, 127), min_size=n, max_size=n)),
        )
        for _ in range(2)
    ]
    return made[0], made[1]


def test_every_metric_is_explained() -> None:
    assert len(METRICS) == sum(len(module.METRICS) for module in MODULES), "no name stands for two columns"
    for name, metric in METRICS.items():
        assert name == metric.name
        assert name.isidentifier()
        assert metric.title
        assert metric.definition.endswith(".")
        assert metric.source


def test_distances_by_hand() -> None:
    found = table2.evaluate(notes([60, 64, 67], [80, 80, 80]), notes([62, 60, 67], [70, 90, 81]))
    assert found == {"pitch_distance": pytest.approx((2 + 4 + 0) / 3), "velocity_distance": pytest.approx((10 + 10 + 1) / 3)}


def test_distance_of_one_note() -> None:
    assert table2.evaluate(notes([0], [1]), notes([127], [127])) == {"pitch_distance": 127.0, "velocity_distance": 126.0}


def test_a_copy_shifted_by_one_note_looks_bad() -> None:
    scale = [60, 72] * 10
    assert table2.evaluate(notes(scale[1:]), notes(scale[:-1]))["pitch_distance"] == 12


def test_different_numbers_of_notes_are_refused() -> None:
    with pytest.raises(DataError, match="sample of 2 notes can't be compared with a target of 3 notes"):
        table2.evaluate(notes([60, 61]), notes([60, 61, 62]))


def test_no_notes_give_no_number() -> None:
    nothing = notes([])
    assert set(map(type, {**table2.evaluate(nothing, nothing), **pitch.evaluate(nothing, nothing)}.values())) == {Undefined}


def test_seconds_compare_only_the_beginning() -> None:
    generated = notes([60, 61, 62, 63], onset=[5.0, 5.5, 6.9, 7.0])
    real = notes([70, 71, 72, 73], onset=[0.0, 1.0, 1.5, 2.0])
    one, other = table2.aligned(generated, real, seconds=2.0)
    assert (list(one.pitch), list(other.pitch)) == ([60, 61, 62], [70, 71, 72])  # the note at exactly 2 s is outside
    assert table2.evaluate(generated, real, seconds=2.0)["pitch_distance"] == 10


def test_seconds_allow_different_numbers_of_notes() -> None:
    assert table2.evaluate(notes([60, 60]), notes([61, 62, 90]), seconds=90.0)["pitch_distance"] == 1.5


@given(pairs())
def test_distance_is_a_metric(pair: tuple[Notes, Notes]) -> None:
    one, other = pair
    assert set(table2.evaluate(one, one).values()) == {0.0}
    assert table2.evaluate(one, other) == table2.evaluate(other, one)


@given(pitches, st.integers(-20, 20))
def test_transposing_by_k_is_a_distance_of_k(low: list[int], k: int) -> None:
    middle = [20 + p % 88 for p in low]
    one, other = notes(middle), notes([p + k for p in middle])
    assert table2.evaluate(other, one)["pitch_distance"] == abs(k)
    assert pitch.wasserstein1(other.pitch, one.pitch) == pytest.approx(abs(k))
    ratio = pitch.sd_ratio(other, one)
    assert isinstance(ratio, Undefined) if len(set(middle)) == 1 else ratio == pytest.approx(1.0)


def test_pitch_columns_by_hand() -> None:
    found = pitch.evaluate(notes([60, 60, 60, 64], [50, 50, 50, 50]), notes([58, 62, 58, 62], [60, 60, 40, 40]))
    assert found == {
        "pitch_sd_ratio": pytest.approx(math.sqrt(3) / 2),
        "unique_pitches": 2.0,
        "top_pitch_share": 75.0,
        "pitch_w1": pytest.approx((2 + 2 + 2 + 2) / 4),  # sorted: 60 60 60 64 against 58 58 62 62
        "velocity_w1": 10.0,
    }


def test_one_note_has_no_spread() -> None:
    found = pitch.evaluate(notes([60]), notes([62]))
    assert found["pitch_sd_ratio"] == Undefined("the real notes all have one pitch")
    assert (found["unique_pitches"], found["top_pitch_share"], found["pitch_w1"]) == (1.0, 100.0, 2.0)


def test_two_equal_notes_against_varied_ones_have_ratio_zero() -> None:
    assert pitch.sd_ratio(notes([60, 60]), notes([60, 64])) == 0.0


def test_constant_velocity() -> None:
    assert pitch.evaluate(notes([60, 62], [64, 64]), notes([60, 62], [64, 64]))["velocity_w1"] == 0.0


def test_order_is_nothing_to_wasserstein() -> None:
    one = notes([60, 72, 65, 61])
    assert pitch.wasserstein1(one.pitch, one.pitch[::-1]) == 0.0


@given(pitches, pitches)
def test_wasserstein_is_scipys(one: list[int], other: list[int]) -> None:
    found = pitch.wasserstein1(np.array(one, np.uint8), np.array(other, np.uint8))
    assert found == pytest.approx(wasserstein_distance(one, other), abs=1e-9)


@given(pairs())
def test_w1_is_never_above_the_distance(pair: tuple[Notes, Notes]) -> None:
    one, other = pair
    assert pitch.wasserstein1(one.pitch, other.pitch) <= value(table2.evaluate(one, other)["pitch_distance"]) + 1e-9


FIELDS = {"pitch": 5.0, "velocity": 6.0, "time": 4.0, "duration": 3.0}


def test_likelihood_is_what_was_stored() -> None:
    found = likelihood.evaluate({"kind": "exact", "notes": 10, "bits_per_note": 18.0, "by_field": FIELDS})
    assert found["bits_per_note"] == 18.0
    assert found["bits_time"] == 4.0


def test_excess_is_above_the_entropy_of_the_source() -> None:
    stored = {"kind": "exact", "notes": 10, "bits_per_note": 18.0, "by_field": FIELDS}
    assert likelihood.evaluate(stored, {**FIELDS, "total": 17.25})["excess_bits"] == 0.75
    assert likelihood.evaluate(stored, {**FIELDS, "total": 18.5})["excess_bits"] == -0.5, "few held-out notes may be easy ones"
    assert likelihood.evaluate(stored)["excess_bits"] == Undefined("the entropy of this music isn't known")


def test_no_likelihood_is_said() -> None:
    assert set(likelihood.evaluate(None).values()) == {Undefined("this family has no likelihood")}


HISTORY = [{"seconds": 10.0, "validation_bits": 19.0}, {"seconds": 20.0, "validation_bits": 18.0}, {"seconds": 30.0}]


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
    outcome = {
        "training": {"seconds": 12.5, "epochs": 3, "notes_per_second": 2000.0, "history": HISTORY},
        "generation": {"notes_per_second": 400.0},
        "memory": {"peak_bytes": 3 * 2**20, "peak_gpu_bytes": None},
        "facts": {"parameters": 1000},
    }
    assert cost.evaluate(outcome, target=18.0) == {
        "training_seconds": 12.5,
        "epochs": 3.0,
        "training_notes_per_second": 2000.0,
        "seconds_to_target": 20.0,
        "generation_notes_per_second": 400.0,
        "peak_memory": 3.0,
        "peak_gpu_memory": Undefined("no GPU was used"),
        "parameters": 1000.0,
    }
