"""Ranks, verdicts and flags of rows with known values on known pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from scipy.stats import ttest_rel

from bench.api import FIELDS
from bench.metrics import METRICS
from bench.report.flags import flags
from bench.report.pairs import records
from bench.report.tables import row_name
from bench.report.verdict import _clause, _distance_clause
from bench.scoring.crossed import Values
from bench.scoring.ranking import Standing, rank_text
from bench.scoring.score import with_skill
from bench.scoring.table import Cell, Row, TrialScore, mark_classes
from bench.specs.schema import BudgetChoice, DatasetChoice, Protocol
from bench.specs.trials import Trial
from bench.storage.outcome import Done, Generation, Likelihood, Memory, Training

BASE = np.random.default_rng(0).normal(9.0, 1.0, 40)


def cell_of(by_seed: Mapping[int, Mapping[int, float]]) -> Cell:
    by_piece = Values(by_seed).by_piece
    means = {seed: float(np.mean(list(values.values()))) for seed, values in by_seed.items()}
    sd = float(np.std(list(means.values()), ddof=1)) if len(means) > 1 else None
    total = float(np.mean(list(by_piece.values())))
    return Cell(total, sd, len(means), len(by_piece), seed_means=means, by_seed=by_seed)


def row(system: str, seeds: Sequence[np.ndarray], kind: str = "model", **cells: float) -> Row:
    """A row whose pitch distances on all pieces are given by seed."""
    known = {name: Cell(None, reason="not here") for name in METRICS}
    known["pitch_distance"] = cell_of({seed: dict(enumerate(values.tolist())) for seed, values in enumerate(seeds)})
    known |= {name: Cell(value) for name, value in cells.items()}
    trial = Trial(
        system=system,
        kind=kind,
        model=system,
        dataset=DatasetChoice(name="four"),
        protocol=Protocol(),
        budget=BudgetChoice(),
        seed=0,
    )
    done = Done(
        key="key", status="done", training=Training(), generation=Generation(), likelihood=None, facts={}, memory=Memory()
    )
    return Row(system, kind, (TrialScore(("key",), trial, done),), known)


def noisy(shift: float, seed: int, seeds: int = 3, between: float = 0.02) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [BASE + shift + rng.normal(0, 0.3, len(BASE)) + rng.normal(0, between) for _ in range(seeds)]


def test_a_better_model_is_first_alone_and_bold() -> None:
    standing = Standing("pitch_distance", [row("good", noisy(-1, 1)), row("other", noisy(0, 2)), row("third", noisy(0, 3))])
    assert standing.ranks == {"good": (1, 1), "other": (2, 3), "third": (2, 3)}
    assert standing.best == "good"
    assert {c.other: standing.winner(c) for c in standing.between_models if c.one == "good"} == {"other": "good", "third": "good"}


def pretrained(whole: Row) -> Row:
    """The same row as of a model that was trained elsewhere."""
    (score,) = whole.trials
    return replace(whole, trials=(replace(score, trial=score.trial.model_copy(update={"pretrained": True})),))


@pytest.mark.parametrize("shift", [-3, -1, 1])
def test_a_pretrained_model_takes_no_rank_and_no_bold_from_the_others(shift: float) -> None:
    """Better than them, equal or worse."""
    trained = [row("good", noisy(-1, 1)), row("other", noisy(0, 2)), row("third", noisy(0, 3))]
    standing = Standing("pitch_distance", [*trained, pretrained(row("elsewhere", noisy(shift, 4)))])
    assert standing.ranks == {"good": (1, 1), "other": (2, 3), "third": (2, 3)}
    assert standing.best == "good"


def test_who_is_better_than_a_pretrained_model_alone_is_not_bold() -> None:
    """No difference between them is tested: the best of the models trained here is the best of one."""
    rows = [row("good", noisy(-1, 1)), pretrained(row("elsewhere", noisy(1, 2)))]
    standing = Standing("pitch_distance", rows)
    assert (standing.apart, standing.best) == ({"elsewhere"}, None)
    assert Standing("pitch_distance", [*rows, row("other", noisy(0, 3))]).best == "good"


def test_models_whose_seeds_differ_as_much_tie() -> None:
    """On these pieces, each of them so noisy, the networks as trained differ beyond doubt; other trainings may not."""
    one, other = noisy(-0.5, 1, between=1.0), noisy(0.5, 2, between=1.0)
    assert ttest_rel(np.mean(one, axis=0), np.mean(other, axis=0)).pvalue < 1e-9
    standing = Standing("pitch_distance", [row("one", one), row("other", other)])
    (pair,) = standing.comparisons
    assert (standing.winner(pair), standing.best) == (None, None)
    assert standing.ranks == {"one": (1, 2), "other": (1, 2)}


def test_one_seed_is_compared_for_this_training_and_counts_no_wins() -> None:
    (pair,) = Standing("pitch_distance", [row("good", noisy(-1, 1, seeds=1)), row("other", noisy(0, 2))]).comparisons
    assert (pair.wins, pair.pairings) == (None, 0)
    assert pair.real()


def test_wins_are_counted_in_the_better_direction() -> None:
    """Seeds' means 1 and 3 against 2 and 2: of four pairs two are lower and two higher; against 3 and 3, one ties."""
    flat = [np.full(6, value) for value in (1.0, 2.0, 3.0)]
    rows = [row("a", [flat[0], flat[2]]), row("b", [flat[1], flat[1]]), row("c", [flat[2], flat[2]])]
    wins = {(c.one, c.other): (c.wins, c.pairings) for c in Standing("pitch_distance", rows).comparisons}
    assert wins == {("a", "b"): (2.0, 4), ("a", "c"): (3.0, 4), ("b", "c"): (4.0, 4)}


def test_an_untrained_row_is_only_compared_with_its_own_model() -> None:
    rows = [
        row("good", noisy(-1, 1)),
        row("bad", noisy(2, 2)),
        row("untrained good", noisy(0.5, 3, seeds=1), "untrained"),
        row("untrained bad", noisy(0.5, 4, seeds=1), "untrained"),
        row("real", noisy(5, 5), "reference"),
    ]
    standing = Standing("pitch_distance", rows)
    assert len(standing.family) == 3
    assert [(c.one, c.other) for c in standing.comparisons[3:]] == [("good", "untrained good"), ("bad", "untrained bad")]
    assert standing.better("good", "untrained good")
    assert standing.better("untrained bad", "bad")
    assert standing.ranks == {"good": (1, 1), "bad": (2, 2), "real": (3, 3)}
    assert [c.p for c in standing.family] == [c.p for c in Standing("pitch_distance", [*rows[:2], rows[4]]).comparisons]


def test_the_target_through_the_codec_has_no_rank() -> None:
    rows = [row("good", noisy(-1, 1)), row("other", noisy(0, 2)), row("codec", [np.zeros(len(BASE))] * 3, kind="reference")]
    standing = Standing("pitch_distance", rows)
    assert standing.ranks == {"good": (1, 1), "other": (2, 2)}
    assert [(c.one, c.other) for c in standing.comparisons] == [("good", "other")]


def in_bits(whole: Row, likelihood: Literal["exact", "bound"] = "exact") -> Row:
    """The same row with its pitch distances as bits per note."""
    stored = Likelihood(kind=likelihood, pieces=1, notes=1, bits_per_note=1.0, by_field=dict.fromkeys(FIELDS, 0.25))
    trials = tuple(TrialScore(t.keys, t.trial, t.result.model_copy(update={"likelihood": stored})) for t in whole.trials)
    return Row(whole.system, whole.kind, trials, {**whole.cells, "bits_per_note": whole.cells["pitch_distance"]})


def over(whole: Row, **classes: int) -> Row:
    """The same row, its bits over so many classes."""
    made = in_bits(whole)
    return replace(made, trials=tuple(replace(t, trial=t.trial.model_copy(update={"params": classes})) for t in made.trials))


class TestOtherClasses:
    """`coarse` has the lowest bits, of 4 time classes."""

    COARSE = over(row("coarse", noisy(-3, 0)), time_classes=4)
    FINE = in_bits(row("fine", noisy(0, 1)))
    SAME = over(row("same", noisy(1, 2)), time_classes=64, duration_classes=64)
    NGRAM = in_bits(row("ngram", noisy(2, 3), kind="reference"))

    def test_they_have_no_rank_no_test_and_are_never_bold(self) -> None:
        rows = mark_classes([self.COARSE, self.FINE, self.SAME, self.NGRAM])
        standing = Standing("bits_per_note", rows)
        assert standing.incomparable == ["coarse"]
        assert standing.ranks == {"fine": (1, 1), "same": (2, 2), "ngram": (3, 3)}
        assert not any("coarse" in (c.one, c.other) for c in standing.comparisons)
        assert standing.best == "fine"
        assert "coarse" in Standing("pitch_distance", rows).ranks, "of what doesn't depend on classes"
        assert [flag.name for flag in flags(rows[0])] == ["bits over other classes"]
        assert flags(rows[2]) == []

    def test_what_the_trial_stored_counts_before_the_hyperparameters(self) -> None:
        """A plug-in may have other classes by default."""
        trials = tuple(replace(t, outcome=t.result.model_copy(update={"classes": (4, 64)})) for t in self.FINE.trials)
        rows = mark_classes([replace(self.FINE, trials=trials), self.SAME, self.NGRAM])
        assert [row.other_classes for row in rows] == [True, False, False]

    @pytest.mark.parametrize("odd", [0, -1])
    def test_one_trial_over_others_is_enough(self, odd: int) -> None:
        """Those of the first counted for all: a vocabulary made of the training music differs between seeds and folds."""
        trials = [*self.FINE.trials, *self.FINE.trials]
        trials[odd] = replace(trials[odd], outcome=trials[odd].result.model_copy(update={"classes": (16, 16)}))
        mixed = replace(self.FINE, trials=tuple(trials))
        assert mixed.classes == (16, 16, 64, 64)
        assert [row.other_classes for row in mark_classes([mixed, self.SAME, self.NGRAM])] == [True, False, False]

    @pytest.mark.parametrize("metric", ["bits_per_note", "bits_pitch", "bits_time", "seconds_to_target"])
    def test_all_that_depends_on_classes_is_apart(self, metric: str) -> None:
        assert [row.incomparable(metric) for row in mark_classes([self.COARSE, self.FINE, self.SAME])] == [True, False, False]

    def test_reference_rows_decide_before_the_number_of_rows(self) -> None:
        also = replace(self.COARSE, system="also")
        apart = {row.system for row in mark_classes([self.COARSE, also, self.FINE, self.NGRAM]) if row.other_classes}
        assert apart == {"coarse", "also"}
        apart = {row.system for row in mark_classes([self.COARSE, also, self.FINE]) if row.other_classes}
        assert apart == {"fine"}, "without a reference row the most rows"

    def test_a_row_without_bits_is_over_no_classes(self) -> None:
        gan = row("gan", noisy(0, 1))
        gan = replace(gan, trials=tuple(replace(t, trial=self.COARSE.trials[0].trial) for t in gan.trials))
        assert not any(row.other_classes for row in mark_classes([gan, self.FINE, self.NGRAM]))


class TestAnUpperBound:
    """Bits of four models about one apart, in alphabetic order; `c` is a bound."""

    ROWS = tuple(in_bits(row(name, noisy(i, i)), "bound" if name == "c" else "exact") for i, name in enumerate("abcd"))
    STANDING = Standing("bits_per_note", ROWS)

    def test_it_decides_nothing_where_it_is_the_larger(self) -> None:
        pairs = {c.one + c.other: c for c in self.STANDING.comparisons}
        assert {name for name, c in pairs.items() if c.undecided} == {"ac", "bc"}
        assert [self.STANDING.winner(pairs[name]) for name in ("ac", "bc", "cd")] == [None, None, "c"]
        assert (pairs["ac"].p, pairs["cd"].undecided) == (1.0, False)
        assert pairs["cd"].p < 0.05

    def test_its_rank_begins_at_1_and_the_others_allow_for_it(self) -> None:
        assert self.STANDING.ranks == {"a": (1, 2), "b": (2, 3), "c": (1, 3), "d": (4, 4)}

    def test_nobody_is_best_and_it_has_no_place(self) -> None:
        assert (self.STANDING.best, self.STANDING.unplaced) == (None, ["c"])

    def test_no_single_training_of_it_wins_or_loses(self) -> None:
        with_wins = {c.one + c.other for c in self.STANDING.comparisons if c.wins is not None}
        assert with_wins == {"ab", "ad", "bd"}

    def test_below_all_others_it_is_the_best(self) -> None:
        first = in_bits(row("first", noisy(-1, 7)), "bound")
        standing = Standing("bits_per_note", [first, *self.ROWS[:2]])
        assert standing.ranks == {"first": (1, 1), "a": (2, 2), "b": (3, 3)}
        assert (standing.best, standing.unplaced) == ("first", [])

    def test_two_bounds_are_undecided(self) -> None:
        rows = [in_bits(row(name, noisy(i, i)), "bound") for i, name in enumerate("ab")]
        standing = Standing("bits_per_note", rows)
        assert [c.undecided for c in standing.comparisons] == [True]
        assert standing.ranks == {"a": (1, 2), "b": (1, 2)}

    def test_it_is_not_said_to_be_like_a_reference_that_it_may_be_better_than(self) -> None:
        reference = in_bits(row("ngram", noisy(0, 9), "reference"))
        assert Standing("bits_per_note", [*self.ROWS[1:3], reference]).like_references == {"b": [], "c": []}

    def test_the_distances_of_such_a_row_are_no_bounds(self) -> None:
        standing = Standing("pitch_distance", self.ROWS)
        assert standing.best == "a"
        assert not standing.bounds


def test_equal_models_tie_and_neither_is_bold() -> None:
    standing = Standing("pitch_distance", [row("one", noisy(0, 1)), row("other", noisy(0, 2))])
    assert standing.ranks == {"one": (1, 2), "other": (1, 2)}
    assert standing.best is None


def test_a_model_like_a_reference_is_said_to_be() -> None:
    rows = [row("model", noisy(0, 1)), row("real", noisy(0, 2), "reference"), row("uniform", noisy(5, 3), "reference")]
    assert Standing("pitch_distance", rows).like_references == {"model": ["real"]}


def test_one_model_alone_is_never_bold() -> None:
    assert Standing("pitch_distance", [row("only", noisy(-3, 1)), row("real", noisy(0, 2), "reference")]).best is None


def test_many_rows_on_few_pieces_are_not_hopeless() -> None:
    """33 rows have 528 pairs; on five pieces a large difference is significant all the same."""
    rows = [row(str(i), [part[:5] for part in noisy(0, i)]) for i in range(32)] + [
        row("far", [part[:5] for part in noisy(900, 99)])
    ]
    standing = Standing("pitch_distance", rows)
    assert not standing.hopeless
    assert standing.ranks["far"] == (33, 33)


def test_too_few_pieces_are_hopeless_and_nothing_is_detectable() -> None:
    few = [row(name, [part[:4] for part in noisy(shift, i)]) for i, (name, shift) in enumerate((("a", 0), ("b", 9), ("c", 0)))]
    standing = Standing("pitch_distance", few)
    assert standing.hopeless
    assert standing.detectable == []
    assert standing.ranks == {}


def test_a_row_that_shares_too_few_pieces_is_not_told_as_tested() -> None:
    """It was said not to differ significantly, from models and from references, however large the difference."""
    few = lacking(row("few", noisy(50, 3)), range(36))
    others = [row("one", noisy(0, 1)), row("real", noisy(0, 2), "reference")]
    standing = Standing("pitch_distance", [few, *others])
    assert (standing.hopeless, standing.untested) == (False, ["few", "one"])
    assert standing.like_references == {"few": [], "one": ["real"]}
    assert _clause(standing) == "one and few share too few pieces to be tested"
    assert {r["other"]: r["p_holm"] for r in records({"pitch_distance": standing}) if r["one"] == "few"} == {
        "real": None,
        "one": None,
    }
    apart = [lacking(row(name, noisy(0, i)), pieces) for i, (name, pieces) in enumerate((("b", range(20)), ("c", range(20, 40))))]
    tied = Standing("pitch_distance", [*apart, pretrained(row("taught", noisy(0, 5)))])
    assert _clause(tied) == "c and b share too few pieces to be tested"
    three = Standing("pitch_distance", [*apart, row("a", noisy(0, 6))])
    assert _clause(three).startswith("no two models differ significantly")
    assert _clause(three).endswith(", while c and b share too few pieces to be tested")
    assert _clause(Standing("pitch_distance", [row("alone", noisy(0, 1))])) == ""
    more = Standing("pitch_distance", [few, row("two", noisy(0, 4)), *others])
    assert (more.untested, more.best) == (["few"], None)
    assert _clause(more).startswith("one and two do not differ significantly (lowest mean: ")
    assert _clause(more).endswith(", while few shares too few pieces to be tested")


def test_a_pair_that_shares_too_few_pieces_is_named_beside_those_that_differ() -> None:
    """`a` and `b` share none: that neither is better says nothing of them."""
    a, b = (lacking(row(name, noisy(0, i)), pieces) for i, (name, pieces) in enumerate((("a", range(20)), ("b", range(20, 40)))))
    worse = Standing("pitch_distance", [a, b, row("c", noisy(9, 3)), row("d", noisy(9, 4))])
    assert _clause(worse) == (
        "b and a are significantly better than c and d, but no model is better than every other, "
        "while b and a share too few pieces to be tested"
    )
    few = lacking(row("few", noisy(9, 5)), range(36))
    both = Standing("pitch_distance", [a, b, few, row("c", noisy(9, 3))])
    assert _clause(both).endswith(", while few shares too few pieces to be tested, as do b and a with each other")


def test_nothing_is_said_of_a_reference_that_shares_too_few_pieces() -> None:
    """A model 50 below it was said not to be better than notes drawn from training frequencies."""
    few = lacking(row("few", noisy(-50, 3)), range(36))
    references = [row(name, noisy(0, i), "reference") for i, name in enumerate(("unigram", "real"))]
    assert _distance_clause(Standing("pitch_distance", [few, *references])) == ""
    said = _distance_clause(Standing("pitch_distance", [few, row("one", noisy(0, 4)), *references]))
    assert said.startswith("no model that shares enough pieces with it is significantly better than notes drawn")


def test_what_is_detectable_shrinks_with_more_pieces() -> None:
    def detectable(pieces: int) -> float:
        rows = [row("a", [part[:pieces] for part in noisy(0, 1)]), row("b", [part[:pieces] for part in noisy(0, 2)])]
        ((size, pair),) = Standing("pitch_distance", rows).detectable
        assert {pair.one, pair.other} == {"a", "b"}
        return size

    assert detectable(40) < detectable(15)


def test_a_row_without_the_metric_stands_aside() -> None:
    empty = row("gan", noisy(0, 1))
    standing = Standing("bits_per_note", [empty])
    assert standing.ranks == {}
    assert standing.comparisons == []
    assert standing.detectable == []


@pytest.mark.parametrize(("rank", "text"), [((1, 1), "1"), ((3, 8), "3–8"), (None, "-")])
def test_rank_text(rank: tuple[int, int] | None, text: str) -> None:
    assert rank_text(rank, "-") == text


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        ({"pitch_sd_ratio": 0.49}, ["regresses to the median"]),
        ({"pitch_sd_ratio": 0.5}, []),
        ({"velocity_sd_ratio": 0.0}, ["velocity not modelled"]),
        ({"velocity_sd_ratio": 0.001}, []),
        ({"copied_run": 16.0}, ["copies the training music"]),
        ({"copied_run": 15.9}, []),
        ({"top_pitch_share": 50.1}, ["repeats itself"]),
    ],
)
def test_flags_at_their_limits(cells: dict[str, float], names: list[str]) -> None:
    assert [flag.name for flag in flags(row("model", noisy(0, 1), **{"copied_run_real": 8.0, **cells}))] == names


def test_copying_is_measured_against_what_real_music_shares() -> None:
    assert flags(row("model", noisy(0, 1), copied_run=30.0, copied_run_real=16.0)) == []


def lacking(whole: Row, pieces: Sequence[int]) -> Row:
    """The same row without its values on these pieces."""
    by_seed = whole.cells["pitch_distance"].by_seed
    kept = {seed: {p: v for p, v in values.items() if p not in pieces} for seed, values in by_seed.items()}
    cells = {"pitch_distance": cell_of(kept)}
    trials = tuple(TrialScore(t.keys, t.trial, t.result.model_copy(update={"absent": tuple(pieces)})) for t in whole.trials)
    return Row(whole.system, whole.kind, trials, {**whole.cells, **cells})


class TestARowThatLacksPieces:
    """`part` is worse than `whole` on each piece, but has not continued the 20 hardest: its mean is the lower one."""

    HARDEST = np.argsort(BASE)[20:].tolist()
    PART = lacking(row("part", noisy(0.5, 1)), HARDEST)
    WHOLE = row("whole", noisy(0, 2))
    STANDING = Standing("pitch_distance", [PART, WHOLE])

    def test_its_mean_is_of_other_music(self) -> None:
        assert self.PART.cells["pitch_distance"].value < self.WHOLE.cells["pitch_distance"].value
        assert (self.PART.coverage, self.PART.pieces, self.WHOLE.coverage) == ("20 of 40 pieces", 20, "")

    def test_it_is_compared_on_the_pieces_that_both_have(self) -> None:
        (pair,) = self.STANDING.comparisons
        assert pair.pieces == 20
        assert 0.3 < pair.difference < 0.7
        assert self.STANDING.difference("whole", "part") == -pair.difference
        assert self.STANDING.winner(pair) == "whole"

    def test_it_has_no_rank_and_is_never_bold(self) -> None:
        assert self.STANDING.partial == {"part"}
        assert self.STANDING.ranks == {"whole": (1, 1)}
        assert self.STANDING.best == "whole"
        better = lacking(row("part", noisy(-3, 1)), self.HARDEST)
        assert Standing("pitch_distance", [better, self.WHOLE]).best is None

    def test_it_is_flagged_and_named(self) -> None:
        assert [flag.name for flag in flags(self.PART)] == ["20 of 40 pieces"]
        assert row_name(self.PART) == "part (20 of 40 pieces)"
        assert (flags(self.WHOLE), row_name(self.WHOLE)) == ([], "whole")


def test_skill_counts_what_a_constant_hits() -> None:
    """1 - mean distance / mean distance of the median row, on all pieces: those that the constant hits are no easier to miss."""
    constant = row("median", [np.array([0.0, 0.0, 4.0, 8.0, 0.0, 6.0, 12.0])], "reference")
    model = row("lstm", [np.array([1.0, 5.0, 2.0, 4.0, 9.0, 3.0, 6.0]), np.array([1.0, 5.0, 2.0, 5.0, 9.0, 3.0, 8.0])])
    own, cell = (scored.cells["pitch_skill"] for scored in with_skill([constant, model]))
    assert (own.value, {skill for seed in own.by_seed.values() for skill in seed.values()}) == (0.0, {0.0})
    assert cell.value == pytest.approx(1 - (30 + 33) / 2 / 30)
    assert cell.pieces == 7
    interval, over = cell.interval, cell.over
    assert (interval is not None and interval.low < cell.value < interval.high, over) == (True, "seeds and pieces")


def test_there_is_no_skill_on_pieces_that_a_constant_hits_alone() -> None:
    """As of a row whose other pieces are missing."""
    constant = row("median", [np.array([0.0, 0.0, 4.0])], "reference")
    _, scored = with_skill([constant, row("lstm", [np.array([1.0, 5.0])])])
    assert scored.cells["pitch_skill"].value is None
