"""Bits per note from what a trial stored."""

from __future__ import annotations

from bench.metrics import Undefined, likelihood
from bench.storage.outcome import Likelihood

FIELDS = {"pitch": 5.0, "velocity": 6.0, "time": 4.0, "duration": 3.0}
STORED = Likelihood(kind="exact", pieces=1, notes=10, bits_per_note=18.0, by_field=FIELDS)


def test_likelihood_is_what_was_stored() -> None:
    found = likelihood.evaluate(STORED)
    assert found["bits_per_note"] == 18.0
    assert found["bits_time"] == 4.0


def test_excess_is_above_the_entropy_of_the_source() -> None:
    assert likelihood.evaluate(STORED, {**FIELDS, "total": 17.25})["excess_bits"] == 0.75
    assert likelihood.evaluate(STORED, {**FIELDS, "total": 18.5})["excess_bits"] == -0.5, "few held-out notes may be easy ones"
    assert likelihood.evaluate(STORED)["excess_bits"] == Undefined("the entropy of this music isn't known")


def test_no_likelihood_is_said() -> None:
    assert set(likelihood.evaluate(None).values()) == {Undefined("this family has no likelihood")}
