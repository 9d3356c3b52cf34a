"""Forms: every pair on every prompt on both sides, as often; repeats and catch pairs where they belong."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise

import pytest

from bench.listening.design import CATCHES, MOST_FORMS, NOISE, ORIGINAL, REPEATS, make_forms
from bench.listening.screening import LEAST_CATCHES


@pytest.mark.parametrize(("systems", "prompts", "questions"), [(3, 5, 20), (5, 12, 20), (4, 7, 13), (2, 5, 4)])
def test_balance(systems: int, prompts: int, questions: int) -> None:
    forms = make_forms(systems, range(100, 100 + prompts), questions, seed=1)
    pairs = Counter((q.left, q.right, q.prompt) for form in forms for q in form if q.kind == "pair")
    assert len(pairs) == systems * (systems - 1) * prompts, "each pair on each prompt, either way"
    assert max(pairs.values()) - min(pairs.values()) <= 1
    for form in forms:
        asked = [q for q in form if q.kind == "pair"]
        assert len({(frozenset((q.left, q.right)), q.prompt) for q in asked}) >= len(asked) - systems, "nearly all different"
        by_pair = Counter(frozenset((q.left, q.right)) for q in asked)
        by_pair.update({frozenset(pair): 0 for pair in combinations(range(systems), 2)})
        assert max(by_pair.values()) - min(by_pair.values()) <= 2


@pytest.mark.parametrize(
    ("systems", "prompts", "questions"), [(3, 5, 20), (5, 12, 20), (8, 12, 20), (4, 7, 13), (2, 5, 4), (40, 12, 20)]
)
def test_balance_over_listeners_in_a_row(systems: int, prompts: int, questions: int) -> None:
    """Whoever stops collecting after any number of listeners with the numbers 1, 2, … has nearly the same of everything."""
    for seed in range(3):
        forms = make_forms(systems, range(prompts), questions, seed)
        pairs = dict.fromkeys(combinations(range(systems), 2), 0)
        placed = {(pair, prompt): 0 for pair in pairs for prompt in range(prompts)}
        lefts = dict(pairs)
        for listener in range(min(2 * len(forms), 60)):
            for question in forms[listener % len(forms)]:
                if question.kind == "pair":
                    pair = min(question.left, question.right), max(question.left, question.right)
                    pairs[pair] += 1
                    placed[pair, question.prompt] += 1
                    lefts[pair] += 1 if question.left == pair[0] else -1
            assert max(pairs.values()) - min(pairs.values()) <= 2
            assert max(placed.values()) - min(placed.values()) <= 2
            assert max(map(abs, lefts.values())) <= 3


def test_checks_of_a_form() -> None:
    for form in make_forms(5, range(12), 20, seed=2):
        assert Counter(q.kind for q in form) == {"pair": 20, "repeat": REPEATS, "catch": CATCHES}
        for place, question in enumerate(form):
            if question.of is not None:
                first = form[question.of]
                assert (first.left, first.right, first.prompt) == (question.right, question.left, question.prompt)
                assert place - question.of >= 4
        assert len({q.of for q in form if q.kind == "repeat"}) == REPEATS
        catches = [(place, q) for place, q in enumerate(form) if q.kind == "catch"]
        assert {frozenset((q.left, q.right)) for _, q in catches} == {frozenset((ORIGINAL, NOISE))}
        assert len({q.prompt for _, q in catches}) == CATCHES
        assert len({q.left for _, q in catches[:2]}) == 2, "whoever always presses one side misses one of the first two"
        assert max(b - a for (a, _), (b, _) in pairwise(catches)) < len(form) * 0.75


@pytest.mark.parametrize(
    ("systems", "prompts", "questions"),
    [(5, 12, 20), (3, 5, 20), (4, 7, 13), (2, 5, 4), (5, 12, 200), (3, 5, 4), (3, 7, 5), (4, 7, 7)],
)
def test_who_stops_half_way_counts(systems: int, prompts: int, questions: int) -> None:
    """Half of the questions hold half of the pairs, and as many catch pairs as a listener must answer."""
    for seed in range(20):
        for form in make_forms(systems, range(prompts), questions, seed):
            first = Counter(q.kind for q in form[: -(-len(form) // 2)])
            assert 2 * first["pair"] >= Counter(q.kind for q in form)["pair"]
            assert first["catch"] == LEAST_CATCHES == 2
            pairs = [place for place, q in enumerate(form) if q.kind == "pair"]
            answered = form[: pairs[-(-len(pairs) // 2) - 1] + 1]  # to the last pair of the first half
            assert sum(q.kind == "catch" for q in answered) == LEAST_CATCHES


@pytest.mark.parametrize("systems", [2, 3, 4, 6])
def test_no_form_asks_a_pair_on_a_prompt_twice(systems: int) -> None:
    for questions in range(1, 40):
        for seed in range(3):
            for form in make_forms(systems, range(5), questions, seed):
                asked = [(q.prompt, *sorted((q.left, q.right))) for q in form if q.kind == "pair"]
                assert len(set(asked)) == len(asked)


def test_no_place_is_always_repeated_or_caught() -> None:
    """Who knows the design knows neither which pairs come again nor which prompt the random notes follow."""
    forms = make_forms(5, range(12), 20, seed=3)
    asked = [[place for place, q in enumerate(form) if q.kind == "pair"] for form in forms]
    again = [sorted(pairs.index(q.of) for q in form if q.of is not None) for form, pairs in zip(forms, asked, strict=True)]
    assert len({tuple(places) for places in again}) > 8
    assert set().union(*again) == set(range(8)), "all of the first half but its last two"
    assert len({tuple(q.prompt for q in form if q.kind == "catch") for form in forms}) > 3
    for form in make_forms(2, range(5), 4, seed=0):
        assert all(q.of is None or place - q.of >= 2 for place, q in enumerate(form)), "short as it is"


def test_a_seed_gives_the_same_forms() -> None:
    assert make_forms(4, range(6), 10, 3) == make_forms(4, range(6), 10, 3)
    assert make_forms(4, range(6), 10, 3) != make_forms(4, range(6), 10, 4)


def test_many_systems() -> None:
    assert len(make_forms(40, range(12), 20, 0)) == MOST_FORMS
