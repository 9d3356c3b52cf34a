"""Davidson's model and its intervals: closed forms, and simulated listeners whose preferences are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from bench.listening.design import ORIGINAL
from bench.listening.preference import (
    FIRST,
    SECOND,
    TIE,
    Comparison,
    Preferences,
    Votes,
    counts,
    crossed_variance,
    fit,
    limited,
    prefer,
    preference,
    probabilities,
    single_votes_variance,
    votes_of,
)
from bench.listening.screening import screen
from bench.scoring.crossed import Interval
from tests.listening.simulated import World, attentive, ballot, careless, key_of, one_sided

#: Fewer than the command draws: a test must not take long.
DRAWS = 150


def test_two_systems_have_a_closed_form() -> None:
    """Of two systems the odds are wins over losses, and n is ties over their geometric mean; the prior hardly matters here."""
    worth, log_tie = fit(np.array([[[6000.0, 2000.0, 1500.0]]]), 2)
    assert np.exp(worth[0, 0] - worth[0, 1]) == pytest.approx(4.0, rel=1e-3)
    assert np.exp(log_tie[0]) == pytest.approx(2000 / np.sqrt(6000 * 1500), rel=1e-3)


def test_it_is_the_maximum_of_the_posterior() -> None:
    """Against SciPy, from the definition of the model."""
    outcomes = np.random.default_rng(3).integers(0, 9, (6, 3)).astype(float)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]

    def minus_log_posterior(beta: np.ndarray) -> float:
        worth, tie = np.exp(beta[:4]), np.exp(beta[4])
        total = (beta[:4] ** 2).sum() / 32 + beta[4] ** 2 / 18
        for (i, j), (first, tied, second) in zip(pairs, outcomes, strict=True):
            middle = tie * np.sqrt(worth[i] * worth[j])
            below = worth[i] + worth[j] + middle
            total -= first * np.log(worth[i] / below) + tied * np.log(middle / below) + second * np.log(worth[j] / below)
        return float(total)

    expected = optimize.minimize(minus_log_posterior, np.zeros(5), method="BFGS", options={"gtol": 1e-8}).x
    worth, log_tie = fit(outcomes[None], 4)
    assert [*worth[0], log_tie[0]] == pytest.approx([*(expected[:4] - expected[:4].mean()), expected[4]], abs=1e-4)


def test_who_always_wins_has_a_finite_worth() -> None:
    worth, _ = fit(np.array([[[50.0, 0, 0], [50.0, 0, 0], [50.0, 0, 0]], [[0.0, 0, 0], [0.0, 0, 0], [0.0, 0, 0]]]), 3)
    assert worth[0, 0] > worth[0, 1] > worth[0, 2]
    assert np.abs(worth[0]).max() < 10
    assert worth[1] == pytest.approx(0.0)


def test_probabilities_far_apart() -> None:
    assert probabilities(np.array([2000.0, -2000.0]), np.array(0.0))[:, FIRST].tolist() == [1.0, 0.0]
    assert preference(1e4, 3.0) == 1.0


def test_counts() -> None:
    votes = Votes(*(np.array(x) for x in ([0, 0, 1], [0, 1, 1], [7, 9, 9], [0, 1, 0], [1, 2, 1], [FIRST, TIE, SECOND])))
    assert counts(votes, 3)[0].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert counts(votes, 3, np.array([[2.0, 0.0, 3.0]]))[0].tolist() == [[2, 0, 3], [0, 0, 0], [0, 0, 0]]


def test_sides_do_not_matter_and_checks_are_no_votes() -> None:
    """A listener who prefers system 0 wherever it stands; the answers to repeats and catch pairs count for nothing."""
    key = key_of(3, prompts=6, questions=10)
    ballots = []
    for number, form in enumerate(key.forms):
        right = {"pair": 0, "catch": ORIGINAL}
        answers = ["tie" if q.kind == "repeat" else "left" if q.left == right[q.kind] else "right" for q in form]
        ballots.append(ballot(key, number, answers, number))
    votes = votes_of(screen(ballots, key), key)
    asked = [q for form in key.forms for q in form if q.kind == "pair"]
    assert len(votes) == len(asked)
    with_zero = [outcome for first, outcome in zip(votes.first, votes.outcome, strict=True) if first == 0]
    assert len(with_zero) == sum(0 in (q.left, q.right) for q in asked)
    assert set(with_zero) == {FIRST}
    others = {(int(f), int(o)) for f, o in zip(votes.first, votes.outcome, strict=True) if f}
    assert others == {(1, FIRST), (1, SECOND)}, "right of another pair, whichever it is"


def test_the_variance_of_a_mean_over_crossed_listeners_and_prompts() -> None:
    """Against the sum of its parts: listener effects, prompt effects and noise of known size."""
    rng = np.random.default_rng(0)
    listeners, prompts = 40, 30
    listener, prompt = (grid.ravel() for grid in np.meshgrid(range(listeners), range(prompts), indexing="ij"))
    value = rng.normal(0, 1.0, listeners)[listener] + rng.normal(0, 2.0, prompts)[prompt] + rng.normal(0, 3.0, len(listener))
    zeros = np.zeros(len(listener), np.int64)
    votes = Votes(listener, prompt, prompt, zeros, zeros, zeros)
    mean = lambda weights: (weights @ value / weights.sum(1))[:, None]  # noqa: E731
    (parts,) = crossed_variance(votes, mean, draws=2000)
    grid = value.reshape(listeners, prompts)
    assert parts.seeds == pytest.approx(grid.mean(1).var(ddof=1) / listeners, rel=0.15)
    assert parts.pieces == pytest.approx(grid.mean(0).var(ddof=1) / prompts, rel=0.15)
    assert parts.rest == pytest.approx(value.var() / value.size, rel=0.15)
    assert (parts.seeds_df, parts.pieces_df) == (39, 29)


def test_intervals_cover_and_alike_systems_are_rarely_told_apart() -> None:
    """Coverage of 95 % intervals over 30 tests of 6 pairs, and tests with any false difference."""
    world = World([0.6, 0.6, 0.0, -1.2], between_prompts=0.6)
    key, covered, false = key_of(4), [], 0
    for seed in range(30):
        found = prefer(votes_of(screen(attentive(key, world, 12, seed), key), key), 4, DRAWS, seed)
        for c in found.comparisons:
            covered.append(c.interval.low <= world.share(c.first, c.second) <= c.interval.high)
        false += found.against(0, 1).p < 0.05
    assert np.mean(covered) > 0.92
    assert false <= 4  # of 30, expected at most 1.5


def test_intervals_cover_where_votes_are_nearly_unanimous() -> None:
    """True shares of 90 to 99.9 %: samples of votes that are all alike show no variance."""
    world = World([9.0, 6.0, 3.0, 0.0], 0.4, 0.4)
    key, covered = key_of(4), []
    for seed in range(20):
        found = prefer(votes_of(screen(attentive(key, world, 8, seed), key), key), 4, DRAWS, seed)
        covered += [c.interval.low <= world.share(c.first, c.second) <= c.interval.high for c in found.comparisons]
    assert np.mean(covered) > 0.92


def test_of_unanimous_votes_the_interval_is_about_the_exact_one() -> None:
    """Two systems, 16 votes of 8 listeners: exact limits of a share are 79 and 100 %."""
    one, zero = np.ones(16, np.int64), np.zeros(16, np.int64)
    votes = Votes(np.arange(16) // 2, np.arange(16) % 4, np.arange(16) % 4, zero, one, zero + FIRST)
    (found,) = prefer(votes, 2, DRAWS).comparisons
    assert found.interval.high == 1.0
    assert 0.65 < found.interval.low < 0.85
    assert found.share > 0.95
    assert found.p < 0.05
    assert found.seen_from(1).interval.low == 0.0


@pytest.mark.parametrize(("wins", "losses", "listeners"), [(39, 1, 10), (79, 1, 20), (119, 1, 20)])
def test_one_vote_against_a_system_is_no_reason_for_doubt(wins: int, losses: int, listeners: int) -> None:
    """Samples without that vote went to the prior's worth, and 79 of 80 was not significant where 40 of 40 was."""
    number = wins + losses
    listener, zero = np.arange(number) % listeners, np.zeros(number, np.int64)
    outcome = np.random.default_rng(1).permutation([FIRST] * wins + [SECOND] * losses)
    prompt = (np.arange(number) // listeners) % 4
    (found,) = prefer(Votes(listener, prompt, prompt, zero, zero + 1, outcome), 2, 300).comparisons
    assert found.p < 0.05
    assert 0.7 < found.interval.low < wins / number < found.interval.high < 1.0


def test_the_single_votes_variance_is_that_of_the_log_odds() -> None:
    """Of two systems without ties it is 1 / wins + 1 / losses, but for the prior."""
    variance = single_votes_variance(np.array([[60.0, 0.0, 40.0]]), 2)
    assert variance[0] == pytest.approx(1 / 60 + 1 / 40, rel=0.05)


def test_a_tie_or_a_third_system_limits_a_difference() -> None:
    wins, tied = [5.0, 0.0, 0.0], [5.0, 1.0, 0.0]
    assert not limited(np.array([wins, wins, wins]), 3)[0, 2]
    assert limited(np.array([tied, wins, wins]), 3).tolist() == [[True, True, False], [True, True, False], [True, True, True]]
    assert limited(np.array([tied, wins, tied]), 3).all(), "the third held its own against the second, and that against the first"


def test_the_truth_of_a_simulated_world() -> None:
    """Without differences between listeners and prompts the model's share; with them that of very many listeners and prompts."""
    assert World([1.0, 0.0], 0, 0).share(0, 1) == pytest.approx(preference(1.0, -0.7))
    world = World([2.0, 0.0], 0.6, 0.8)
    effects = np.random.default_rng(0).normal(0, np.sqrt(2), 400_000)  # twice the sum of both variances
    chance = probabilities(2.0 + effects, np.array(world.log_tie))
    assert world.share(0, 1) == pytest.approx((chance[:, FIRST] + chance[:, TIE] / 2).mean(), abs=0.002)
    assert world.share(0, 1) == pytest.approx(1 - world.share(1, 0))
    assert world.share(0, 1) < preference(2.0, -0.7) - 0.02


def test_a_known_order_is_found() -> None:
    world = World([2.4, 0.8, -0.8, -2.4])
    key = key_of(4)
    found = prefer(votes_of(screen(attentive(key, world, 25, 5), key), key), 4, DRAWS)
    assert found.order == [0, 1, 2, 3]
    assert found.ranks() == {0: (1, 1), 1: (2, 2), 2: (3, 3), 3: (4, 4)}
    assert found.against(0, 3).p < 0.001
    assert found.against(3, 0).share == pytest.approx(1 - found.against(0, 3).share)
    assert found.against(3, 0).interval.high == pytest.approx(1 - found.against(0, 3).interval.low)


def test_who_is_apart_counts_for_nobodys_rank() -> None:
    """By hand: 0 beats everyone, 1 beats 2 and 3, and these don't differ."""
    even = Interval(0.0, 1.0)
    pairs = {(0, 1): 0.01, (0, 2): 0.01, (0, 3): 0.01, (1, 2): 0.01, (1, 3): 0.04, (2, 3): 0.05}
    compared = tuple(Comparison(one, other, 0.7, even, p) for (one, other), p in pairs.items())
    found = Preferences((3.0, 1.0, -2.0, -2.0), -1.0, compared)
    assert found.ranks() == {0: (1, 1), 1: (2, 2), 2: (3, 4), 3: (3, 4)}
    assert found.ranks({0}) == {1: (1, 1), 2: (2, 3), 3: (2, 3)}
    assert found.ranks({3}) == {0: (1, 1), 1: (2, 2), 2: (3, 3)}
    assert found.ranks({1, 2}) == {0: (1, 1), 3: (2, 2)}


def test_the_same_votes_give_the_same_result() -> None:
    key = key_of(4)
    votes = votes_of(screen(attentive(key, World([1, 0, 0, 0]), 6, 1), key), key)
    assert prefer(votes, 4, DRAWS) == prefer(votes, 4, DRAWS)


def test_careless_listeners_do_not_reach_the_votes() -> None:
    """Nine of ten who press anything are recognised, all who press one side, and hardly anyone who listens."""
    key = key_of(5)
    assert np.mean([bool(each.reason) for each in screen(careless(key, 200, 1), key)]) > 0.9
    for side in ("left", "right"):
        judged = screen(one_sided(key, 12, side), key)
        assert all(each.reason.startswith("chose the original in") for each in judged)
        judged = screen(one_sided(key, 12, side, catches=True), key)
        assert {each.reason for each in judged} == {f"chose the {side} clip 20 times out of 20"}
    assert all(each.reason for each in screen(one_sided(key, 12, "tie"), key))
    attentives = screen(attentive(key, World([2, 1, 0, -1, -2]), 200, 1, slips=0.01), key)
    assert np.mean([bool(each.reason) for each in attentives]) < 0.05


def test_repeats_show_consistency_and_exclude_nobody() -> None:
    key = key_of(5)
    decided, undecided = (screen(attentive(key, World(w, 0, 0, -3), 60, 1), key) for w in ([8, 4, 0, -4, -8], [0] * 5))
    assert all(each.repeats == 4 for each in (*decided, *undecided))
    shares = [np.mean([each.repeated / each.repeats for each in judged]) for judged in (decided, undecided)]
    assert shares[0] > 0.9
    assert 0.4 < shares[1] < 0.6
    assert not any(each.reason for each in (*decided, *undecided))


def test_unanswered_questions() -> None:
    key = key_of(3, prompts=6, questions=10)
    answers = list(attentive(key, World([2, 0, -2]), 1, 0)[0].answers)
    form = attentive(key, World([2, 0, -2]), 1, 0)[0].form
    catches = [place for place, q in enumerate(key.forms[form]) if q.kind == "catch"]
    pairs = [place for place, q in enumerate(key.forms[form]) if q.kind == "pair"]

    def reason(*unanswered: int) -> str:
        given = [None if place in unanswered else answer for place, answer in enumerate(answers)]
        return screen([ballot(key, form, given, 0)], key)[0].reason

    assert reason() == ""
    assert reason(*pairs[:5]) == ""
    assert reason(*pairs[:6]) == "answered 4 of 10 pairs, repeats and catch pairs not counted"
    assert reason(catches[-1]) == ""
    assert reason(*catches[1:]) == "answered 1 catch pair"
    half = len(answers) // 2
    assert reason(*range(half, len(answers))) == "", "who stopped half way"
    assert reason(*range(half // 2, len(answers))).startswith("answered ")
