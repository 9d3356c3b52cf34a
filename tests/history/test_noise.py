"""What a history tells the gate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.gate.significance import PieceValues, SeedValues, estimate_on_pieces, estimate_on_seeds
from bench.history.entry import Entry
from bench.history.noise import earlier_trainings
from tests.gate.handmade import flat, run, system

from .handmade import entry, row

SIDE = run(lstm=system(pitch_distance=flat(9.0)))  # seeds 0 and 1


def history(*seeds: int, **facts: Any) -> Entry:
    return entry(seeds[0], {"lstm": row({"pitch_distance": [9.0, 9.2, 9.1]}, first_seed=seeds[0], **facts)})


NOW = entry(99, {"lstm": row({"pitch_distance": [9.0, 9.1]})})


def taken(*entries: Entry) -> dict[tuple[str, str], list[list[float]]]:
    return {key: [group.tolist() for group in groups] for key, groups in earlier_trainings(entries, SIDE, SIDE, NOW).items()}


def test_trainings_of_other_seeds() -> None:
    assert taken(history(10), history(20)) == {("lstm", "pitch_distance"): [[9.0, 9.2, 9.1], [9.0, 9.2, 9.1]]}


def test_a_seed_counts_once() -> None:
    assert taken(history(10), history(10)) == {("lstm", "pitch_distance"): [[9.0, 9.2, 9.1]]}
    assert taken(history(0)) == {}  # one seed is left, which shows no noise
    assert taken(history(1)) == {("lstm", "pitch_distance"): [[9.2, 9.1]]}


@pytest.mark.parametrize(
    "other", [{"code": "x"}, {"machine": "x"}, {"definition": "x"}, {"kind": "reference"}, {"beyond_budget": True}]
)
def test_only_of_the_same_row_code_and_machine(other: dict[str, Any]) -> None:
    assert taken(history(10, **other)) == {}


def test_bits_over_other_classes_say_nothing_of_these() -> None:
    values = {"pitch_distance": [9.0, 9.2], "bits_per_note": [8.0, 8.1]}
    now, old = (row(values, first_seed=seed, likelihood="exact 64 64") for seed in (99, 10))
    coarse = replace(old, likelihood="exact 4 4")
    metrics = [
        {name for _, name in earlier_trainings([entry(10, {"lstm": other})], SIDE, SIDE, entry(99, {"lstm": now}))}
        for other in (old, coarse)
    ]
    assert metrics == [{"pitch_distance", "bits_per_note"}, {"pitch_distance"}]


def test_what_bounds_bits_of_events_says_nothing_of_exact_ones() -> None:
    values = {"event_bits_per_note": [8.0, 8.1], "nats_per_event": [3.0, 3.1]}
    now = row(values, first_seed=99, likelihood="exact 200 events")
    likelihoods = ("exact 200 events", "exact 300 events", "bound 200 events")
    metrics = [
        {name for _, name in earlier_trainings([entry(10, {"lstm": old})], SIDE, SIDE, entry(99, {"lstm": now}))}
        for old in (row(values, first_seed=10, likelihood=likelihood) for likelihood in likelihoods)
    ]
    assert metrics == [{"event_bits_per_note", "nats_per_event"}, {"event_bits_per_note"}, set()]


def test_only_on_the_same_music() -> None:
    assert taken(replace(history(10), terms="other")) == {}


def test_nothing_where_code_or_machine_is_not_known() -> None:
    unknown = entry(99, {"lstm": row({"pitch_distance": [9.0]}, code="")})
    assert earlier_trainings([history(10, code="")], SIDE, SIDE, unknown) == {}


def test_neither_times_nor_values_without_a_better_direction() -> None:
    both = row({"training_seconds": [60.0, 61.0], "semitone_clashes": [30.0, 31.0]}, first_seed=10)
    assert taken(entry(10, {"lstm": both})) == {}


def test_earlier_trainings_add_their_degrees_of_freedom() -> None:
    before, now = np.array([9.0, 9.2]), np.array([9.4, 9.6])
    (alone,) = estimate_on_seeds([SeedValues("a", before, now, ratios=False)])
    earlier = (np.array([9.1, 9.3, 9.2]), np.array([5.0, 5.2]))
    (told,) = estimate_on_seeds([SeedValues("a", before, now, ratios=False, earlier=earlier)])
    assert (alone.df, told.df) == (2, 5)
    assert told.change == alone.change
    assert told.p < alone.p
    assert told.reach < alone.reach


def test_earlier_trainings_on_pieces() -> None:
    rng = np.random.default_rng(0)
    before, now = (9 + 0.2 * rng.normal(size=(2, 20)) + np.array([[0.1], [-0.1]]) + up for up in (0.0, 0.4))
    (alone,) = estimate_on_pieces([PieceValues("a", before, now)])
    (told,) = estimate_on_pieces([PieceValues("a", before, now, earlier=(np.array([9.1, 8.9, 9.0, 9.1, 8.9]),))])
    assert told.p < alone.p
    now[0, 3] = np.nan  # earlier means are over all pieces, and say nothing of nineteen of them
    part = [PieceValues("a", before, now, earlier=earlier) for earlier in ((), (np.array([9.1, 8.9, 9.0]),))]
    assert estimate_on_pieces(part[:1]) == estimate_on_pieces(part[1:])


def test_earlier_draws_of_a_pretrained_row_tell_nothing_on_pieces() -> None:
    """They are in the spread of the pieces already; one draw a side is all that it needs."""
    rng = np.random.default_rng(0)
    before, now = (9 + 0.2 * rng.normal(size=(1, 20)) + up for up in (0.0, 0.4))
    (alone,) = estimate_on_pieces([PieceValues("a", before, now, drawn=True)])
    (told,) = estimate_on_pieces([PieceValues("a", before, now, earlier=(np.array([9.5, 8.5, 9.0]),), drawn=True)])
    (trained,) = estimate_on_pieces([PieceValues("a", before, now, earlier=(np.array([9.5, 8.5, 9.0]),))])
    assert told == alone
    assert trained.reach > alone.reach
    assert taken(history(10, pretrained=True)) == {}, "of another row, which is trained here"
