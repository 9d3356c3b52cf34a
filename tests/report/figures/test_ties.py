"""Diagrams of the verdict: which models are joined, which references stand among them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from bench.report.figures import ties
from bench.scoring.crossed import Interval
from bench.scoring.ranking import Standing

from ..stored_run import Stored, both, built, many_pieces

ANY = Interval(0.0, 1.0)


@dataclass(frozen=True)
class Pair:
    one: str
    other: str
    differ: bool
    undecided: bool = False
    interval: Interval | None = ANY


@dataclass(frozen=True)
class Fixed:
    """A standing with given verdicts; the models are in the order of their names."""

    between_models: list[Pair]
    hopeless: bool = False
    metric: str = "pitch_distance"
    apart: frozenset[str] = frozenset()

    @cached_property
    def known(self) -> dict[str, Any]:
        names = sorted({name for pair in self.between_models for name in (pair.one, pair.other)})
        cell = type("Cell", (), {"value": 1.0})
        return {name: type("Row", (), {"kind": "model", "cells": {self.metric: cell}}) for name in names}

    def alike(self, pair: Pair) -> bool:
        return not {pair.one, pair.other} & self.apart

    def winner(self, pair: Pair) -> str | None:
        return pair.one if pair.differ else None


def groups(*same: str, models: str, hopeless: bool = False) -> list[str]:
    """Groups of models named by letters, of which the pairs `same` do not differ."""
    pairs = [Pair(a, b, a + b not in same) for i, a in enumerate(models) for b in models[i + 1 :]]
    standing: Any = Fixed(pairs, hopeless)
    return ["".join(group) for group in ties.groups(standing)]


def test_a_group_is_as_large_as_can_be() -> None:
    assert groups("ab", "bc", "ac", models="abcd") == ["abc"]
    assert groups("ab", "bc", models="abc") == ["ab", "bc"]
    assert groups("ac", models="abc") == ["ac"], "the one between them differs from both"
    assert groups(models="abc") == []
    assert groups("ab", models="ab", hopeless=True) == []


def test_many_models_of_which_no_two_differ_are_one_group() -> None:
    models = "".join(chr(0x4E00 + i) for i in range(1100))  # more than functions may call each other
    same = {a + b for a in models for b in models}
    pairs = [Pair(a, b, a + b not in same) for i, a in enumerate(models) for b in models[i + 1 :]]
    standing: Any = Fixed(pairs)
    assert ["".join(group) for group in ties.groups(standing)] == [models]


def test_a_pair_with_too_few_common_pieces_is_not_joined() -> None:
    standing: Any = Fixed([Pair("a", "b", False), Pair("a", "c", False, interval=None), Pair("b", "c", False, interval=None)])
    assert ties.groups(standing) == [["a", "b"]]


def test_of_a_great_many_groups_only_the_first_are_sought() -> None:
    models = "".join(chr(ord("A") + i) for i in range(40))
    differ = {models[i : i + 2] for i in range(0, 40, 2)}  # in pairs: a million groups of twenty
    same = [a + b for a in models for b in models if a + b not in differ]
    assert len(groups(*same, models=models)) == ties.MOST_GROUPS + 1


def test_more_groups_than_have_room_are_counted_in_place_of_bars(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.enlarge(12)
    for name, by in (("lstm", 4), ("gan", 2), ("vae", 3)):
        many_pieces(stored, name, lambda i, by=by: by)
    report = built(stored.close())
    crowd = [[one, other] for one, other in zip(["gan", "vae"] * 20, ["vae", "lstm"] * 20, strict=True)]
    monkeypatch.setattr(ties, "groups", lambda standing: crowd)
    for drawing in ties.gallery(report).drawings:
        assert drawing.label.endswith(f"Models without a significant difference: more than {ties.MOST_GROUPS} groups.")
        assert drawing.caption.endswith("too many for bars.")


def test_columns_that_two_models_have_are_drawn_with_their_scale(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4)
    many_pieces(stored, "gan", lambda i: 2)
    many_pieces(stored, "real", lambda i: 9, "reference")
    many_pieces(stored, "uniform", lambda i: 9, "reference")
    report = built(stored.close())
    pitch, velocity = ties.gallery(report).drawings
    standing: Standing = report.standings["pitch_distance"]
    assert ties.groups(standing) == []
    assert pitch.label.startswith("Dot plot. Average Pitch Distance in semitones, best first: gan 2.00")
    assert "real 9.00" in pitch.label
    assert "uniform" not in pitch.label
    assert pitch.label.endswith("Models without a significant difference: none.")
    assert velocity.label.endswith("Models without a significant difference: lstm, gan.")
    assert "A bar on the right joins models" in ties.gallery(report).note


def test_a_reference_far_off_is_an_arrow_with_its_value(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4)
    many_pieces(stored, "gan", lambda i: 3)
    many_pieces(stored, "real", lambda i: 20, "reference")
    many_pieces(stored, "median", lambda i: 1, "reference")
    pitch = ties.gallery(built(stored.close())).drawings[0].svg
    assert "20.00 ▸" in pitch
    assert "◂ 1.00" in pitch


def test_too_few_pieces_are_said(stored: Stored) -> None:
    stored.add("lstm", 0, both(57, 70))
    stored.add("gan", 0, both(58, 70))
    found = ties.gallery(built(stored.close()))
    assert {drawing.caption for drawing in found.drawings} == {"Too few pieces to test."}
    assert found.note == "The best is on top."


def test_one_model_needs_no_diagram(stored: Stored) -> None:
    stored.add("lstm", 0, both(57, 70))
    assert ties.gallery(built(stored.close())).drawings == []


def test_one_interval_far_wider_than_the_others_is_cut() -> None:
    def row(low: float, value: float, high: float) -> Any:
        cell = type("Cell", (), {"value": value, "interval": Interval(low, high)})
        return type("Row", (), {"kind": "model", "cells": {"pitch_distance": cell}})

    rows = [row(8.9, 9.0, 9.1), row(9.4, 9.5, 9.6), row(-30.0, 10.0, 50.0)]
    # One semitone, the range of the means, beyond them; and 6 % of what is shown. The lower end of the narrow ones is inside.
    low, high = ties._limits(rows, "pitch_distance")
    assert (low, high) == (pytest.approx(8.0 - 0.06 * 3), pytest.approx(11.0 + 0.06 * 3))
    low, high = ties._limits(rows[:2], "pitch_distance")
    assert (low, high) == (pytest.approx(8.9 - 0.06 * 0.7), pytest.approx(9.6 + 0.06 * 0.7))


def test_a_pair_that_a_bound_leaves_undecided_is_not_joined() -> None:
    pairs = [Pair("a", "b", differ=False), Pair("a", "c", differ=False, undecided=True), Pair("b", "c", differ=True)]
    standing: Any = Fixed(pairs)
    assert ties.groups(standing) == [["a", "b"]]


def test_who_was_trained_otherwise_is_not_joined() -> None:
    """Another row than those of the verdict would be said to be like them."""
    pairs = [Pair("a", "b", differ=False), Pair("a", "c", differ=False), Pair("b", "c", differ=False)]
    standing: Any = Fixed(pairs, apart=frozenset("c"))
    assert ties.groups(standing) == [["a", "b"]]
