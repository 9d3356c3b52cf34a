"""Plans, weights and shares, by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics import METRICS, Undefined
from bench.metrics.harmony import evaluate
from bench.music.harmony.form import layout
from bench.music.harmony.plan import Plan
from bench.music.harmony.settings import Form
from bench.music.notes import Notes

#: C major: I, then V, two notes each.
PLAN = Plan("C major", (0, 2, 4, 5, 7, 9, 11), ((0, 4, 7), (7, 11, 2)), 2)
WEIGHTS = {"chord": 3.0, "scale": 1.5, "other": 0.1}


def melody(*pitches):
    n = len(pitches)
    return Notes(np.arange(n) / 2, np.full(n, 0.5), np.array(pitches, np.uint8), np.full(n, 80, np.uint8))


def test_weights_of_a_c_major_chord_in_c_major():
    weights = np.exp(PLAN.log_weights(1, **WEIGHTS)[0])
    c, cis, d, dis, e, f, fis, g, gis, a, ais, b = range(12)
    by_hand = {c: 3, cis: 0.1, d: 1.5, dis: 0.1, e: 3, f: 1.5, fis: 0.1, g: 3, gis: 0.1, a: 1.5, ais: 0.1, b: 1.5}
    np.testing.assert_allclose(weights, [by_hand[pitch % 12] for pitch in range(128)])


def test_a_chord_tone_outside_the_scale_is_a_chord_tone():
    minor = Plan("A minor", (9, 11, 0, 2, 4, 5, 7), ((4, 8, 11),), 1)  # E G♯ B
    assert np.exp(minor.log_weights(1, **WEIGHTS))[0, 68] == pytest.approx(3)


def test_chords_change_every_so_many_notes_and_begin_anew():
    assert PLAN.chord_at(np.arange(9)).tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0]
    weights = PLAN.log_weights(9, **WEIGHTS)
    assert weights.shape == (9, 128)
    np.testing.assert_array_equal(weights[[0, 1, 4, 5, 8]], np.tile(weights[0], (5, 1)))
    # Under V, D (62) is a chord tone and C (60) is not.
    np.testing.assert_allclose(np.exp(weights[2, [60, 62]]), [1.5, 3])


def test_renormalised_probabilities_by_hand():
    # C, D and C sharp equally probable: 3, 1.5 and 0.1 of 4.6.
    p = np.zeros(128)
    p[[60, 62, 61]] = 1 / 3
    with np.errstate(divide="ignore"):
        weighted = np.exp(np.log(p) + PLAN.log_weights(1, **WEIGHTS)[0])
    weighted /= weighted.sum()
    np.testing.assert_allclose(weighted[[60, 62, 61]], [3 / 4.6, 1.5 / 4.6, 0.1 / 4.6])


@st.composite
def plans(draw):
    classes = st.lists(st.integers(0, 11), min_size=1, max_size=7, unique=True).map(tuple)
    return Plan("x", draw(classes), tuple(draw(st.lists(classes, min_size=1, max_size=4))), draw(st.integers(1, 5)))


@given(plans(), st.integers(1, 30), st.permutations([0.1, 1.5, 3.0]))
def test_weights_know_only_pitch_classes(plan, notes, weights):
    found = plan.log_weights(notes, **dict(zip(("chord", "scale", "other"), weights, strict=True)))
    np.testing.assert_array_equal(found[:, 12:], found[:, :-12])
    assert set(np.unique(np.exp(found).round(9))) <= set(weights)


@given(plans(), st.lists(st.integers(0, 127), min_size=1, max_size=40), st.sampled_from([-12, 0, 12]))
def test_shares_are_percentages_that_octaves_leave_alone(plan, pitches, octave):
    moved = [p + octave if 0 <= p + octave <= 127 else p for p in pitches]
    values = evaluate(melody(*pitches), plan)
    assert values == evaluate(melody(*moved), plan)
    assert 0 <= values["chord_tones"] <= values["scale_tones"] <= 100


def test_shares_by_hand():
    # Under I: C and A; under V: C sharp and B. One chord tone each; all but C sharp are in the key.
    assert evaluate(melody(60, 69, 61, 71), PLAN) == {"chord_tones": 50, "scale_tones": 75}


def test_a_transposed_section_is_measured_in_its_own_key():
    # A = C E under I; B = G B under V, 3 semitones up: B flat and D. Then A again.
    where = layout(Form(sections="ABA", a=2, b=2, transpose=3), 6)
    assert evaluate(melody(60, 64, 70, 74, 60, 64), PLAN, where) == {"chord_tones": 100, "scale_tones": 100}
    assert evaluate(melody(60, 64, 67, 71, 60, 64), PLAN, where)["chord_tones"] == pytest.approx(100 * 4 / 6)


def test_no_plan_and_no_notes_are_undefined():
    for values in (evaluate(melody(60), Undefined("no plan")), evaluate(melody(), PLAN)):
        assert values.keys() <= METRICS.keys()
        assert all(isinstance(value, Undefined) for value in values.values())
    assert evaluate(melody(60), Undefined("no plan"))["chord_tones"] == Undefined("no plan")


def test_stored_and_read_again():
    assert Plan.read(PLAN.stored()) == PLAN


def test_every_order_of_weights_is_kept_apart():
    for chord, scale, other in itertools.permutations((3.0, 1.5, 0.1)):
        weights = np.exp(PLAN.log_weights(1, chord=chord, scale=scale, other=other))[0]
        np.testing.assert_allclose(weights[[60, 62, 61]], [chord, scale, other])
