"""Which threshold counts, and what it allows."""

import pytest

from bench.gate.thresholds import DEFAULTS, Threshold, choose, parse, unknown
from bench.metrics import METRICS


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
    assert choose("pitch_distance", {}) == Threshold(5, True)
    assert choose("pitch_distance", {"*": "50%"}) == Threshold(50, True)
    assert choose("pitch_distance", {"velocity_*": "50%"}) == Threshold(5, True)
    assert choose("parameters", {}) is None
    assert choose("pitch_distance", {"pitch_*": "off"}) is None


def test_every_metric_has_a_default_and_every_default_can_be_read():
    off = {name for name in METRICS if choose(name, {}) is None}
    assert off == {"epochs", "parameters"} | {name for name in METRICS if name.startswith("muspy_") or name.endswith("_real")}
    assert choose("a metric of tomorrow", {}) == Threshold(15, True)
    assert [parse(text) for text in DEFAULTS.values()]


def test_a_pattern_that_fits_nothing_is_found():
    assert unknown(["bits_*", "pitch_distance"], METRICS) is None
    assert unknown(["bits_*", "pich_distance"], METRICS) == "pich_distance"
