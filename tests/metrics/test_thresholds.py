"""Which threshold counts, and what it allows."""

import pytest

from bench.errors import UsageError
from bench.metrics import METRICS, Metric, cost
from bench.metrics.thresholds import Threshold, choose_all, parse, unknown
from bench.metrics.thresholds import choose as choose_for


def choose(name, rules):
    return choose_for(METRICS[name], rules)


@pytest.mark.parametrize(
    ("text", "threshold"),
    [(0.1, Threshold(0.1)), (0, Threshold(0.0)), ("5%", Threshold(5.0, True)), ("2.5 %", Threshold(2.5, True)), ("off", None)],
)
def test_what_a_spec_may_say(text, threshold):
    assert parse(text) == threshold


@pytest.mark.parametrize("text", [-1, True, None, "5", "five", "-5%", "%", [], float("nan"), float("inf")])
def test_what_it_may_not(text):
    with pytest.raises(ValueError, match="not a threshold"):
        parse(text)


def test_a_percentage_is_of_the_baseline_and_a_number_is_not():
    assert Threshold(5, True).limit(9.6) == pytest.approx(0.48)
    assert Threshold(5, True).limit(-9.6) == pytest.approx(0.48)
    assert Threshold(0.1).limit(9.6) == 0.1
    # 5 % of nothing still is more than rounding.
    assert Threshold(5, True).limit(0.0) == 1e-6


def test_a_name_counts_before_a_pattern_and_the_last_pattern_before_those_above():
    given = {"bits_pitch": 0.2, "bits_*": 0.3, "*": 0.4}
    assert choose("bits_pitch", given) == Threshold(0.2)
    assert choose("bits_time", given) == Threshold(0.4)
    assert choose("bits_time", {"*": 0.4, "bits_*": 0.3}) == Threshold(0.3)


def test_what_a_spec_says_counts_before_every_default():
    assert choose("pitch_distance", {}) == Threshold(8, True, 0.2)
    assert choose("pitch_distance", {"*": "50%"}) == Threshold(50, True, 0.2)
    assert choose("pitch_distance", {"velocity_*": "50%"}) == Threshold(8, True, 0.2)
    assert choose("parameters", {}) is None
    assert choose("pitch_distance", {"pitch_*": "off"}) is None


def test_a_percentage_of_next_to_nothing_is_not_next_to_nothing():
    for given in ({"*": "15%"}, {"empty_beat_rate": "15%"}):
        assert choose("empty_beat_rate", given).limit(0.004) == 0.02
    assert choose("empty_beat_rate", {"*": "15%"}).limit(0.8) == pytest.approx(0.12)
    # What a spec says in the metric's own unit is what counts.
    assert choose("empty_beat_rate", {"*_rate": 0.001}).limit(0.004) == 0.001


def test_no_percentage_of_music_can_be_nothing():
    """By default or as a spec's, but for times and memory, which are never near 0."""
    cost_names = {metric.name for metric in cost.METRICS}
    for name in METRICS:
        threshold = choose(name, {"*": "15%"})
        assert name in cost_names or threshold.floor > 0


def test_every_threshold_of_a_gate():
    found = choose_all([METRICS["bits_pitch"], METRICS["pitch_w1"]], {"*_w1": "off"})
    assert found == {"bits_pitch": Threshold(0.15), "pitch_w1": None}
    assert choose_all([METRICS["bits_pitch"]], None) == {"bits_pitch": Threshold(0.15)}


@pytest.mark.parametrize("gate", [{"*": "-5%"}, {"*": None}, {"*": float("nan")}, ["*"], "5%"])
def test_a_gate_that_no_spec_may_have_is_refused(gate):
    with pytest.raises(UsageError, match="The run's gate"):
        choose_all([METRICS["bits_pitch"]], gate)


def test_every_tolerance_can_be_read_and_these_are_off():
    off = {name for name in METRICS if choose(name, {}) is None}
    assert off == {"epochs", "gpu_energy", "mfu", "parameters", "training_yardsticks", "updates"} | {
        name for name in METRICS if name.startswith("muspy_") or name.endswith(("_real", "_tones"))
    }
    assert choose_for(Metric("tomorrows", "Tomorrow's", "", None, "A new one.", "this suite"), {}) == Threshold(15, True)


def test_a_pattern_that_fits_nothing_is_found():
    assert unknown(["bits_*", "pitch_distance"], METRICS) is None
    assert unknown(["bits_*", "pich_distance"], METRICS) == "pich_distance"
